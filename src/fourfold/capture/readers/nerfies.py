"""DyCheck iPhone and Nerfies / HyperNeRF: `camera/ID.json`, `rgb/1x/ID.png`, `splits/` or `dataset.json`.

Source: spec priors_monocular.md section 7. `orientation` is the rotation world to camera, `position` the camera's centre; the cameras are not
normalised by `scene.json`. An RGBA image's opacity says which pixels the depth sensor saw, not what is transparent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import depth_files, image_files, images_in, label_mask_files, load_depth
from fourfold.capture.lens import Lens, pinhole
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, intrinsics, scale_intrinsics, unknown_cameras, world_to_camera_of
from fourfold.errors import FourfoldError
from fourfold.untrusted.files import is_file
from fourfold.untrusted.records import Record, as_record, load_record

MASK_FOLDER = "flow3d_preprocessed/track_anything"  # Shape of Motion's additions
MILLIMETRES_ABOVE = 50.0  # a median depth beyond 50 is not metres in a hand-held capture


@dataclass(frozen=True)
class _Found:
    """What the folder holds: images by id in `rgb/{scale}`, (camera, moment) numbers by id, ids held out, and whether units are metres."""

    root: Path
    scale: str
    images: dict[str, Path]
    moments: dict[str, tuple[int, int]]
    held: frozenset[str]
    metric: bool


def recognises(path: Path) -> bool:
    """A folder with `camera/`, `rgb/` and `dataset.json`."""
    return (path / "camera").is_dir() and (path / "rgb").is_dir() and (path / "dataset.json").is_file()


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per camera number, at the moments of its images; validation frames are held out. Cameras without images are left out."""
    root = paths[0]
    scale, images = _images(root)
    train, held = _splits(root)
    # Shipped with a frame rate and splits, the cameras come from a phone's depth sensor and are in metres; Nerfies' own are not.
    metric = (root / "splits").is_dir() and (root / "extra.json").is_file()
    found = _Found(root, scale, images, _moments(root), frozenset(held), metric)
    listed = [i for i in (*train, *held) if i in images and i in found.moments]
    if not listed:
        raise FourfoldError(f"{root / 'rgb' / scale} holds none of the images that the splits name: complete the download")
    times = np.array(sorted({found.moments[i][1] for i in listed}))
    extra = load_record(root / "extra.json") if (root / "extra.json").is_file() else Record({}, str(root))
    fps = extra.positive("fps", options.fps or DEFAULT_FPS)
    cameras = sorted({found.moments[i][0] for i in listed})
    views = [_view(found, camera, [i for i in listed if found.moments[i][0] == camera], times) for camera in cameras]
    protocol = "the validation split" if any(v.heldout.any() for v in views) else None
    missing = [i for i in (*train, *held) if i not in images]
    facts: dict[str, Any] = {"fps": fps, "rgb_folder": scale, "frames_without_image": len(missing)}
    if not extra.has("fps"):
        facts["fps_from"] = "given" if options.fps else "assumed"
    if (root / "covisible" / scale / "val").is_dir():
        facts["covisible_folder"] = str(root / "covisible" / scale / "val")
    return Source("dycheck" if metric else "hypernerf", root, root.resolve().name, tuple(views), times / fps, "given", metric, protocol, facts)


def _images(root: Path) -> tuple[str, dict[str, Path]]:
    """The finest folder `rgb/Nx` and its images by id."""
    folders = sorted((p for p in (root / "rgb").iterdir() if p.is_dir() and p.name[:-1].isdigit()), key=lambda p: int(p.name[:-1]))
    for folder in folders:
        if found := {p.stem: p for p in images_in(folder)}:
            return folder.name, found
    raise FourfoldError(f"{root / 'rgb'} holds no images in 1x, 2x, ...: complete the download")


