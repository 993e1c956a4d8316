"""Exact cameras, masks, depth and tracks of a generated capture, for who insists on them: what a recipe would be with a prior that is right.

They serve ablations named `exact_...` and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic.truth import TRUTH, Truth, truth_image
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.priors.contracts import Cameras, Depth, Masks, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.priors.depth_range import near_far
from fourfold.priors.providers import Provider
from fourfold.priors.supplied.places import source_path

BY = "truth"


def true_cameras(capture: Capture, root: Path) -> Cameras:
    """The exact cameras of every image, held-out ones too, at the size of the images."""
    truth = Truth.load(root)
    K = truth.K[: capture.views].copy()
    K[:, :, :2] *= (capture.sizes / Capture.load(root).sizes)[:, None, :, None]
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    return Cameras(Provenance(BY, figures={"source": "given"}), K, truth.world_to_camera[: capture.views].copy(), *none)


def true_masks(capture: Capture, root: Path) -> Masks:
    """The exact masks of every view; an image that was reduced is a mover's where half of its pixels are."""

    def reduced(image: NDArray[np.int8], width: int, height: int) -> NDArray[np.int8]:
        share = cv2.resize((image > 0).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        return np.where(share > 0.499, 1, -1).astype(np.int8)

    stacks = [np.zeros((capture.times, *_size(capture, view)), np.int8) for view in range(capture.views)]
    for view, stack in enumerate(stacks):
        exact = truth_image(root, "masks", view)
        for time in np.flatnonzero(capture.present[view]):
            stack[time] = reduced(exact[time], *_size(capture, view)[::-1])
    return Masks(Provenance(BY, figures={"evidence": [BY]}), tuple(stacks))


def true_depth(capture: Capture, root: Path) -> Depth:
    """The exact depth of training images, that of the middle pixel where the image was reduced; confidence 1 where there is any."""
    stacks = [np.zeros((capture.times, *_size(capture, view)), np.float32) for view in range(capture.views)]
    for view, stack in enumerate(stacks):
        exact = truth_image(root, "depth", view)
        rows, columns = ((np.arange(n) * m + m // 2) // n for n, m in zip(stack.shape[1:], exact.shape[1:], strict=True))
        for time in np.flatnonzero(capture.train[view] & capture.present[view]):
            stack[time] = np.where(np.isfinite(exact[time]), exact[time], 0)[np.ix_(rows, columns)]
    sure = tuple((stack > 0).astype(np.float16) for stack in stacks)
    near, far = near_far(Depth(Provenance(BY), tuple(stacks), sure))
    return Depth(Provenance(BY, figures={"near": near, "far": far}), tuple(stacks), sure)


def true_tracks(capture: Capture, root: Path) -> list[Tracks3D | Tracks2D]:
    """The exact paths of the points on movers that some training image shows, in the world and in each view. Held-out images show nothing."""
    truth = Truth.load(root)
    ratio = np.array([capture.K[view, 0, 0, 0] / truth.K[view, 0, 0, 0] for view in range(capture.views)])
    seen = truth.visibility[: capture.views] & (capture.train & capture.present)[:, None]
    rows = np.flatnonzero(seen.any((0, 2)))
    anywhere = seen.any(0)[rows]
    xyz = truth.xyz[rows].astype(np.float32)
    solid = Tracks3D(
        Provenance(BY, figures={"tracks": len(rows)}),
        xyz,
        anywhere.astype(np.float16),
        np.ones(anywhere.shape, np.float16),
        truth.color[rows],
        neighbour_spacing(xyz[:, int(anywhere.sum(0).argmax())].astype(np.float64), lonely=1.0),
        truth.object_id[rows].astype(np.int32) - 1,
        np.ones(len(rows), np.uint8),
    )
    view, point = np.nonzero(seen.any(2))
    xy = np.nan_to_num(truth.xy[view, point]) * ratio[view, None, None]
    visible = seen[view, point].astype(np.float16)
    flat = Tracks2D(
        Provenance(BY, figures={"tracks": len(view)}),
        xy.astype(np.float32),
        visible,
        visible.copy(),
        view.astype(np.int32),
        visible.argmax(1).astype(np.int32),
    )
    return [solid, flat]


def _size(capture: Capture, view: int) -> tuple[int, int]:
    """Height and width."""
    width, height = (int(n) for n in capture.sizes[view])
    return height, width


def _root(capture: Capture) -> Path | None:
    """The generated capture's folder, if it has a truth, and the cameras are the truth's: estimated ones have a world of their own."""
    return _generated(capture) if capture.cameras == "given" else None


def _generated(capture: Capture) -> Path | None:
    """The generated capture's folder, if it has a truth of as many moments."""
    source = source_path(capture)
    known = source is not None and (source / TRUTH / "truth.safetensors").exists() and Capture.load(source).times == capture.times
    return source if known else None


def _missing(capture: Capture) -> str | None:
    return "" if _root(capture) is None else None


def _here(capture: Capture) -> Path:
    root = _root(capture)
    assert root is not None  # `_missing` was asked before
    return root


def _no_truth(capture: Capture) -> str | None:
    return "" if _generated(capture) is None else None


def _cameras(capture: Capture, _: Priors) -> list[Cameras]:
    root = _generated(capture)
    assert root is not None  # `_no_truth` was asked before
    return [true_cameras(capture, root)]


def _masks(capture: Capture, _: Priors) -> list[Masks]:
    return [true_masks(capture, _here(capture))]


def _depth(capture: Capture, _: Priors) -> list[Depth]:
    return [true_depth(capture, _here(capture))]


def _tracks(capture: Capture, _: Priors) -> list[Tracks3D | Tracks2D]:
    return true_tracks(capture, _here(capture))


PROVIDERS = (
    Provider("truth-cameras", ("cameras",), (), 0, _no_truth, _cameras, named=True),
    Provider("truth-masks", ("masks",), (), 0, _missing, _masks, named=True),
    Provider("truth-depth", ("depth",), (), 0, _missing, _depth, named=True),
    Provider("truth-tracks", ("tracks3d", "tracks2d"), (), 0, _missing, _tracks, named=True),
)
