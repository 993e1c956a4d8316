"""Depths of movers before a camera that stays in place, made as steady as bodies are.

Such a camera tells nothing of how far anything is. What a mover's depth is made of there (how large it looks, a body that fits roughly, a guess where
neither holds) changes by a tenth and more from image to image, and from a head to its shoulders. Each sheet of pixels would stand elsewhere, and from
the side a head would be doubled.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.priors.movers.near_movers import NearNumbers, near_depths

DOUBT = 0.02
"""Weight of a depth of confidence 0 beside one of confidence 1: it counts where nothing better is near."""


def steady_movers(capture: Capture, priors: Priors, numbers: NearNumbers = NearNumbers()) -> Priors:
    """`priors` in which the depth of all that moves is an average of its logarithm over neighbouring pixels of movers and neighbouring training
    images of the view. The same priors where there are no masks or no depth."""
    depth, masks = priors.depth, priors.masks
    if depth is None or masks is None:
        return priors
    views = [np.array(one, np.float32) for one in depth.depth]
    for view, values in enumerate(views):
        times = np.flatnonzero(capture.train[view]).tolist()
        moving = [masks.moving(view, time) & (values[time] > 0) for time in times]
        sure = [np.where(m, np.maximum(depth.confidence[view][t].astype(np.float32), DOUBT), 0) for m, t in zip(moving, times, strict=True)]
        steady = near_depths([(values[time], weight) for time, weight in zip(times, sure, strict=True)], numbers)
        for time, shown, (mean, _) in zip(times, moving, steady, strict=True):
            values[time] = np.where(shown, mean, values[time])
    return replace(priors, depth=replace(depth, depth=tuple(views)))