def _moments(root: Path) -> dict[str, tuple[int, int]]:
    """Id -> (camera number, number of the moment), from `metadata.json`."""
    metadata, moments = load_record(root / "metadata.json"), {}
    for name, value in metadata.value.items():
        record = as_record(value, f"{metadata.where}: {name}")
        moments[name] = record.whole("camera_id", 0), record.whole("warp_id" if record.has("warp_id") else "time_id")
    return moments


def _splits(root: Path) -> tuple[list[str], list[str]]:
    """Ids to train on and ids to hold out."""
    if (root / "splits" / "train.json").is_file():
        train = _ids(load_record(root / "splits" / "train.json"), "frame_names")
        val = root / "splits" / "val.json"
        return train, _ids(load_record(val), "frame_names") if val.is_file() else []
    dataset = load_record(root / "dataset.json")
    train = _ids(dataset, "train_ids" if dataset.value.get("train_ids") else "ids")
    held = [i for i in (_ids(dataset, "val_ids") if dataset.has("val_ids") else []) if i not in set(train)]
    return train, held


def _ids(record: Record, key: str) -> list[str]:
    listed = record.listed(key)
    if any(not isinstance(i, str) for i in listed):
        raise FourfoldError(f"{record.where}: {key} holds something that is not the name of an image: correct it")
    return listed


def _view(found: _Found, camera: int, ids: list[str], times: NDArray[np.int64]) -> ViewSource:
    root, scale = found.root, found.scale
    frames = image_files([found.images[i] for i in ids])
    which, heldout = np.full(len(times), -1, np.int64), np.zeros(len(times), bool)
    K, poses = unknown_cameras(len(times))
    lenses: list[Lens] = [Lens()] * len(times)
    for number, name in enumerate(ids):
        moment = int(np.searchsorted(times, found.moments[name][1]))
        which[moment], heldout[moment] = number, name in found.held
        K[moment], poses[moment], lenses[moment] = load_camera(root / "camera" / f"{name}.json", frames.size)
    depths = [_beside(root / "depth" / scale / i, (".npy", ".npz", ".png")) for i in ids]
    masks = [_beside(root / MASK_FOLDER / scale / i, (".png",)) for i in ids]
    unit = depth_unit([d for d in depths if d]) if any(depths) and found.metric else None
    return ViewSource(
        f"camera {camera}",
        frames,
        which,
        K,
        poses,
        lenses=tuple(lenses),
        heldout=heldout,
        alpha="valid",
        masks=label_mask_files(masks, frames.size) if any(masks) else None,
        depth=None if unit is None else depth_files(depths, frames.size, partial(load_depth, scale=unit)),
    )


def load_camera(path: Path, size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64], Lens]:
    """K (3, 3) for an image of `size`, world_to_camera (4, 4) and the lens of one camera file."""
    record = load_record(path)
    rotation, position = record.array("orientation", (3, 3)), record.array("position", (3,))
    focal, center, full = record.number("focal_length"), record.array("principal_point", (2,)), record.array("image_size", (2,))
    focal_y = focal * record.number("pixel_aspect_ratio", 1.0)
    K = scale_intrinsics(intrinsics(focal, focal_y, center[0], center[1]), (float(full[0]), float(full[1])), size)
    k1, k2, k3 = (*record.values("radial_distortion"), 0.0, 0.0, 0.0)[:3]
    tangential = record.first("tangential_distortion", "tangential")
    p1, p2 = (*(record.values(tangential) if tangential else ()), 0.0, 0.0)[:2]
    return K, world_to_camera_of(rotation, -rotation @ position), pinhole(k1, k2, p1, p2, k3)


def depth_unit(paths: Sequence[Path]) -> float:
    """Metres per stored unit: the files hold metres in some releases and millimetres in others; the median depth tells."""
    values = load_depth(paths[0], 1.0)
    known = values[values > 0]
    return 1e-3 if known.size and float(np.median(known)) > MILLIMETRES_ABOVE else 1.0


def _beside(stem: Path, suffixes: Sequence[str]) -> Path | None:
    return next((p for s in suffixes if is_file(p := stem.with_name(stem.name + s))), None)


READER = Reader("dycheck", 10, recognises, read)
