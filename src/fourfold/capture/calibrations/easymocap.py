"""`intri.yml` and `extri.yml` of EasyMocap and EasyVolcap, in OpenCV's YAML.

Source: the readers of both. `names`, and for each name `K_`, `D_` (EasyVolcap) or `dist_` (EasyMocap), `H_`, `W_`; `Rot_` or `R_` and `T_`.
"""

from __future__ import annotations

from pathlib import Path

from fourfold.capture.calibrations.camera import CalibratedCamera, CalibrationFormat, opencv_matrix, opencv_pose
from fourfold.capture.lens import pinhole
from fourfold.untrusted.markup import load_yaml
from fourfold.untrusted.records import Record, short


def _load(path: Path) -> list[CalibratedCamera]:
    inner, outer = load_yaml(path), load_yaml(path.with_name(path.name.replace("intri", "extri")))
    names = [n if isinstance(n, str) else short(n) for n in inner.listed("names")] if inner.has("names") else _names(inner)
    cameras: list[CalibratedCamera] = []
    for name in names:
        bend = _data(inner, f"D_{name}") if inner.has(f"D_{name}") else _data(inner, f"dist_{name}")
        size = (inner.whole(f"W_{name}"), inner.whole(f"H_{name}")) if inner.has(f"W_{name}") and inner.has(f"H_{name}") else None
        K = opencv_matrix(_data(inner, f"K_{name}"), f"{inner.where}: K_{name}")
        rotation = _data(outer, f"Rot_{name}") if outer.has(f"Rot_{name}") else _data(outer, f"R_{name}")
        pose = opencv_pose(rotation, _data(outer, f"T_{name}"), f"{outer.where}: {name}")
        cameras.append(CalibratedCamera(name, size, K, pose, pinhole(*bend[:5], further=tuple(bend[5:14]))))
    return cameras


def _names(inner: Record) -> list[str]:
    return [key.removeprefix("K_") for key in inner.value if key.startswith("K_")]


def _data(record: Record, key: str) -> list[float]:
    """The numbers of a matrix; none if it is not there."""
    value = record.value.get(key)
    return record.record(key).values("data") if isinstance(value, dict) else record.values(key)


_INTRI = ("intri.yml", "intri.yaml")

FORMATS = (CalibrationFormat("easyvolcap", "EasyMocap / EasyVolcap", _INTRI, Path.is_file, _load, unit="unknown", sure=True, rank=2),)
