"""A set of 3D Gaussians at one moment: the only thing a renderer needs to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.tensors import as_tensor

_SHAPES = {"means": (3,), "quat_wxyz": (4,), "log_scale": (3,), "opacity_logit": (), "color": (3,), "visibility": ()}


@dataclass(frozen=True)
class Gaussians:
    """N anisotropic Gaussians in world coordinates at one instant.

    Attributes:
        means: (N, 3) centres, scene units.
        quat_wxyz: (N, 4) rotations, local to world; any non-zero norm.
        log_scale: (N, 3) natural logarithm of the standard deviations along the local axes, scene units.
        opacity_logit: (N,) logit of the opacity.
        color: (N, 3) RGB in [0, 1], the view-independent part.
        sh_rest: (N, (degree + 1)^2 - 1, 3) spherical-harmonics coefficients of degree >= 1, added to `color`, or None.
        visibility: (N,) factor in [0, 1] on the opacity (temporal opacity), or None for 1.

    NumPy arrays become tensors that share their memory.
    """

    means: Tensor
    quat_wxyz: Tensor
    log_scale: Tensor
    opacity_logit: Tensor
    color: Tensor
    sh_rest: Tensor | None = None
    visibility: Tensor | None = None

    def __post_init__(self) -> None:
        for name in (*_SHAPES, "sh_rest"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_tensor(getattr(self, name), f"Gaussians.{name}"))
        n = self.means.shape[0]
        for name, tail in _SHAPES.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != (n, *tail):
                raise FourfoldError(f"Gaussians.{name} has shape {tuple(value.shape)}, expected {(n, *tail)}")

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def opacity(self) -> Tensor:
        """(N,) opacity in [0, 1]: sigmoid of the logit times the visibility."""
        base = torch.sigmoid(self.opacity_logit)
        return base if self.visibility is None else base * self.visibility

    @property
    def scale(self) -> Tensor:
        """(N, 3) standard deviations, scene units."""
        return self.log_scale.exp()

    def _map(self, function: Callable[[Tensor], Tensor]) -> Gaussians:
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        mapped: dict[str, Any] = {k: None if v is None else function(v) for k, v in values.items()}
        return Gaussians(**mapped)

    def select(self, index: Tensor) -> Gaussians:
        """The Gaussians at `index` (a boolean (N,) mask or integer indices)."""
        return self._map(lambda value: value[index])

    def detach(self) -> Gaussians:
        """The same values outside the autograd graph."""
        return self._map(Tensor.detach)

    def to(self, target: torch.device | torch.dtype | str) -> Gaussians:
        """The same Gaussians on another device or in another dtype."""
        return self._map(lambda value: value.to(target))

    @staticmethod
    def concatenate(parts: Sequence[Gaussians]) -> Gaussians:
        """All Gaussians of `parts` in order; missing `sh_rest` becomes 0, missing `visibility` becomes 1."""
        if len(parts) == 1:
            return parts[0]
        joined = {name: torch.cat([getattr(p, name) for p in parts]) for name in ("means", "quat_wxyz", "log_scale", "opacity_logit", "color")}
        if any(p.visibility is not None for p in parts):
            joined["visibility"] = torch.cat([torch.ones_like(p.opacity_logit) if p.visibility is None else p.visibility for p in parts])
        degree_terms = max((0 if p.sh_rest is None else p.sh_rest.shape[1] for p in parts), default=0)
        if degree_terms:
            joined["sh_rest"] = torch.cat([_padded_sh(p, degree_terms) for p in parts])
        return Gaussians(**joined)


def _padded_sh(part: Gaussians, terms: int) -> Tensor:
    rest = part.means.new_zeros(len(part), 0, 3) if part.sh_rest is None else part.sh_rest
    return torch.nn.functional.pad(rest, (0, 0, 0, terms - rest.shape[1]))
