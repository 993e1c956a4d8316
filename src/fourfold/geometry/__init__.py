"""Cameras, rotations, rigid motions, projection, triangulation, alignment and interpolation."""

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians

__all__ = ["Camera", "Gaussians"]
