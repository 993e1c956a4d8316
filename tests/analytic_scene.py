"""A scene whose depth and motion are known in closed form: a slanted wall, a floor and a turning ellipsoid, painted with solid textures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Provenance

RADII = np.array([0.75, 0.5, 0.6])
FLOOR = 1.1


@dataclass(frozen=True)
class AnalyticScene:
    """The capture and its truth: depth (T, H, W), moving (T, H, W) bool, object_to_world (T, 4, 4)."""

    capture: Capture
    depth: NDArray[np.float64]
    moving: NDArray[np.bool_]
    object_to_world: NDArray[np.float64]

    @property
    def masks(self) -> Masks:
        """The true masks."""
        return Masks(Provenance("truth"), (np.where(self.moving, 1, -1).astype(np.int8),))


def make_scene(root: Path, times: int = 16, width: int = 160, height: int = 120, move: bool = True, hold: int = 0) -> AnalyticScene:
    """Ray-cast the scene from a camera that moves sideways; every `hold`-th frame (if not 0) is held out."""
    K = np.array([[150.0 * width / 160, 0, width / 2], [0, 150.0 * width / 160, height / 2], [0, 0, 1]])
    poses, objects, images, depths, movings = [], [], [], [], []
    for index in range(times):
        s = index / max(times - 1, 1)
        pose = look(np.array([1.0 * s - 0.5, 0.12 * np.sin(4 * s), 0.2 * s]), np.array([0.05 * s, 0.25, 5.0]))
        body = np.eye(4)
        if move:
            body[:3, :3] = Rotation.from_rotvec([0.15 * np.sin(5 * s), 0.9 * s, 0.1 * s]).as_matrix()
        body[:3, 3] = [-0.5 + 0.9 * s * move, FLOOR - RADII[1], 3.4 - 0.5 * s * move]
        image, depth, moving = _render(K, pose, body, width, height)
        poses.append(pose)
        objects.append(body)
        images.append(image)
        depths.append(depth)
        movings.append(moving)
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "frames_000.npy", np.stack(images))
    present = np.ones((1, times), bool)
    heldout = np.zeros((1, times), bool)
    if hold:
        heldout[0, hold // 2 :: hold] = True
    capture = Capture(
        root=root,
        K=np.tile(K, (1, times, 1, 1)),
        world_to_camera=np.stack(poses)[None],
        timestamps=np.arange(times) / 30.0,
        sizes=np.array([[width, height]]),
        present=present,
        train=present & ~heldout,
        heldout=heldout,
        cameras="given",
        metric=False,
        name="analytic",
        view_names=("camera",),
    )
    capture.save()
    return AnalyticScene(capture, np.stack(depths), np.stack(movings), np.stack(objects))


def look(eye: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ eye
    return pose


def _texture(points: NDArray[np.float64], seed: int, wave: float) -> NDArray[np.float64]:
    """(..., 3) colours of (..., 3) points: a sum of random plane waves of wavelengths around `wave`."""
    random = np.random.default_rng(seed)
    direction = random.normal(size=(24, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = wave * np.exp(random.uniform(-0.7, 1.4, 24))
    phase = random.uniform(0, 2 * np.pi, (24, 3))
    weight = random.normal(size=(24, 3))
    angle = (points @ direction.T) * (2 * np.pi / length)
    value = np.sin(angle) @ (weight * np.cos(phase)) + np.cos(angle) @ (weight * np.sin(phase))
    return 1 / (1 + np.exp(-0.6 * value))


def _render(
    K: NDArray[np.float64], pose: NDArray[np.float64], body: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
    sub = 2
    x, y = (np.arange(width * sub) + 0.5) / sub, (np.arange(height * sub) + 0.5) / sub
    grid = np.stack([*np.meshgrid(x, y), np.ones((height * sub, width * sub))], axis=-1)
    image, _, _ = cast(grid @ np.linalg.inv(K).T, pose, body)
    image = image.reshape(height, sub, width, sub, 3).mean(axis=(1, 3))
    centres = np.stack([*np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), np.ones((height, width))], axis=-1)
    _, depth, moving = cast(centres @ np.linalg.inv(K).T, pose, body)
    return (image * 255).round().astype(np.uint8), depth, moving


def cast(
    rays: NDArray[np.float64], pose: NDArray[np.float64], body: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Colour, depth and object membership of camera rays with z = 1, so that the ray parameter is the depth."""
    direction = rays @ pose[:3, :3]
    origin = -pose[:3, :3].T @ pose[:3, 3]
    normal = np.array([-0.25, 0.05, -1.0])
    wall = ((np.array([0.0, 0.0, 6.0]) - origin) @ normal) / (direction @ normal)
    floor = np.where(direction[..., 1] > 1e-6, (FLOOR - origin[1]) / np.maximum(direction[..., 1], 1e-6), np.inf)
    wall = np.where(wall > 0, wall, np.inf)
    o = ((origin - body[:3, 3]) @ body[:3, :3]) / RADII
    d = (direction @ body[:3, :3]) / RADII
    a, b, c = (d * d).sum(-1), (d * o).sum(-1), o @ o - 1
    root = b * b - a * c
    ball = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    moving = ball < np.minimum(wall, floor)
    depth = np.minimum(np.minimum(wall, floor), np.where(moving, ball, np.inf))
    points = origin + direction * depth[..., None]
    local = (points - body[:3, 3]) @ body[:3, :3]
    colour = np.zeros((*depth.shape, 3))
    for part, where, seed, wave in (
        (moving, local, 1, 0.16),
        (~moving & (floor < wall), points, 2, 0.3),
        (~moving & (floor >= wall), points, 3, 0.4),
    ):
        colour[part] = _texture(where[part], seed, wave)
    return colour, depth, moving


