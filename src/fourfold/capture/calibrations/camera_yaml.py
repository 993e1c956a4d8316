"""One YAML file per camera in the terms of OpenCV's calibration and of ROS: lens, and sometimes pose; and Kalibr's `camchain.yaml`.

Source: ROS `camera_info` files (`camera_matrix`, `distortion_model`, `distortion_coefficients`), OpenCV's calibration sample (the same
names), Kalibr's documentation (`cam0` with `intrinsics`, `distortion_coeffs`, `T_cn_cnm1`: from the camera before to this one).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourfold.capture.calibrations.camera import CalibratedCamera, CalibrationFormat, opencv_matrix, opencv_pose
from fourfold.capture.lens import Lens, fisheye, pinhole
from fourfold.capture.source import intrinsics
from fourfold.errors import FourfoldError
from fourfold.untrusted.markup import load_yaml
from fourfold.untrusted.records import Record, numbers, short

MATRIX_KEYS = ("camera_matrix", "Camera_Matrix", "cameraMatrix", "intrinsic_matrix", "K", "mtx")
BEND_KEYS = ("distortion_coefficients", "Distortion_Coefficients", "distCoeffs", "dist_coeffs", "distortion", "D", "dist")
ROTATION_KEYS = ("rotation_matrix", "rotation", "R", "Rot", "rvec")
TRANSLATION_KEYS = ("translation_vector", "translation", "T", "t", "tvec")
FISHEYE = ("equidistant", "fisheye", "kannala_brandt")


def _holds(path: Path) -> bool:
    return load_yaml(path).first(*MATRIX_KEYS) is not None


def _load(path: Path) -> list[CalibratedCamera]:
    record = load_yaml(path)
    key = record.first(*MATRIX_KEYS) or MATRIX_KEYS[0]
    K = opencv_matrix(_values(record, key), f"{record.where}: {key}")
    bend = _values(record, found) if (found := record.first(*BEND_KEYS)) else []
    size = (record.whole("image_width"), record.whole("image_height")) if record.has("image_width") and record.has("image_height") else None
    rotation, translation = record.first(*ROTATION_KEYS), record.first(*TRANSLATION_KEYS)
    pose = opencv_pose(_values(record, rotation), _values(record, translation), record.where) if rotation and translation else None
    name = record.label("camera_name", path.stem)
    return [CalibratedCamera(path.stem if name in ("camera", "narrow_stereo") else name, size, K, pose, _lens(record, bend))]


def _lens(record: Record, bend: list[float]) -> Lens:
    model = str(record.value.get("distortion_model", "plumb_bob")).lower()
    if any(word in model for word in FISHEYE):
        return fisheye(*bend[:4])
    return pinhole(*bend[:5], further=tuple(bend[5:14]))


def _values(record: Record, key: str) -> list[float]:
    """The numbers of a matrix: an object with `data`, or lists."""
    return record.record(key).values("data") if isinstance(record.value.get(key), dict) else record.values(key)


def _is_chain(path: Path) -> bool:
    return any(key.startswith("cam") and isinstance(value, dict) and "intrinsics" in value for key, value in load_yaml(path).value.items())


def _load_chain(path: Path) -> list[CalibratedCamera]:
    chain, cameras, pose = load_yaml(path), [], np.eye(4)
    for name in sorted(k for k in chain.value if k.startswith("cam")):
        camera = chain.record(name)
        if cameras:
            pose = camera.array("T_cn_cnm1", (4, 4)) @ pose
        if (model := str(camera.value.get("camera_model", "pinhole"))) != "pinhole":
            raise FourfoldError(f"{camera.where} has the camera model {short(model)}: only pinhole cameras are read of Kalibr's files")
        fx, fy, cx, cy = numbers(camera.values("intrinsics"), (4,), f"{camera.where}: intrinsics")
        bend = camera.values("distortion_coeffs")
        lens = fisheye(*bend[:4]) if "equi" in str(camera.value.get("distortion_model", "")) else pinhole(*bend[:5], further=tuple(bend[5:14]))
        cameras.append(CalibratedCamera(name, camera.size("resolution"), intrinsics(fx, fy, cx + 0.5, cy + 0.5), pose.copy(), lens))
    return cameras


FORMATS = (
    CalibrationFormat("kalibr", "Kalibr", ("*camchain*.yaml", "*camchain*.yml", "*.yaml"), _is_chain, _load_chain, rank=7),
    CalibrationFormat("opencv", "OpenCV / ROS camera files", ("*.yaml", "*.yml"), _holds, _load, unit="unknown", per_camera=True, rank=8),
)
