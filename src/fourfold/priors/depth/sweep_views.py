"""What a plane sweep of the static world looks at: images with movers cut out, references, neighbours and the range of depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks
from fourfold.priors.depth.sweep_cost import SweepConfig, SweepImage, cost_volume, features_of, winner

Frame = tuple[int, int]


@dataclass(frozen=True)
class Source:
    """One image of the static world: `frames` are the (view, time index) pairs it stands for (all times of a camera that stood still)."""

    frames: tuple[Frame, ...]
    colour: NDArray[np.uint8]
    image: SweepImage

    @property
    def center(self) -> NDArray[np.float64]:
        """(3,) camera centre in the world."""
        pose = self.image.pose
        return -pose[:3, :3].T @ pose[:3, 3]

    @property
    def forward(self) -> NDArray[np.float64]:
        """(3,) viewing direction in the world."""
        return self.image.pose[2, :3]


def usable_frames(capture: Capture) -> list[Frame]:
    """Training frames with an image and a known camera, by time and then by view."""
    known = capture.posed
    return [(v, t) for v, t in capture.train_frames() if capture.present[v, t] and known[v, t]]


def camera_spread(capture: Capture) -> float:
    """Largest distance between any two camera centres of the training frames, scene units; 0 without cameras."""
    frames = usable_frames(capture)
    if not frames:
        return 0.0
    poses = np.stack([capture.world_to_camera[f] for f in frames])
    centers = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    return float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).max() * 2)


def static_pixels(capture: Capture, masks: Masks, frame: Frame, margin: int = 2) -> NDArray[np.uint8]:
    """(H, W) uint8, 255 where a pixel shows the static world: outside the dilated moving masks and not transparent."""
    moving = cv2.dilate(masks.moving(*frame).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    valid = np.where(moving > 0, 0, 255).astype(np.uint8)
    alpha = capture.alpha(*frame)
    if alpha is not None:
        valid[np.asarray(alpha) < 128] = 0
    return valid


def gather_sources(capture: Capture, masks: Masks, config: SweepConfig) -> list[Source]:
    """One `Source` per training frame, and a single one, the median of the unmasked pixels, for each camera that stood still."""
    frames = usable_frames(capture)
    tolerance = 1e-6 * max(camera_spread(capture), 1e-12)
    sources: list[Source] = []
    for view in sorted({v for v, _ in frames}):
        own = [f for f in frames if f[0] == view]
        poses = np.stack([capture.world_to_camera[f] for f in own])
        still = len(own) > 1 and bool(np.abs(poses - poses[0]).max() <= max(tolerance, 1e-9))
        if still:
            colour, valid = _plate(capture, masks, own)
            sources.append(_source(capture, tuple(own), colour, valid, config))
        else:
            sources += [_source(capture, (f,), np.asarray(capture.image(*f)), static_pixels(capture, masks, f), config) for f in own]
    return sources


def _source(capture: Capture, frames: tuple[Frame, ...], colour: NDArray[np.uint8], valid: NDArray[np.uint8], config: SweepConfig) -> Source:
    image = SweepImage(features_of(colour, config), valid, capture.K[frames[0]], capture.world_to_camera[frames[0]])
    return Source(frames, colour, image)


def _plate(capture: Capture, masks: Masks, frames: Sequence[Frame]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Median over time of what a still camera saw of the static world."""
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, min(15, len(frames))).round().astype(int))]
    images = np.stack([np.asarray(capture.image(*f)) for f in chosen])
    hidden = np.stack([static_pixels(capture, masks, f) for f in chosen]) == 0
    stacked = np.ma.array(images, mask=np.repeat(hidden[..., None], 3, axis=3))
    plate = np.asarray(np.ma.median(stacked, axis=0).filled(0)).astype(np.uint8)
    return plate, np.where(hidden.all(axis=0), 0, 255).astype(np.uint8)


