"""The static layer from a static scene that was fitted already: the same Gaussians, the largest in view split until there are enough."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.geometry.rotations import quat_normalize, quat_to_matrix
from fourfold.initialize.splats import logit
from fourfold.priors.contracts import Still

OFFSET = 0.6
"""A Gaussian is split along its longest axis into two, so many of its deviations away on both sides, of the length that keeps the variance
and the opacity that keeps the mass."""
LENGTH = float(np.sqrt(1 - OFFSET**2))


def from_still(still: Still, centres: NDArray[np.float64], count: int) -> dict[str, Tensor]:
    """Per-Gaussian parameters of about `count` Gaussians, or of as many as were fitted.

    Args:
        centres: (C, 3) of the cameras; what is large as seen from the nearest of them is split first.
    """
    arrays = {name: np.asarray(getattr(still, name), np.float32) for name in ("means", "quat_wxyz", "log_scale", "opacity_logit")}
    arrays["color_logit"] = logit(still.color)
    while len(arrays["means"]) < count:
        size = apparent_size(arrays, centres)
        chosen = np.argsort(-size, kind="stable")[: min(count - len(size), -(-len(size) // 2))]
        arrays = split(arrays, chosen)
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def apparent_size(arrays: dict[str, NDArray[np.float32]], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) largest deviation over the distance to the nearest camera centre."""
    nearest = np.full(len(arrays["means"]), np.inf)
    for centre in centres:
        nearest = np.minimum(nearest, np.linalg.norm(arrays["means"] - centre, axis=1))
    return np.exp(arrays["log_scale"].max(1)) / np.maximum(nearest, 1e-9)


def split(arrays: dict[str, NDArray[np.float32]], chosen: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """The Gaussians with those in the rows `chosen` replaced by two each, the second ones at the end."""
    axis = arrays["log_scale"][chosen].argmax(1)
    rotation = quat_to_matrix(quat_normalize(torch.from_numpy(arrays["quat_wxyz"][chosen]))).numpy()
    along = rotation[np.arange(len(chosen)), :, axis] * (OFFSET * np.exp(arrays["log_scale"][chosen, axis]))[:, None]
    depth = np.logaddexp(0, arrays["opacity_logit"][chosen].astype(np.float64)) / (2 * LENGTH)  # -log(1 - opacity), shared by mass
    parts: list[dict[str, NDArray[np.float32]]] = []
    for side in (1, -1):
        part = {name: a.copy() for name, a in arrays.items()}
        part["log_scale"][chosen, axis] += np.float32(np.log(LENGTH))
        part["means"][chosen] += side * along
        part["opacity_logit"][chosen] = np.log(np.expm1(depth))
        parts.append(part)
    first, second = parts
    return {name: np.concatenate([first[name], second[name][chosen]]).astype(np.float32) for name in arrays}
