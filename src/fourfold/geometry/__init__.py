"""Cameras, rotations, projection, triangulation and alignment."""

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians

__all__ = ["Camera", "Gaussians"]
