"""A ball that flies straight through a ring of cameras in an empty grey room: everything about it is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analytic_scene import look
from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Provenance

RADIUS = 0.4


@dataclass(frozen=True)
class RigScene:
    """The capture, its exact masks, and the ball's centre (T, 3) at each moment."""

    capture: Capture
    masks: Masks
    centers: NDArray[np.float64]
    velocity: NDArray[np.float64]


def make_rig(root: Path, views: int = 8, times: int = 4, width: int = 80, height: int = 60, gains: NDArray[np.float64] | None = None) -> RigScene:
    """Cameras 3 units from the middle, at changing heights; `gains` (V,) multiply their colours."""
    velocity, seconds = np.array([0.9, 0.3, -0.6]), np.arange(times) / 30
    centers = np.array([-0.05, 0.0, 0.05]) + seconds[:, None] * velocity
    K = np.array([[70.0, 0, width / 2], [0, 70.0, height / 2], [0, 0, 1]])
    poses = np.stack([look(3 * np.array([np.cos(a), 0.3 * np.sin(3 * a + 1), np.sin(a)]), np.zeros(3)) for a in np.arange(views) / views * 2 * np.pi])
    states = []
    root.mkdir(parents=True, exist_ok=True)
    for view in range(views):
        images = np.full((times, height, width, 3), 90.0)
        mask = np.full((times, height, width), -1, np.int8)
        for t in range(times):
            hit, point = _ball(K, poses[view], centers[t], width, height)
            mask[t][hit] = 1
            images[t][hit] = _paint(point[hit] - centers[t])
        gain = 1.0 if gains is None else gains[view]
        np.save(root / f"frames_{view:03d}.npy", np.clip(images * gain, 0, 255).astype(np.uint8))
        np.save(root / f"masks_{view:03d}.npy", mask)
        states.append(mask)
    everywhere = np.ones((views, times), bool)
    capture = Capture(
        root=root,
        K=np.broadcast_to(K, (views, times, 3, 3)).copy(),
        world_to_camera=np.broadcast_to(poses[:, None], (views, times, 4, 4)).copy(),
        timestamps=seconds,
        sizes=np.tile([width, height], (views, 1)),
        present=everywhere,
        train=everywhere.copy(),
        heldout=np.zeros_like(everywhere),
        cameras="given",
        metric=True,
        name="ball",
        view_names=tuple(str(v) for v in range(views)),
    )
    return RigScene(capture, Masks(Provenance("exact"), tuple(states)), centers, velocity)


def _paint(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    waves = np.sin(offset @ np.array([[17.0, 9, 3], [5, 19, 7], [11, 4, 15]]).T)
    return 130 + 90 * waves


def _ball(K: NDArray[np.float64], pose: NDArray[np.float64], center: NDArray[np.float64], width: int, height: int) -> tuple[NDArray, NDArray]:
    """(H, W) whether each pixel's ray meets the ball, and where (H, W, 3)."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T @ pose[:3, :3]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    eye = -pose[:3, :3].T @ pose[:3, 3]
    along = (rays * (center - eye)).sum(-1)
    apart = ((center - eye) ** 2).sum() - along**2
    hit = apart < RADIUS**2
    return hit, eye + rays * (along - np.sqrt(np.maximum(RADIUS**2 - apart, 0)))[..., None]
