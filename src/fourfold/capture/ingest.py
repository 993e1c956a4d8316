"""From what a reader found to a prepared `Capture`: decoded once, undistorted, resized, split, written frame by frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.exposure import Steadying, corrected, words
from fourfold.capture.film_lens import FilmLens
from fourfold.capture.frames import ArrayFrames, FrameFiles, FrameList
from fourfold.capture.holdout import split
from fourfold.capture.lens import Lens, straightened, undistorter
from fourfold.capture.shots import open_shot
from fourfold.capture.source import CaptureOptions, Source, ViewSource, noted, scale_intrinsics
from fourfold.capture.writer import FrameWriter
from fourfold.errors import FourfoldError
from fourfold.files import STAGE_FILE, asked_for, key_of, run_stage
from fourfold.room import check_disk

LEAST_SIDE = 12  # pixels; below it OpenCV's optical flow ends with an error, and there is nothing to see
LEAST_CONTRAST = 3  # grey levels between the darkest and the brightest pixel of all images; the codec's own noise makes one or two
OWN_RESULTS = (STAGE_FILE, f"capture/{STAGE_FILE}")
VERSION = 5  # raise when the same input gives other frames or cameras than before
GREY_LONG_SIDE = 640
"""Longer side of the grey images kept for tracking where the stored images are smaller than they were filmed, pixels."""


def prepare_capture(
    paths: Sequence[Path],
    out: Path,
    *,
    pixels: int,
    holdout: str | None = None,
    options: CaptureOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    priors_folder: Path | None = None,
) -> Capture:
    """Read what lies at `paths` and write it to the directory `out` as a `Capture`; the same input again is not read twice.

    Args:
        paths: one video, several videos of one moment, an image folder, or a dataset folder of a known layout.
        out: directory to write, all or nothing.
        pixels: an image of more pixels is reduced by the smallest whole factor that brings it to this many or fewer.
        holdout: `every:N`, `moments:N`, `cameras:NAME,...`, `standing`, `none`, or None for the dataset's own protocol (see `holdout.split`).
        options: what part to take.
        progress: called with (frames written, frames in all).
        priors_folder: folder with supplied priors, kept as a fact of the capture.

    Raises:
        FourfoldError: the input is missing, unknown or broken, or `out` holds something that is not a capture.
    """
    options = options or CaptureOptions()
    if pixels < 64:
        raise FourfoldError(f"got a budget of {pixels} pixels per image: expected 64 or more")
    out = Path(out)
    if out.exists() and not (out.is_dir() and ((out / STAGE_FILE).exists() or (out / "capture.json").exists() or not any(out.iterdir()))):
        raise FourfoldError(f"{out} exists and is not a prepared capture: give another output folder or remove it")

    def make(folder: Path) -> None:
        source = open_shot(paths, options)
        if priors_folder is not None:
            source = replace(source, facts=source.facts | {"priors_folder": str(Path(priors_folder).resolve())})
        if options.film is not None:
            source = of_film(source, options.film)
        write_capture(source, folder, pixels=pixels, holdout=holdout, mask_border=options.mask_border, progress=progress)

    try:
        run_stage(out, capture_key(paths, pixels=pixels, holdout=holdout, options=options, priors_folder=priors_folder), make)
    except PermissionError as error:
        raise FourfoldError(f"{asked_for(error, out)} may not be read or written: check its permissions or give another folder") from error
    return Capture.load(out)


def of_film(source: Source, film: FilmLens) -> Source:
    """A bare film, of one view, whose images are to be made straight. What the file says of the focal length is of the images as filmed."""
    (view,) = source.views
    zoom = film.straight(view.frames.size)[0, 0] / film.filmed(view.frames.size)[0, 0]
    return noted(replace(source, views=(replace(view, film=film, focal_hint=view.focal_hint * zoom),)), *film.words)


def capture_key(
    paths: Sequence[Path],
    *,
    pixels: int,
    holdout: str | None = None,
    options: CaptureOptions | None = None,
    priors_folder: Path | None = None,
) -> str:
    """A hash of the input files' names, sizes and times of change, and of everything that decides what is written."""
    stamps = [stamp for path in paths for stamp in _stamps(Path(path).resolve())]
    supplied = [] if priors_folder is None else [str(Path(priors_folder).resolve())]
    return key_of("capture", VERSION, stamps, pixels, holdout, options or CaptureOptions(), *supplied)


