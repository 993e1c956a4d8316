"""ExoRecon, MonoFusion's packing of Ego-Exo4D: `trajectory/Dy_train_meta.json` beside `undist_processed_frames/undist_camNN/`.

Source: spec evaluation_and_datasets.md section 3 and monofusion.md section 11. The file's oddities: its entry `w2c` holds camera to world; camera 0
is a placeholder for the ego camera; `k` is the fisheye's calibration, while the frames were straightened by Aria's linear model with the same focal
length and the principal point in the middle, which is what is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import LARGEST_SIDE
from fourfold.capture.frames import FrameFiles, depth_map, image_files, images_in, load_label_mask
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, intrinsics
from fourfold.errors import FourfoldError
from fourfold.untrusted.arrays import load_archive, load_array
from fourfold.untrusted.records import Record, as_list, load_record, numbers

META = "trajectory/Dy_train_meta.json"
CAMERA_FOLDER = "undist_cam{:02d}"
FRAME_FOLDERS = ("undist_processed_frames", "undist_data")
MASK_FOLDERS = ("masks", "dyn_masks")


def recognises(path: Path) -> bool:
    """A folder with `trajectory/Dy_train_meta.json`."""
    return (path / META).is_file()


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per static camera that has frames; nothing is held out."""
    root = paths[0]
    meta = load_record(root / META)
    cameras = len(meta.listed("hw")) - 1
    folders = {c: folder for c in range(1, cameras + 1) if (folder := _frames(root, c)) is not None}
    if not folders:
        raise FourfoldError(f"{root} holds no frames in {root / FRAME_FOLDERS[0] / CAMERA_FOLDER.format(1)}: extract and undistort them first")
    counts = {c: len(images_in(folder)) for c, folder in folders.items()}
    if len(set(counts.values())) > 1:
        raise FourfoldError(f"{root}: the cameras hold {sorted(counts.values())} frames: they are synchronised and must hold as many each")
    views = tuple(_view(root, meta, c, folder) for c, folder in folders.items())
    fps = options.fps or DEFAULT_FPS
    times = np.arange(next(iter(counts.values()))) / fps
    return Source(
        "exorecon", root, root.resolve().name, views, times, "given", True, None, {"fps": fps, "fps_from": "given" if options.fps else "assumed"}
    )


def _frames(root: Path, camera: int) -> Path | None:
    return next((folder for name in FRAME_FOLDERS if images_in(folder := root / name / CAMERA_FOLDER.format(camera))), None)


def _view(root: Path, meta: Record, camera: int, folder: Path) -> ViewSource:
    where = f"{root / META}: camera {camera}"
    images = images_in(folder)
    frames = image_files(images)
    times = len(images)
    inner, outer = meta.listed("k"), meta.listed("w2c")
    if min(len(inner), len(outer)) < times:
        raise FourfoldError(f"{root / META} lists {min(len(inner), len(outer))} moments for {times} frames in {folder}: make the file again")
    height, width = (float(n) for n in numbers(meta.listed("hw")[camera], (2,), f"{where}: hw"))
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise FourfoldError(f"{where}: hw is {height:g} x {width:g} pixels: correct it")
    K, poses = np.zeros((times, 3, 3)), np.zeros((times, 4, 4))
    for t in range(times):
        focal = numbers(_of(inner[t], camera, where), (3, 3), f"{where}: k")[0, 0]
        K[t] = intrinsics(focal * frames.size[0] / width, focal * frames.size[1] / height, frames.size[0] / 2, frames.size[1] / 2)
        to_world = numbers(_of(outer[t], camera, where), (4, 4), f"{where}: w2c")
        if not np.isfinite(to_world).all() or abs(np.linalg.det(to_world)) < 1e-9:
            raise FourfoldError(f"{where}: w2c at moment {t} is not a pose: correct it")
        poses[t] = np.linalg.inv(to_world)
    return ViewSource(f"cam{camera:02d}", frames, np.arange(times), K, poses, masks=_masks(root, camera, images, frames.size))


def _of(row: Any, camera: int, where: str) -> Any:
    listed = as_list(row, where)
    if len(listed) <= camera:
        raise FourfoldError(f"{where} is missing at a moment: make the file again")
    return listed[camera]


def _masks(root: Path, camera: int, images: Sequence[Path], size: tuple[int, int]) -> FrameFiles | None:
    for name in MASK_FOLDERS:
        folder = root / name / CAMERA_FOLDER.format(camera)
        found = [next((p for s in (".npz", ".npy", ".png") if (p := folder / f"{i.stem}{s}").is_file()), None) for i in images]
        if any(found):
            return FrameFiles(tuple(found), size, load_dynamic_mask, dtype="int8", fixed_size=False)
    return None


def load_dynamic_mask(path: Path) -> NDArray[np.int8]:
    """A mask file: the entry `dyn_mask` of an `.npz`, the array of an `.npy`, or an image; +1 where it is above 0, else -1."""
    if path.suffix == ".png":
        return load_label_mask(path)
    values = load_archive(path, {"dyn_mask": None})["dyn_mask"] if path.suffix == ".npz" else load_array(path)
    return np.where(depth_map(values, 1.0, path) > 0, 1, -1).astype(np.int8)


READER = Reader("exorecon", 10, recognises, read)
