"""MonoFusion's depth: DUSt3R's pairs of all cameras at a moment aligned with the preset cameras (equation 5), MonST3R's pairs of each camera's
video aligned alone, and one scale per camera that brings the second onto the first (equations 6 and 7; spec monofusion.md section 2).

Both use MonST3R's checkpoint where it is here, which sees people better, in DUSt3R's program (see `foundation.dust3r`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Priors, Provenance
from fourfold.priors.depth_alignment.global_alignment import Aligned, align_pairs
from fourfold.priors.depth_alignment.pair_start import Pair
from fourfold.priors.depth_alignment.scales import align_depth
from fourfold.priors.foundation.dust3r import load_network, look
from fourfold.priors.foundation.image_pairs import Cut, Image, cut
from fourfold.priors.foundation.video import training_times
from fourfold.priors.foundation.weights import first_here, missing
from fourfold.priors.providers import Provider

CHECKPOINTS = ("monst3r", "dust3r")


@dataclass(frozen=True)
class VideoNumbers:
    """Which images of one camera are looked at together.

    Attributes:
        window: frames that are aligned at once; memory grows with their number.
        overlap: frames that two windows share, by which the later one gets the scale of the earlier.
        strides: a frame is paired, in both directions, with those so many frames later.
    """

    window: int = 40
    overlap: int = 10
    strides: tuple[int, ...] = (1, 2, 5)


def between_cameras(network: Any, capture: Capture) -> Depth:
    """Depth (scene units) that the cameras of each moment agree on; 0 where a moment has one camera."""
    depth, sure = _empty(capture)
    for time in range(capture.times):
        views = [v for v in range(capture.views) if time in training_times(capture, v)]
        if len(views) > 1:
            _keep(capture, [(v, time) for v in views], _aligned(network, capture, [(v, time) for v in views], None), depth, sure)
    return Depth(Provenance("dust3r_preset", needs_weights=True, figures={"scale": "scene"}), tuple(depth), tuple(sure))


def along_videos(network: Any, capture: Capture, numbers: VideoNumbers = VideoNumbers()) -> Depth:
    """Depth that agrees over time within each camera's film; its scale is that of each camera's own."""
    depth, sure = _empty(capture)
    for view in range(capture.views):
        times = training_times(capture, view)
        starts = range(0, max(len(times) - numbers.overlap, 1), numbers.window - numbers.overlap)
        for number, start in enumerate(starts):
            own = times[start : start + numbers.window]
            if len(own) < 2:
                continue
            before = {t: depth[view][t].copy() for t in own[: numbers.overlap]} if number else {}
            _keep(capture, [(view, t) for t in own], _aligned(network, capture, [(view, t) for t in own], numbers.strides), depth, sure)
            ratios = [was[both] / depth[view][t][both] for t, was in before.items() if (both := (was > 0) & (depth[view][t] > 0)).any()]
            if ratios:
                depth[view][own] *= np.float32(np.median(np.concatenate(ratios)))
    return Depth(Provenance("monst3r_video", needs_weights=True, figures={"scale": "relative"}), tuple(depth), tuple(sure))


def _aligned(network: Any, capture: Capture, images: Sequence[Image], strides: tuple[int, ...] | None) -> tuple[list[Cut], Aligned]:
    """The images as the network reads them, and their alignment from all directed pairs, or those so many frames apart."""
    cuts = [cut(capture.image(*image)) for image in images]
    K = np.stack([_intrinsics(capture.K[image], c) for image, c in zip(images, cuts, strict=True)])
    pose = np.stack([capture.world_to_camera[image] for image in images])
    chosen = [(a, b) for a, b in permutations(range(len(images)), 2) if strides is None or abs(a - b) in strides]
    return cuts, align_pairs([_pair(network, cuts, a, b) for a, b in chosen], K, pose)


def _pair(network: Any, cuts: Sequence[Cut], a: int, b: int) -> Pair:
    first, second = look(network, cuts[a], cuts[b])
    points = (first["pts3d"], second["pts3d_in_other_view"])
    known = [np.asarray(part[0].double().cpu()) for part in points]
    sure = [np.log(np.maximum(np.asarray(part["conf"][0].double().cpu()), 1.0)) for part in (first, second)]
    return Pair((a, b), (known[0], known[1]), (sure[0], sure[1]))


def _intrinsics(K: NDArray[np.float64], of: Cut) -> NDArray[np.float64]:
    """(3, 3) of the cut image, whose pixel is origin + step * pixel in the whole one."""
    changed = K.copy()
    changed[:2, 2] = (K[:2, 2] - of.origin) / of.step
    changed[0, 0], changed[1, 1] = K[0, 0] / of.step[0], K[1, 1] / of.step[1]
    return changed


def _keep(
    capture: Capture, images: Sequence[Image], made: tuple[list[Cut], Aligned], depth: list[NDArray[np.float32]], sure: list[NDArray[np.float16]]
) -> None:
    """Write the answer into `depth` and `sure`, at the size of the capture's images; nothing in the margins that were cropped away."""
    cuts, aligned = made
    for (view, time), of, own, weight in zip(images, cuts, aligned.depth, aligned.confidence, strict=True):
        height, width = depth[view].shape[1:]
        x = ((np.arange(width) + 0.5 - of.origin[0]) / of.step[0] - 0.5).astype(np.float32)
        y = ((np.arange(height) + 0.5 - of.origin[1]) / of.step[1] - 0.5).astype(np.float32)
        grid = np.broadcast_to(x, (height, width)).copy(), np.broadcast_to(y[:, None], (height, width)).copy()
        inside = (grid[0] >= -0.5) & (grid[0] <= own.shape[1] - 0.5) & (grid[1] >= -0.5) & (grid[1] <= own.shape[0] - 0.5)
        read = [cv2.remap(part.astype(np.float32), *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in (own, weight)]
        good = inside & (read[0] > 0)
        depth[view][time] = np.where(good, read[0], 0)
        sure[view][time] = np.where(good, 1 - np.exp(-read[1]), 0)


def _empty(capture: Capture) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float16]]]:
    shapes = [(capture.times, int(h), int(w)) for w, h in capture.sizes]
    return [np.zeros(s, np.float32) for s in shapes], [np.zeros(s, np.float16) for s in shapes]


def _missing(capture: Capture) -> str | None:
    several = ((capture.train & capture.present).sum(axis=0) > 1).any() and capture.posed[capture.train].all()
    return missing(*CHECKPOINTS) if several else ""


def _between(capture: Capture, _: Priors) -> list[Depth]:
    return [between_cameras(load_network(first_here(*CHECKPOINTS)), capture)]


def _along(capture: Capture, _: Priors) -> list[Depth]:
    return [along_videos(load_network(first_here(*CHECKPOINTS)), capture)]


def _fused(capture: Capture, _: Priors) -> list[Depth]:
    network = load_network(first_here(*CHECKPOINTS))
    return [align_depth(capture, along_videos(network, capture), between_cameras(network, capture))[0]]


PROVIDERS = (
    # before point maps that are scaled image by image, for who names it
    Provider("monst3r_on_dust3r", ("depth",), ("cameras",), 41, _missing, _fused, named=True),
    Provider("dust3r_preset", ("depth",), ("cameras",), 0, _missing, _between, named=True),  # the paper's Table 2
    Provider("monst3r_video", ("depth",), ("cameras",), 0, _missing, _along, named=True),
)
