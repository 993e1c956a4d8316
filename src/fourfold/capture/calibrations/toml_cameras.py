"""TOML tables of cameras in OpenCV's terms: Pose2Sim (`Calib*.toml`), Anipose and FreeMoCap (`calibration.toml`), Caliscope (`camera_array.toml`).

Source: the documentation of these programs. A camera is a table with `matrix`, `distortions`, `size`, `rotation` (a vector, or a matrix
in Caliscope) and `translation`, at the top or below `cameras`. Pose2Sim and Caliscope count in metres, Anipose in the unit of its board.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fourfold.capture.calibrations.camera import CalibratedCamera, CalibrationFormat, opencv_matrix, opencv_pose
from fourfold.capture.lens import fisheye, pinhole
from fourfold.untrusted.files import MOST_MARKUP, read_bytes
from fourfold.untrusted.records import Record, load_toml

NO_CAMERA = frozenset({"metadata", "capture_volume", "charuco", "checkerboard"})


def _tables(path: Path) -> Iterator[tuple[str, Record]]:
    read_bytes(path, MOST_MARKUP)
    top = load_toml(path)
    groups = [top, *([top.record("cameras")] if isinstance(top.value.get("cameras"), dict) else [])]
    for group in groups:
        for key, table in group.value.items():
            if key not in NO_CAMERA and isinstance(table, dict) and "matrix" in table:
                yield key, Record(table, f"{path}: {key}")


def _holds(path: Path, caliscope: bool | None) -> bool:
    found = list(_tables(path))
    nested = "cameras" in load_toml(path).value
    return bool(found) and (caliscope is None or nested == caliscope)


def _load(path: Path) -> list[CalibratedCamera]:
    cameras: list[CalibratedCamera] = []
    for key, table in _tables(path):
        if table.value.get("ignore") is True:
            continue
        bend = table.values("distortions", 14)
        lens = fisheye(*bend[:4]) if table.value.get("fisheye") else pinhole(*bend[:5], further=tuple(bend[5:14]))
        pose = opencv_pose(table.value["rotation"], table.value.get("translation"), table.where) if table.has("rotation") else None
        named = table.first("name", "cam_id", "port")
        name = table.label(named) if named else key
        size = table.size("size") if table.has("size") else None
        cameras.append(CalibratedCamera(name, size, opencv_matrix(table.value["matrix"], table.where), pose, lens))
    return cameras


FORMATS = (
    CalibrationFormat("pose2sim", "Pose2Sim", ("Calib*.toml",), partial(_holds, caliscope=False), _load, sure=True, rank=1),
    CalibrationFormat("caliscope", "Caliscope", ("*.toml",), partial(_holds, caliscope=True), _load, rank=5),
    CalibrationFormat("anipose", "Anipose", ("*.toml",), partial(_holds, caliscope=False), _load, unit="unknown", rank=6),
)
