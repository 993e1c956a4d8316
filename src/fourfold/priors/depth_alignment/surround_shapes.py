"""Rooms of a few numbers: a floor and what stands round it, seen from inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Walls = Literal["dome", "cylinder", "box"]
FARTHEST = 50.0


@dataclass(frozen=True)
class Room:
    """A floor and walls about `center`, lengths in scene units.

    Attributes:
        center: (3,) world point; up: (3,) unit vector; east: (3,) unit vector on the floor from which the box is turned.
        walls: "dome" is a sphere, "cylinder" stands upright, "box" has four upright walls.
        size: (5,) floor below the centre, half the extent along east and along north (dome and cylinder use their mean), and the offset of
            the walls' middle from the centre along east and north.
        turn: of the box about `up`, radians.
    """

    center: Points
    up: Points
    east: Points
    walls: Walls
    size: tuple[float, float, float, float, float]
    turn: float = 0.0

    def depth(self, K: Points, world_to_camera: Points, height: int, width: int) -> NDArray[np.float32]:
        """(H, W) depth along the optical axis at which the ray of each pixel meets floor or walls, `FARTHEST` room sizes at most."""
        y, x = np.mgrid[0:height, 0:width].astype(np.float64) + 0.5
        rays = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1) @ np.linalg.inv(K).T @ world_to_camera[:3, :3]
        origin = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
        return self.meets(origin, rays).reshape(height, width).astype(np.float32)

    def meets(self, origin: Points, rays: Points) -> NDArray[np.float64]:
        """(N,) steps along `rays` (N, 3) from `origin` (3,) to floor or walls."""
        frame = self._frame()
        start, along = frame @ (origin - self.center), rays @ frame.T
        floor, half_x, half_z, shift_x, shift_z = self.size
        reach = FARTHEST * max(half_x, half_z) / np.maximum(np.linalg.norm(rays, axis=1), 1e-9)
        start = start - np.array([shift_x, 0.0, shift_z])
        walls = self._box(start, along) if self.walls == "box" else self._round(start, along)
        down = along[:, 1]
        ground = np.where(down < -1e-9, (-floor - start[1]) / np.minimum(down, -1e-9), np.inf)
        ground = np.where(ground > 0, ground, np.inf)
        return np.minimum(np.minimum(walls, ground), reach)

    def _frame(self) -> Points:
        """(3, 3) rows east, up, north, turned about `up`."""
        north = np.cross(self.east, self.up)
        c, s = np.cos(self.turn), np.sin(self.turn)
        return np.stack([c * self.east + s * north, self.up, c * north - s * self.east])

    def _round(self, start: Points, along: Points) -> NDArray[np.float64]:
        radius = (self.size[1] + self.size[2]) / 2
        axes = [0, 1, 2] if self.walls == "dome" else [0, 2]
        o, d = start[axes], along[:, axes]
        a = np.maximum((d * d).sum(1), 1e-12)
        b, c = d @ o, o @ o - radius**2
        inside = b * b - a * c
        return np.where(inside > 0, np.maximum((-b + np.sqrt(np.maximum(inside, 0))) / a, 0), 0) + np.where(inside > 0, 0, np.inf)

    def _box(self, start: Points, along: Points) -> NDArray[np.float64]:
        leaving = np.full(len(along), np.inf)
        for axis, half in ((0, self.size[1]), (2, self.size[2])):
            d = along[:, axis]
            step = (np.where(d > 0, half, -half) - start[axis]) / np.where(np.abs(d) > 1e-12, d, 1e-12)
            leaving = np.where((np.abs(d) > 1e-12) & (step > 0), np.minimum(leaving, step), leaving)
        return leaving
