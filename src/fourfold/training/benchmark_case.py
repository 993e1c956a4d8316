"""A clip that is made on the spot to time training on: a painted room, two tumbling bodies, a swarm of small movers, one moving camera.

The truth is a scene of Gaussians drawn by our own rasterizer, so that any size can be had in seconds; what is trained is the truth
disturbed. Speed is what this is for: quality is measured on the captures that `fourfold synth` makes and on real ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.geometry.camera import Camera
from fourfold.geometry.projection import project
from fourfold.geometry.rotations import matrix_to_rotation6d, so3_exp
from fourfold.priors.contracts import Depth, Masks, Priors, Provenance, Tracks2D
from fourfold.render.api import Render, rasterize
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene

FRAME_RATE = 30.0
HALF_ROOM = (3.0, 1.7, 3.0)
BODIES = ((-0.9, 0.1, 0.2), (0.9, -0.1, -0.3))
BODY_RADIUS = 0.6


@dataclass(frozen=True)
class CaseSize:
    """How large a case is: `gaussians` in all, image size in pixels, number of frames; one frame in `heldout_every` is held out."""

    gaussians: int = 30_000
    width: int = 320
    height: int = 180
    frames: int = 60
    bases: int = 16
    tracks: int = 1_500
    heldout_every: int = 8

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.gaussians // 1000}k_{self.width}x{self.height}_{self.frames}f"


@dataclass(frozen=True)
class Case:
    """What a training needs, and the scene that the images were drawn from."""

    capture: Capture
    priors: Priors
    start: Scene
    truth: Scene


def make_case(size: CaseSize, directory: Path, seed: int = 0) -> Case:
    """Draw the clip into `directory` (frames, masks and depth as memory-mapped arrays); equal for equal sizes and seeds."""
    random = torch.Generator().manual_seed(seed)
    truth = _truth(size, random)
    capture = _capture(size, directory)
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {
        "frames": ("uint8", (3,)),
        "masks": ("int8", ()),
        "depth": ("float16", ()),
        "sure": ("float16", ()),
    }
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {
        kind: open_memmap(_path(directory, kind), mode="w+", dtype=dtype, shape=(size.frames, size.height, size.width, *tail))
        for kind, (dtype, tail) in kinds.items()
    }
    indicator = truth.dynamic_rows()[:, None]
    visible = np.zeros((size.tracks, size.frames), np.float16)
    xy = np.zeros((size.tracks, size.frames, 2), np.float32)
    rows = truth.slices()["object"].start + torch.randperm(len(truth.layer("object")), generator=random)[: size.tracks]
    with torch.no_grad():
        for index in range(size.frames):
            camera, gaussians = capture.camera_at(0, index), truth.at(float(capture.timestamps[index]))
            render = rasterize(gaussians, camera, channels=indicator, background=torch.tensor(truth.background))
            _keep(arrays, index, render, random)
            xy[: len(rows), index], visible[: len(rows), index] = _seen(gaussians.means[rows], camera, render)
    del arrays
    opened = {kind: np.load(_path(directory, kind), mmap_mode="r", allow_pickle=False) for kind in kinds}
    made = Provenance("generated")
    zeros = np.zeros(size.tracks, np.int32)
    priors = Priors(
        masks=Masks(made, (opened["masks"],)),
        depth=Depth(made, (opened["depth"],), (opened["sure"],)),
        tracks2d=Tracks2D(made, xy, visible, np.ones_like(visible), zeros, zeros),
    )
    return Case(capture, priors, _disturbed(truth, random), truth)


def _path(directory: Path, kind: str) -> Path:
    return directory / f"{kind}_000.npy"


def _keep(arrays: dict[str, NDArray], index: int, render: Render, random: torch.Generator) -> None:
    """Write one frame; depth gets 2 % of noise, so that its loss has something to trim."""
    moving = (render.channels if render.channels is not None else render.alpha[..., None])[..., 0]
    noise = 1 + 0.02 * torch.randn(render.depth.shape, generator=random)
    arrays["frames"][index] = (render.color.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    arrays["masks"][index] = torch.where(moving > 0.5, 1, -1).to(torch.int8).numpy()
    arrays["depth"][index] = (render.depth * noise).numpy()
    arrays["sure"][index] = 1.0


def _seen(points: Tensor, camera: Camera, render: Render) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pixels (P, 2) of world points and whether the image shows them: inside, and not far behind the drawn surface."""
    pixels, depth = project(points, camera.K, camera.world_to_camera)
    column, row = pixels.long().unbind(1)
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height) & (depth > camera.near)
    surface = render.depth[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)]
    return pixels.numpy(), (inside & ((depth - surface).abs() < 0.1 * BODY_RADIUS)).numpy()


