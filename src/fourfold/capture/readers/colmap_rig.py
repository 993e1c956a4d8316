"""Fixed cameras whose COLMAP model was made of one image each: the model gives the cameras, videos or folders of images give the moments.

So do 4DGaussians' `multipleview` (`cam01/frame_00001.jpg` beside `sparse_/`), SpacetimeGaussians' moments (`colmap_0/images/cam00.png` with
`colmap_0/sparse/`), and whoever ran COLMAP on the first frames of several videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import FrameList, image_files, images_in, natural
from fourfold.capture.mask_names import MASK_FOLDERS, masks_in, matched_masks
from fourfold.capture.pairing import Pairs, paired
from fourfold.capture.readers.colmap_model import ModelImage, load_images, models_in
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.readers.video_files import common_times, start_offsets, video_facts, videos_in
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, scale_intrinsics
from fourfold.capture.video import open_video
from fourfold.errors import FourfoldError
from fourfold.notices import fallback

VIDEO_PLACES = ("", "videos", "video")
FOLDER_PLACES = ("", "images", "frames", "ims")
NOT_CAMERAS = frozenset({"sparse", "sparse_", "dense", "colmap", "images", "input", *MASK_FOLDERS})
MOMENT_FOLDERS = ("colmap_*", "frame*", "time*", "t_*", "[0-9]*")
INNER = ("images", "input", "")


@dataclass(frozen=True)
class _Rig:
    """Names of the cameras' frames with their files (one video, or images by moment), the model's images, and which belongs to which."""

    model: Path
    images: list[ModelImage]
    frames: dict[str, list[Path | None]]
    pairs: Pairs
    videos: bool


def recognises(path: Path) -> bool:
    """A folder with a COLMAP model of as many images as there are videos or folders of images beside it, or fewer."""
    if not path.is_dir():
        return False
    try:
        return _find(path) is not None
    except (FourfoldError, OSError):
        return False


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per camera that the model and the frames both have."""
    root = paths[0]
    rig = _find(root)
    if rig is None:
        raise FourfoldError(f"{root} has no COLMAP model of its videos")
    names = list(rig.frames)
    left = [n for i, n in enumerate(names) if i not in {f for _, f in rig.pairs}]
    facts: dict[str, object] = {"cameras_from": f"a COLMAP model of one image of each camera ({len(rig.pairs)} of {len(names)} cameras)"}
    if left:
        fallback(f"{', '.join(left)} of {root} is not in the COLMAP model {rig.model}: what it filmed is left out")
    chosen = [(rig.images[c], names[f]) for c, f in rig.pairs]
    if rig.videos:
        videos = [open_video(p) for _, name in chosen for p in rig.frames[name] if p is not None]
        offsets, _ = start_offsets(videos, options)
        times, which = common_times(videos, offsets)
        lists: list[FrameList] = list(videos)
        facts |= video_facts(videos)
    else:
        fps = options.fps or DEFAULT_FPS
        facts |= {"fps": fps, "fps_from": "given" if options.fps else "assumed"}
        moments = max(len(rig.frames[name]) for _, name in chosen)
        times = np.arange(moments) / fps
        listed = [_listed(rig.frames[name], moments) for _, name in chosen]
        lists, which = [frames for frames, _ in listed], [numbers for _, numbers in listed]
    views = [_view(root, n, image, f, w) for (image, n), f, w in zip(chosen, lists, which, strict=True)]
    views.sort(key=lambda v: natural(v.name))
    return Source("colmap", root, root.resolve().name, tuple(views), times, "given", False, None, facts)


def _listed(files: list[Path | None], moments: int) -> tuple[FrameList, NDArray[np.int64]]:
    """The images that exist, and which of them each moment has."""
    there = [p for p in files if p is not None]
    which = np.full(moments, -1, np.int64)
    which[[i for i, p in enumerate(files) if p is not None]] = np.arange(len(there))
    return image_files(there), which


def _view(root: Path, name: str, image: ModelImage, frames: FrameList, which: NDArray[np.int64]) -> ViewSource:
    K = scale_intrinsics(image.camera.K, image.camera.size, frames.size)
    times = len(which)
    paths = [p for p in getattr(frames, "paths", ()) if p is not None]
    found = next((m for folder in MASK_FOLDERS if (m := masks_in(root / folder / name))), []) if paths else []
    masks = matched_masks(paths, found, frames.size) if found else None
    pose = np.repeat(image.world_to_camera[None], times, 0)
    return ViewSource(name, frames, which, np.repeat(K[None], times, 0), pose, lenses=(image.camera.lens,), alpha="valid", masks=masks)


def _find(root: Path) -> _Rig | None:
    """What lies in `root`, None if it is no rig with a model of one image of each camera."""
    per_moment = _per_moment(root)
    if per_moment is not None:
        return per_moment
    models = models_in(root)
    if models is None:
        return None
    files = next((found for name in VIDEO_PLACES if len(found := videos_in(root / name)) > 1), [])
    frames: dict[str, list[Path | None]] = {f.stem: [f] for f in files} if files else _folders(root)
    if len(frames) < 2 or not 2 <= models.images[0] <= len(frames):
        return None
    return _rig(models.folders[0], frames, bool(files))


def _rig(model: Path, frames: dict[str, list[Path | None]], videos: bool) -> _Rig | None:
    images = load_images(model)
    stems = [Path(i.name).stem for i in images]
    parents = [Path(i.name).parent.name for i in images]
    pairs = paired(parents if len(set(parents)) == len(images) > 1 else stems, list(frames))
    return _Rig(model, images, frames, pairs, videos) if pairs else None


def _folders(root: Path) -> dict[str, list[Path | None]]:
    """Images by folder, one folder per camera, more than one image in each."""
    for name in FOLDER_PLACES:
        place = root / name
        inside = (
            sorted((p for p in place.iterdir() if p.is_dir() and p.name not in NOT_CAMERAS), key=lambda p: natural(p.name)) if place.is_dir() else []
        )
        found: dict[str, list[Path | None]] = {p.name: list(images) for p in inside if len(images := images_in(p)) > 1}
        if len(found) > 1:
            return found
    return {}


def _per_moment(root: Path) -> _Rig | None:
    """Folders of one moment each, with an image per camera and, in the first of them at least, a model."""
    for pattern in MOMENT_FOLDERS:
        folders = sorted((p for p in root.glob(pattern) if p.is_dir()), key=lambda p: natural(p.name))
        model = models_in(folders[0]) if len(folders) > 1 else None
        if model is None:
            continue
        rows = [{p.stem: p for name in INNER for p in images_in(folder / name)} for folder in folders]
        names = sorted({n for row in rows for n in row}, key=natural)
        if len(names) > 1:
            return _rig(model.folders[0], {n: [row.get(n) for row in rows] for n in names}, videos=False)
    return None


READER = Reader("colmap", 35, recognises, read)
