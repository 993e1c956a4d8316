"""Deformable 3D Gaussians for the moving points alone, beside a static scene: the variant with a star of the papers' tables."""

from fourfold.initialize.baseline_scenes import DeformableStart
from fourfold.initialize.rig_start import RigStart
from fourfold.recipes import deformable3dgs
from fourfold.recipes.rig_terms import beside_static
from fourfold.scene.motion.deformation import Deformation

RECIPE = beside_static(
    deformable3dgs.RECIPE,
    "deformable3dgs_star",
    "a network deforms what moves, the rest is static: a baseline for rigs",
    DeformableStart(RigStart(split=True), Deformation(depth=4, width=64, time_waves=6)),
)
