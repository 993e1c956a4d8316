"""Calibrations of a small rig in the formats of many programs, each written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from rig_folders import FOCAL, HEIGHT, VIEWS, WIDTH, Rig

BEND = (-0.25, 0.06, 0.001, -0.002, 0.0)
OPENCV_K = [[FOCAL, 0.0, WIDTH / 2 - 0.5], [0.0, FOCAL, HEIGHT / 2 - 0.5], [0.0, 0.0, 1.0]]


def _turned(pose: np.ndarray) -> list[float]:
    return cv2.Rodrigues(pose[:3, :3])[0].ravel().tolist()


def _matrix(name: str, values: list[float], rows: int) -> str:
    columns = len(values) // rows
    return f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {', '.join(map(repr, values))} ]\n"


def _easymocap(key: str) -> Callable[[Path, Rig], None]:
    def write(root: Path, rig: Rig) -> None:
        inner = outer = "%YAML:1.0\n---\nnames:\n" + "".join(f'   - "cam{v:02d}"\n' for v in range(VIEWS))
        for v in range(VIEWS):
            pose = rig.world_to_camera[v, 0]
            inner += _matrix(f"K_cam{v:02d}", np.ravel(OPENCV_K).tolist(), 3) + _matrix(f"{key}_cam{v:02d}", list(BEND), 1 if key == "dist" else 5)
            outer += _matrix(f"R_cam{v:02d}", _turned(pose), 3) + _matrix(f"T_cam{v:02d}", pose[:3, 3].tolist(), 3)
        (root / "intri.yml").write_text(inner)
        (root / "extri.yml").write_text(outer)

    return write


def toml(name: str, scale: float = 1.0, nested: bool = False) -> Callable[[Path, Rig], None]:
    def write(root: Path, rig: Rig) -> None:
        text = ""
        for v in range(VIEWS):
            pose = rig.world_to_camera[v, 0]
            turn = pose[:3, :3].tolist() if nested else _turned(pose)
            text += f"[cameras.{v}]\ncam_id = {v}\nignore = false\n" if nested else f'[cam_{v}]\nname = "cam{v:02d}"\n'
            text += f"size = [ {WIDTH}, {HEIGHT},]\nmatrix = {OPENCV_K}\ndistortions = {list(BEND)}\nrotation = {turn}\n"
            text += f"translation = {(scale * pose[:3, 3]).tolist()}\n\n"
        (root / name).write_text(text + "[metadata]\nadjusted = false\nerror = 0.4\n")

    return write


def _kalibr(root: Path, rig: Rig) -> None:
    text, before = "", np.eye(4)
    for v in range(VIEWS):
        pose = rig.world_to_camera[v, 0] @ np.linalg.inv(rig.world_to_camera[0, 0])  # Kalibr's world is the first camera
        text += f"cam{v}:\n  camera_model: pinhole\n  distortion_model: radtan\n  distortion_coeffs: {list(BEND[:4])}\n"
        text += f"  intrinsics: [{FOCAL}, {FOCAL}, {WIDTH / 2 - 0.5}, {HEIGHT / 2 - 0.5}]\n  resolution: [{WIDTH}, {HEIGHT}]\n"
        text += f"  T_cn_cnm1: {(pose @ np.linalg.inv(before)).tolist()}\n" if v else ""
        before = pose
    (root / "rig-camchain.yaml").write_text(text)
    rig.world_to_camera = rig.world_to_camera @ np.linalg.inv(rig.world_to_camera[0, 0])


def _qualisys(unit: float, window: bool) -> Callable[[Path, Rig], None]:
    def write(root: Path, rig: Rig) -> None:
        text = '<?xml version="1.0"?>\n<calibration><cameras>\n'
        for v in range(VIEWS):
            pose = rig.world_to_camera[v, 0]
            turn, centre = np.diag([1.0, -1, -1]) @ pose[:3, :3], -1000 * pose[:3, :3].T @ pose[:3, 3]
            numbers = " ".join(f'r{i + 1}{j + 1}="{turn[i, j]!r}"' for i in range(3) for j in range(3))
            text += f'<camera serial="cam{v:02d}"><transform x="{centre[0]!r}" y="{centre[1]!r}" z="{centre[2]!r}" {numbers}/>\n'
            bend = f'radialDistortion1="{BEND[0]}" radialDistortion2="{BEND[1]}" tangentalDistortion1="{BEND[2]}" tangentalDistortion2="{BEND[3]}"'
            sensor = f'sensorMinU="0" sensorMaxU="{WIDTH * unit}" sensorMinV="0" sensorMaxV="{HEIGHT * unit}"'
            focal = (
                f'focalLengthU="{FOCAL * unit}" focalLengthV="{FOCAL * unit}" centerPointU="{WIDTH / 2 * unit}" centerPointV="{HEIGHT / 2 * unit}"'
            )
            text += f"<intrinsic {focal} {sensor} {bend}/>" + (
                f'<fov_video left="0" top="0" right="{WIDTH - 1}" bottom="{HEIGHT - 1}"/></camera>\n' if window else "</camera>\n"
            )
        (root / ("rig.qca.txt" if window else "cal.txt")).write_text(text.replace("np.float64(", "").replace(")", "") + "</cameras></calibration>\n")

    return write


WRITERS: dict[str, tuple[Callable[[Path, Rig], None], str]] = {
    "EasyMocap": (_easymocap("dist"), "easyvolcap"),
    "EasyVolcap": (_easymocap("D"), "easyvolcap"),
    "Pose2Sim": (toml("Calib_scene.toml"), "pose2sim"),
    "Anipose in millimetres": (toml("calibration.toml", 1000.0), "anipose"),
    "FreeMoCap": (toml("2024_camera_calibration.toml", 1000.0), "anipose"),
    "Caliscope": (toml("camera_array.toml", nested=True), "caliscope"),
    "Kalibr": (_kalibr, "kalibr"),
    "Qualisys": (_qualisys(64.0, True), "qualisys"),
    "Theia3D": (_qualisys(1.0, False), "theia3d"),
}
