"""NVIDIA Dynamic Scenes, LLFF and Neural 3D Video: `poses_bounds.npy` beside images or one video per camera.

Source: spec evaluation_and_datasets.md section 3; the axes are LLFF's (down, right, backwards).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import LARGEST_SIDE
from fourfold.capture.frames import image_files, images_in
from fourfold.capture.mask_names import matched_masks
from fourfold.capture.readers.image_folder import DEFAULT_FPS, IMAGE_FOLDERS, folders_in
from fourfold.capture.readers.video_files import common_times, start_offsets, video_facts, videos_in
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, intrinsics, scale_intrinsics
from fourfold.capture.video import open_video
from fourfold.errors import FourfoldError
from fourfold.untrusted.arrays import load_array

Array = NDArray[np.float64]
HELDOUT_NAME = re.compile(r"v(\d+)_t(\d+)")


def recognises(path: Path) -> bool:
    """A folder with `poses_bounds.npy`."""
    return (path / "poses_bounds.npy").is_file()


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per video if there are videos, else one moving view whose image t was taken by camera t, and the views in `heldout/`."""
    root = paths[0]
    K, world_to_camera, size = load_poses(root / "poses_bounds.npy")
    if videos_in(root):
        return _rig(root, K, world_to_camera, size, options)
    return _moving(root, K, world_to_camera, size, options)


def load_poses(path: Path) -> tuple[Array, Array, tuple[int, int]]:
    """K (N, 3, 3), world_to_camera (N, 4, 4) and the image size they are for. FourfoldError if the file is not an (N, 17) array of finite numbers."""
    rows = load_array(path).astype(np.float64)
    if rows.ndim != 2 or rows.shape[1] not in (15, 17) or not len(rows):
        raise FourfoldError(f"{path} has shape {rows.shape}: expected (N, 17), a 3x5 matrix and two bounds per camera")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise FourfoldError(f"{path} holds a number that is not finite in row {bad}: correct it, or remove the file to have cameras estimated")
    matrices = rows[:, :15].reshape(-1, 3, 5)
    if bad := [i for i, m in enumerate(matrices) if not 1e-6 < abs(np.linalg.det(m[:, :3])) < 1e6]:
        raise FourfoldError(f"{path}: row {bad[0]} holds no rotation: correct it, or remove the file to have cameras estimated")
    to_world = np.tile(np.eye(4), (len(rows), 1, 1))
    to_world[:, :3, 0], to_world[:, :3, 1], to_world[:, :3, 2] = matrices[:, :, 1], matrices[:, :, 0], -matrices[:, :, 2]
    to_world[:, :3, 3] = matrices[:, :, 3]
    height, width = matrices[0, :2, 4]
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise FourfoldError(f"{path} is for images of {width:g}x{height:g} pixels: correct the fifth column of its first row")
    K = np.stack([intrinsics(m[2, 4], m[2, 4], m[1, 4] / 2, m[0, 4] / 2) for m in matrices])
    return K, np.linalg.inv(to_world).astype(np.float64), (round(float(width)), round(float(height)))


def _moving(root: Path, K: Array, world_to_camera: Array, size: tuple[int, int], options: CaptureOptions) -> Source:
    places = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    folders = [f for place in places for f in folders_in(place, one_list=True)] or folders_in(root, one_list=True)
    if not folders:
        raise FourfoldError(f"{root} has poses_bounds.npy but no images: put them in {root / 'images'}")
    images = folders[0].images
    if len(images) != len(K):
        raise FourfoldError(f"{root}: poses_bounds.npy holds {len(K)} cameras for {len(images)} images: there must be one per image")
    times = len(images)
    fps = options.fps or DEFAULT_FPS
    frames = image_files(images)
    moving = ViewSource(
        "moving",
        frames,
        np.arange(times, dtype=np.int64),
        scale_intrinsics(K, size, frames.size),
        world_to_camera,
        alpha="valid",
        masks=matched_masks(images, folders[0].masks, frames.size),
    )
    held = _heldout(root, K, world_to_camera, size, times)
    facts: dict[str, object] = {"fps": fps, "fps_from": "given" if options.fps else "assumed"}
    if (root / "disparity").is_dir():
        facts["relative_disparity_folder"] = str(root / "disparity")
    if held:
        # The moving camera's image t is camera t's: a held-out image of camera t at t has been trained on.
        seen = [[1 + v, int(t)] for v, view in enumerate(held) for t in np.flatnonzero(view.present) if int(view.name.removeprefix("camera ")) == t]
        facts["heldout_also_trained"] = seen
    protocol = f"images of {', '.join(v.name for v in held)} at every moment" if held else None
    return Source(
        "nvidia" if held else "llff",
        root,
        root.resolve().name,
        (moving, *held),
        np.arange(times) / fps,
        "given",
        False,
        protocol,
        facts,
    )


def _heldout(root: Path, K: Array, world_to_camera: Array, size: tuple[int, int], times: int) -> list[ViewSource]:
    """Views from `heldout/vNNN_tNNN.png`: image of camera N at moment N."""
    by_camera: dict[int, dict[int, Path]] = {}
    for path in images_in(root / "heldout"):
        if match := HELDOUT_NAME.fullmatch(path.stem):
            camera, moment = int(match[1]), int(match[2])
            if camera < len(K) and moment < times:
                by_camera.setdefault(camera, {})[moment] = path
    views = []
    for camera, paths in sorted(by_camera.items()):
        frames = image_files([paths[t] for t in sorted(paths)])
        which = np.full(times, -1, np.int64)
        which[sorted(paths)] = np.arange(len(paths))
        pose, k = np.repeat(world_to_camera[camera][None], times, 0), np.repeat(scale_intrinsics(K[camera], size, frames.size)[None], times, 0)
        views.append(ViewSource(f"camera {camera}", frames, which, k, pose, heldout=which >= 0))
    return views


def _rig(root: Path, K: Array, world_to_camera: Array, size: tuple[int, int], options: CaptureOptions) -> Source:
    """Neural 3D Video: video i in natural order belongs to row i; camera 0 is the test camera."""
    files = videos_in(root)
    if len(files) != len(K):
        raise FourfoldError(f"{root}: poses_bounds.npy holds {len(K)} cameras for {len(files)} videos: there must be one per video")
    videos = [open_video(file) for file in files]
    offsets, _ = start_offsets(videos, options)
    timestamps, chosen = common_times(videos, offsets)
    times = len(timestamps)
    views = tuple(
        ViewSource(
            file.stem,
            video,
            which,
            np.repeat(scale_intrinsics(K[i], size, video.size)[None], times, 0),
            np.repeat(world_to_camera[i][None], times, 0),
            heldout=np.full(times, i == 0),
        )
        for i, (file, video, which) in enumerate(zip(files, videos, chosen, strict=True))
    )
    protocol = f"camera {files[0].stem}, the first in order"
    return Source("n3dv", root, root.resolve().name, views, timestamps, "given", False, protocol, video_facts(videos))


READER = Reader("llff", 20, recognises, read)
