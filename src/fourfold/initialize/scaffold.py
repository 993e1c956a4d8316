"""Initialisation of MoSca and its kin: a static background, and moving Gaussians on a motion scaffold (spec mosca.md sections 5 to 8)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.object_layer import camera_centers
from fourfold.initialize.scaffold_curves import CurveNumbers, curves_from_tracks
from fourfold.initialize.scaffold_gaussians import SeedNumbers, scaffold_gaussians
from fourfold.initialize.scaffold_geometry import GeometryNumbers, settle_nodes
from fourfold.initialize.scaffold_nodes import NodeNumbers, Nodes, nodes_from_curves
from fourfold.initialize.static_scene import scene_of
from fourfold.initialize.track_cleaning import clean_tracks
from fourfold.notices import fallback
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.bounded import BoundedStatic
from fourfold.scene.motion.scaffold import Scaffold
from fourfold.scene.scene import DYNAMIC, Layer, Scene


@dataclass(frozen=True)
class BackgroundAndScaffold:
    """Layers "static" and "object"; without tracks of movers the static one alone.

    Attributes:
        background, curves, nodes, geometry, seeds: of the parts.
        static_largest, dynamic_largest: bounds of standard deviations in depth units (MoSca's sigmoid activation: 0.03 for iPhone, 0.05
            for the demo clips, 0.1 by default); 0 is 3DGS's exponential without a bound.
        tracks: at most so many tracks become curves, those observed most often.
    """

    background: BackgroundNumbers = BackgroundNumbers()
    curves: CurveNumbers = CurveNumbers()
    nodes: NodeNumbers = NodeNumbers()
    geometry: GeometryNumbers = field(default_factory=GeometryNumbers)
    seeds: SeedNumbers = SeedNumbers()
    static_largest: float = 0.0
    dynamic_largest: float = 0.03
    tracks: int = 4000

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene, in the capture's world coordinates."""
        still, moving = random.spawn(2)
        mover, unit = self.object_layer(capture, priors, quality, moving)
        background = static_layer(capture, priors, quality, still, self.background)
        background = replace(background, motion=BoundedStatic(self.static_largest * unit))
        if mover is None:
            fallback("no 3D tracks of a moving object were found: the scene starts without a motion scaffold")
        return scene_of([background] if mover is None else [background, mover], capture, priors)

    def object_layer(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> tuple[Layer | None, float]:
        """The layer on its scaffold, or None without usable tracks, and the depth unit, scene units."""
        indices = np.flatnonzero(capture.train.any(0))
        tracks = None if priors.tracks3d is None or len(priors.tracks3d.xyz) == 0 else clean_tracks(priors.tracks3d, capture.timestamps, indices)
        if tracks is None:
            return None, 1.0
        if len(tracks) > self.tracks:
            tracks = tracks.rows(np.sort(np.argsort(-(tracks.reliable > 0).sum(axis=1), kind="stable")[: self.tracks]))
        unit = depth_unit(tracks.xyz, camera_centers(capture, indices))
        curves = curves_from_tracks(tracks, unit, self.curves)
        nodes = settle_nodes(nodes_from_curves(curves, unit, self.nodes), unit, self.geometry)
        count = max(100, round(self.seeds.count * quality.gaussians))
        splats, anchors = scaffold_gaussians(capture, priors, curves, nodes, indices, count, random, self.seeds)
        return scaffold_layer(nodes, tracks.knots, splats, anchors, Scaffold(largest=self.dynamic_largest * unit), self.nodes), unit


def scaffold_layer(
    nodes: Nodes, knots: NDArray[np.float64], splats: dict[str, torch.Tensor], anchors: torch.Tensor, motion: Scaffold, numbers: NodeNumbers
) -> Layer:
    """The dynamic layer "object" of Gaussians `splats` on `nodes`."""
    start = numbers.radius / numbers.largest_radius
    logit = float(np.log(start / (1 - start)))
    shared = {"node_xyz": nodes.xyz, "node_quat": nodes.quat, "radius_logit": torch.full((nodes.xyz.shape[1],), logit)}
    fixed = {
        "knots": torch.from_numpy(knots).float(),
        "anchors": anchors,
        "near": nodes.topology.near,
        "near_valid": nodes.topology.valid,
        "radius_max": torch.tensor(numbers.largest_radius * nodes.unit),
        "unit": torch.tensor(nodes.unit),
    }
    return Layer("object", DYNAMIC, motion, splats, shared, fixed)


def depth_unit(xyz: NDArray[np.float64], centers: NDArray[np.float64]) -> float:
    """Median distance of the tracks (P, K, 3) from the cameras (K, 3): MoSca scales this to 1."""
    return max(float(np.median(np.linalg.norm(xyz - centers[None], axis=-1))), 1e-9)
