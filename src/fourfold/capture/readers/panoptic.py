"""Panoptic Sports as Dynamic 3D Gaussians packs it: `train_meta.json`, `test_meta.json`, `ims/CAMERA/FRAME.jpg`, `seg/CAMERA/FRAME.png`.

Source: spec evaluation_and_datasets.md section 3. `w2c` is world to camera in OpenCV axes, in metres, 30 frames per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.capture.frames import image_files, label_mask_files, natural
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, scale_intrinsics, unknown_cameras
from fourfold.errors import FourfoldError
from fourfold.untrusted.files import below, is_file
from fourfold.untrusted.records import as_list, load_record, numbers, whole

FPS = 30.0


@dataclass
class _Camera:
    """What the meta files say of one camera, by moment."""

    heldout: bool
    images: dict[int, Path]
    K: dict[int, Any]
    world_to_camera: dict[int, Any]


def recognises(path: Path) -> bool:
    """A folder with `train_meta.json` and `ims/`."""
    return (path / "train_meta.json").is_file() and (path / "ims").is_dir()


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per camera number; those of `test_meta.json` are held out."""
    root = paths[0]
    cameras: dict[str, _Camera] = {}
    size, times = _collect(root, "train_meta.json", False, cameras)
    if (root / "test_meta.json").is_file():
        _, more = _collect(root, "test_meta.json", True, cameras)
        times = max(times, more)
    views = tuple(_view(root, name, cameras[name], size, times) for name in sorted(cameras, key=natural))
    held = [v.name for v in views if v.heldout.any()]
    protocol = f"cameras {', '.join(held)} at every moment" if held else None
    fps = FPS
    return Source("panoptic", root, root.resolve().name, views, np.arange(times) / fps, "given", True, protocol, {"fps": fps})


def _collect(root: Path, name: str, heldout: bool, cameras: dict[str, _Camera]) -> tuple[tuple[int, int], int]:
    path = root / name
    meta = load_record(path)
    files, K, poses, numbers_of = (meta.listed(key) for key in ("fn", "k", "w2c", "cam_id"))
    if not len(files) == len(K) == len(poses) == len(numbers_of):
        raise FourfoldError(f"{path}: fn, k, w2c and cam_id list {len(files)}, {len(K)}, {len(poses)} and {len(numbers_of)} moments: they must agree")
    for moment, rows in enumerate(zip(files, K, poses, numbers_of, strict=True)):
        row, ks, ws, ids = (as_list(r, f"{path}: {key} at moment {moment}") for key, r in zip(("fn", "k", "w2c", "cam_id"), rows, strict=True))
        if not len(row) == len(ks) == len(ws) == len(ids):
            raise FourfoldError(f"{path}: moment {moment} lists {len(row)} images for {len(ks)} intrinsics and {len(ws)} poses: they must agree")
        for file, k, w, number in zip(row, ks, ws, ids, strict=True):
            if not isinstance(file, str):
                raise FourfoldError(f"{path}: moment {moment} lists {file!r}, expected the name of an image: correct it")
            camera = cameras.setdefault(str(whole(number, f"{path}: cam_id at moment {moment}")), _Camera(heldout, {}, {}, {}))
            camera.images[moment] = below(root / "ims", file)
            camera.K[moment], camera.world_to_camera[moment] = k, w
    return (meta.whole("w"), meta.whole("h")), len(files)


def _view(root: Path, name: str, camera: _Camera, size: tuple[int, int], times: int) -> ViewSource:
    moments = [m for m in sorted(camera.images) if is_file(camera.images[m])]
    if not moments:
        raise FourfoldError(f"{root / 'ims' / name} holds none of the images that the meta files name: complete the download")
    K, world_to_camera = unknown_cameras(times)
    for m in camera.K:
        K[m] = numbers(camera.K[m], (3, 3), f"{root}: k of camera {name} at moment {m}")
        world_to_camera[m] = numbers(camera.world_to_camera[m], (4, 4), f"{root}: w2c of camera {name} at moment {m}")
    paths = [camera.images[m] for m in moments]
    frames = image_files(paths)
    which = np.full(times, -1, np.int64)
    which[moments] = np.arange(len(moments))
    inside = [p.is_relative_to(root / "ims") for p in paths]
    segments = [(root / "seg" / p.relative_to(root / "ims")).with_suffix(".png") if i else p for p, i in zip(paths, inside, strict=True)]
    masks = [s if i and is_file(s) else None for s, i in zip(segments, inside, strict=True)]
    return ViewSource(
        name,
        frames,
        which,
        scale_intrinsics(K, size, frames.size),
        world_to_camera,
        heldout=np.full(times, camera.heldout),
        masks=label_mask_files(masks, frames.size) if any(masks) else None,
    )


READER = Reader("panoptic", 10, recognises, read)