def reduced_size(size: tuple[int, int], pixels: int) -> tuple[tuple[int, int], int]:
    """Width and height after division by the smallest whole factor n with (w // n) * (h // n) <= pixels, and n."""
    width, height = size
    n = 1
    while (width // n) * (height // n) > pixels:
        n += 1
    return (max(1, round(width / n)), max(1, round(height / n))), n


def grey_size(filmed: tuple[int, int], stored: tuple[int, int]) -> tuple[int, int] | None:
    """Width and height of the grey images kept for tracking; None where the stored images show as much."""
    scale = min(1.0, GREY_LONG_SIDE / max(filmed))
    size = max(1, round(filmed[0] * scale)), max(1, round(filmed[1] * scale))
    return size if max(size) > max(stored) else None


def write_capture(
    source: Source, folder: Path, *, pixels: int, holdout: str | None, mask_border: int = 0, progress: Callable[[int, int], None] | None = None
) -> Capture:
    """Decode every frame of `source` once and write `folder` (which exists and is empty)."""
    train, heldout, rule = split(source, holdout)
    present = np.array([v.present for v in source.views])
    total, done = int(present.sum()), 0
    if total < 2:
        raise FourfoldError(f"{source.path} holds a single image: a moving scene needs two moments or two cameras, give a longer video")
    if (small := min((v.frames.size for v in source.views), key=min)) and min(small) < LEAST_SIDE:
        raise FourfoldError(f"{source.path} has images of {small[0]}x{small[1]} pixels: at least {LEAST_SIDE} a side are needed")
    check_disk(folder, _bytes_needed(source, pixels), f"reading {total:,} images")
    sizes, factors, K = [], {}, []
    for number, view in enumerate(source.views):
        size, factor = reduced_size(view.frames.size, pixels)
        straight = straight_cameras(view)
        # Figures of data sets are of their own pixels; a bare recording is made steady.
        steady = source.cameras == "unknown" and not isinstance(view.frames, ArrayFrames)
        job = _Job(view, number, folder, size, straight, mask_border, steady)
        for _ in job.run():
            done += 1
            if progress is not None:
                progress(done, total)
        if source.cameras == "unknown" and job.brightest - job.darkest < LEAST_CONTRAST:
            raise FourfoldError(f"{view.name} of {source.path} shows nothing: all of its images are of one and the same colour")
        if told := job.even_out():
            source = noted(source, told if len(source.views) == 1 else f"{view.name}: {told}")
        sizes.append(size)
        factors[view.name] = factor
        K.append(scale_intrinsics(view.K if view.film else straight, view.frames.size, size))
    capture = Capture(
        root=folder,
        K=np.stack(K),
        world_to_camera=np.stack([v.world_to_camera for v in source.views]),
        timestamps=source.timestamps - source.timestamps[0],
        sizes=np.array(sizes, dtype=np.int64),
        present=present,
        train=train,
        heldout=heldout,
        cameras=source.cameras,
        metric=source.metric,
        name=source.name,
        view_names=tuple(v.name for v in source.views),
        facts=source.facts | _facts(source, rule, factors, folder),
        focal_hint=np.array([v.focal_hint * size[0] / v.frames.size[0] for v, size in zip(source.views, sizes, strict=True)]),
    )
    capture.save()
    return capture


def straight_cameras(view: ViewSource) -> NDArray[np.float64]:
    """(T, 3, 3) intrinsics of a view's images, at the size as filmed, without what bends them; NaN where they are not known."""
    if view.film is not None:
        return np.tile(view.film.straight(view.frames.size), (len(view.K), 1, 1))
    return np.stack([straightened(view.lens(i), k, view.frames.size) if np.isfinite(k).all() else k for i, k in enumerate(view.K)])


def _bytes_needed(source: Source, pixels: int) -> int:
    """About how much the prepared capture takes on the disk: what is kept of every frame, per pixel."""
    needed = 0
    for view in source.views:
        (width, height), _ = reduced_size(view.frames.size, pixels)
        grey = grey_size(view.frames.size, (width, height)) or (0, 0)
        channels = 3 + (view.valid is not None) + (view.masks is not None) + 4 * (view.depth is not None)
        needed += int(view.present.sum()) * (width * height * channels + grey[0] * grey[1])
    return needed


def _facts(source: Source, rule: str, factors: dict[str, int], folder: Path) -> dict[str, Any]:
    filmed = sorted({v.frames.size for v in source.views}, reverse=True)
    facts: dict[str, Any] = {
        "layout": source.layout,
        "source": str(source.path),
        "holdout": rule,
        "size_as_filmed": [list(s) for s in filmed],
        "sizes_as_filmed": [list(v.frames.size) for v in source.views],
        "frame_names": [frame_names(v) for v in source.views],
        "reduced_by": max(factors.values()),
        "undistorted": any(v.film is not None or lens.bends for v in source.views for lens in v.lenses),
    }
    if not any(folder.glob("alpha_*.npy")):
        return facts
    meaning = next((v.alpha for v in source.views if v.alpha != "none"), "valid")
    return facts | {"alpha_means": source.facts.get("alpha_means", meaning)}


def frame_names(view: ViewSource) -> list[str]:
    """(T,) file names without suffix of a view's images, their five-digit numbers where they come from a film, "" where there is none."""
    paths = view.frames.paths if isinstance(view.frames, FrameFiles) else None
    names = [f"{n:05d}" for n in range(len(view.frames))] if paths is None else ["" if p is None else p.stem for p in paths]
    return [names[n] if n >= 0 else "" for n in view.frame_of_time]


@dataclass
class _Job:
    """One view's frames, alpha, masks and depth on their way to disk."""

    view: ViewSource
    number: int
    folder: Path
    size: tuple[int, int]
    straight: NDArray[np.float64]
    mask_border: int
    steady: bool
    straighten: tuple[tuple[Lens, bytes], Callable[[NDArray[Any], bool], NDArray[Any]]] | None = None
    exposure: Steadying = field(default_factory=Steadying)
    steadied: list[int] = field(default_factory=list)
    darkest: int = 255
    brightest: int = 0

    def run(self) -> Iterator[int]:
        """Write everything; yields each moment whose frame was written."""
        view = self.view
        with ExitStack() as stack:
            frames = stack.enter_context(self._writer("frames", "uint8", (3,)))
            grey = grey_size(view.frames.size, self.size)
            greys = None if grey is None else stack.enter_context(self._writer("grey", "uint8", size=grey))
            alphas: FrameWriter | None = None
            opaque: list[int] = []  # moments whose image had no opacity, before the first that had
            for moments, image in self._decoded(view.frames, 3):
                colour, alpha = split_alpha(image, view.alpha)
                if alpha is not None and view.valid is None and alphas is None:
                    alphas = stack.enter_context(self._writer("alpha", "uint8"))
                    for moment in opaque:
                        alphas.write(moment, np.full(alphas.shape[1:], 255))
                for moment in moments:
                    straight = self._straightened(colour, moment, nearest=False)
                    stored = resized(straight, self.size, nearest=False)
                    frames.write(moment, stored)
                    self.darkest, self.brightest = min(self.darkest, int(stored.min())), max(self.brightest, int(stored.max()))
                    if self.steady:
                        self.exposure.add(stored)
                        self.steadied.append(moment)
                    if greys is not None and grey is not None:
                        greys.write(moment, resized(cv2.cvtColor(straight, cv2.COLOR_RGB2GRAY), grey, nearest=False))
                    if alphas is not None:
                        solid = np.full(alphas.shape[1:], 255) if alpha is None else self._bring(alpha, moment, nearest=view.alpha == "valid")
                        alphas.write(moment, solid)
                    opaque.append(moment)
                    yield moment
        for kind, dtype, frames_of in (("alpha", "uint8", view.valid), ("masks", "int8", view.masks), ("depth", "float32", view.depth)):
            if frames_of is not None:
                self._labels(kind, dtype, frames_of)

    def even_out(self) -> str:
        """Multiply the stored frames by the gains that make their exposure steady; what was done in words, "" if nothing."""
        found = self.exposure.gains()
        if found is None:
            return ""
        for kind in ("frames", "grey"):
            path = self.folder / f"{kind}_{self.number:03d}.npy"
            stored = np.load(path, mmap_mode="r+", allow_pickle=False) if path.exists() else None
            for gain, moment in zip(found, self.steadied, strict=True):
                if stored is not None:
                    stored[moment] = corrected(np.asarray(stored[moment]), gain)
        return words(found)

    def _labels(self, kind: str, dtype: str, frames: FrameList) -> None:
        with self._writer(kind, dtype) as writer:
            for moments, image in self._decoded(frames, 2):
                for moment in moments:
                    stored = self._bring(image, moment, nearest=True)
                    writer.write(moment, with_border(stored, self.mask_border) if kind == "masks" else stored)

    def _writer(self, kind: str, dtype: str, channels: tuple[int, ...] = (), size: tuple[int, int] | None = None) -> FrameWriter:
        width, height = size or self.size
        return FrameWriter(self.folder / f"{kind}_{self.number:03d}.npy", (len(self.view.frame_of_time), height, width, *channels), dtype)

    def _decoded(self, frames: FrameList, rank: int) -> Iterator[tuple[list[int], NDArray[Any]]]:
        """Each frame that is used, once, with the moments that use it; `rank` is 3 for colours and 2 for labels and depth."""
        uses: dict[int, list[int]] = {}
        for moment in np.flatnonzero(self.view.present):
            uses.setdefault(int(self.view.frame_of_time[moment]), []).append(int(moment))
        order = sorted(uses)
        for index, image in zip(order, frames.decode(order), strict=True):
            if image.ndim != rank or 0 in image.shape or (rank == 3 and image.shape[2] not in (3, 4)):
                raise FourfoldError(f"view {self.view.name!r} has a frame of shape {image.shape}, expected rows and columns of pixels: replace it")
            yield uses[index], image

    def _bring(self, image: NDArray[Any], moment: int, nearest: bool) -> NDArray[Any]:
        """Undistort and reduce one image to the stored size."""
        return resized(self._straightened(image, moment, nearest), self.size, nearest)

    def _straightened(self, image: NDArray[Any], moment: int, nearest: bool) -> NDArray[Any]:
        """One image undistorted, at the size as filmed."""
        filmed = self.view.frames.size
        if (image.shape[1], image.shape[0]) != filmed:
            image = resized(image, filmed, nearest)
        if self.view.film is not None:
            return self.view.film.undo(image, moment, self.straight[moment], nearest)
        lens, K = self.view.lens(moment), self.view.K[moment]
        if lens.bends and np.isfinite(K).all():
            image = self._undistorter(lens, K, self.straight[moment])(image, nearest)
        return image

    def _undistorter(self, lens: Lens, K: NDArray[np.float64], straight: NDArray[np.float64]) -> Callable[[NDArray[Any], bool], NDArray[Any]]:
        key = (lens, K.tobytes())
        if self.straighten is None or self.straighten[0] != key:
            self.straighten = key, undistorter(lens, K, straight, self.view.frames.size)
        return self.straighten[1]


def split_alpha(image: NDArray[np.uint8], meaning: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """RGB and opacity of an image: RGBA with meaning "opacity" is composited on white, with "valid" kept apart, with "none" dropped."""
    if image.shape[2] == 3:
        return image, None
    colour, alpha = image[..., :3], image[..., 3]
    if meaning == "none":
        return colour, None
    if meaning == "opacity":
        weight = alpha[..., None].astype(np.float32) / 255.0
        colour = np.round(colour * weight + 255.0 * (1.0 - weight)).astype(np.uint8)
    return colour, alpha


def resized(image: NDArray[Any], size: tuple[int, int], nearest: bool) -> NDArray[Any]:
    """`image` at `size` (width, height): colours averaged over areas, labels and depth picked at pixel centres."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    if nearest:
        rows = ((np.arange(size[1]) + 0.5) * image.shape[0] / size[1]).astype(np.int64)
        columns = ((np.arange(size[0]) + 0.5) * image.shape[1] / size[0]).astype(np.int64)
        return image[rows[:, None], columns[None, :]]
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def with_border(mask: NDArray[np.int8], border: int) -> NDArray[np.int8]:
    """An object mask whose pixels within `border` pixels of the other label become 0."""
    if border <= 0:
        return mask
    kernel = np.ones((2 * border + 1, 2 * border + 1), np.uint8)
    inside = cv2.erode((mask > 0).astype(np.uint8), kernel)
    outside = cv2.erode((mask < 0).astype(np.uint8), kernel)
    return inside.astype(np.int8) - outside.astype(np.int8)


def _stamps(path: Path) -> Iterator[tuple[str, int, int]]:
    if path.is_file():
        yield str(path), path.stat().st_size, path.stat().st_mtime_ns
    for folder, inner, names in os.walk(path):
        # Results of our own that lie inside the input are no input.
        inner[:] = sorted(n for n in inner if not n.startswith(".") and not any((Path(folder) / n / mark).exists() for mark in OWN_RESULTS))
        for name in sorted(n for n in names if not n.startswith(".") and n != STAGE_FILE):
            stat = (Path(folder) / name).stat()
            yield str(Path(folder) / name), stat.st_size, stat.st_mtime_ns
