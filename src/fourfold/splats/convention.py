"""What the formats of 3D Gaussian Splatting share: the constant harmonic, numbers of harmonics, quaternions by their three smallest parts."""

from __future__ import annotations

import torch
from torch import Tensor

from fourfold.errors import FourfoldError

SH_DC = 0.28209479177387814  # the constant spherical harmonic, 1 / (2 sqrt(pi)): f_dc = (colour - 0.5) / SH_DC
TERMS = (0, 3, 8, 15)  # harmonics beyond the constant of degree 0, 1, 2, 3
OTHERS = ((1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2))  # of four places, those that are not the n-th


def degree_of(terms: int) -> int:
    """The degree that has so many harmonics beyond the constant. FourfoldError if none has."""
    if terms not in TERMS:
        raise FourfoldError(f"got {terms} spherical harmonics per channel: expected one of {', '.join(map(str, TERMS))}")
    return TERMS.index(terms)


def smallest_three(quats: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) which of the four parts of unit quaternions (N, 4) is the largest, and the others (N, 3) in order, signed so that it is positive."""
    largest = quats.abs().argmax(dim=1)
    positive = torch.where(quats.gather(1, largest[:, None]) < 0, -quats, quats)
    return largest, positive.gather(1, torch.tensor(OTHERS)[largest])


def from_smallest_three(largest: Tensor, others: Tensor) -> Tensor:
    """(N, 4) the quaternions that `smallest_three` took apart."""
    quats = torch.zeros(len(others), 4)
    quats.scatter_(1, torch.tensor(OTHERS)[largest], others.float())
    quats.scatter_(1, largest[:, None], (1 - others.float().square().sum(1, keepdim=True)).clamp_min(0).sqrt())
    return torch.nn.functional.normalize(quats, dim=1)
