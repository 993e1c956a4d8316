"""Motion evidence where flow fails: pixels for which a plane sweep finds no depth that the other frames confirm.

Source: spec calibration.md section A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.classical.flow import Field
from fourfold.priors.classical.sweep_cost import SweepConfig, SweepImage, features_of
from fourfold.priors.classical.sweep_references import Swept, sweep_reference
from fourfold.priors.classical.sweep_views import Source, gather_sources, range_from_points, search_range


@dataclass(frozen=True)
class SweepEvidenceConfig:
    """Numbers of the consistency test.

    Attributes:
        sweep: the sweep itself; no smoothing, which would invent agreement.
        width: image width of the sweep, pixels; the evidence is enlarged afterwards.
        neighbours: images each frame is compared with.
        max_frames: frames swept; the others get no sweep evidence.
        agree: relative difference of depth within which another frame confirms.
        confirmed: share of the frames that see a point which must confirm it for the evidence to be 0.5.
        window: side of the averaging window, share of the image width.
    """

    sweep: SweepConfig = field(default_factory=lambda: SweepConfig(planes=64, small_step=0.0, large_step=0.0))
    width: int = 240
    neighbours: int = 8
    max_frames: int = 30
    agree: float = 0.03
    confirmed: float = 0.25
    window: float = 0.027


def sweep_evidence(
    capture: Capture, view: int, points: NDArray[np.float32], config: SweepEvidenceConfig = SweepEvidenceConfig()
) -> tuple[Field, Field]:
    """Evidence in [0, 1] and weight (T, H, W): how few of the other training frames confirm each pixel's swept depth."""
    width, height = (int(n) for n in capture.sizes[view])
    evidence, weight = (np.zeros((capture.times, height, width), np.float32) for _ in range(2))
    sources = [_reduced(s, config) for s in gather_sources(capture, None, config.sweep) if s.frames[0][0] == view]
    sources = [sources[i] for i in np.unique(np.linspace(0, len(sources) - 1, min(len(sources), config.max_frames)).round().astype(int))]
    if len(sources) < 3:
        return evidence, weight
    ends = [range_from_points(s, points) for s in sources]
    if not all(ends):
        common = search_range(sources, list(range(len(sources))), config.neighbours, config.sweep)
        ends = [common] * len(sources)
    swept = [sweep_reference(sources, i, e, config.neighbours, config.sweep) for i, e in enumerate(ends) if e is not None]
    found = [s for s in swept if s is not None]
    for index, one in enumerate(found):
        share, seen = _confirmation(found, index, config)
        side = 2 * round(config.window * share.shape[1] / 2) + 1
        lost = cv2.boxFilter((share < config.confirmed).astype(np.float32), -1, (side, side))
        for _, t in one.source.frames:
            evidence[t] = cv2.resize(lost, (width, height), interpolation=cv2.INTER_LINEAR)
            weight[t] = cv2.resize(np.minimum(seen / 3, 1).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return evidence, weight


def _reduced(source: Source, config: SweepEvidenceConfig) -> Source:
    height, width = source.image.valid.shape
    factor = min(1.0, config.width / width)
    size = (round(width * factor), round(height * factor))
    scale = np.array([size[0] / width, size[1] / height, 1.0])
    colour = cv2.resize(source.colour, size, interpolation=cv2.INTER_AREA)
    valid = cv2.resize(source.image.valid, size, interpolation=cv2.INTER_NEAREST)
    return Source(source.frames, colour, SweepImage(features_of(colour, config.sweep), valid, source.image.K * scale[:, None], source.image.pose))


def _confirmation(swept: Sequence[Swept], index: int, config: SweepEvidenceConfig) -> tuple[Field, Field]:
    """(H, W) share of the frames seeing a pixel's point whose own depth agrees with it, and how many see it."""
    image = swept[index].source.image
    height, width = image.valid.shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(image.K).T
    camera = rays / np.maximum(swept[index].inverse, 1e-9)[..., None]
    pose = np.linalg.inv(image.pose)
    world = camera @ pose[:3, :3].T + pose[:3, 3]
    agreeing, seen = (np.zeros((height, width), np.float32) for _ in range(2))
    for other in (s for i, s in enumerate(swept) if i != index):
        local = world @ other.source.image.pose[:3, :3].T + other.source.image.pose[:3, 3]
        pixel = local @ other.source.image.K.T
        depth = np.where(local[..., 2] > 1e-9, local[..., 2], np.inf)
        u, v = (pixel[..., 0] / depth - 0.5).astype(np.float32), (pixel[..., 1] / depth - 0.5).astype(np.float32)
        there = cv2.remap(other.inverse, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        inside = there > 0
        seen += inside
        agreeing += inside & (np.abs(there * depth - 1) < config.agree)
    return agreeing / np.maximum(seen, 1), seen
