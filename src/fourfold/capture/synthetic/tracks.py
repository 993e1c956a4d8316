"""Exact tracks: points fixed on the movers' surfaces, followed through every moment and every camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from fourfold.capture.synthetic.raycast import Eye, trace_points
from fourfold.capture.synthetic.solids import Solid
from fourfold.capture.synthetic.textures import face_of
from fourfold.capture.synthetic.truth import Truth

Array = NDArray[np.floating[Any]]

CANDIDATES = 2000
"""Random surface points per piece from which tracks are drawn."""
BURIED = 0.02
"""A point deeper than this in another piece of its object, in that piece's local units, is never tracked."""
TOLERANCE = 1e-4
"""Relative depth tolerance of the visibility rays; rounding is far below, the thinnest piece far above."""


def make_truth(solids: Sequence[Solid], eyes: Sequence[Sequence[Eye]], seconds: Array, rng: np.random.Generator, tracks: int) -> Truth:
    """Draw points uniformly over the movers' surfaces and follow them; eyes[v][t]. The first mover gets `tracks`, every
    other a quarter of it; without a mover there are none."""
    objects = sorted({s.object_id for s in solids} - {0})
    drawn = [draw_points(solids, o, tracks if o == objects[0] else max(1, tracks // 4), rng) for o in objects]
    part = np.concatenate([np.zeros(0, np.int32), *(d[0] for d in drawn)])
    local = np.concatenate([np.zeros((0, 3)), *(d[1] for d in drawn)])
    xyz = positions(solids, part, local)
    object_id = np.array([solids[k].object_id for k in part], np.int32)
    seen = [[_observe(solids, t, eye, xyz[:, t]) for t, eye in enumerate(row)] for row in eyes]
    stack = [np.stack([np.stack([s[k] for s in row], 1) for row in seen]) for k in range(3)]
    return Truth(
        xyz=xyz,
        xy=stack[0],
        depth=stack[1],
        visibility=stack[2].astype(bool),
        color=_paint_of(solids, part, local),
        object_id=object_id,
        part=part,
        local=local,
        objects=np.array(objects, np.int32),
        diameter=np.array([max(pdist(xyz[object_id == o, t]).max() for t in range(xyz.shape[1])) for o in objects], float),
        K=np.array([[e.K for e in row] for row in eyes]),
        world_to_camera=np.array([[e.world_to_camera for e in row] for row in eyes]),
        timestamps=np.asarray(seconds, float),
    )


def draw_points(solids: Sequence[Solid], object_id: int, number: int, rng: np.random.Generator) -> tuple[NDArray[np.int32], Array]:
    """Part (P,) and local coordinates (P, 3) of `number` points, uniform over the object's outer surface at the first moment."""
    parts = [k for k, s in enumerate(solids) if s.object_id == object_id]
    part, local, area = [], [], []
    for k in parts:
        solid = solids[k]
        direction = rng.standard_normal((3, CANDIDATES))
        points = solid.surface(direction / np.linalg.norm(direction, axis=0))
        world = solid.local_to_world[0, :3, :3] @ points + solid.local_to_world[0, :3, 3:]
        outside = np.ones(CANDIDATES, bool)
        for other in parts:
            if other != k:
                back = solids[other].world_to_local[0]
                outside &= ~solids[other].contains(back[:3, :3] @ world + back[:3, 3:], BURIED)
        part.append(np.full(CANDIDATES, k, np.int32))
        local.append(points.T)
        area.append(_area_element(solid, points) * outside)
    chance = np.concatenate(area)
    chosen = np.sort(rng.choice(chance.size, number, replace=number > np.count_nonzero(chance), p=chance / chance.sum()))
    return np.concatenate(part)[chosen], np.concatenate(local)[chosen]


def _area_element(solid: Solid, points: Array) -> Array:
    """(N,) world area at the first moment per solid angle of the local direction, at local surface points (3, N)."""
    normal = solid.normal(points)
    normal = normal / np.linalg.norm(normal, axis=0)
    distance = np.linalg.norm(points, axis=0)
    local = distance**3 / np.abs((normal * points).sum(0))  # a room's normals point inwards
    linear = solid.local_to_world[0, :3, :3]
    return local * abs(np.linalg.det(linear)) * np.linalg.norm(np.linalg.inv(linear).T @ normal, axis=0)


def positions(solids: Sequence[Solid], part: NDArray[np.int32], local: Array) -> Array:
    """(P, T, 3) world positions of points given by part (P,) and local coordinates (P, 3)."""
    maps = np.stack([s.local_to_world for s in solids])[part]
    return np.einsum("ptij,pj->pti", maps[:, :, :3, :3], local) + maps[:, :, :3, 3]


def project(eye: Eye, xyz: Array) -> tuple[Array, Array]:
    """Pixels (P, 2) and depth (P,) of world points (P, 3); NaN pixels behind the camera."""
    seen = xyz @ eye.world_to_camera[:3, :3].T + eye.world_to_camera[:3, 3]
    depth = seen[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = seen[:, :2] / depth[:, None] * eye.K[[0, 1], [0, 1]] + eye.K[:2, 2]
    return np.where(depth[:, None] > 0, xy, np.nan), depth


def _observe(solids: Sequence[Solid], moment: int, eye: Eye, xyz: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Pixels (P, 2), depth (P,) and visibility (P,) of points (P, 3) in one image."""
    xy, depth = project(eye, xyz)
    inside = (depth > 0) & (xy >= 0).all(1) & (xy < [eye.width, eye.height]).all(1)
    visible = inside.copy()
    rays = (xy[inside] - eye.K[:2, 2]) / eye.K[[0, 1], [0, 1]]
    visible[inside] = depth[inside] <= trace_points(solids, moment, eye, rays[:, 0], rays[:, 1]) * (1 + TOLERANCE)
    return xy, depth, visible


def _paint_of(solids: Sequence[Solid], part: NDArray[np.int32], local: Array) -> NDArray[np.float32]:
    colour = np.zeros((part.size, 3), np.float32)
    for k in np.unique(part):
        where, solid = part == k, solids[k]
        face, u, v = face_of(local[where].T, solid.extent, solid.texture.sign)
        colour[where] = solid.texture.sample(face, u, v, np.zeros(face.size)) / 255
    return colour
