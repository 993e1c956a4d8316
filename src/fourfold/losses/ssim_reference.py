"""SSIM in plain tensor operations: the readable twin of the fused one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

WINDOW, SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(image: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean structural similarity of two (H, W, C) images in [0, 1]: 11x11 Gaussian window of sigma 1.5, zero padding.

    Args:
        weight: (H, W) weight of each pixel in the mean, or None for all alike.

    Source: Wang et al. 2004, equation 13.
    """
    taps = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    taps = torch.exp(-(taps**2) / (2 * SIGMA**2))
    taps = taps / taps.sum()

    def blurred(value: Tensor) -> Tensor:
        planes = value.permute(2, 0, 1)[:, None]
        planes = conv2d(planes, taps[None, None, :, None], padding=(WINDOW // 2, 0))
        return conv2d(planes, taps[None, None, None, :], padding=(0, WINDOW // 2))[:, 0].permute(1, 2, 0)

    mean_x, mean_y = blurred(image), blurred(target)
    var_x, var_y = blurred(image * image) - mean_x**2, blurred(target * target) - mean_y**2
    covariance = blurred(image * target) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2) / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    similarity = similarity.mean(2)
    return similarity.mean() if weight is None else (similarity * weight).sum() / weight.sum().clamp_min(1e-8)
