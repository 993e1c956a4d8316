"""Priors that the capture brought itself: they come before everything that would have to be estimated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.cutout import object_alone
from fourfold.files import give_back
from fourfold.priors.contracts import Cameras, Depth, Masks, Priors, Provenance
from fourfold.priors.depth_range import near_far
from fourfold.priors.mapped import scratch
from fourfold.priors.providers import Provider


def given_cameras(capture: Capture) -> Cameras:
    """The capture's own cameras as a prior."""
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    source = capture.cameras if capture.cameras != "unknown" else "given"
    return Cameras(Provenance("given", figures={"source": source}), capture.K.copy(), capture.world_to_camera.copy(), *none)


def given_masks(capture: Capture) -> Masks:
    """The masks the capture brought, of every present frame; views without any are all 0."""
    masks = tuple(_stack(capture, v, capture.mask, capture.present[v], np.int8) for v in range(capture.views))
    return Masks(Provenance("given", figures={"evidence": ["given"]}), masks)


def opacity_masks(capture: Capture) -> Masks:
    """Of an object alone: +1 where a present image is opaque (alpha above 127), -1 elsewhere; 0 for images that have no opacity."""

    def read(view: int, index: int) -> NDArray[np.int8] | None:
        alpha = capture.alpha(view, index)
        return None if alpha is None else np.where(np.asarray(alpha) > 127, 1, -1).astype(np.int8)

    masks = tuple(_stack(capture, v, read, capture.present[v], np.int8) for v in range(capture.views))
    return Masks(Provenance("opacity", figures={"evidence": ["given"]}), masks)


def given_depth(capture: Capture) -> Depth:
    """The depth the capture brought, of its training frames (held-out frames are never looked at); confidence 1 where it is known."""
    depth = tuple(_stack(capture, v, _known_depth(capture), capture.train[v], np.float32) for v in range(capture.views))
    confidence = tuple(_known(capture, d) for d in depth)
    near, far = near_far(Depth(Provenance("given"), depth, confidence))
    return Depth(Provenance("given", figures={"near": near, "far": far}), depth, confidence)


def _stack(
    capture: Capture, view: int, read: Callable[[int, int], NDArray[Any] | None], frames: NDArray[np.bool_], dtype: type[np.generic]
) -> NDArray[Any]:
    width, height = (int(n) for n in capture.sizes[view])
    stack = scratch((capture.times, height, width), dtype, capture.root)
    for index in np.flatnonzero(frames & capture.present[view]):
        image = read(view, int(index))
        if image is not None:
            stack[index] = image
    give_back(stack)
    capture.release()
    return stack


def _known_depth(capture: Capture) -> Callable[[int, int], NDArray[Any] | None]:
    """The depth of an image, 0 where it is no number above 0."""

    def read(view: int, index: int) -> NDArray[Any] | None:
        depth = capture.depth(view, index)
        return None if depth is None else np.where(np.isfinite(depth) & (depth > 0), depth, 0)

    return read


def _known(capture: Capture, depth: NDArray[Any]) -> NDArray[Any]:
    """(T, H, W) 1 where depth is known."""
    confidence = scratch(depth.shape, np.float16, capture.root)
    for index in range(len(depth)):
        confidence[index] = depth[index] > 0
    give_back(depth)
    give_back(confidence)
    return confidence


def _missing(kind: str) -> Callable[[Capture], str | None]:
    def applies(capture: Capture) -> str | None:
        trained = np.flatnonzero(capture.train.any(axis=1))
        return None if len(trained) and all(capture.has(kind, int(v)) for v in trained) else ""  # type: ignore[arg-type]

    return applies


def _no_opacity(capture: Capture) -> str | None:
    return "" if _missing("masks")(capture) is None or not object_alone(capture) else None


def _no_cameras(capture: Capture) -> str | None:
    known = np.isfinite(capture.world_to_camera[capture.train]).all() and np.isfinite(capture.K[capture.train]).all()
    return None if known else ""


def _alone(make: Callable[[Capture], Any]) -> Callable[[Capture, Priors], list[Any]]:
    return lambda capture, _: [make(capture)]


PROVIDERS = (
    Provider("given", ("cameras",), (), 1000, _no_cameras, _alone(given_cameras)),
    Provider("given-masks", ("masks",), (), 1000, _missing("masks"), _alone(given_masks)),
    Provider("opacity", ("masks",), (), 900, _no_opacity, _alone(opacity_masks)),
    Provider("given-depth", ("depth",), (), 1000, _missing("depth"), _alone(given_depth), version=2),
)
