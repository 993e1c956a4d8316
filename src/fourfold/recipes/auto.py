"""`--recipe auto`: which recipe a capture gets, and why, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.recipes.recipe import Recipe


def camera_arc(capture: Capture) -> float:
    """Largest angle in degrees between two training cameras' viewing directions, 0 where the cameras are not known."""
    forward = capture.world_to_camera[capture.train][:, 2, :3]
    forward = forward[np.isfinite(forward).all(axis=1)]
    if len(forward) < 2:
        return 0.0
    return float(np.degrees(np.arccos(np.clip(forward @ forward.T, -1, 1).min())))


def cameras_move(capture: Capture) -> bool:
    """Whether any training camera changes its pose over time."""
    for view in np.flatnonzero(capture.train.any(axis=1)):
        poses = capture.world_to_camera[view][capture.train[view]]
        poses = poses[np.isfinite(poses).all(axis=(1, 2))]
        if len(poses) > 1 and not np.allclose(poses, poses[0], atol=1e-5):
            return True
    return False


def choose_recipe(capture: Capture, recipes: Iterable[Recipe]) -> tuple[Recipe, str]:
    """The suiting recipe of the highest rank and the reason. FourfoldError if none suits."""
    views = int(capture.train.any(axis=1).sum())
    moving, arc = cameras_move(capture), camera_arc(capture)
    suiting = [r for r in recipes if r.suits.rank > 0 and _suits(r, views, moving, arc)]
    if not suiting:
        raise FourfoldError(f"no recipe suits {views} training cameras that {'move' if moving else 'stand still'}: name one with --recipe")
    best = max(suiting, key=lambda r: r.suits.rank)
    cameras = f"{views} training camera{'s' if views > 1 else ''} that {'move' if moving else 'stand still'}"
    return best, f"{cameras}, up to {arc:.0f} degrees apart: {best.suits.because or best.summary}"


def _suits(recipe: Recipe, views: int, moving: bool, arc: float) -> bool:
    suits = recipe.suits
    return suits.views[0] <= views <= suits.views[1] and suits.moving in (None, moving) and arc >= suits.arc