def choose_neighbours(sources: Sequence[Source], reference: int, count: int, max_angle: float = 1.0) -> list[int]:
    """Indices of up to `count` sources that look the same way as `reference` from elsewhere, spread over baselines and directions.

    The pool are the nearer 40 % (at least 12) of the sources within `max_angle` radians; from it, farthest-point sampling that starts at
    the one nearest to an eighth of the pool's median baseline.
    """
    centers = np.stack([s.center for s in sources])
    aligned = np.stack([s.forward for s in sources]) @ sources[reference].forward > np.cos(max_angle)
    distance = np.linalg.norm(centers - centers[reference], axis=1)
    usable = np.flatnonzero(aligned & (distance > 1e-9 * max(float(distance.max()), 1e-30)))
    if len(usable) == 0:
        return []
    pool = usable[np.argsort(distance[usable])][: max(12, int(0.4 * len(sources)))]
    typical = float(np.median(distance[pool]))
    pool = pool[distance[pool] > typical / 16]
    chosen = [int(pool[np.abs(distance[pool] - typical / 3).argmin()])]
    while len(chosen) < min(count, len(pool)):
        taken = centers[[*chosen, reference]]
        gap = np.linalg.norm(centers[pool][:, None] - taken, axis=2).min(axis=1)
        gap[np.isin(pool, chosen)] = -1
        chosen.append(int(pool[gap.argmax()]))
    return chosen


def range_from_points(source: Source, points: NDArray[np.floating], least: int = 30) -> tuple[float, float] | None:
    """Smallest and largest inverse depth of the sparse points that `source` sees, with a margin; None if there are fewer than `least`."""
    camera = points.astype(np.float64) @ source.image.pose[:3, :3].T + source.image.pose[:3, 3]
    front = camera[camera[:, 2] > 1e-9]
    pixel = front @ source.image.K.T
    pixel = pixel[:, :2] / pixel[:, 2:]
    height, width = source.image.valid.shape
    inside = (pixel >= 0).all(axis=1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    if int(inside.sum()) < least:
        return None
    inverse = 1.0 / front[inside, 2]
    low, high = np.percentile(inverse, [0.5, 99.0])
    return 0.6 * float(low), 1.15 * float(high)


def search_range(sources: Sequence[Source], references: Sequence[int], count: int, config: SweepConfig) -> tuple[float, float] | None:
    """Smallest and largest inverse depth of the scene, found by a coarse sweep over all depths that the baselines can tell apart.

    None where no reference has a source that looks the same way from elsewhere, as on a rig of few cameras. The nearest candidate shifts by
    0.6 image widths between neighbours of the median baseline. Two rounds: the second looks closer.
    """
    every = [(r, near) for r in references if (near := choose_neighbours(sources, r, count))]
    if not every:
        return None
    jobs = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(5, len(every))).round().astype(int))]
    baseline = float(np.median([np.linalg.norm(sources[i].center - sources[r].center) for r, near in jobs for i in near]))
    first = sources[jobs[0][0]].image
    focal, width = first.K[0, 0], first.valid.shape[1]
    low, high = 0.0, 0.6 * width / (focal * baseline)
    for _ in range(2):
        found = [_coarse_inverse_depths(sources, r, near, (low, high), config) for r, near in jobs]
        inverse = np.concatenate(found)
        if len(inverse) < 50:
            break
        bottom, top = np.percentile(inverse, [1.0, 99.0])
        step = (high - low) / 95
        low, high = max(0.6 * float(bottom) - step, 1e-3 * high), min(1.2 * float(top) + step, high)
    return max(low, 1e-3 * high), high


def _coarse_inverse_depths(
    sources: Sequence[Source], reference: int, neighbours: Sequence[int], ends: tuple[float, float], config: SweepConfig
) -> NDArray[np.float32]:
    """Inverse depths of the distinct, well matching, textured pixels of a quarter-size sweep over 96 planes."""
    factor = min(1.0, 160.0 / sources[reference].image.valid.shape[1])
    images = [_smaller(sources[i], factor, config) for i in (reference, *neighbours)]
    planes = np.linspace(*ends, 96)
    volume = cost_volume(images[0], images[1:], planes, replace(config, patch=5))
    inverse, cost, margin = winner(volume, planes)
    step = planes[1] - planes[0]
    smooth = cv2.medianBlur(inverse, 5)
    agree = np.abs(smooth - inverse) < 1.5 * step
    good = agree & (cost < UNSEEN_LIMIT) & (margin > 2 * cost) & (margin > np.median(margin)) & (images[0].valid > 0)
    return inverse[good]


UNSEEN_LIMIT = 0.3


def _smaller(source: Source, factor: float, config: SweepConfig) -> SweepImage:
    height, width = source.image.valid.shape
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    scale = np.array([size[0] / width, size[1] / height, 1.0])
    colour = cv2.resize(source.colour, size, interpolation=cv2.INTER_AREA)
    valid = cv2.resize(source.image.valid, size, interpolation=cv2.INTER_NEAREST)
    return SweepImage(features_of(colour, config), valid, source.image.K * scale[:, None], source.image.pose)