def _capture(size: CaseSize, directory: Path) -> Capture:
    times = np.arange(size.frames) / FRAME_RATE
    K = np.array([[0.9 * size.width, 0, size.width / 2], [0, 0.9 * size.width, size.height / 2], [0, 0, 1]])
    pose = np.tile(np.eye(4), (size.frames, 1, 1))
    angle = 0.35 * np.sin(np.pi * times)  # the camera swings about the middle of the room
    pose[:, 0, 0], pose[:, 0, 2] = np.cos(angle), -np.sin(angle)
    pose[:, 2, 0], pose[:, 2, 2] = np.sin(angle), np.cos(angle)
    pose[:, 2, 3] = 2.8
    heldout = np.zeros((1, size.frames), bool)
    heldout[0, size.heldout_every // 2 :: size.heldout_every] = True
    every = np.ones((1, size.frames), bool)
    sizes = np.array([[size.width, size.height]])
    intrinsics = np.tile(K, (1, size.frames, 1, 1))
    return Capture(directory, intrinsics, pose[None], times, sizes, every, ~heldout, heldout, "given", False, size.name, ("camera",))


def _truth(size: CaseSize, random: torch.Generator) -> Scene:
    seconds = max(size.frames - 1, 1) / FRAME_RATE
    moving, swarm = int(0.27 * size.gaussians), int(0.07 * size.gaussians)
    layers = [
        Layer("static", STATIC, Static(), _splats(_walls(size.gaussians - moving - swarm, random), 66.0, random)),
        _bodies(moving, size, random),
        _swarm(swarm, seconds, random),
    ]
    return Scene(layers, (0.0, seconds), background=(0.4, 0.4, 0.4))


def _splats(points: Tensor, area: float, random: torch.Generator) -> dict[str, Tensor]:
    """Gaussians that cover `area` (square scene units) at `points` (N, 3), painted by their places."""
    count = len(points)
    spacing = math.sqrt(area / max(count, 1))
    paint = torch.sin(points * torch.tensor([5.0, 7.0, 6.0]) + torch.tensor([0.0, 1.0, 2.0])) + torch.sin(points.sum(1, keepdim=True) * 17.0)
    return {
        "means": points,
        "quat_wxyz": torch.nn.functional.normalize(torch.randn(count, 4, generator=random), dim=1),
        "log_scale": math.log(0.6 * spacing) + 0.2 * torch.randn(count, 3, generator=random),
        "opacity_logit": torch.full((count,), 2.0),
        "color_logit": paint,
    }


def _walls(count: int, random: torch.Generator) -> Tensor:
    """(count, 3) points on the floor, the ceiling, two sides and the far end of the room."""
    half = torch.tensor(HALF_ROOM)
    points = (2 * torch.rand(count, 3, generator=random) - 1) * half
    face = torch.randint(5, (count,), generator=random)
    axis, sign = torch.tensor([1, 1, 0, 0, 2])[face], torch.tensor([-1.0, 1.0, -1.0, 1.0, 1.0])[face]
    points[torch.arange(count), axis] = sign * half[axis]
    return points


def _bodies(count: int, size: CaseSize, random: torch.Generator) -> Layer:
    """Two spheres on `size.bases` rigid motions: even bases move the first, odd ones the second, each a little differently."""
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=1)
    which = torch.randint(2, (count,), generator=random)
    points = direction * BODY_RADIUS + torch.tensor(BODIES)[which]
    knots = torch.arange(size.frames) / FRAME_RATE
    own = torch.arange(size.bases) % 2
    spread = 1 + 0.1 * torch.randn(size.bases, 1, 1, generator=random)
    phase = (math.pi * knots)[None, :, None] + own[:, None, None]
    rotation = so3_exp(spread * 0.6 * torch.sin(phase) * torch.tensor([0.3, 1.0, 0.2]))
    center = torch.tensor(BODIES)[own][:, None]
    shift = spread * 0.5 * torch.sin(phase * torch.tensor([1.0, 0.7, 0.4])) + center - (rotation @ center[..., None]).squeeze(-1)
    logits = 4.0 * (which[:, None] == own[None]).float() + 0.5 * torch.randn(count, size.bases, generator=random)
    splats = _splats(points, 2 * 4 * math.pi * BODY_RADIUS**2, random) | {"motion_logits": logits}
    shared = {"rotation6d": matrix_to_rotation6d(rotation).contiguous(), "translation": shift.contiguous()}
    return Layer("object", DYNAMIC, SE3Bases(), splats, shared, {"knots": knots, "pivot": torch.zeros(3)})


def _swarm(count: int, seconds: float, random: torch.Generator) -> Layer:
    points = (2 * torch.rand(count, 3, generator=random) - 1) * torch.tensor([1.5, 0.8, 1.5])
    splats = _splats(points, 0.3, random) | {
        "velocity": 0.3 / seconds * torch.randn(count, 3, generator=random),
        "time_center": seconds * torch.rand(count, generator=random),
        "log_duration": torch.full((count,), math.log(seconds / 3)),
    }
    return Layer("free", DYNAMIC, Linear(), splats)


def _disturbed(truth: Scene, random: torch.Generator) -> Scene:
    """A scene to start from: everything near its place, colours faded towards grey."""

    def layer(one: Layer) -> Layer:
        splats = {name: value.clone() for name, value in one.splats.items()}
        spacing = splats["log_scale"].exp().mean()
        splats["means"] += 0.5 * spacing * torch.randn(splats["means"].shape, generator=random)
        splats["log_scale"] += 0.1 * torch.randn(splats["log_scale"].shape, generator=random)
        splats["color_logit"] = 0.4 * splats["color_logit"] + 0.3 * torch.randn(splats["color_logit"].shape, generator=random)
        splats["opacity_logit"] = torch.zeros_like(splats["opacity_logit"])
        return replace(one, splats=splats, shared={name: value.clone() for name, value in one.shared.items()})

    return replace(truth, layers=[layer(one) for one in truth.layers])
