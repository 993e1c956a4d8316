"""Folders of images: one view per folder, with an optional `masks` folder beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.arrangement import arrange
from fourfold.capture.frames import image_files, images_in, natural, valid_mask_files
from fourfold.capture.image_times import DEFAULT_FPS, ImageTimes, frame_numbers, image_times
from fourfold.capture.mask_names import MASK_FOLDERS, VALID_FOLDERS, masks_in, matched_masks, paired
from fourfold.capture.readers.video_files import common_moments, nearest
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, noted, unknown_cameras

SAME_TIME = 1e-6  # seconds between moments that differ by rounding only
IMAGE_FOLDERS = ("images", "ims", "rgb", "frames", "color", "input")


@dataclass(frozen=True)
class Folder:
    """One view's images and what belongs to them.

    Attributes:
        name: of the view.
        images: its images.
        masks: masks of what moves, empty if there are none.
        valid: masks of valid pixels, empty if there are none.
        moments: number of the moment of each image where several cameras were told apart in one list, else empty.
        because: how they were told, in words.
    """

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    valid: tuple[Path, ...] = ()
    moments: tuple[int, ...] = ()
    because: str = ""


def recognises(path: Path) -> bool:
    """A folder with images in it, in `images/`, or in one folder per camera."""
    return path.is_dir() and bool(folders_in(path))


def folders_in(path: Path, one_list: bool = False) -> list[Folder]:
    """The views in a folder: images directly inside it, inside `images/` and its like, or inside one folder per camera or moment in either.

    Names tell the cameras of images that lie together, unless they are known to be `one_list`.
    """
    apart = _whole if one_list else told_apart
    if found := images_in(path):
        whole = Folder(path.name, tuple(found), _masks(path, None) or _beside(path, found), _masks(path, None, VALID_FOLDERS))
        return apart(whole, path)
    if views := _per_moment(path):
        return views
    for name in IMAGE_FOLDERS:
        if found := images_in(path / name):
            return apart(Folder(path.name, tuple(found), _masks(path, None), _masks(path, None, VALID_FOLDERS)), path / name)
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


def _whole(whole: Folder, root: Path) -> list[Folder]:
    return [whole]


def told_apart(whole: Folder, root: Path) -> list[Folder]:
    """The images of several cameras that lie together in `root` and whose names tell which is whose, a folder each; or `whole`."""
    found = arrange([p.relative_to(root).as_posix() for p in whole.images])
    if found is None:
        return [whole]
    numbers = frame_numbers([Path(label) for label in found.labels])
    at = list(range(len(found.labels))) if numbers is None else [int(n) for n in numbers - numbers[0]]
    folders: list[Folder] = []
    for name in sorted(set(found.view), key=natural):
        own = sorted((m, i) for m, i, v in zip(found.moment, whole.images, found.view, strict=True) if v == name)
        images = tuple(i for _, i in own)
        masks, valid = (tuple(paired(images, kind, by_number=False) or ()) if kind else () for kind in (whole.masks, whole.valid))
        folders.append(Folder(name, images, masks, valid, tuple(at[m] for m, _ in own), f"{found.views} cameras told by {found.because}"))
    return folders


def _per_moment(root: Path) -> list[Folder]:
    """Views of folders that hold one moment each: `frame0001/cam00.png`, `colmap_1/images/cam00.png`."""
    if not root.is_dir():
        return []
    inside = [p for p in root.iterdir() if p.is_dir() and p.name not in (*MASK_FOLDERS, *VALID_FOLDERS) and not p.name.startswith(".")]
    for name in ("", *IMAGE_FOLDERS):
        rows = [images for p in sorted(inside, key=lambda p: natural(p.name)) if (images := images_in(p / name))]
        if len(rows) > 1:
            views = told_apart(Folder(root.name, tuple(p for row in rows for p in row), ()), root)
            return views if len(views) > 1 and len({p.parent for p in views[0].images}) == len(views[0].images) else []
    return []


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
    times = [_counted(f, options.fps or DEFAULT_FPS) if f.moments else image_times(f.images, options.fps) for f in folders]
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
    return noted(source, *dict.fromkeys([f.because for f in folders if f.because] + [t.words for t in times if t.words]))


def _counted(folder: Folder, fps: float) -> ImageTimes:
    return ImageTimes(np.array(folder.moments, np.float64) / fps, "numbers", "")


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
