"""Captures of an object alone: images with opacity, whose transparent part shows nothing (rendered data sets such as D-NeRF)."""

from __future__ import annotations

import numpy as np

from fourfold.capture.capture import Capture

BACKDROP = (1.0, 1.0, 1.0)
"""RGB on which images with opacity are composited when they are read (`ingest.split_alpha`)."""

_LOOKED_AT = 12
_EMPTY_SHARE = 0.02


def opacity_given(capture: Capture) -> bool:
    """Whether the alpha of every training camera is the opacity of what it shows (not which pixels are valid)."""
    trained = np.flatnonzero(capture.train.any(axis=1))
    return len(trained) > 0 and capture.facts.get("alpha_means") == "opacity" and all(capture.has("alpha", int(v)) for v in trained)


def object_alone(capture: Capture) -> bool:
    """Whether the training images show an object before nothing: they come with opacity, and a part of each of them is transparent.

    A dozen images, evenly over the recording, are looked at; opacity that is full everywhere says nothing.
    """
    if not opacity_given(capture):
        return False
    frames = capture.train_frames()
    for number in np.unique(np.linspace(0, len(frames) - 1, _LOOKED_AT).round().astype(int)):
        alpha = capture.alpha(*frames[number])
        if alpha is None or np.mean(alpha <= 127) < _EMPTY_SHARE:
            return False
    return True


def backdrop(capture: Capture) -> tuple[float, float, float] | None:
    """The plain RGB behind an object alone, None for any other capture."""
    return BACKDROP if object_alone(capture) else None
