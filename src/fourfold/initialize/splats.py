"""Points with colours and sizes become the per-Gaussian parameters of a layer."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def logit(probability: float | NDArray[np.floating]) -> NDArray[np.float32]:
    """Inverse of the sigmoid, with probabilities kept inside [0.005, 0.995]."""
    clipped = np.clip(np.asarray(probability, np.float64), 0.005, 0.995)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def make_splats(means: NDArray[np.floating], color: NDArray[np.floating], scale: NDArray[np.floating], opacity: float) -> dict[str, Tensor]:
    """Isotropic Gaussians.

    Args:
        means: (N, 3) scene units; color: (N, 3) RGB in [0, 1]; scale: (N,) standard deviations, scene units; opacity: of all of them.
    """
    count = len(means)
    quat = torch.zeros(count, 4)
    quat[:, 0] = 1.0
    return {
        "means": torch.from_numpy(np.ascontiguousarray(means, np.float32)).reshape(count, 3),
        "quat_wxyz": quat,
        "log_scale": torch.from_numpy(np.log(np.maximum(scale, 1e-12)).astype(np.float32))[:, None].repeat(1, 3),
        "opacity_logit": torch.full((count,), float(logit(opacity))),
        "color_logit": torch.from_numpy(logit(color)).reshape(count, 3),
    }
