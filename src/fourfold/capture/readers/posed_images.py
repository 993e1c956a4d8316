"""Images that a file lists each with its own camera, as transforms.json, COLMAP, Metashape or a phone's app do: arranged into views and moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.arrangement import arrange, pose_groups
from fourfold.capture.frames import depth_files, image_files, load_depth, mask_files, natural, valid_mask_files
from fourfold.capture.lens import Lens
from fourfold.capture.source import AlphaMeaning, ViewSource, unknown_cameras

SAME_TIME = 1e-6  # seconds; times of different lists that differ by less are one moment
ONE_MOMENT = 0.25  # of a camera's usual gap: images of different cameras that are nearer in time are of one moment
SLOWEST = 10.0  # seconds between images; a longer gap means that the numbers are no seconds
DepthLoader = Callable[[Path], NDArray[np.float32]]
AS_STORED: DepthLoader = partial(load_depth, scale=1.0)
UNITS = (("seconds", 1.0), ("milliseconds", 1e-3), ("microseconds", 1e-6), ("nanoseconds", 1e-9))


@dataclass(frozen=True)
class PosedImage:
    """One image with its camera.

    Attributes:
        image: the file.
        name: how the list calls it, a posix path: cameras are told apart by it where the list does not name them.
        K: (3, 3) intrinsics of the image as it is on disk, pixel centres at +0.5.
        world_to_camera: (4, 4), OpenCV axes.
        lens: its distortion.
        time: seconds, None where the list has none.
        count: number of its moment where the list only counts, None where it does not.
        view: the camera that the list names, None where it names none.
        valid: file of the pixels to use, None if there is none.
        depth: depth file, None if there is none.
        mask: object mask file, None if there is none.
    """

    image: Path
    name: str
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    lens: Lens
    time: float | None = None
    count: int | None = None
    view: str | None = None
    valid: Path | None = None
    depth: Path | None = None
    mask: Path | None = None


def in_views(images: list[PosedImage], fps: float, only: str) -> tuple[list[PosedImage], dict[str, Any]]:
    """The images with a view and a time each, and facts on how they were told.

    A single camera's images are one view called `only`. Where the list names no cameras, names and poses tell them (`arrangement`); where it
    has no times, the number of the moment over `fps` is the time.
    """
    images = sorted(images, key=lambda f: natural(f.name))
    named = all(f.view is not None for f in images) and len({f.view for f in images}) > 1
    timed = all(f.time is not None for f in images)
    facts: dict[str, Any] = {}
    found = None if named else arrange([f.name for f in images], np.stack([f.world_to_camera for f in images]))
    if not timed:
        images, timed = _by_count(images, fps, several=found is not None or named)
    if found is not None:
        images = [replace(f, view=v, time=f.time if timed else m / fps) for f, v, m in zip(images, found.view, found.moment, strict=True)]
        facts["cameras_told_by"] = f"{found.because}: {found.views} cameras, {len(found.labels)} moments"
        return _joined(images), facts
    if not named:
        images = [replace(f, view=only) for f in images]
    if not timed:
        return _counted(images, fps), facts
    return _joined(_told_apart(images)), facts


def seconds(stamps: Sequence[float]) -> tuple[list[float], str]:
    """Times of images in seconds from the first on, and the unit that was found: the first of s, ms, us, ns that leaves usual gaps below 10 s."""
    values = np.array(stamps, np.float64)
    gaps = np.diff(np.unique(values))
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    name, unit = next((u for u in UNITS if usual * u[1] <= SLOWEST), UNITS[-1])
    return [float(v) for v in (values - values.min()) * unit], name


def view_sources(
    images: Sequence[PosedImage], alpha: AlphaMeaning, load: DepthLoader = AS_STORED
) -> tuple[tuple[ViewSource, ...], NDArray[np.float64]]:
    """A view per camera over the union of their times, and the (T,) times.

    Every image has a view and a time, as `in_views` gives them; `load` reads a depth file.
    """
    every = np.sort(np.array([f.time for f in images], dtype=np.float64))
    times = every[np.concatenate([[True], np.diff(every) > SAME_TIME])]
    names = sorted({str(f.view) for f in images}, key=natural)
    return tuple(_view(name, [f for f in images if f.view == name], times, alpha, load) for name in names), times


def _view(name: str, own: list[PosedImage], times: NDArray[np.float64], alpha: AlphaMeaning, load: DepthLoader) -> ViewSource:
    own = sorted(own, key=lambda f: f.time or 0.0)
    files = image_files([f.image for f in own])
    which = np.full(len(times), -1, np.int64)
    K, poses = unknown_cameras(len(times))
    lenses = [own[0].lens] * len(times)
    for number, frame in enumerate(own):
        moment = int(np.abs(times - (frame.time or 0.0)).argmin())
        which[moment], K[moment], poses[moment], lenses[moment] = number, frame.K, frame.world_to_camera, frame.lens
    valid, depths, masks = [f.valid for f in own], [f.depth for f in own], [f.mask for f in own]
    return ViewSource(
        name,
        files,
        which,
        K,
        poses,
        lenses=tuple(lenses) if len(set(lenses)) > 1 else (lenses[0],),
        alpha=alpha,
        valid=valid_mask_files(valid, files.size) if any(valid) else None,
        depth=depth_files(depths, files.size, load) if any(depths) else None,
        masks=mask_files(masks, files.size) if any(masks) else None,
    )


def _by_count(images: list[PosedImage], fps: float, several: bool) -> tuple[list[PosedImage], bool]:
    """Times from the numbers of the moments, where all have one; False if they count the images of all cameras one after the other."""
    counts = [f.count for f in images if f.count is not None]
    if len(counts) < len(images) or (several and len(set(counts)) == len(counts)):
        return images, False
    return [replace(f, time=(c - min(counts)) / fps) for f, c in zip(images, counts, strict=True)], True


def _counted(images: list[PosedImage], fps: float) -> list[PosedImage]:
    """Each image with its number within its view over `fps`."""
    count: dict[str | None, int] = {}
    timed: list[PosedImage] = []
    for image in images:
        number = count.get(image.view, 0)
        count[image.view] = number + 1
        timed.append(replace(image, time=number / fps))
    return timed


def _told_apart(images: list[PosedImage]) -> list[PosedImage]:
    """Images of one view and time come from different cameras: told by poses that repeat or, where they move, by order within the time."""
    if len({(f.view, f.time) for f in images}) == len(images):
        return images
    groups = pose_groups(np.stack([f.world_to_camera for f in images]))
    if len({(f.view, f.time, int(g)) for f, g in zip(images, groups, strict=True)}) == len(images) and groups.max() + 1 <= len(images) // 2:
        return [replace(f, view=f"{f.view} {g + 1}") for f, g in zip(images, groups, strict=True)]
    seen: dict[tuple[str | None, float | None], int] = {}
    apart: list[PosedImage] = []
    for image in images:
        count = seen.get((image.view, image.time), 0)
        seen[image.view, image.time] = count + 1
        apart.append(replace(image, view=image.view if count == 0 else f"{image.view} {count + 1}"))
    return apart


def _joined(images: list[PosedImage]) -> list[PosedImage]:
    """Times of several cameras that are nearly one become one: clocks of cameras differ by a part of a frame."""
    gaps = [np.diff(np.unique([f.time for f in images if f.view == name])) for name in {f.view for f in images}]
    usual = [float(np.median(g)) for g in gaps if len(g)]
    if len(gaps) < 2 or not usual:
        return images
    apart = ONE_MOMENT * min(usual)
    times = np.unique(np.array([f.time for f in images], np.float64))
    first = times[np.concatenate([[True], np.diff(times) > apart])]
    return [replace(f, time=float(first[np.searchsorted(first, f.time or 0.0, side="right") - 1])) for f in images]
