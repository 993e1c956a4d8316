"""Which Gaussians a viewer draws, and in which order files compress best."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians

INVISIBLE = 1.0 / 255.0  # opacity below which no viewer draws a Gaussian
MOST_OPAQUE = 1.0 - 1e-6  # keeps the logit finite
LEAST_OPAQUE = 1e-6


def drawn(gaussians: Gaussians) -> tuple[Tensor, Gaussians]:
    """(M,) int64 rows of what is finite and visible, and these as files hold them: see `plain`."""
    g = plain(gaussians)
    parts = [g.means, g.quat_wxyz, g.scale, g.log_scale, g.color, g.opacity_logit[:, None]]
    if g.sh_rest is not None:
        parts.append(g.sh_rest.flatten(1))
    finite = torch.stack([part.isfinite().all(dim=1) for part in parts]).all(dim=0)
    rows = torch.nonzero(finite & (gaussians.opacity.detach().cpu() >= INVISIBLE))[:, 0]
    return rows, g.select(rows)


def plain(gaussians: Gaussians) -> Gaussians:
    """The same on the CPU in single precision: unit quaternions, visibility within the opacity."""
    g = gaussians.detach().to(torch.float32).to("cpu")
    opacity = torch.logit(g.opacity.clamp(LEAST_OPAQUE, MOST_OPAQUE))
    return replace(g, quat_wxyz=torch.nn.functional.normalize(g.quat_wxyz, dim=-1), opacity_logit=opacity, visibility=None)


def morton_order(means: Tensor) -> Tensor:
    """(N,) order along a curve that keeps neighbours in space (N, 3) together: bits of 10-bit coordinates in turn."""
    if len(means) == 0:
        return torch.zeros(0, dtype=torch.int64)
    low, high = means.amin(0), means.amax(0)
    cell = ((means - low) / (high - low).clamp_min(1e-30) * 1023).round().long().clamp(0, 1023)
    code = torch.zeros(len(means), dtype=torch.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(stable=True)
