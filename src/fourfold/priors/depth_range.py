"""Between which depths a scene lies."""

from __future__ import annotations

import numpy as np

from fourfold.files import give_back
from fourfold.priors.contracts import Depth


def near_far(depth: Depth) -> tuple[float, float]:
    """Near and far depth of a scene: the 0.5 and 99.5 percentiles of its confident pixels (of all known ones if none is confident)."""
    values, sure = [], []
    for view, confidence in zip(depth.depth, depth.confidence, strict=True):
        values.append(np.asarray(view[:, ::4, ::4], np.float32).ravel())
        sure.append(np.asarray(confidence[:, ::4, ::4], np.float32).ravel())
        give_back(view)
        give_back(confidence)
    all_values, all_sure = np.concatenate(values), np.concatenate(sure)
    good = (all_values > 0) & (all_sure > 0.25)
    if good.sum() < 20:
        good = all_values > 0
    if not good.any():
        return 0.01, 1.0
    near, far = np.percentile(all_values[good], [0.5, 99.5])
    return float(near), float(far)
