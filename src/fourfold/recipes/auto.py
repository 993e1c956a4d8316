"""`--recipe auto`: which recipe a capture gets, and why, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.cutout import object_alone
from fourfold.errors import FourfoldError
from fourfold.priors.depth.rig import Stage, around
from fourfold.recipes.recipe import Recipe

VIDEO_DEGREES = 20.0
"""A camera that turns by more than this from one moment to the next films nothing that could be followed from image to image."""
HOP_DEGREES, HOP_FACTOR = 2.0, 5.0
"""A camera hops where it goes farther round than this, and than so many times its median step, from one moment to the next."""
BEFORE = 0.9
"""The place that cameras go around is before at least this share of them."""


def camera_arc(capture: Capture) -> float:
    """How far, in degrees, the training cameras go around what they look at: the largest angle between two viewing directions.

    0 where the cameras are not known, or where no place lies before nearly all of them: a camera that pans goes around nothing.
    """
    stage = _stage(capture)
    if stage is None:
        return 0.0
    poses = capture.world_to_camera[_known(capture)]
    ahead = np.einsum("nj,j->n", poses[:, 2, :3], stage.center) + poses[:, 2, 3] > 0
    return float(np.degrees(stage.arc)) if ahead.mean() >= BEFORE else 0.0


def cameras_move(capture: Capture) -> bool:
    """Whether any training camera changes its pose over time."""
    for view in np.flatnonzero(capture.train.any(axis=1)):
        poses = capture.world_to_camera[view][capture.train[view]]
        poses = poses[np.isfinite(poses).all(axis=(1, 2))]
        if len(poses) > 1 and not np.allclose(poses, poses[0], atol=1e-5):
            return True
    return False


def camera_jump(capture: Capture) -> float:
    """Median angle in degrees between a training camera's viewing directions at neighbouring moments, 0 where none is known."""
    angles: list[float] = []
    for view in np.flatnonzero(capture.train.any(axis=1)):
        forward = capture.world_to_camera[view][capture.train[view]][:, 2, :3]
        forward = forward[np.isfinite(forward).all(axis=1)]
        angles += _turns(forward).tolist()
    return float(np.median(angles)) if angles else 0.0


def cameras_hop(capture: Capture) -> bool:
    """Whether any of several training cameras hops to another place in the midst of its film, at two moments or more, so that no track of it lasts.

    A hop is told by the angle that the camera goes around what all of them look at; False where the cameras are not known.
    """
    known = _known(capture)
    views = np.flatnonzero(known.any(axis=1))
    stage = _stage(capture) if len(views) > 1 else None
    if stage is None:
        return False
    for view in views:
        pose = capture.world_to_camera[view][known[view]]
        off = -np.einsum("tji,tj->ti", pose[:, :, :3], pose[:, :, 3]) - stage.center
        off /= np.linalg.norm(off, axis=1, keepdims=True)
        step = _turns(off)
        if (step > max(HOP_DEGREES, HOP_FACTOR * float(np.median(step)))).sum() >= 2:
            return True
    return False


def _known(capture: Capture) -> NDArray[np.bool_]:
    """(V, T) training images whose pose is known."""
    return capture.train & np.isfinite(capture.world_to_camera).all(axis=(2, 3))


def _stage(capture: Capture) -> Stage | None:
    """What the known training images look at, None where that is no place."""
    return around(capture, [(int(view), int(time)) for view, time in np.argwhere(_known(capture))])


def _turns(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T - 1,) degrees between each of the unit vectors (T, 3) and the next."""
    return np.degrees(np.arccos(np.clip((directions[1:] * directions[:-1]).sum(axis=1), -1, 1)))


def choose_recipe(capture: Capture, recipes: Iterable[Recipe]) -> tuple[Recipe, str]:
    """The suiting recipe of the highest rank and the reason. FourfoldError if none suits."""
    shown = _shown(capture)
    suiting = [r for r in recipes if r.suits.rank > 0 and _suits(r, shown)]
    if not suiting:
        raise FourfoldError(f"no recipe suits {shown.cameras}: name one with --recipe")
    best = max(suiting, key=lambda r: r.suits.rank)
    return best, f"{shown.cameras}{shown.apart}{shown.jumps}: {best.suits.because or best.summary}"


@dataclass(frozen=True)
class _Shown:
    """What decides: training cameras and images, whether they move and hop, the arc and the jump in degrees, and whether an object is alone."""

    views: int
    images: int
    moving: bool
    hopping: bool
    arc: float
    jump: float
    alone: bool

    @property
    def cameras(self) -> str:
        """In words."""
        if self.views == 1:
            return f"1 training camera that {'moves' if self.moving else 'stands still'}"
        return f"{self.views} training cameras that {'move' if self.moving else 'stand still'}"

    @property
    def apart(self) -> str:
        """In words, empty where they all look the same way."""
        return f", up to {self.arc:.0f} degrees apart" if self.arc >= 0.5 else ""

    @property
    def video(self) -> bool:
        """Whether the cameras film instead of jumping."""
        return self.jump <= VIDEO_DEGREES

    @property
    def jumps(self) -> str:
        """In words, empty for video."""
        if not self.video:
            return f" and {self.jump:.0f} degrees from one moment to the next, which is no video"
        return ", of which some hop from place to place" if self.hopping else ""


def _shown(capture: Capture) -> _Shown:
    views = int(capture.train.any(axis=1).sum())
    moving, images, arc = cameras_move(capture), int(capture.train.sum()), camera_arc(capture)
    return _Shown(views, images, moving, moving and cameras_hop(capture), arc, camera_jump(capture), object_alone(capture))


def _suits(recipe: Recipe, shown: _Shown) -> bool:
    suits = recipe.suits
    cameras = suits.views[0] <= shown.views <= suits.views[1] and suits.moving in (None, shown.moving) and shown.arc >= suits.arc
    cameras &= suits.images[0] <= shown.images <= suits.images[1] and not (suits.steady and shown.hopping)
    return cameras and suits.video in (None, shown.video) and (shown.alone or not suits.alone)
