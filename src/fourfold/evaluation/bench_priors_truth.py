"""The exact path of any pixel of a synthetic capture: what it shows is a point of a known solid, which is followed in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic.kinds import KINDS
from fourfold.capture.synthetic.raycast import Eye, local_ray, trace_points
from fourfold.capture.synthetic.solids import Solid
from fourfold.capture.synthetic.tracks import project
from fourfold.capture.synthetic.truth import Truth
from fourfold.errors import FourfoldError

Array = NDArray[np.floating[Any]]

HIDDEN = 1e-4
"""Relative depth by which something must lie in front of a point to hide it; rounding is far below."""


@dataclass(frozen=True)
class Paths:
    """P surface points over T moments of one view.

    xyz (P, T, 3) float64 world; xy (P, T, 2) float64 pixels, NaN behind the camera; seen (P, T) bool, inside the image and not hidden;
    solid (P,) int32 the solid each point lies on; object_id (P,) int32, 0 the room and what stands in it.
    """

    xyz: NDArray[np.float64]
    xy: NDArray[np.float64]
    seen: NDArray[np.bool_]
    solid: NDArray[np.int32]
    object_id: NDArray[np.int32]


@dataclass(frozen=True)
class ExactScene:
    """Geometry of a synthetic capture: its solids, and eyes[v][t]."""

    solids: list[Solid]
    eyes: list[list[Eye]]
    truth: Truth

    @staticmethod
    def load(root: Path) -> ExactScene:
        """Build the geometry of the synthetic capture in `root` again. FourfoldError if it is none.

        The geometry follows from the times alone (another seed changes paint, tremor and choice of tracks), so the paint made here is
        coarse and of any seed.
        """
        capture, truth = Capture.load(root), Truth.load(root)
        if capture.facts.get("source") != "synthetic":
            raise FourfoldError(f"{root} is no synthetic capture: make one with `fourfold synth KIND -o {root}`")
        room_rng, mover_rng = np.random.default_rng(0).spawn(2)
        solids = KINDS[capture.facts["kind"]].stage(room_rng, mover_rng, truth.timestamps, 0.1, 8)
        eyes = [
            [Eye(truth.K[v, t], truth.world_to_camera[v, t], *(int(n) for n in capture.sizes[v])) for t in range(capture.times)]
            for v in range(capture.views)
        ]
        return ExactScene(solids, eyes, truth)

    def first_hits(self, view: int, index: int, xy: Array) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Which solid (N,) pixels (N, 2) of an image show, and where on it (N, 3), in its local frame."""
        eye = self.eyes[view][index]
        x, y = ((np.asarray(xy, float)[:, i] - eye.K[i, 2]) / eye.K[i, i] for i in (0, 1))
        depth, owner = np.full(len(x), np.inf), np.zeros(len(x), np.int32)
        local = np.zeros((len(x), 3))
        rays = np.stack([x, y, np.ones_like(x)])
        for number, solid in enumerate(self.solids):
            origin, matrix = local_ray(solid, index, eye)
            distance = np.asarray(solid.intersect(origin, matrix @ rays), float)
            nearer = distance < depth
            depth[nearer], owner[nearer] = distance[nearer], number
            local[nearer] = (origin[:, None] + distance * (matrix @ rays)).T[nearer]
        return owner, local

    def paths(self, view: int, index: int, xy: Array, at: list[int] | None = None) -> Paths:
        """Follow what pixels (P, 2) of (view, index) show through all moments, or through the moments `at` only."""
        owner, local = self.first_hits(view, index, xy)
        moments = list(range(len(self.eyes[view]))) if at is None else at
        xyz = self.places(owner, local, moments)
        seen = np.zeros(xyz.shape[:2], bool)
        flat = np.zeros((*xyz.shape[:2], 2))
        for row, t in enumerate(moments):
            flat[:, row], seen[:, row] = self.observe(view, t, xyz[:, row])
        objects = np.array([s.object_id for s in self.solids], np.int32)
        return Paths(xyz, flat, seen, owner, objects[owner])

    def places(self, owner: NDArray[np.int32], local: NDArray[np.float64], moments: list[int]) -> NDArray[np.float64]:
        """(P, M, 3) world positions at M moments of points (P, 3) in the local frames of the solids `owner` (P,)."""
        xyz = np.zeros((len(owner), len(moments), 3))
        for number in np.unique(owner):
            own, maps = owner == number, self.solids[number].local_to_world[moments]
            xyz[own] = np.einsum("tij,pj->pti", maps[:, :3, :3], local[own]) + maps[:, :3, 3]
        return xyz

    def observe(self, view: int, index: int, xyz: Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Pixels (N, 2) and visibility (N,) of world points (N, 3) in one image."""
        eye = self.eyes[view][index]
        xy, depth = project(eye, xyz)
        seen = (depth > 0) & (xy >= 0).all(axis=1) & (xy < [eye.width, eye.height]).all(axis=1)
        rays = (xy[seen] - eye.K[:2, 2]) / eye.K[[0, 1], [0, 1]]
        seen[seen] = depth[seen] <= trace_points(self.solids, index, eye, rays[:, 0], rays[:, 1]) * (1 + HIDDEN)
        return np.asarray(xy, np.float64), seen
