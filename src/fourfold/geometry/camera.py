"""A pinhole camera in OpenCV axes (x right, y down, z forward), pixel centres at +0.5."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.tensors import as_tensor


@dataclass(frozen=True)
class Camera:
    """One image's camera.

    Attributes:
        K: (3, 3) intrinsics in pixels; a point at the centre of the top-left pixel projects to (0.5, 0.5). Arrays and lists become tensors.
        world_to_camera: (4, 4) rigid transform, OpenCV axes. Arrays and lists become tensors.
        width, height: image size in pixels.
        near: depth, in scene units, before which nothing is drawn.
    """

    K: Tensor
    world_to_camera: Tensor
    width: int
    height: int
    near: float = 0.01

    def __post_init__(self) -> None:
        for name in ("K", "world_to_camera"):
            object.__setattr__(self, name, as_tensor(getattr(self, name), f"Camera.{name}"))
        if tuple(self.K.shape) != (3, 3) or tuple(self.world_to_camera.shape) != (4, 4):
            raise FourfoldError(
                f"Camera got K {tuple(self.K.shape)} and world_to_camera {tuple(self.world_to_camera.shape)}, expected (3, 3) and (4, 4)"
            )

    @property
    def center(self) -> Tensor:
        """(3,) camera centre in the world."""
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return -rotation.T @ translation

    def scaled(self, factor: float) -> Camera:
        """The same camera with an image `factor` times as wide and high (rounded to whole pixels)."""
        width, height = max(1, round(self.width * factor)), max(1, round(self.height * factor))
        scale = torch.tensor([width / self.width, height / self.height, 1.0], dtype=self.K.dtype, device=self.K.device)
        return replace(self, K=self.K * scale[:, None], width=width, height=height)

    def to(self, target: torch.device | torch.dtype | str) -> Camera:
        """The same camera on another device or in another dtype."""
        return replace(self, K=self.K.to(target), world_to_camera=self.world_to_camera.to(target))
