"""What happens in front of the cameras: functions that make all solids of a capture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.synthetic.figure import FIGURE, figure, hopping_ball, painted, turn
from fourfold.capture.synthetic.room import room
from fourfold.capture.synthetic.solids import BACKGROUND, Solid
from fourfold.capture.synthetic.tree import tree_parts

Array = NDArray[np.floating[Any]]

Stage = Callable[[np.random.Generator, np.random.Generator, Array, float, int], list[Solid]]
"""Called as `stage(room_rng, mover_rng, seconds, texel, resolution)`: times (T,), size of a wall texel in metres, texels across a mover's face."""

POSE_SECONDS = 1.0
"""Moment of the walk at which a figure that does not walk stands: facing the cameras."""
DRIFT_METRES, DRIFT_STRETCH, DRIFT_TURN = 0.22, 0.06, 0.14
"""How far things that stand on a moving ground wander, how much the room stretches, and how far furniture turns, radians."""


def walking(room_rng: np.random.Generator, mover_rng: np.random.Generator, seconds: Array, texel: float, resolution: int) -> list[Solid]:
    """A figure that walks, waves and breathes beside a hopping ball, in a room that stands still."""
    return room(room_rng, seconds.size, texel) + _movers(mover_rng, seconds, resolution)


def still(room_rng: np.random.Generator, mover_rng: np.random.Generator, seconds: Array, texel: float, resolution: int) -> list[Solid]:
    """The same room, figure and ball, held in mid-step: nothing moves."""
    frozen = _movers(mover_rng, np.full_like(seconds, POSE_SECONDS), resolution)
    return room(room_rng, seconds.size, texel) + [replace(solid, object_id=BACKGROUND) for solid in frozen]


def arms(room_rng: np.random.Generator, mover_rng: np.random.Generator, seconds: Array, texel: float, resolution: int) -> list[Solid]:
    """The figure alone: it stands without a tremor, and its arms swing and wave; they alone are the mover."""
    figure_rng, _ = mover_rng.spawn(2)
    parts = figure(figure_rng, np.full_like(seconds, POSE_SECONDS), resolution, arms_at=seconds)
    moving = ("upper_arm", "forearm", "hand")
    return room(room_rng, seconds.size, texel) + [p if p.name.startswith(moving) else replace(p, object_id=BACKGROUND) for p in parts]


def branching(room_rng: np.random.Generator, mover_rng: np.random.Generator, seconds: Array, texel: float, resolution: int) -> list[Solid]:
    """A tree that glides, sways and bends along its boughs, link by link, in a room that stands still: motion that is hierarchical."""
    return room(room_rng, seconds.size, texel) + painted(tree_parts(seconds), FIGURE, mover_rng, resolution)


def adrift(room_rng: np.random.Generator, mover_rng: np.random.Generator, seconds: Array, texel: float, resolution: int) -> list[Solid]:
    """Figure and ball in a room that slides and stretches while every piece of furniture wanders and turns on its own: everything moves."""
    moving = _movers(mover_rng, seconds, resolution)
    taken = max(solid.object_id for solid in moving)
    wander = np.random.default_rng(0)  # what happens does not depend on the seed
    scenery = [
        replace(solid, local_to_world=_drift(seconds, wander, solid.shape == "room") @ solid.local_to_world, object_id=taken + 1 + number)
        for number, solid in enumerate(room(room_rng, seconds.size, texel))
    ]
    return scenery + moving


def _movers(rng: np.random.Generator, seconds: Array, resolution: int) -> list[Solid]:
    figure_rng, ball_rng = rng.spawn(2)
    return figure(figure_rng, seconds, resolution) + hopping_ball(ball_rng, seconds, resolution)


def _drift(seconds: Array, rng: np.random.Generator, stretches: bool) -> Array:
    """(T, 4, 4) maps on the ground: a slide along x and z, and a stretch of both or a turn about the vertical, of sinusoids of 0.3 to 0.8 Hz."""
    frequency, phase = rng.uniform(0.3, 0.8, 4), rng.uniform(0, 2 * np.pi, 4)
    wave = np.sin(2 * np.pi * frequency * seconds[:, None] + phase)
    out = np.tile(np.eye(4), (seconds.size, 1, 1))
    out[:, [0, 2], 3] = DRIFT_METRES * wave[:, :2]
    if stretches:
        out[:, [0, 2], [0, 2]] += DRIFT_STRETCH * wave[:, 2:]
    else:
        out[:, :3, :3] = turn(1, DRIFT_TURN * wave[:, 2])
    return out
