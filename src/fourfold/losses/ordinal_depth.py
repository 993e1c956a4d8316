"""Depth by order alone: which of two pixels is nearer. Source: spec sparse_dynamic_cameras.md section 4. All depths grow with distance."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import scored
from fourfold.losses.base import Step, mean_of

Form = Literal["tanh", "logistic", "sigmoid", "hinge"]


@dataclass(frozen=True)
class OrdinalDepth:
    """Random pairs of pixels of one image must lie in the order that the depth prior says; how far apart does not matter.

    Rendered depths are told in units of their own median (without gradient), so that `sharpness` has no unit.

    Attributes:
        form: "tanh" |tanh(sharpness (D_i - D_j)) - sign| (MoDGS, the default); "logistic" log(1 + exp(-sign (D_i - D_j) sharpness)), and
            the squared difference for pairs that the prior calls level; "sigmoid" |sigmoid(sharpness (D_i - D_j)) - [G_i > G_j]| (GC-4DGS,
            whose sharpness of 1e6 leaves no gradient); "hinge" relu(margin - sign (D_i - D_j)).
        sharpness: alpha or beta of the forms; margin: of the hinge, in medians.
        pairs: drawn per image; half of them with one end on a moving object, where masks are known.
        level: pairs whose ranks in the prior differ by less than this share of the pixels count as level. Ranks, not depths, so that any
            monotone change of the prior changes nothing.
        opaque: accumulated opacity below which a pixel says nothing.
    """

    form: Form = "tanh"
    sharpness: float = 100.0
    margin: float = 0.01
    pairs: int = 20_000
    level: float = 0.1
    opaque: float = 0.5

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with depth; 0 without any."""
        losses = []
        for item, (sample, render) in enumerate(zip(step.samples, step.renders, strict=True)):
            if sample.depth is None:
                continue
            usable = (sample.depth > 0) & (render.alpha.detach() > self.opaque)
            if sample.depth_confidence is not None:
                usable &= sample.depth_confidence > 0
            if sample.valid is not None:
                usable &= sample.valid > 0.5
            generator = torch.Generator().manual_seed(1_000_003 * step.index + item)
            if usable.device.type != "cpu":
                pairs = draw_pairs_on_gpu(usable, sample.mask, self.pairs, generator)
                losses.append(torch.where(usable.sum() > 1, ordinal_loss(render.depth.flatten(), sample.depth.flatten(), pairs, self), 0))
                continue
            picked = draw_pairs(usable, sample.mask, self.pairs, generator)
            if picked is not None:
                losses.append(ordinal_loss(render.depth.flatten(), sample.depth.flatten(), picked, self))
        return mean_of(losses, step.renders[0].depth)


def draw_pairs(usable: Tensor, moving: Tensor | None, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
    """Flat indices (P,), (P,) of random pairs of `usable` (H, W) pixels, the first end of half of them on `moving` (H, W) > 0.5; None without two."""
    places = usable.flatten().nonzero()[:, 0]
    if len(places) < 2:
        return None
    count = min(count, len(places) * 4)
    first, second = (places[torch.randint(len(places), (count,), generator=generator)] for _ in range(2))
    if moving is not None:
        movers = (usable & (moving > 0.5)).flatten().nonzero()[:, 0]
        if len(movers):
            half = count // 2
            first[:half] = movers[torch.randint(len(movers), (half,), generator=generator)]
    return first, second


def draw_pairs_on_gpu(usable: Tensor, moving: Tensor | None, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `draw_pairs`, without waiting for how many pixels there are to draw from; any pixels where there are less than two."""
    shares = torch.rand(3, count, generator=generator).to(usable.device, non_blocking=True)
    first, second = _drawn(usable, shares[0]), _drawn(usable, shares[1])
    if moving is not None:
        movers = usable & (moving > 0.5)
        half = torch.arange(count, device=usable.device) < count // 2
        first = torch.where(half & movers.any(), _drawn(movers, shares[2]), first)
    return first, second


def _drawn(among: Tensor, shares: Tensor) -> Tensor:
    """(P,) flat index of the pixel of `among` (H, W) that comes after each of `shares` in [0, 1) of them."""
    ends = among.flatten().cumsum(0)
    return torch.searchsorted(ends, (shares * ends[-1]).long() + 1).clamp_max(len(ends) - 1)


def ordinal_loss(rendered: Tensor, prior: Tensor, pairs: tuple[Tensor, Tensor], numbers: OrdinalDepth) -> Tensor:
    """The loss of `pairs` of flat pixels; `rendered` (P,) and `prior` (P,) depths. It does not change under any increasing map of the prior.

    The default form of CPU float32 goes through the compiled kernel.
    """
    library = compiled(rendered, prior) if numbers.form == "tanh" else None
    if library is None:
        return ordinal_loss_reference(rendered, prior, pairs, numbers)
    first, second = (rows.contiguous() for rows in pairs)
    known = prior.contiguous()

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, sizes = ctypes.c_double(), (ctypes.c_int64(len(first)), ctypes.c_int64(len(known)))
        arrays, how = map(pointer, (inputs[0], known, first, second)), (ctypes.c_float(numbers.sharpness), ctypes.c_float(numbers.level))
        if library.ff_ordinal_depth(*arrays, *sizes, *how, ctypes.byref(value), pointer(gradients[0])):
            raise MemoryError(f"no memory for the order of {len(first)} pairs of pixels")
        return value.value

    return scored(kernel, rendered)


def ordinal_loss_reference(rendered: Tensor, prior: Tensor, pairs: tuple[Tensor, Tensor], numbers: OrdinalDepth) -> Tensor:
    """The plain twin of `ordinal_loss`."""
    first, second = pairs
    ends = torch.cat([first, second])
    rank = _ranks(prior[ends]).to(rendered.dtype)
    apart = (rank[: len(first)] - rank[len(first) :]) / rank.max().clamp_min(1)
    sign, clear = torch.sign(apart), apart.abs() >= numbers.level
    unit = rendered[ends].detach().median().clamp_min(1e-9)
    difference = (rendered[first] - rendered[second]) / unit
    ordered = clear & (sign != 0)
    error = _error(difference, sign, numbers)
    loss = (error * ordered).sum() / ordered.sum().clamp_min(1)
    if numbers.form == "logistic":
        loss = loss + (difference.square() * ~clear).sum() / (~clear).sum().clamp_min(1)
    return loss


def _ranks(values: Tensor) -> Tensor:
    """(P,) place of each value among the different ones, in rising order; NumPy sorts some six times faster than torch on the CPU."""
    if values.device.type != "cpu":
        ordered, order = values.detach().sort()
        place = torch.cat([torch.zeros_like(order[:1]), (ordered[1:] > ordered[:-1]).cumsum(0)])
        return torch.empty_like(place).scatter_(0, order, place)
    return torch.from_numpy(np.unique(values.detach().numpy(), return_inverse=True)[1])


def _error(difference: Tensor, sign: Tensor, numbers: OrdinalDepth) -> Tensor:
    """(P,) what a pair of the given order costs."""
    if numbers.form == "tanh":
        return (torch.tanh(numbers.sharpness * difference) - sign).abs()
    if numbers.form == "logistic":
        return torch.nn.functional.softplus(-sign * numbers.sharpness * difference)
    if numbers.form == "sigmoid":
        return (torch.sigmoid(numbers.sharpness * difference) - (sign > 0).to(difference.dtype)).abs()
    return torch.relu(numbers.margin - sign * difference)
