"""`Source`: what a reader found, before anything is decoded, and the contract of a reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import LARGEST_SIDE, CameraSource
from fourfold.capture.film_lens import FilmLens
from fourfold.capture.frames import FrameList
from fourfold.capture.lens import STRAIGHT, Lens
from fourfold.errors import FourfoldError

AlphaMeaning = Literal["none", "opacity", "valid"]
Synchronise = Literal["none", "auto", "motion", "audio"]


@dataclass(frozen=True)
class CaptureOptions:
    """What part of the input to take, and what the files themselves do not say.

    Attributes:
        fps: frames per second: the rate of images that carry no times, and how many of a film's are taken; None takes the own rate of the film
            or data set, the times that images carry, or 30.
        start: seconds after the first moment from which frames are taken.
        end: seconds after the first moment before which frames are taken; None for all.
        every: every how many moments one is taken.
        max_frames: at most so many moments are taken, evenly, by taking every n-th.
        views: names of the views to take, in this order; empty for all.
        offsets: seconds by which each of several videos began after the first one; empty for zero.
        synchronise: estimate the offsets of several videos from their "motion" or "audio", or with "auto" from whichever is sure.
        shot: number, from 1, of the shot of a film that cuts; None takes the longest.
        mask_border: width, pixels of the stored image, of the band around a given mask's outline that is neither object nor background.
        film: what a bare film was found to do to its images, which is taken out; the cameras stay unknown.
    """

    fps: float | None = None
    start: float = 0.0
    end: float | None = None
    every: int = 1
    max_frames: int | None = None
    views: tuple[str, ...] = ()
    offsets: tuple[float, ...] = ()
    synchronise: Synchronise = "none"
    shot: int | None = None
    mask_border: int = 0
    film: FilmLens | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 <= self.start < np.inf or (self.end is not None and not self.end > self.start):
            raise FourfoldError(f"got start {self.start}, end {self.end}, every {self.every}: expected 0 <= start < end and every >= 1")
        if self.max_frames is not None and self.max_frames < 2:
            raise FourfoldError(f"got at most {self.max_frames} frames: a moving scene needs two or more")
        if self.fps is not None and not (np.isfinite(self.fps) and self.fps > 0):
            raise FourfoldError(f"got a frame rate of {self.fps}: expected frames per second above 0")


@dataclass(frozen=True)
class ViewSource:
    """One camera's frames over T moments.

    Attributes:
        name: the view's name.
        frames: its images, as filmed.
        frame_of_time: (T,) int64 number in `frames` of each moment's image, -1 where there is none.
        K: (T, 3, 3) intrinsics of the images as filmed, pixel centres at +0.5; NaN where unknown.
        world_to_camera: (T, 4, 4), OpenCV axes; NaN where unknown.
        lenses: distortion, one for all moments or one per moment.
        heldout: (T,) bool, held out by the dataset's own protocol.
        unused: (T,) bool, the dataset's own protocol neither trains nor measures on these.
        alpha: what a fourth channel means: "opacity" (composited on white) or "valid" (0: do not supervise); "none" drops it.
        valid: instead of a fourth channel, uint8 (H, W) files of the same numbering as `frames`.
        masks: int8 (H, W) object masks of the same numbering as `frames`.
        depth: float32 (H, W) depth of the same numbering as `frames`, scene units.
        focal_hint: likely focal length, pixels of the images as filmed; NaN where the files name none.
        film: what a bare film was found to do to its images; None where nothing was.
    """

    name: str
    frames: FrameList
    frame_of_time: NDArray[np.int64]
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    lenses: tuple[Lens, ...] = (STRAIGHT,)
    heldout: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    unused: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    alpha: AlphaMeaning = "none"
    valid: FrameList | None = None
    masks: FrameList | None = None
    depth: FrameList | None = None
    focal_hint: float = float("nan")
    film: FilmLens | None = None

    def __post_init__(self) -> None:
        for flags in ("heldout", "unused"):
            if getattr(self, flags).shape != self.frame_of_time.shape:
                object.__setattr__(self, flags, np.zeros(self.frame_of_time.shape, bool))

    @property
    def present(self) -> NDArray[np.bool_]:
        """(T,) bool, an image exists."""
        return self.frame_of_time >= 0

    def lens(self, index: int) -> Lens:
        """The distortion at moment `index`."""
        return self.lenses[index if len(self.lenses) > 1 else 0]


@dataclass(frozen=True)
class Source:
    """What a reader found: V views over T moments, nothing decoded yet.

    Attributes:
        layout: name of the layout.
        path: where it lies.
        name: what to call it.
        views: the V views.
        timestamps: (T,) float64 seconds, increasing.
        cameras: "given" or "unknown", or what a prepared capture says.
        metric: one scene unit is one metre.
        protocol: the dataset's own hold-out protocol in words, None if it has none.
        facts: anything else worth reporting, JSON-able.
    """

    layout: str
    path: Path
    name: str
    views: tuple[ViewSource, ...]
    timestamps: NDArray[np.float64]
    cameras: CameraSource = "unknown"
    metric: bool = False
    protocol: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """One layout. A module in `capture/readers/` offers one as `READER`.

    Attributes:
        layout: name, as `fourfold inspect` prints it.
        rank: readers are asked in increasing rank; special layouts come before plain folders.
        recognises: whether this path has the layout; looks at names and small files only, never raises on foreign input.
        read: (paths, options) -> Source. FourfoldError if the layout is recognised but broken.
        several: whether several paths make one capture (one view each).
    """

    layout: str
    rank: int
    recognises: Callable[[Path], bool]
    read: Callable[[Sequence[Path], CaptureOptions], Source]
    several: bool = False


def noted(source: Source, *sentences: str) -> Source:
    """`source` with sentences added to the fact `notes`: what was done to it or assumed of it, for `inspect` and the report."""
    before = source.facts.get("notes", ())
    notes = list(dict.fromkeys([*(str(n) for n in (before if isinstance(before, list | tuple) else ())), *sentences]))
    return replace(source, facts=source.facts | {"notes": notes}) if notes else source


def unknown_cameras(times: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """K (T, 3, 3) and world_to_camera (T, 4, 4) of NaN."""
    return np.full((times, 3, 3), np.nan), np.full((times, 4, 4), np.nan)


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> NDArray[np.float64]:
    """(3, 3) pinhole matrix, pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def scale_intrinsics(K: NDArray[np.float64], old: tuple[float, float], new: tuple[float, float]) -> NDArray[np.float64]:
    """(..., 3, 3) intrinsics after resizing from `old` to `new` (width, height); exact for pixel centres at +0.5.

    FourfoldError if the `old` size, which a camera file states, is none.
    """
    if not (0 < old[0] <= LARGEST_SIDE and 0 < old[1] <= LARGEST_SIDE):
        raise FourfoldError(f"a camera is for images of {old[0]:g}x{old[1]:g} pixels, the images have {new[0]:g}x{new[1]:g}: correct the camera file")
    return K * np.array([new[0] / old[0], new[1] / old[1], 1.0], dtype=np.float64)[:, None]


