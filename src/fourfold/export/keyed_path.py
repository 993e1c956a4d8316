"""A camera path through keyframes: what somebody chose while looking, as a smooth flight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fourfold.errors import FourfoldError
from fourfold.export.paths import View
from fourfold.geometry.camera import Camera
from fourfold.geometry.interpolation import cubic_weights
from fourfold.geometry.rigid import make_rigid
from fourfold.geometry.rotations import matrix_to_quat, quat_to_matrix, slerp


def through_keyframes(keys: Sequence[View], frames: int) -> list[View]:
    """`frames` (seconds, camera) through the keyframes `keys` (seconds of the scene, camera), evenly between each two of them.

    Centres lie on a Catmull-Rom curve, rotations turn the shorter way at even speed, lenses and times change evenly. All get the image size of
    the first.

    Raises:
        FourfoldError: there are fewer than two keyframes, or fewer frames than keyframes.
    """
    if len(keys) < 2 or frames < len(keys):
        raise FourfoldError(f"a camera path got {len(keys)} keyframes and {frames} frames: give two keyframes at least, and no fewer frames")
    first = keys[0][1]
    knots = torch.arange(len(keys), dtype=torch.float64)
    at = torch.linspace(0, len(keys) - 1, frames, dtype=torch.float64)
    indices, weights = cubic_weights(knots, at)
    cameras = [camera for _, camera in keys]
    centers = (weights[..., None] * torch.stack([camera.center.double() for camera in cameras])[indices]).sum(1)
    turns = matrix_to_quat(torch.stack([camera.world_to_camera[:3, :3].double() for camera in cameras]))
    lenses = torch.stack([_of_size(camera, first.width, first.height).K.double() for camera in cameras])
    left = at.floor().long().clamp(max=len(keys) - 2)
    rest = at - left
    rotations = quat_to_matrix(torch.stack([slerp(turns[i], turns[i + 1], u) for i, u in zip(left.tolist(), rest, strict=True)]))
    poses = make_rigid(rotations, -torch.einsum("tij,tj->ti", rotations, centers))
    times = torch.tensor([time for time, _ in keys], dtype=torch.float64)
    seconds = torch.lerp(times[left], times[left + 1], rest)
    lens = torch.lerp(lenses[left], lenses[left + 1], rest[:, None, None])
    kind = first.K.dtype
    return [(float(t), replace(first, K=k.to(kind), world_to_camera=pose.to(kind))) for t, k, pose in zip(seconds, lens, poses, strict=True)]


def as_entries(path: Sequence[View]) -> list[dict[str, Any]]:
    """The path as `fourfold render --path FILE.json` reads it."""
    return [
        {"time": time, "world_to_camera": camera.world_to_camera.tolist(), "K": camera.K.tolist(), "width": camera.width, "height": camera.height}
        for time, camera in path
    ]


def _of_size(camera: Camera, width: int, height: int) -> Camera:
    """The same field of view from top to bottom in an image of another size, with the principal point where it was as a share of it."""
    scale = height / camera.height
    K = camera.K.clone()
    K[0, 0], K[1, 1] = camera.K[0, 0] * scale, camera.K[1, 1] * scale
    K[0, 2], K[1, 2] = camera.K[0, 2] * width / camera.width, camera.K[1, 2] * scale
    return replace(camera, K=K, width=width, height=height)
