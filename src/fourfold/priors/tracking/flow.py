"""Dense optical flow without weights: DIS, started from a global motion where frames are far apart, checked forward against backward."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.priors.contracts import Flow, Provenance
from fourfold.priors.frames_kept import KeptFrames
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.track_step import grey_of

Image = NDArray[np.uint8]
Field = NDArray[np.float32]
Between = Callable[[Image, Image], tuple[Field, Field, Field, Field]]


@dataclass(frozen=True)
class FlowConfig:
    """Numbers of the dense flow.

    Attributes:
        finest_scale: DIS pyramid level at which it stops, 0 is every pixel; 1 halves the cost and blurs thin things.
        round_trip: pixels plus `round_trip_share` of the motion that a forward-backward round trip may miss at confidence 0.5.
        round_trip_share: see `round_trip`; raise it for strong zoom.
        restart_below: share of confident pixels under which a global homography from corners is tried as a start (fast camera motion).
        corners: most corners tracked for that start.
    """

    finest_scale: int = 0
    round_trip: float = 0.75
    round_trip_share: float = 0.02
    restart_below: float = 0.75
    corners: int = 1500


def estimate_flow(capture: Capture, config: FlowConfig = FlowConfig(), kept: KeptFrames = KeptFrames()) -> Flow:
    """Flow between neighbouring training frames of every view; held-out frames are never looked at and stay zero with confidence 0.

    Args:
        kept: keeps finished pairs of frames for a run that is killed and made again.
    """
    return flow_of_pairs(capture, partial(flow_between, config=config), Provenance("dis"), kept)


def flow_of_pairs(capture: Capture, between: Between, provenance: Provenance, kept: KeptFrames = KeptFrames()) -> Flow:
    """As `estimate_flow`, by any way `between` to find the flow of two images; `provenance` gets the share of confident pixels."""

    def pair(view: int, before: int, after: int) -> list[NDArray[np.float16]]:
        found = between(capture.image(view, before), capture.image(view, after))
        return [field.astype(np.float16) for field in found]

    forward, backward, forward_confidence, backward_confidence = [], [], [], []
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        shape = (capture.times, height, width)
        fields = [np.zeros((*shape, 2), np.float16) for _ in range(2)] + [np.zeros(shape, np.float16) for _ in range(2)]
        times = np.flatnonzero(capture.train[view] & capture.present[view])
        what = f"view {view + 1}" if capture.views > 1 else ""
        for before, after in counted(list(itertools.pairwise(times)), what):
            found = kept.frame(f"{view:03d}_{before:05d}", partial(pair, view, before, after)) or []
            for store, moment, value in zip(fields, (before, after, before, after), found, strict=True):
                store[moment] = value
        for store, value in zip((forward, backward, forward_confidence, backward_confidence), fields, strict=True):
            store.append(value)
    confident = [float((c[capture.train[v]] > 0.5).mean()) for v, c in enumerate(forward_confidence) if capture.train[v].any()]
    provenance = replace(provenance, figures={**provenance.figures, "confident_share": float(np.mean(confident)) if confident else 0.0})
    return Flow(provenance, tuple(forward), tuple(backward), tuple(forward_confidence), tuple(backward_confidence))


def flow_between(image_a: Image, image_b: Image, config: FlowConfig = FlowConfig()) -> tuple[Field, Field, Field, Field]:
    """Flow of any two images (H, W, 3) uint8 of one size.

    Returns:
        a to b (H, W, 2) float32 pixels (dx, dy), b to a, and their confidences (H, W) in [0, 1] from the round trip.
    """
    grey_a, grey_b = (grey_of(image) for image in (image_a, image_b))
    ahead, back = _dis(grey_a, grey_b, None, config), _dis(grey_b, grey_a, None, config)
    confidence = round_trip_confidence(ahead, back, config)
    if (confidence > 0.5).mean() < config.restart_below:
        start = _global_motion(grey_a, grey_b, config)
        if start is not None:
            again, again_back = (_dis_from(a, b, h, config) for a, b, h in ((grey_a, grey_b, start), (grey_b, grey_a, np.linalg.inv(start))))
            again_confidence = round_trip_confidence(again, again_back, config)
            if (again_confidence > 0.5).mean() > (confidence > 0.5).mean():
                ahead, back, confidence = again, again_back, again_confidence
    return ahead, back, confidence, round_trip_confidence(back, ahead, config)


def round_trip_confidence(ahead: Field, back: Field, config: FlowConfig = FlowConfig()) -> Field:
    """(H, W) confidence of `ahead` (H, W, 2) from the round trip through `back`: 1 closed, 0.5 at the tolerance, 0 outside the image."""
    returned, inside = sample(back, ahead)
    miss = np.linalg.norm(ahead + returned, axis=-1)
    allowed = config.round_trip + config.round_trip_share * (np.linalg.norm(ahead, axis=-1) + np.linalg.norm(returned, axis=-1))
    return (inside * np.exp2(-((miss / allowed) ** 2))).astype(np.float32)


def sample(values: NDArray[Any], flow: NDArray[Any]) -> tuple[Field, NDArray[np.bool_]]:
    """`values` (H, W, ...) read where `flow` (H, W, 2) arrives, bilinear, and whether that is inside the image."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + flow[..., 0].astype(np.float32), y + flow[..., 1].astype(np.float32)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return cv2.remap(values.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), inside


