"""Sweeping reference images, checking them against each other, and projecting what is sure into other images.

The frame in which all this happens is the world for the static scene and the object for a moving one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.depth.fill import splat_nearest
from fourfold.priors.depth.sweep_cost import UNSEEN, SweepConfig, cost_volume, smooth_volume, winner
from fourfold.priors.depth.sweep_views import Source, choose_neighbours


@dataclass(frozen=True)
class Swept:
    """What one reference's sweep gave: inverse depth, cost, distinctness (H, W), and the inverse-depth step between planes."""

    source: Source
    inverse: NDArray[np.float32]
    cost: NDArray[np.float32]
    margin: NDArray[np.float32]
    step: float


def sweep_reference(
    sources: Sequence[Source],
    reference: int,
    ends: tuple[float, float],
    neighbours: int,
    config: SweepConfig,
    leaving_cost: float | None = None,
    max_angle: float = 1.0,
) -> Swept | None:
    """Sweep one reference between two inverse depths; None if no other source looks the same way within `max_angle` radians."""
    near = choose_neighbours(sources, reference, neighbours, max_angle)
    if not near:
        return None
    source = sources[reference]
    planes = np.linspace(ends[0], ends[1], config.planes)
    volume = cost_volume(source.image, [sources[i].image for i in near], planes, config, leaving_cost)
    cost = volume.min(axis=0)
    inverse, _, margin = winner(smooth_volume(volume, source.colour, config), planes)
    return Swept(source, inverse, cost, margin, float(planes[1] - planes[0]))


def confidence_of(swept: Sequence[Swept], index: int, consistent_steps: float = 1.5) -> NDArray[np.float32]:
    """(H, W) confidence of one reference: share of the other references that confirm the depth, at least two of them, times the match."""
    own = swept[index]
    centers = np.stack([s.source.center for s in swept])
    others = np.argsort(np.linalg.norm(centers - centers[index], axis=1))[1:9]
    depth = 1 / np.maximum(own.inverse, 1e-9)
    world = unproject(depth, own.source.image.K, own.source.image.pose)
    agree = np.zeros(depth.shape, np.float32)
    seen = np.zeros(depth.shape, np.float32)
    for other in (swept[i] for i in others):
        camera = world @ other.source.image.pose[:3, :3].T + other.source.image.pose[:3, 3]
        z = np.maximum(camera[..., 2], 1e-9)
        pixel = camera @ other.source.image.K.T
        u, v = (pixel[..., 0] / z - 0.5).astype(np.float32), (pixel[..., 1] / z - 0.5).astype(np.float32)
        there = np.where((other.source.image.valid > 0) & (other.cost < UNSEEN), other.inverse, 0).astype(np.float32)
        inverse = cv2.remap(there, u, v, cv2.INTER_NEAREST, borderValue=0)
        visible = (inverse > 0) & (camera[..., 2] > 0)
        limit = consistent_steps * max(own.step, other.step) + 0.01 / z
        agree += visible & (np.abs(inverse - 1 / z) < limit)
        seen += visible
    enough = np.minimum(1.0, agree / min(2.0, max(1.0, len(others))))
    share = agree / np.maximum(seen, 1)
    match = np.exp(-((own.cost / 0.35) ** 2))
    return np.where(own.source.image.valid > 0, enough * share * match, 0).astype(np.float32)


def unproject(depth: NDArray[np.floating], K: NDArray[np.float64], world_to_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W, 3) world points of an (H, W) depth image, pixel centres at +0.5."""
    height, width = depth.shape
    x = (np.arange(width) + 0.5)[None, :].repeat(height, axis=0)
    y = (np.arange(height) + 0.5)[:, None].repeat(width, axis=1)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(K).T
    camera = rays * depth[..., None]
    return (camera - world_to_camera[:3, 3]) @ world_to_camera[:3, :3]


def cloud_of(swept: Swept, sure: NDArray[np.float32], least: float) -> NDArray[np.float64]:
    """(N, 3) world points of the confident pixels of one reference."""
    world = unproject(1 / np.maximum(swept.inverse, 1e-9), swept.source.image.K, swept.source.image.pose)
    return world[sure > least]


def project_clouds(
    source: Source, swept: Sequence[Swept], clouds: Sequence[NDArray[np.float64]], nearest: int = 3
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inverse depth and confidence of an image that was not swept, from the nearest swept ones."""
    gaps = [np.linalg.norm(s.source.center - source.center) for s in swept]
    points = np.concatenate([clouds[i] for i in np.argsort(gaps)[:nearest]])
    camera = points @ source.image.pose[:3, :3].T + source.image.pose[:3, 3]
    pixel = camera @ source.image.K.T
    height, width = source.image.valid.shape
    drawn = splat_nearest(pixel[:, :2] / np.where(np.abs(pixel[:, 2:]) > 1e-9, pixel[:, 2:], np.nan), camera[:, 2], height, width)
    inverse = np.where(drawn > 0, 1 / np.maximum(drawn, 1e-9), 0).astype(np.float32)
    return inverse, np.where((drawn > 0) & (source.image.valid > 0), 0.6, 0).astype(np.float32)
