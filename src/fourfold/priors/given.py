"""Priors that the capture brought itself: they always come first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras, Depth, Masks, Priors, Provenance
from fourfold.priors.providers import Provider


def _missing(kind: str) -> Callable[[Capture], str | None]:
    def applies(capture: Capture) -> str | None:
        trained = np.flatnonzero(capture.train.any(axis=1))
        return None if len(trained) and all(capture.has(kind, int(v)) for v in trained) else ""  # type: ignore[arg-type]

    return applies


def _no_cameras(capture: Capture) -> str | None:
    known = np.isfinite(capture.world_to_camera[capture.train]).all() and np.isfinite(capture.K[capture.train]).all()
    return None if known else ""


def _cameras(capture: Capture, _: Priors) -> list[Cameras]:
    none = np.zeros(0, np.float32)
    provenance = Provenance("given", figures={"source": capture.cameras if capture.cameras != "unknown" else "given"})
    return [Cameras(provenance, capture.K, capture.world_to_camera, np.zeros((0, 3), np.float32), none, none.astype(np.int32))]


def _masks(capture: Capture, _: Priors) -> list[Masks]:
    return [Masks(Provenance("given"), tuple(_stack(capture, v, capture.mask, np.int8) for v in range(capture.views)))]


def _depth(capture: Capture, _: Priors) -> list[Depth]:
    depth = tuple(_stack(capture, v, capture.depth, np.float32) for v in range(capture.views))
    return [Depth(Provenance("given"), depth, tuple((d > 0).astype(np.float16) for d in depth))]


def _stack(capture: Capture, view: int, read: Callable[[int, int], NDArray | None], dtype: type) -> NDArray:
    width, height = (int(n) for n in capture.sizes[view])
    stack = np.zeros((capture.times, height, width), dtype)
    for index in np.flatnonzero(capture.present[view]):
        image = read(view, int(index))
        if image is not None:
            stack[index] = image
    return stack


PROVIDERS = (
    Provider("given", ("cameras",), (), 1000, _no_cameras, _cameras),
    Provider("given-masks", ("masks",), (), 1000, _missing("masks"), _masks),
    Provider("given-depth", ("depth",), (), 1000, _missing("depth"), _depth),
)