def homography_flow(homography: NDArray[np.float64], height: int, width: int) -> Field:
    """(H, W, 2) displacement of every pixel under a homography given for pixel centres at +0.5; NaN behind the camera."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    moved = np.stack([x, y, np.ones_like(x)], -1) @ homography.T
    depth = np.where(moved[..., 2:] > 1e-6, moved[..., 2:], np.nan)
    return (moved[..., :2] / depth - np.stack([x, y], -1)).astype(np.float32)


def _dis(grey_a: Image, grey_b: Image, start: Field | None, config: FlowConfig) -> Field:
    engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    engine.setFinestScale(config.finest_scale)
    return engine.calc(grey_a, grey_b, start)


def _dis_from(grey_a: Image, grey_b: Image, homography: NDArray[np.float64], config: FlowConfig) -> Field:
    """DIS after `grey_b` was warped onto `grey_a` by `homography` (a to b), plus the homography's own displacement."""
    height, width = grey_a.shape
    to_centres = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    integer = np.linalg.inv(to_centres) @ homography @ to_centres
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(grey_b, integer, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    rest = _dis(grey_a, warped, None, config)
    given = np.nan_to_num(homography_flow(homography, height, width))
    there, _ = sample(given, rest)
    return rest + there


def _global_motion(grey_a: Image, grey_b: Image, config: FlowConfig) -> NDArray[np.float64] | None:
    """The homography a to b (pixel centres at +0.5) of SIFT corners, or None where too few agree."""
    sift = cv2.SIFT_create(nfeatures=config.corners, contrastThreshold=0.02)
    (keys_a, words_a), (keys_b, words_b) = (sift.detectAndCompute(grey, None) for grey in (grey_a, grey_b))
    if words_a is None or words_b is None or len(keys_b) < 2:
        return None
    pairs = [m for m, *other in cv2.BFMatcher().knnMatch(words_a, words_b, k=2) if other and m.distance < 0.8 * other[0].distance]
    if len(pairs) < 20:
        return None
    from_xy = np.float64([keys_a[m.queryIdx].pt for m in pairs]) + 0.5
    to_xy = np.float64([keys_b[m.trainIdx].pt for m in pairs]) + 0.5
    cv2.setRNGSeed(0)
    homography, inliers = cv2.findHomography(from_xy, to_xy, cv2.RANSAC, 3.0)
    return None if homography is None or inliers.sum() < 15 else homography


PROVIDERS = (Provider("dis", ("flow",), (), 10, lambda _: None, lambda capture, priors: [estimate_flow(capture, kept=priors.kept)]),)
