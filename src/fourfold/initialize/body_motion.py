"""Motion of everything that moves: bases fitted to 3D tracks, and a path of its own for each body that hardly any track follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.initialize.fit_bases import FittedBases
from fourfold.initialize.followed_bodies import BodyNumbers, FollowedBody, follow_bodies
from fourfold.initialize.frames import Frame, read_frame
from fourfold.initialize.object_layer import ObjectMotion, ObjectNumbers, object_motion
from fourfold.priors.contracts import Priors

ALONE = 10.0
"""Motion logit of the own basis of a body that is carried by it alone; that of every other is the negative."""


@dataclass(frozen=True)
class BodyMotionNumbers:
    """How motion starts.

    Attributes:
        tracked: a body with a smaller share of the tracks per pixel that moving pixels have on the whole is followed by its mask instead.
    """

    tracked: float = 0.1
    bases: ObjectNumbers = ObjectNumbers()
    bodies: BodyNumbers = BodyNumbers()


@dataclass(frozen=True)
class BodyMotion:
    """Motion bases with knots at the moments that have a training image.

    Attributes:
        indices, knots: (K,) time index and seconds of each knot; canonical: row of the knot at which Gaussians are kept.
        fitted: all bases, and the tracks that tell which pixel moves by which: `fitted.means` (P, 3) with `fitted.logits` (P, B).
        own: by number of the training image, (H, W) the basis that carries a pixel alone, -1 where tracks tell.
    """

    indices: NDArray[np.int64]
    knots: NDArray[np.float64]
    canonical: int
    fitted: FittedBases
    own: dict[int, NDArray[np.int16]]

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a layer on these bases shares, and what it holds fixed."""
        shared = {"rotation6d": self.fitted.rotation6d.detach(), "translation": self.fitted.translation.detach()}
        return shared, {"knots": torch.from_numpy(self.knots).float(), "pivot": self.fitted.pivot.detach()}


def body_motion(capture: Capture, priors: Priors, random: np.random.Generator, numbers: BodyMotionNumbers = BodyMotionNumbers()) -> BodyMotion | None:
    """The motion of all movers; None where neither tracks nor masks with a depth show one."""
    frames = {number: read_frame(capture, priors, view, index) for number, (view, index) in enumerate(capture.train_frames())}
    tracked = object_motion(capture, priors, random, numbers.bases)
    bodies = follow_bodies(frames, numbers.bodies)
    alone = bodies if tracked is None else _untracked(bodies, frames, tracked, numbers.tracked)
    if tracked is None and not alone:
        return None
    indices = np.flatnonzero(capture.train.any(0))
    canonical = len(indices) // 2 if tracked is None else tracked.tracks.canonical
    paths = [_path(body, frames, indices, numbers.bodies.smooth) for body in alone]
    own = {number: np.full(frame.moving.shape, -1, np.int16) for number, frame in frames.items()}
    first = 0 if tracked is None else len(tracked.fitted.rotation6d)
    for basis, body in enumerate(alone, start=first):
        for number, mask in body.masks.items():
            own[number][mask] = basis
    return BodyMotion(indices, capture.timestamps[indices], canonical, _joined(None if tracked is None else tracked.fitted, paths, canonical), own)


def _untracked(bodies: list[FollowedBody], frames: dict[int, Frame], tracked: ObjectMotion, share: float) -> list[FollowedBody]:
    """Those of `bodies` in which hardly any visible track lies."""
    inside, pixels = np.zeros(len(bodies)), np.zeros(len(bodies))
    for number, frame in frames.items():
        knot = int(np.flatnonzero(tracked.tracks.indices == frame.index)[0])
        xy, depth = frame.project(tracked.tracks.xyz[tracked.tracks.visible[:, knot], knot])
        column, row = xy[frame.pictured(xy, depth)].astype(np.int64).T
        for place, body in enumerate(bodies):
            if number in body.masks:
                inside[place] += body.masks[number][row, column].sum()
                pixels[place] += body.masks[number].sum()
    usual = inside.sum() / max(pixels.sum(), 1.0)
    return [body for body, found, size in zip(bodies, inside, pixels, strict=True) if found < share * usual * size]


def _path(body: FollowedBody, frames: dict[int, Frame], indices: NDArray[np.int64], smooth: int) -> NDArray[np.float64]:
    """(K, 3) its middle at every knot: interpolated where it was missed, at rest before and after."""
    when, places = body.path(frames, smooth)
    return np.stack([np.interp(indices, when, places[:, axis]) for axis in range(3)], axis=1)


def _joined(fitted: FittedBases | None, paths: list[NDArray[np.float64]], canonical: int) -> FittedBases:
    """`fitted` with one basis more for each of `paths` (K, 3), which only shifts."""
    shifts = [torch.from_numpy(path - path[canonical]).float() for path in paths]
    if fitted is None:
        pivot = torch.from_numpy(paths[0][canonical]).float()
        fitted = FittedBases(torch.zeros(0, len(paths[0]), 6), torch.zeros(0, len(paths[0]), 3), torch.zeros(0, 0), torch.zeros(0, 3), pivot, [])
    if not shifts:
        return fitted
    upright = torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(len(shifts), fitted.rotation6d.shape[1], 6)
    logits = torch.nn.functional.pad(fitted.logits.detach(), (0, len(shifts)), value=-ALONE)
    rotation6d = torch.cat([fitted.rotation6d.detach(), upright])
    return FittedBases(rotation6d, torch.cat([fitted.translation.detach(), torch.stack(shifts)]), logits, fitted.means, fitted.pivot, fitted.loss)
