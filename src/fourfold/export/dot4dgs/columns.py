"""Gaussians as the columns of the library `fourdgs`: linear scales, quaternions xyzw, opacity and colour in [0, 1], harmonics in 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.flights import Flights

HARMONICS_SPAN = 4.0  # coefficients from -4 to 4 in 255 steps: the format's own
SHORTEST = 1e-6  # seconds; what fades faster is as good as never there


def columns(gaussians: Gaussians, flown: Flights, identity: Tensor, begin: float) -> Any:
    """A `GaussianSet` of the M pieces `flown`.

    Args:
        gaussians: whose looks the pieces have, by `flown.rows`.
        identity: (M,) int64 which Gaussian of the scene each piece belongs to.
        begin: the file's zero, seconds.
    """
    from fourdgs import GaussianSet

    g = gaussians.select(flown.rows)
    sigma = torch.where(flown.sigma.isfinite(), flown.sigma.clamp_min(SHORTEST), torch.full_like(flown.sigma, torch.inf))
    colors = torch.cat([g.color.clamp(0, 1), torch.sigmoid(g.opacity_logit)[:, None]], dim=1)
    degree = 0 if g.sh_rest is None else round((g.sh_rest.shape[1] + 1) ** 0.5) - 1
    return GaussianSet(
        positions=_float(flown.means),
        scales=_float(g.scale),
        rotations=_float(torch.nn.functional.normalize(g.quat_wxyz, dim=-1)[:, [1, 2, 3, 0]]),
        colors=_float(colors),
        motions=_float(flown.velocity),
        mu_t=_float(flown.moment - begin),
        sigma_t=_float(sigma),
        win_lo=(flown.begin.double() - begin).numpy(),
        win_hi=(flown.end.double() - begin).numpy(),
        sh=None if g.sh_rest is None else harmonics_to_bytes(g.sh_rest),
        sh_degree=degree,
        source_group=np.zeros(len(flown), np.int64),
        source_index=identity.numpy(),
    )


def harmonics_to_bytes(rest: Tensor) -> NDArray[np.uint8]:
    """(N, 3 terms) all of red first: coefficients (N, terms, 3) in steps of 8 / 255."""
    steps = (rest.transpose(1, 2).flatten(1) + HARMONICS_SPAN) * (255.0 / (2 * HARMONICS_SPAN))
    return steps.round().clamp(0, 255).to(torch.uint8).numpy()


def harmonics_from_bytes(packed: NDArray[Any]) -> Tensor:
    """(N, terms, 3) coefficients of what `harmonics_to_bytes` wrote."""
    steps = torch.from_numpy(np.ascontiguousarray(packed)).float()
    return (steps * (2 * HARMONICS_SPAN / 255.0) - HARMONICS_SPAN).unflatten(1, (3, -1)).transpose(1, 2)


def _float(value: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(value.detach().float().numpy())
