"""Points that two cameras see at the same moment: the union of all matchers at hand. Source: spec sparse_dynamic_cameras.md section 2.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture
from fourfold.geometry.epipolar import fundamental_matrix
from fourfold.priors.contracts import Masks, Matches, Priors, Provenance
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.grown_matches import GrowNumbers, grow
from fourfold.priors.tracking.matching import DetectAndDescribe, PointFeatures
from fourfold.priors.tracking.sift_matches import SiftNumbers, describe, match_along_lines
from fourfold.priors.tracking.track_step import Grey, grey_of

Points = NDArray[np.float32]
Frame = tuple[int, int]
Found = tuple[Points, Points, NDArray[np.float32]]


@dataclass(frozen=True)
class MatchNumbers:
    """Numbers of the union (spec section 2.1).

    Attributes:
        same: matches whose ends lie nearer to each other than this in both images are one, pixels.
        most: matches of a pair of images at most, the surest ones.
        margin: matches of movers must lie inside the moving masks, grown by so many pixels, in both images.
        angle: pairs of cameras that look apart by more than so many degrees show no common surface.
        grow: grid points between the matches are matched too.
        band: grown matches are at most so many pixels away from their epipolar lines, where the cameras are known.
    """

    same: float = 2.0
    most: int = 500
    margin: int = 1
    angle: float = 75.0
    grow: GrowNumbers = field(default_factory=GrowNumbers)
    band: float = 1.5


@dataclass(frozen=True)
class FeatureMatcher:
    """Points with descriptors, matched along epipolar lines.

    Attributes:
        name: of the features; numbers: of the matching, and of SIFT.
        detector: finds and describes points; None is SIFT.
        margin: only points within the moving masks, grown by so many pixels.
    """

    name: str = "sift"
    numbers: SiftNumbers = field(default_factory=SiftNumbers)
    detector: DetectAndDescribe | None = None
    margin: int = 1

    def moment(self, capture: Capture, masks: Masks, frames: Sequence[Frame]) -> Mapping[tuple[Frame, Frame], Found]:
        """For pairs of `frames`, (view, time index) of one moment: (N, 2) pixels in the first, (N, 2) in the second, centres at +0.5, and confidences
        (N,) in [0, 1]; none where their epipolar lines are not known."""
        described = {f: self._describe(capture, masks, f) for f in frames}
        result: dict[tuple[Frame, Frame], Found] = {}
        for a, b in combinations(frames, 2):
            known = fundamental_between(capture, a, b)
            if known is not None:
                pairs, confidence = match_along_lines(described[a], described[b], known, self.numbers)
                result[a, b] = described[a].xy[pairs[:, 0]], described[b].xy[pairs[:, 1]], confidence
        return result

    def _describe(self, capture: Capture, masks: Masks, frame: Frame) -> PointFeatures:
        image, where = np.asarray(capture.image(*frame)), moving_pixels(masks, frame, self.margin)
        if self.detector is None:
            return describe(image, where, self.numbers)
        found = self.detector(image)
        inside = _inside(capture, masks, frame, found.xy, self.margin)
        length = np.linalg.norm(found.descriptors[inside], axis=1, keepdims=True)
        return PointFeatures(found.xy[inside], found.descriptors[inside] / np.maximum(length, 1e-12), found.scores[inside])


def match_views(
    capture: Capture,
    masks: Masks,
    matchers: Sequence[FeatureMatcher] = (FeatureMatcher(),),
    numbers: MatchNumbers = MatchNumbers(),
    stride: int = 1,
) -> Matches:
    """Match every pair of training images of the same moment.

    Args:
        masks: only moving pixels are matched.
        stride: every so many moments.
    """
    images: list[tuple[int, int, int, int]] = []
    parts: list[Found] = []
    for time in range(0, capture.times, stride):
        frames = [(int(v), time) for v in np.flatnonzero(capture.train[:, time] & capture.present[:, time])]
        answers = [matcher.moment(capture, masks, frames) for matcher in matchers] if len(frames) > 1 else []
        ready = {f: grey_of(np.asarray(capture.image(*f))) for f in frames}
        for a, b in combinations(frames, 2):
            if not _look_alike(capture, a, b, numbers.angle):
                continue
            found = union([answer[a, b] for answer in answers if (a, b) in answer], numbers)
            found = union([found, _grown(capture, masks, (a, b), ready, found, numbers)], numbers)
            inside = _inside(capture, masks, a, found[0], numbers.margin) & _inside(capture, masks, b, found[1], numbers.margin)
            if inside.any():
                images.append((*a, *b))
                parts.append((found[0][inside], found[1][inside], found[2][inside]))
    counts = [len(part[0]) for part in parts]
    none = np.zeros((0, 2), np.float32)
    xy_a, xy_b = (np.concatenate([none, *(part[i] for part in parts)]).astype(np.float32) for i in (0, 1))
    confidence = np.concatenate([np.zeros(0, np.float32), *(part[2] for part in parts)]).astype(np.float16)
    pair = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
    notes = () if len(pair) else (f"no point of {capture.name} could be matched between two cameras",)
    provenance = Provenance("+".join(m.name for m in matchers), notes=notes, figures={"matches": len(pair), "pairs": len(parts)})
    return Matches(provenance, np.array(images, np.int32).reshape(-1, 4), pair, xy_a, xy_b, confidence)


def _grown(capture: Capture, masks: Masks, pair: tuple[Frame, Frame], ready: Mapping[Frame, Grey], sure: Found, numbers: MatchNumbers) -> Found:
    """Matches grown from `sure` ones of a pair of images, near their epipolar lines where these are known."""
    a, b = pair
    xy_a, xy_b, confidence = grow(ready[a], ready[b], sure, moving_pixels(masks, a, 0), numbers.grow)
    known = fundamental_between(capture, a, b)
    if known is not None and len(xy_a):
        lines = np.concatenate([xy_a, np.ones((len(xy_a), 1))], axis=1) @ known.T
        off = np.abs((lines[:, :2] * xy_b).sum(1) + lines[:, 2]) / np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-12)
        near = off <= numbers.band
        return xy_a[near], xy_b[near], confidence[near]
    return xy_a, xy_b, confidence


def union(parts: Sequence[Found], numbers: MatchNumbers) -> Found:
    """The matches of several matchers, the surest first, without those that repeat a surer one, at most `numbers.most`."""
    none = np.zeros((0, 2), np.float32)
    xy_a = np.concatenate([none, *(p[0] for p in parts)]).astype(np.float32)
    xy_b = np.concatenate([none, *(p[1] for p in parts)]).astype(np.float32)
    confidence = np.concatenate([np.zeros(0, np.float32), *(p[2] for p in parts)]).astype(np.float32)
    order = np.argsort(-confidence, kind="stable")
    xy_a, xy_b, confidence = xy_a[order], xy_b[order], confidence[order]
    keep = np.ones(len(order), bool)
    if len(order) > 1:
        for first, second in cKDTree(xy_a).query_pairs(numbers.same, output_type="ndarray"):
            if keep[first] and np.linalg.norm(xy_b[first] - xy_b[second]) < numbers.same:
                keep[second] = False
    rows = np.flatnonzero(keep)[: numbers.most]
    return xy_a[rows], xy_b[rows], confidence[rows]


def fundamental_between(capture: Capture, a: Frame, b: Frame) -> NDArray[np.float64] | None:
    """(3, 3) float64 F with [xy_b, 1] F [xy_a, 1]^T = 0, or None where a camera is not known or both stand at one place."""
    K, pose = (torch.from_numpy(np.stack([x[a], x[b]])) for x in (capture.K, capture.world_to_camera))
    if not bool(torch.isfinite(K).all() and torch.isfinite(pose).all()):
        return None
    matrix = fundamental_matrix(K[0], pose[0], K[1], pose[1]).numpy()
    return matrix if np.abs(matrix).max() > 1e-12 else None


def moving_pixels(masks: Masks, frame: Frame, margin: int) -> NDArray[np.bool_]:
    """(H, W) moving pixels grown by `margin`."""
    return cv2.dilate(masks.moving(*frame).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0


def _inside(capture: Capture, masks: Masks, frame: Frame, xy: Points, margin: int) -> NDArray[np.bool_]:
    moving = moving_pixels(masks, frame, margin)
    width, height = (int(n) for n in capture.sizes[frame[0]])
    inside = (xy >= 0).all(axis=1) & (xy < [width, height]).all(axis=1)
    column, row = np.clip(np.floor(xy).astype(int), 0, [width - 1, height - 1]).T
    return inside & moving[row, column]


def _look_alike(capture: Capture, a: Frame, b: Frame, angle: float) -> bool:
    cosine = float(capture.world_to_camera[a][2, :3] @ capture.world_to_camera[b][2, :3])
    return not np.isfinite(cosine) or cosine > np.cos(np.radians(angle))


def _missing(capture: Capture) -> str | None:
    return None if ((capture.train & capture.present).sum(axis=0) >= 2).any() else ""


def _make(capture: Capture, priors: Priors) -> list[Matches]:
    return [match_views(capture, priors.require(Masks))]


PROVIDERS = (Provider("sift", ("matches",), ("masks", "cameras"), 10, _missing, _make),)
