"""Folders of images: one view per folder, with an optional `masks` folder beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import image_files, images_in, natural, valid_mask_files
from fourfold.capture.image_times import DEFAULT_FPS, ImageTimes, image_times
from fourfold.capture.mask_names import MASK_FOLDERS, VALID_FOLDERS, masks_in, matched_masks, paired
from fourfold.capture.readers.video_files import common_moments, nearest
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, noted, unknown_cameras

SAME_TIME = 1e-6  # seconds between moments that differ by rounding only
IMAGE_FOLDERS = ("images", "ims", "rgb", "frames", "color", "input")


@dataclass(frozen=True)
class Folder:
    """One view's images, the masks of what moves and the masks of valid pixels that belong to them (empty if none)."""

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    valid: tuple[Path, ...] = ()


def recognises(path: Path) -> bool:
    """A folder with images in it, in `images/`, or in one folder per camera."""
    return path.is_dir() and bool(folders_in(path))


def folders_in(path: Path) -> list[Folder]:
    """The views in a folder: images directly inside it, inside `images/` and its like, or inside one folder per camera in either."""
    if found := images_in(path):
        return [Folder(path.name, tuple(found), _masks(path, None) or _beside(path, found), _masks(path, None, VALID_FOLDERS))]
    for name in IMAGE_FOLDERS:
        if found := images_in(path / name):
            return [Folder(path.name, tuple(found), _masks(path, None), _masks(path, None, VALID_FOLDERS))]
        if views := _cameras(path / name, path):
            return views
    return _cameras(path, path)


def _cameras(folder: Path, root: Path) -> list[Folder]:
    if not folder.is_dir():
        return []
    inside = sorted(
        (p for p in folder.iterdir() if p.is_dir() and p.name not in (*MASK_FOLDERS, *VALID_FOLDERS) and not p.name.startswith(".")),
        key=lambda p: natural(p.name),
    )
    return [Folder(p.name, tuple(found), _masks(root, p.name), _masks(root, p.name, VALID_FOLDERS)) for p in inside if (found := images_in(p))]


def _masks(root: Path, camera: str | None, names: Sequence[str] = MASK_FOLDERS) -> tuple[Path, ...]:
    for name in names:
        if found := masks_in(root / name / camera if camera else root / name):
            return tuple(found)
    return ()


def _beside(path: Path, images: Sequence[Path]) -> tuple[Path, ...]:
    """Masks in a sibling folder: of `images/` and its like in any case, of a folder of another name only if the file names agree."""
    masks = _masks(path.resolve().parent, None)
    return masks if path.resolve().name in IMAGE_FOLDERS or (masks and paired(images, masks, by_number=False)) else ()


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per folder of images, joined by their times or, where these are only counted, by their numbers. Cameras are unknown."""
    folders = [folder for path in paths for folder in folders_in(path)]
    times = [image_times(folder.images, options.fps) for folder in folders]
    moments, which = joined(times, folders[0].images[0].parent)
    views = tuple(_view(folder, frames) for folder, frames in zip(folders, which, strict=True))
    first = Path(paths[0])
    facts: dict[str, object] = {}
    if not any(t.clocked for t in times):
        facts |= {"fps": options.fps or DEFAULT_FPS, "fps_from": "given" if options.fps else "assumed"}
    counts = [len(f.images) for f in folders]
    if min(counts) != max(counts):
        facts["images_per_view"] = {f.name: len(f.images) for f in folders}
    layout = "images"
    name = first.resolve().parent.name if first.name in IMAGE_FOLDERS else first.resolve().name
    source = Source(layout, first, name, views, moments - moments[0], facts=facts)
    return noted(source, *dict.fromkeys(t.words for t in times if t.words))


def joined(times: Sequence[ImageTimes], first: Path) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """Moments (T,) of several lists of images, and for each list the number of its image at each moment, -1 where it has none.

    Clocks are joined by nearest times; numbers, where all lists are numbered, by equal number; else the lists are taken to begin together.
    """
    if len({t.source for t in times}) == 1 and times[0].clocked:
        return common_moments([t.seconds for t in times], first)
    ticks = [t.seconds for t in times]
    if len({t.source for t in times}) > 1:
        gap = float(np.median(np.diff(ticks[0]))) if len(ticks[0]) > 1 else 1.0
        ticks = [np.arange(len(t)) * gap for t in ticks]
    moments, which = _merged(ticks)
    shared = np.all([frames >= 0 for frames in which], axis=0).sum()
    return (
        (moments, which) if shared * 2 >= min(map(len, ticks)) else _merged([t - t[0] for t in ticks])
    )  # each camera counts from a number of its own


def _merged(ticks: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """All moments of several lists, those closer than `SAME_TIME` as one, and the number of each list's entry at each of them, -1 without one."""
    every = np.sort(np.concatenate(ticks))
    moments = every[np.concatenate([[True], np.diff(every) > SAME_TIME])]
    which = [np.full(len(moments), -1, np.int64) for _ in ticks]
    for frames, seconds in zip(which, ticks, strict=True):
        frames[nearest(moments, seconds)] = np.arange(len(seconds))
    return moments, which


def _view(folder: Folder, which: NDArray[np.int64]) -> ViewSource:
    frames = image_files(folder.images)
    masks, valid = matched_masks(folder.images, folder.masks, frames.size), matched_masks(folder.images, folder.valid, frames.size)
    return ViewSource(
        folder.name,
        frames,
        which,
        *unknown_cameras(len(which)),
        alpha="valid",
        valid=None if valid is None else valid_mask_files(valid.paths, frames.size),
        masks=masks,
    )


READER = Reader("images", 90, recognises, read, several=True)
