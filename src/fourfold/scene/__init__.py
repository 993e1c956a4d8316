"""Scenes: layers of Gaussians with motion models."""

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Motion, Scene

__all__ = ["DYNAMIC", "STATIC", "Gaussians", "Layer", "Motion", "Scene"]
