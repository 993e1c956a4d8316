"""Solids a ray can hit: four canonical shapes, each moved and deformed by one affine map per moment.

A point of a solid is known by its local coordinates on the canonical shape; the affine map of time t puts it into the world. That makes
every trajectory exact, rigid or not.

World frame of all synthetic captures: metres, OpenCV-like, x right, y DOWN, z forward; the floor is y = 0, so heights are negative y.
Local arrays are (3, ...) stacks; `t` along a ray whose camera-space direction is (x/z, y/z, 1) is the depth along the optical axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.synthetic.textures import Texture

Array = NDArray[np.floating[Any]]
Shape = Literal["ball", "capsule", "cube", "room"]

BACKGROUND = 0
"""Object id of everything that stands still."""


@dataclass(frozen=True)
class Solid:
    """One textured solid.

    Attributes:
        name: what it is, for messages.
        shape: "ball" (unit sphere), "capsule" (unit radius about the local z axis), "cube" ([-1, 1]^3) or "room" (that cube from inside).
        local_to_world: (T, 4, 4) float64 affine map of each moment.
        texture: its six faces; see `textures.py`.
        object_id: 0 for what stands still, 1, 2, ... for movers.
        half_length: capsules only, half the length of the local axis segment in units of the radius.
        world_to_local: (T, 4, 4), the inverse, made here.
    """

    name: str
    shape: Shape
    local_to_world: Array
    texture: Texture
    object_id: int = BACKGROUND
    half_length: float = 0.0
    world_to_local: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "world_to_local", np.linalg.inv(self.local_to_world))

    @property
    def extent(self) -> Array:
        """(3,) half size of the local bounding box."""
        return np.array([1.0, 1.0, 1.0 + self.half_length])

    def intersect(self, origin: Array, direction: Array) -> Array:
        """Smallest positive t of origin + t direction on the surface, inf where there is none; origin (3,), direction (3, ...), both local."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return _INTERSECT[self.shape](origin.astype(direction.dtype), direction, self.half_length)

    def normal(self, local: Array) -> Array:
        """(3, N) outward (for a room: inward) local normals, not unit, at surface points `local` (3, N)."""
        if self.shape in ("cube", "room"):
            axis = np.abs(local).argmax(0)
            rows = np.arange(3)[:, None] == axis
            side = -1.0 if self.shape == "room" else 1.0
            return np.where(rows, np.sign(local) * side, 0.0).astype(local.dtype)
        normal = local.copy()
        normal[2] -= np.clip(local[2], -self.half_length, self.half_length)
        return normal

    def surface(self, direction: Array) -> Array:
        """(3, N) surface points seen from the local centre along `direction` (3, N)."""
        return surface_points(self.shape, self.half_length, direction)

    def contains(self, local: Array, margin: float = 0.0) -> NDArray[np.bool_]:
        """(N,) whether local points (3, N) lie inside by more than `margin` local units."""
        if self.shape in ("cube", "room"):
            return np.abs(local).max(0) < 1.0 - margin
        return np.linalg.norm(self.normal(local), axis=0) < 1.0 - margin


def surface_points(shape: Shape, half_length: float, direction: Array) -> Array:
    """(3, N) points of a canonical shape's surface seen from its centre along `direction` (3, N)."""
    if shape in ("cube", "room"):
        return direction / np.abs(direction).max(0)
    unit = direction / np.linalg.norm(direction, axis=0)
    if shape == "ball":
        return unit
    across, along = unit[0] ** 2 + unit[1] ** 2, np.abs(unit[2])
    with np.errstate(divide="ignore"):
        side = 1.0 / np.sqrt(across)
    cap = along * half_length + np.sqrt(np.maximum(1.0 - half_length**2 * across, 0.0))
    return unit * np.where(side * along <= half_length, side, cap)


def _hit_ball(origin: Array, direction: Array, half_length: float) -> Array:
    a = (direction * direction).sum(0)
    b = np.tensordot(origin, direction, 1)
    root = b * b - a * (origin @ origin - 1)
    t = (-b - np.sqrt(root)) / a
    return np.where((root > 0) & (t > 0), t, np.inf).astype(direction.dtype)


def _hit_capsule(origin: Array, direction: Array, half_length: float) -> Array:
    """The side first; where it is met beyond an end, the ball at that end."""
    a = direction[0] * direction[0] + direction[1] * direction[1]
    b = origin[0] * direction[0] + origin[1] * direction[1]
    root = b * b - a * (origin[0] * origin[0] + origin[1] * origin[1] - 1)
    side = (-b - np.sqrt(root)) / a
    along = origin[2] + side * direction[2]
    end = np.where(along > 0, half_length, -half_length).astype(direction.dtype)
    to_end = origin[2] - end
    full = a + direction[2] * direction[2]
    b_cap = b + to_end * direction[2]
    root_cap = b_cap * b_cap - full * (origin[0] * origin[0] + origin[1] * origin[1] + to_end * to_end - 1)
    cap = (-b_cap - np.sqrt(root_cap)) / full
    on_side = np.abs(along) <= half_length
    t = np.where(on_side, side, cap)
    return np.where((root > 0) & (on_side | (root_cap > 0)) & (t > 0), t, np.inf).astype(direction.dtype)


def _slabs(origin: Array, direction: Array) -> tuple[Array, Array]:
    inverse = 1 / direction
    low, high = (-1 - origin.reshape(3, *[1] * (direction.ndim - 1))) * inverse, (1 - origin.reshape(3, *[1] * (direction.ndim - 1))) * inverse
    return np.minimum(low, high).max(0), np.maximum(low, high).min(0)


def _hit_cube(origin: Array, direction: Array, half_length: float) -> Array:
    enter, leave = _slabs(origin, direction)
    return np.where((enter < leave) & (enter > 0), enter, np.inf).astype(direction.dtype)


def _hit_room(origin: Array, direction: Array, half_length: float) -> Array:
    inverse = 1 / direction
    start = origin.reshape(3, *[1] * (direction.ndim - 1))
    return ((np.copysign(1, direction).astype(direction.dtype) - start) * inverse).min(0)


_INTERSECT: dict[str, Callable[[Array, Array, float], Array]] = {"ball": _hit_ball, "capsule": _hit_capsule, "cube": _hit_cube, "room": _hit_room}
