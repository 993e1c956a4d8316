"""Real spherical harmonics of degree 1 to 3, in the order and sign of 3D Gaussian Splatting."""

from __future__ import annotations

import torch
from torch import Tensor

_D1 = 0.48860251190292
_D2 = (1.09254843059208, 0.31539156525252, 0.54627421529604)
_D3 = (0.59004358992664, 2.89061144264055, 0.45704579946447, 0.37317633259012, 1.44530572132028)


def harmonics_basis(direction: Tensor, terms: int) -> Tensor:
    """(N, terms) values at unit directions (N, 3); terms is 3, 8 or 15 for degree 1, 2, 3."""
    x, y, z = direction.unbind(-1)
    values = [-_D1 * y, _D1 * z, -_D1 * x]
    if terms >= 8:
        a, b, c = _D2
        values += [a * x * y, -a * y * z, b * (2 * z * z - x * x - y * y), -a * x * z, c * (x * x - y * y)]
    if terms >= 15:
        e, f, h, k, m = _D3
        values += [-e * y * (3 * x * x - y * y), f * x * y * z, -h * y * (4 * z * z - x * x - y * y)]
        values += [k * z * (2 * z * z - 3 * x * x - 3 * y * y), -h * x * (4 * z * z - x * x - y * y)]
        values += [m * z * (x * x - y * y), -e * x * (x * x - 3 * y * y)]
    return torch.stack(values, -1)