def world_to_camera_of(rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) from a (3, 3) rotation and a (3,) translation: X_camera = R X_world + t."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def from_opengl(camera_to_world: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) world_to_camera in OpenCV axes from camera-to-world in OpenGL axes (x right, y up, z backward). FourfoldError if it has no inverse."""
    try:
        return np.linalg.inv(camera_to_world @ np.diag([1.0, -1.0, -1.0, 1.0])).astype(np.float64)
    except np.linalg.LinAlgError as error:
        rows = np.round(camera_to_world, 3).tolist()
        raise FourfoldError(f"the pose {rows} is none: its matrix has no inverse; correct the camera file") from error


def nearest_rotation(matrix: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """The (3, 3) rotation nearest to `matrix`. FourfoldError if it is not close to one, or mirrors."""
    if np.abs(matrix).max() > 10.0:
        raise FourfoldError(f"{where} has a rotation that is not one (its entries reach {np.abs(matrix).max():.3g}): correct the camera file")
    left, singular, right = np.linalg.svd(matrix)
    if np.abs(singular - 1).max() > 0.02:
        raise FourfoldError(f"{where} has a rotation that is not one (singular values {np.round(singular, 3).tolist()}): correct the camera file")
    if np.linalg.det(matrix) < 0:
        raise FourfoldError(f"{where} has mirrored axes (determinant -1, a left-handed frame): turn one axis round when the cameras are exported")
    return left @ right


def check_cameras(source: Source) -> Source:
    """`source` with its rotations made exactly orthonormal.

    FourfoldError if given cameras hold a number that is not finite, a focal length that is not positive, or a matrix that is not a rotation.
    """
    if source.cameras == "unknown":
        return source
    return replace(source, views=tuple(_check_view(v, source) for v in source.views))


def _check_view(view: ViewSource, source: Source) -> ViewSource:
    poses = view.world_to_camera.copy()
    for index in np.flatnonzero(view.present):
        where = f"{source.path}: the camera of view {view.name!r} at {source.timestamps[index]:.3f} s"
        K, pose = view.K[index], poses[index]
        if not (np.isfinite(K).all() and np.isfinite(pose).all()):
            if source.cameras != "given":
                continue
            raise FourfoldError(f"{where} holds a number that is not finite: correct the camera file or remove it to have cameras estimated")
        if not (K[0, 0] > 0 and K[1, 1] > 0):
            raise FourfoldError(f"{where} has a focal length of {K[0, 0]:.4g}, {K[1, 1]:.4g} pixels: expected positive numbers")
        poses[index, :3, :3] = nearest_rotation(pose[:3, :3], where)
    return replace(view, world_to_camera=poses)
