"""What an iterative 3D tracker is: the driver lends it windows of frames and sets anchored entries between its iterations.

Source: spec himor_4dgs360.md section 5.1. All coordinates are those of the world, scene units; a tracker that works in normalised
coordinates normalises and de-normalises on its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError


@dataclass(frozen=True)
class Clip:
    """One camera's images with depth and cameras.

    Attributes:
        rgb: (T, H, W, 3) uint8.
        depth: (T, H, W) along the optical axis, scene units, 0 unknown.
        K: (T, 3, 3) float64 pixels, centres at +0.5. world_to_camera: (T, 4, 4) float64, OpenCV axes.
        mask: (T, H, W) bool, True on what moves, or None.

    FourfoldError if the shapes do not fit.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.floating[Any]]
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        times, height, width = self.depth.shape
        wanted = {"rgb": (times, height, width, 3), "K": (times, 3, 3), "world_to_camera": (times, 4, 4), "mask": (times, height, width)}
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise FourfoldError(f"a clip with depth {self.depth.shape} needs {name} of shape {shape}, got {value.shape}")

    def __len__(self) -> int:
        return len(self.depth)

    def reversed(self) -> Clip:
        """The same clip backwards in time; arrays are shared."""
        parts = {name: getattr(self, name)[::-1] for name in ("rgb", "depth", "K", "world_to_camera")}
        return replace(self, **parts, mask=None if self.mask is None else self.mask[::-1])


@dataclass(frozen=True)
class Window:
    """N points in the frames `start` .. `end` - 1 of a clip (W = end - start).

    Attributes:
        rows: (N,) int, which points of the whole job these are: the same point has the same row in every window of a pass.
        query_time: (N,) int frame in which the point was marked, before `end`. query_xyz: (N, 3) float64 where it was then.
        xyz: (W, N, 3) float64 first guess: earlier windows' result, its last frame repeated, and the query position for new points.
        visibility: (W, N) float64 first guess in [0, 1].
    """

    start: int
    end: int
    rows: NDArray[np.intp]
    query_time: NDArray[np.intp]
    query_xyz: NDArray[np.float64]
    xyz: NDArray[np.float64]
    visibility: NDArray[np.float64]


@dataclass(frozen=True)
class Iterate:
    """The state after an iteration: xyz (W, N, 3) float64, visibility_logit (W, N), and confidence_logit (W, N) or None."""

    xyz: NDArray[np.float64]
    visibility_logit: NDArray[np.float64]
    confidence_logit: NDArray[np.float64] | None = None


class IterTracker3D(Protocol):
    """An iterative 3D point tracker on sliding windows."""

    @property
    def name(self) -> str:
        """How the report calls it."""
        ...

    @property
    def window(self) -> int:
        """Frames per window."""
        ...

    @property
    def stride(self) -> int:
        """Frames between windows."""
        ...

    @property
    def iterations(self) -> int:
        """Updates per window."""
        ...

    @property
    def bidirectional(self) -> bool:
        """Whether a second pass over the reversed clip finds what was before the query."""
        ...

    @property
    def needs_weights(self) -> bool:
        """Whether it is a learned model."""
        ...

    def encode(self, clip: Clip) -> Any:
        """Whatever is computed once per direction, handed to `open_window`; it may also remember things between windows."""
        ...

    def open_window(self, context: Any, window: Window) -> Any:
        """Whatever is computed once per window, handed to `step`."""
        ...

    def step(self, opened: Any, state: Iterate, fixed: NDArray[np.bool_], iteration: int) -> Iterate:
        """One iteration, `iteration` = 0, 1, ... Entries of `state` where `fixed` (W, N) is True were set from outside and are right."""
        ...

    def close_window(self, opened: Any, state: Iterate) -> None:
        """Free what the window held; `state` is its final result."""
        ...
