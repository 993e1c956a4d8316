"""Qualisys' `*.qca.txt` and Theia3D's files of the same form: XML, one `camera` each with `transform`, `intrinsic` and mostly `fov_video`.

Source: spec evaluation_and_datasets.md section 3 and the data's own notes. `X_camera = diag(1, -1, -1) R (X - C)`, R row-major r11..r33, C in
millimetres. Intrinsics are in 1/64 pixel, or in pixels: the range of the sensor (`sensorMaxU`) over the width of the picture tells.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from fourfold.capture.calibrations.camera import CalibratedCamera, CalibrationFormat
from fourfold.capture.lens import pinhole
from fourfold.capture.source import intrinsics, world_to_camera_of
from fourfold.errors import FourfoldError
from fourfold.untrusted.markup import load_xml
from fourfold.untrusted.records import number

SUBPIXEL = 64.0
WIDEST = 20_000.0  # pixels; a sensor that is wider is counted in 1/64 pixel
MILLIMETRE = 1e-3


def _holds(path: Path) -> bool:
    root = load_xml(path)
    return any(c.find("transform") is not None and c.find("intrinsic") is not None for c in root.iter("camera"))


def _load(path: Path) -> list[CalibratedCamera]:
    cameras = []
    for at, node in enumerate(load_xml(path).iter("camera")):
        where = f"{path}: camera {node.attrib.get('serial', at)}"
        pose, lens = _attributes(node, "transform", where), _attributes(node, "intrinsic", where)
        window = _window(node, lens, where)
        subpixel = _subpixel(lens, window["right"] - window["left"] + 1)
        rotation = np.diag([1.0, -1.0, -1.0]) @ np.array([[_of(pose, f"r{i}{j}", where) for j in (1, 2, 3)] for i in (1, 2, 3)])
        center = np.array([_of(pose, axis, where) for axis in "xyz"]) * MILLIMETRE
        focal = _of(lens, "focalLengthU", where) / subpixel, _of(lens, "focalLengthV", where) / subpixel
        middle = _of(lens, "centerPointU", where) / subpixel - window["left"], _of(lens, "centerPointV", where) / subpixel - window["top"]
        k1, k2, p1, p2 = (_of(lens, f"{kind}{i}", where) for kind in ("radialDistortion", "tangentalDistortion") for i in (1, 2))
        k3 = lens.get("radialDistortion3", 0.0)
        size = round(window["right"] - window["left"]) + 1, round(window["bottom"] - window["top"]) + 1
        K, pose44 = intrinsics(*focal, *middle), world_to_camera_of(rotation, -rotation @ center)
        cameras.append(CalibratedCamera(node.attrib.get("serial", str(at)), size, K, pose44, pinhole(k1, k2, p1, p2, k3)))
    return cameras


def _window(node: Element, lens: dict[str, float], where: str) -> dict[str, float]:
    """The part of the sensor that the video shows, pixels: left, top, right, bottom, both ends included."""
    if node.find("fov_video") is not None:
        window = _attributes(node, "fov_video", where)
        return {side: _of(window, side, where) for side in ("left", "top", "right", "bottom")}
    unit = SUBPIXEL if _of(lens, "sensorMaxU", where) > WIDEST else 1.0
    return {"left": 0.0, "top": 0.0, "right": lens["sensorMaxU"] / unit - 1, "bottom": _of(lens, "sensorMaxV", where) / unit - 1}


def _subpixel(lens: dict[str, float], width: float) -> float:
    """How many units of the intrinsics make a pixel: 64, or 1 where the sensor is not much wider than the picture."""
    if "sensorMaxU" not in lens:
        return SUBPIXEL
    return 1.0 if lens["sensorMaxU"] - lens.get("sensorMinU", 0.0) < 8 * max(width, 1.0) else SUBPIXEL


def _attributes(node: Element, name: str, where: str) -> dict[str, float]:
    child = node.find(name)
    if child is None:
        raise FourfoldError(f"{where} has no {name}: export the calibration again")
    return {key: number(value, f"{where}: {key}") for key, value in child.attrib.items() if key[:1].isalpha()}


def _of(values: dict[str, float], key: str, where: str) -> float:
    if key not in values:
        raise FourfoldError(f"{where} has no {key}: export the calibration again")
    return values[key]


FORMATS = (
    CalibrationFormat("qualisys", "Qualisys", ("*.qca.txt",), Path.is_file, _load, sure=True, rank=3),
    CalibrationFormat("theia3d", "Theia3D", ("*cal*.txt", "*.xml", "*.txt"), _holds, _load, rank=4),
)