def surface_points(scene: AnalyticScene, xy: NDArray[np.floating], time: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, T, 3) true world positions over all times of the surface points seen at (N, 2) pixels of moment `time`, and whether they move."""
    pose, body = scene.capture.world_to_camera[0, time], scene.object_to_world[time]
    rays = np.concatenate([xy, np.ones((len(xy), 1))], axis=1) @ np.linalg.inv(scene.capture.K[0, time]).T
    _, depth, moving = cast(rays, pose, body)
    world = (rays * depth[:, None] - pose[:3, 3]) @ pose[:3, :3]
    local = (world - body[:3, 3]) @ body[:3, :3]
    carried = np.einsum("tij,pj->pti", scene.object_to_world[:, :3, :3], local) + scene.object_to_world[None, :, :3, 3]
    return np.where(moving[:, None, None], carried, world[:, None]), moving


def project(scene: AnalyticScene, xyz: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, T, 2) pixels of (N, T, 3) world points and whether each is really seen: in the image and not hidden."""
    capture = scene.capture
    width, height = capture.sizes[0]
    camera = np.einsum("tij,ptj->pti", capture.world_to_camera[0, :, :3, :3], xyz) + capture.world_to_camera[0, None, :, :3, 3]
    pixel = np.einsum("tij,ptj->pti", capture.K[0], camera)
    xy = pixel[..., :2] / pixel[..., 2:]
    seen = np.zeros(xy.shape[:2], bool)
    for time in range(capture.times):
        rays = np.concatenate([xy[:, time], np.ones((len(xy), 1))], axis=1) @ np.linalg.inv(capture.K[0, time]).T
        _, depth, _ = cast(rays, capture.world_to_camera[0, time], scene.object_to_world[time])
        inside = (xy[:, time] >= 0).all(axis=1) & (xy[:, time, 0] < width) & (xy[:, time, 1] < height)
        seen[:, time] = inside & (camera[:, time, 2] < 1.01 * depth)
    return xy, seen
