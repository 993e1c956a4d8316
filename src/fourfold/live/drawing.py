"""What the live viewer shows of a scene: colours, depth, opacity or who moves together, some layers left out."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.export.video import to_uint8
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions, Render, rasterize
from fourfold.scene.edits.parts import movers
from fourfold.scene.scene import Scene

STANDING = (0.35, 0.35, 0.35)  # the colour of what stands still where groups are shown
SOLID = 0.5  # opacity from which a pixel has a depth
FARTHEST = 160.0  # depth the browser can hold, its units
COLOURINGS = ("colour", "depth", "opacity", "motion groups")


@dataclass(frozen=True)
class Look:
    """What is shown.

    Attributes:
        time: seconds.
        colouring: one of `COLOURINGS`.
        hidden: names of layers that are left out.
    """

    time: float
    colouring: str = "colour"
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Picture:
    """An image (H, W, 3) uint8 and its depth (H, W) float32, scene units; `FARTHEST` where nothing is."""

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]


class Drawer:
    """Draws one scene; keeps the Gaussians of the moment drawn last, since a camera often moves while time stands still."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._kept: tuple[Look, Gaussians] | None = None
        self._groups: Tensor | None = None

    def draw(self, look: Look, camera: Camera) -> Picture:
        """The picture of `look` through `camera`."""
        with torch.no_grad():
            gaussians = self._at(look)
            background = gaussians.means.new_tensor(self.scene.background if look.colouring == "colour" else (0.0, 0.0, 0.0))
            camera = replace(camera.to(gaussians.means.device), near=self.scene.near)
            render = rasterize(gaussians, camera, background=background, options=RasterOptions(depth="median"))
            depth = torch.where(render.alpha >= SOLID, render.depth, torch.full_like(render.depth, FARTHEST))
            image = SHOWN[look.colouring](render)
        return Picture(image, depth.clamp(max=FARTHEST).float().cpu().numpy())

    def _at(self, look: Look) -> Gaussians:
        if self._kept is not None and self._kept[0] == look:
            return self._kept[1]
        rows = torch.cat([torch.full((len(layer),), layer.name not in look.hidden) for layer in self.scene.layers])
        now = self.scene.at(look.time)
        if look.colouring == "motion groups":
            if self._groups is None:
                self._groups = group_colors(self.scene)
            now = replace(now, color=self._groups.to(now.color), sh_rest=None)
        now = now if bool(rows.all()) else now.select(rows.to(now.means.device))
        self._kept = look, now
        return now


def group_colors(scene: Scene) -> Tensor:
    """(N, 3) a colour per Gaussian by what it moves with: the basis it follows most, where its layer has some, else the mover it belongs to."""
    _, of = movers(scene)
    colors: list[Tensor] = []
    for layer, place in zip(scene.layers, scene.slices().values(), strict=True):
        logits = layer.splats.get("motion_logits")
        group = of[place] if logits is None else logits.detach().argmax(1).cpu()
        tints = torch.from_numpy(distinct_colors(int(group.max()) + 1 if len(group) else 0))
        standing = torch.tensor([STANDING]).expand(len(group), 3)
        colors.append(torch.where(group[:, None] >= 0, tints[group.clamp_min(0)], standing) if len(tints) else standing)
    return torch.cat(colors)


def distinct_colors(count: int) -> NDArray[np.float32]:
    """(count, 3) colours that neighbours in number do not share: hues a golden section apart."""
    return np.array([colorsys.hsv_to_rgb(0.618034 * number % 1.0, 0.75, 1.0) for number in range(count)], np.float32).reshape(-1, 3)


def _color(render: Render) -> NDArray[np.uint8]:
    return to_uint8(render.color)


def _opacity(render: Render) -> NDArray[np.uint8]:
    return to_uint8(render.alpha[..., None].expand(*render.alpha.shape, 3))


def _depth(render: Render) -> NDArray[np.uint8]:
    """Nearness, from the nearest percent (red) to the farthest (blue); black where nothing is."""
    there = (render.alpha >= SOLID) & (render.depth > 0)
    near = torch.where(there, 1 / render.depth.clamp_min(1e-9), torch.zeros_like(render.depth)).float().cpu().numpy()
    solid = there.cpu().numpy()
    if not solid.any():
        return np.zeros((*near.shape, 3), np.uint8)
    low, high = np.percentile(near[solid], (1, 99))
    grey = np.clip((near - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    return np.where(solid[..., None], cv2.applyColorMap(grey, cv2.COLORMAP_TURBO)[..., ::-1], 0).astype(np.uint8)


SHOWN: dict[str, Callable[[Render], NDArray[np.uint8]]] = {"colour": _color, "depth": _depth, "opacity": _opacity, "motion groups": _color}
