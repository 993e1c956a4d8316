"""Fixed calibrated cameras: EasyVolcap (`intri.yml`, `extri.yml`; SelfCap, ENeRF-Outdoor) and Pose2Sim (`Calib_scene.toml`).

Source: spec evaluation_and_datasets.md section 3. OpenCV's pixel centres lie at whole numbers: half a pixel is taken off.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.writers.writer import (
    Matrix,
    Writer,
    first_reason,
    holdout_losses,
    kind_losses,
    missing_frame,
    moving_view,
    present_frames,
    save_image,
    save_masks,
    save_video,
    time_losses,
    unknown_cameras,
)

READ_AS = 30.0


def _opencv(K: Matrix) -> Matrix:
    moved = K.copy()
    moved[:2, 2] -= 0.5
    return moved


def _units(capture: Capture) -> list[str]:
    return [] if capture.metric else ["that a scene unit is not a metre: readers take this layout as metric"]


def write_easyvolcap(capture: Capture, folder: Path) -> list[str]:
    """`intri.yml`, `extri.yml`, `images/NN/NNNNNN.png`, `masks/NN/NNNNNN.png`."""
    names = [f"{v:02d}" for v in range(capture.views)]
    inner, outer = (cv2.FileStorage(str(folder / f), cv2.FILE_STORAGE_WRITE) for f in ("intri.yml", "extri.yml"))
    for storage in (inner, outer):
        storage.startWriteStruct("names", cv2.FileNode_SEQ)
        for name in names:
            storage.write("", name)
        storage.endWriteStruct()
    for v, name in enumerate(names):
        pose = capture.world_to_camera[v, 0]
        inner.write(f"K_{name}", _opencv(capture.K[v, 0]))
        inner.write(f"H_{name}", float(capture.sizes[v, 1]))
        inner.write(f"W_{name}", float(capture.sizes[v, 0]))
        inner.write(f"D_{name}", np.zeros((5, 1)))
        outer.write(f"R_{name}", cv2.Rodrigues(pose[:3, :3])[0])
        outer.write(f"Rot_{name}", np.ascontiguousarray(pose[:3, :3]))
        outer.write(f"T_{name}", np.ascontiguousarray(pose[:3, 3:]))
    inner.release()
    outer.release()
    for v, t in present_frames(capture):
        save_image(folder / "images" / names[v] / f"{t:06d}.png", capture, v, t)
    lost = save_masks(capture, lambda v, t: folder / "masks" / names[v] / f"{t:06d}.png")
    renamed = [] if capture.view_names == tuple(names) else ["the views' names became numbers"]
    return lost + renamed + holdout_losses(capture) + kind_losses(capture, "masks") + time_losses(capture, READ_AS) + _units(capture)


def write_pose2sim(capture: Capture, folder: Path) -> list[str]:
    """`calibration/Calib_scene.toml` and a lossless `videos/VIEW.mp4` per camera."""
    text = ""
    for v, name in enumerate(capture.view_names):
        pose = capture.world_to_camera[v, 0]
        vector = np.ravel(cv2.Rodrigues(pose[:3, :3])[0]).tolist()
        size = [float(n) for n in capture.sizes[v]]
        text += f'["{name}"]\nname = "{name}"\nsize = {size}\nmatrix = {_opencv(capture.K[v, 0]).tolist()}\ndistortions = [0.0, 0.0, 0.0, 0.0]\n'
        text += f"rotation = {vector}\ntranslation = {pose[:3, 3].tolist()}\nfisheye = false\n\n"
        save_video(folder / "videos" / f"{name}.mp4", capture, v)
    (folder / "calibration").mkdir()
    (folder / "calibration" / "Calib_scene.toml").write_text(text + "[metadata]\nadjusted = false\nerror = 0.0\n")
    return holdout_losses(capture) + kind_losses(capture) + _units(capture)


_CHECKS = (unknown_cameras, missing_frame, moving_view)
WRITERS = (
    Writer("easyvolcap", "EasyVolcap: intri.yml and extri.yml (SelfCap, ENeRF-Outdoor)", partial(first_reason, checks=_CHECKS), write_easyvolcap),
    Writer("pose2sim", "Pose2Sim: Calib_scene.toml and one video per camera", partial(first_reason, checks=_CHECKS), write_pose2sim),
)
