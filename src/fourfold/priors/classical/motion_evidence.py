"""Where the images contradict a static world: dense flow against camera motion, and matches against the epipolar geometry.

All evidence lies in [0, 1] with a weight in [0, 1]; 0.5 is a residual at the tolerance. Training frames are compared with training
frames only; a held-out frame is compared with its training neighbours, so its image never influences theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.classical.flow import Field, FlowConfig, flow_between, homography_flow, sample
from fourfold.priors.classical.sfm import Features, Structure, keypoints_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EvidenceConfig:
    """Numbers of the motion evidence.

    Attributes:
        tolerance: pixels at 640 longer side by which a flow vector may miss its epipolar line (or the turned camera's flow).
        tolerance_share: additional tolerance as a share of the flow's length.
        usual: the tolerance is at least this many median residuals of the pair (imprecise poses).
        gaps: how many training frames apart frames are compared; motion shows at large gaps, small gaps survive fast motion.
        longest: share of the image diagonal beyond which flow is not trusted.
        spread: blur of the sparse evidence and of the photometric gain, share of the image width.
        resting: weight of a place where all keypoints rest: slow things stay within the tolerance of the mapper.
        sparse_votes: fewest matches by which a keypoint votes.
    """

    tolerance: float = 1.0
    tolerance_share: float = 0.03
    usual: float = 3.0
    gaps: tuple[int, ...] = (1, 2, 4)
    longest: float = 0.2
    spread: float = 0.012
    resting: float = 0.15
    sparse_votes: int = 2


def fundamental(K_a: Array, pose_a: Array, K_b: Array, pose_b: Array) -> Array:
    """(3, 3) F with x_b^T F x_a = 0 for world_to_camera poses."""
    relative = pose_b @ np.linalg.inv(pose_a)
    tx, ty, tz = relative[:3, 3]
    skew = np.array([[0, -tz, ty], [tz, 0, -tx], [-ty, tx, 0]])
    return np.linalg.inv(K_b).T @ skew @ relative[:3, :3] @ np.linalg.inv(K_a)


def nearest_static(xy_a: Array, xy_b: Array, K_a: Array, pose_a: Array, K_b: Array, pose_b: Array, nearest: float) -> Array:
    """(M, 2) the position closest to xy_b at which a resting point on the ray of xy_a, at depth `nearest` to infinity, would be seen.

    Unlike the whole epipolar line this excludes what would lie behind the camera or beyond infinity.
    """
    relative = pose_b @ np.linalg.inv(pose_a)
    ray = np.concatenate([xy_a, np.ones((len(xy_a), 1))], 1) @ np.linalg.inv(K_a).T @ relative[:3, :3].T
    ends = []
    for inverse_depth in (0.0, 1.0 / nearest):
        seen = (ray + inverse_depth * relative[:3, 3]) @ K_b.T
        ends.append(seen[:, :2] / np.where(seen[:, 2:] > 1e-6, seen[:, 2:], 1e-6))
    far, along = ends[0], ends[1] - ends[0]
    share = np.sum((xy_b - far) * along, 1) / np.maximum(np.sum(along**2, 1), 1e-12)
    return far + np.clip(share, 0, 1)[:, None] * along


def ray_distances(xy_a: Array, xy_b: Array, K_a: Array, pose_a: Array, K_b: Array, pose_b: Array, nearest: float) -> Array:
    """(M,) pixels from xy_b to `nearest_static`."""
    return np.linalg.norm(xy_b - nearest_static(xy_a, xy_b, K_a, pose_a, K_b, pose_b, nearest), axis=1)


def partners(capture: Capture, view: int, t: int, config: EvidenceConfig) -> list[int]:
    """Training frames that frame t is compared with."""
    train = np.flatnonzero(capture.train[view] & capture.present[view])
    at = int(np.searchsorted(train, t))
    on = at < len(train) and train[at] == t
    rows = {at + g - (0 if on else 1) for g in config.gaps} | {at - g for g in config.gaps}
    return [int(train[r]) for r in sorted(rows) if 0 <= r < len(train) and train[r] != t]


def dense_evidence(
    capture: Capture, view: int, turning: bool, nearest: float, config: EvidenceConfig = EvidenceConfig(), flow: FlowConfig = FlowConfig()
) -> tuple[Field, Field, Field]:
    """Evidence (root mean square over the partners), weight and photometric gain (T, H, W) from dense flow.

    The gain, grey levels, is by how much the flow explains the other images better than the nearest resting hypothesis does: near 0 on
    blank or striped walls, where flow is a guess; the best of the partners counts, since fast things are only followed at small gaps.

    Args:
        capture: with cameras.
        turning: the camera did not travel: compare with a homography instead of epipolar lines.
        nearest: least depth in the scene, scene units.
    """
    width, height = (int(n) for n in capture.sizes[view])
    evidence, weight, gain = (np.zeros((capture.times, height, width), np.float32) for _ in range(3))
    side = 2 * round(config.spread * width) + 1
    kept: dict[tuple[int, int], tuple[Field, Field]] = {}
    for t in np.flatnonzero(capture.present[view]):
        for other in partners(capture, view, int(t), config):
            key = (int(t), other)
            if key not in kept:
                ahead, back, ahead_sure, back_sure = flow_between(capture.image(view, key[0]), capture.image(view, other), flow)
                kept[key] = ahead, ahead_sure
                if capture.train[view, t]:
                    kept[other, key[0]] = back, back_sure
            residual, sure, better = _dense_residual(capture, view, key, kept.pop(key), turning, nearest, config)
            evidence[t] += residual**2 * sure
            gain[t] = np.maximum(gain[t], cv2.blur(better * sure, (side, side)))
            weight[t] += sure
        evidence[t] = np.sqrt(evidence[t] / np.maximum(weight[t], 1e-6))
        weight[t] /= max(1, len(partners(capture, view, int(t), config)))
    return evidence, weight, gain


def _dense_residual(
    capture: Capture, view: int, pair: tuple[int, int], found: tuple[Field, Field], turning: bool, nearest: float, config: EvidenceConfig
) -> tuple[Field, Field, Field]:
    """Evidence, weight and photometric gain (H, W) of one pair of frames; `found` is the flow and its confidence."""
    field, sure = found
    height, width = field.shape[:2]
    unit, length = max(width, height) / 640, np.linalg.norm(field, axis=-1)
    sure = sure * (length < config.longest * np.hypot(height, width))
    a, b = pair
    (K_a, K_b), (pose_a, pose_b) = ((values[view, a], values[view, b]) for values in (capture.K, capture.world_to_camera))
    if turning:
        rotation = pose_b[:3, :3] @ pose_a[:3, :3].T
        expected = _refined_flow(K_b @ rotation @ np.linalg.inv(K_a), field, sure, unit)
    else:
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        xy_a = np.stack([x.ravel(), y.ravel()], 1)
        xy_b = nearest_static(xy_a, xy_a + field.reshape(-1, 2), K_a, pose_a, K_b, pose_b, nearest)
        expected = (xy_b - xy_a).reshape(height, width, 2).astype(np.float32)
    distance = np.linalg.norm(field - expected, axis=-1)
    usual = float(np.median(distance[sure > 0.5])) if (sure > 0.5).any() else 0.0
    allowed = max(config.tolerance * unit, config.usual * usual) + config.tolerance_share * length
    gain = _photometric_gain(capture.image(view, a), capture.image(view, b), field, np.nan_to_num(expected))
    return soft_excess(distance / allowed), sure.astype(np.float32), gain


def _photometric_gain(image_a: NDArray[np.uint8], image_b: NDArray[np.uint8], flow: Field, resting: Field) -> Field:
    """(H, W) grey levels by which `flow` explains image a from image b better than `resting` does, slightly blurred."""
    errors = [cv2.blur(np.abs(sample(image_b, f)[0] - image_a).mean(axis=-1), (3, 3)) for f in (resting, flow)]
    return errors[0] - errors[1]


def soft_excess(ratio: NDArray[np.floating]) -> Field:
    """Residual over tolerance to evidence: 0 at 0, 0.5 at 1, towards 1 beyond."""
    square = np.square(np.minimum(ratio, 1e3))
    return (square / (1 + square)).astype(np.float32)


def _refined_flow(homography: Array, field: Field, sure: Field, unit: float) -> Field:
    """The homography's flow after a robust refit to the flow near it: takes up what little the camera moved besides turning."""
    height, width = field.shape[:2]
    expected = homography_flow(homography, height, width)
    near = (sure > 0.5) & (np.linalg.norm(field - expected, axis=-1) < 6 * unit)
    y, x = np.nonzero(near[::4, ::4])
    if len(x) < 200:
        return expected
    xy = np.stack([4 * x + 0.5, 4 * y + 0.5], 1)
    cv2.setRNGSeed(0)
    refit, _ = cv2.findHomography(xy, xy + field[4 * y, 4 * x], cv2.RANSAC, 1.5 * unit)
    return expected if refit is None else homography_flow(refit, height, width)


def sparse_evidence(
    capture: Capture, view: int, features: Features, structure: Structure | None, nearest: float, config: EvidenceConfig = EvidenceConfig()
) -> tuple[Field, Field]:
    """Evidence and weight (T, H, W) from feature matches at all gaps that contradict the cameras.

    A keypoint speaks for rest if the mapper used it or most of its matches agree with the cameras, for motion if most of them disagree.
    """
    width, height = (int(n) for n in capture.sizes[view])
    unit = max(width, height) / 640
    bad, total = (np.zeros(len(features.xy)) for _ in range(2))
    a, b = features.image[features.pairs[:, 0]], features.image[features.pairs[:, 1]]
    for image_a, image_b in sorted(set(zip(a.tolist(), b.tolist(), strict=True))):
        rows = features.pairs[(a == image_a) & (b == image_b)]
        cameras = [
            (capture.K[features.view[i], features.time[i]], capture.world_to_camera[features.view[i], features.time[i]]) for i in (image_a, image_b)
        ]
        xy_a, xy_b = features.xy[rows[:, 0]].astype(np.float64), features.xy[rows[:, 1]].astype(np.float64)
        distance = ray_distances(xy_a, xy_b, *cameras[0], *cameras[1], nearest)
        wrong = distance > config.tolerance * unit + config.tolerance_share * np.linalg.norm(xy_b - xy_a, axis=1)
        for column in (0, 1):
            np.add.at(bad, rows[:, column], wrong)
            np.add.at(total, rows[:, column], 1)
    moving = (bad > 0.5 * total) & (total >= config.sparse_votes)
    resting = (bad <= 0.5 * total) & (total >= config.sparse_votes)
    if structure is not None:
        used = keypoints_of(features, structure)
        moving, resting = moving & ~used, resting | used
    evidence, weight = (np.zeros((capture.times, height, width), np.float32) for _ in range(2))
    sigma = config.spread * width
    for row, t in enumerate(features.time):
        if features.view[row] != view:
            continue
        mine = features.image == row
        for_motion, for_rest = (_density(features.xy[mine & chosen], height, width, sigma) for chosen in (moving, resting))
        evidence[t] = for_motion / np.maximum(for_motion + for_rest, 1e-6)
        weight[t] = np.clip((for_motion + for_rest) / 2, 0, 1) * np.maximum(evidence[t], config.resting)
    return evidence, weight


def _density(xy: NDArray[np.float32], height: int, width: int, sigma: float) -> Field:
    """(H, W) points within about one sigma of each pixel."""
    image = np.zeros((height, width), np.float32)
    np.add.at(image, (np.clip(xy[:, 1].astype(int), 0, height - 1), np.clip(xy[:, 0].astype(int), 0, width - 1)), 1)
    return cv2.GaussianBlur(image, (0, 0), sigma) * (2 * np.pi * sigma**2)
