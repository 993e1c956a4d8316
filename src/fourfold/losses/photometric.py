"""How a rendered image differs from the filmed one."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import Kernel, scored
from fourfold.losses.base import Sample, Step, mean_of
from fourfold.losses.ssim import ssim

Where = Literal["all", "background", "foreground"]


@dataclass(frozen=True)
class Photometric:
    """(1 - ssim) L1 + ssim (1 - SSIM) over the valid pixels (3D Gaussian splatting; spec shape_of_motion.md section 8).

    Attributes:
        ssim: share of the structural term.
        where: "background" leaves out pixels that are, or may be, moving objects; "foreground" leaves out the rest.
        erode: pixels by which the background region keeps away from moving objects, at full resolution of the step.
    """

    ssim: float = 0.2
    where: Where = "all"
    erode: int = 2

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch."""
        pairs = zip(step.renders, step.samples, strict=True)
        return mean_of([self._one(render.color, sample) for render, sample in pairs], step.renders[0].color)

    def _one(self, color: Tensor, sample: Sample) -> Tensor:
        return photometric(color, sample.image, region(sample, self.where, self.erode), self.ssim)


def photometric(color: Tensor, target: Tensor, weight: Tensor | None, share: float) -> Tensor:
    """Scalar (1 - share) L1 + share (1 - SSIM) of two (H, W, C) images, summed with `weight` (H, W) (None for ones) over all pixels' number.

    CPU float32 goes through the compiled kernel, others through torch. Differentiable in `color`.
    """
    plain = share == 0 or color.numel() == 0 or target.requires_grad or (weight is not None and weight.requires_grad)
    library = None if plain else compiled(color, target, weight)
    if library is None:
        return photometric_reference(color, target, weight, share)
    return scored(_photometric_kernel(library, target.contiguous(), None if weight is None else weight.contiguous(), share), color)


def photometric_reference(color: Tensor, target: Tensor, weight: Tensor | None, share: float) -> Tensor:
    """The plain twin of `photometric`."""
    # as in masked training of 3DGS, the sum is divided by all pixels: a small region must not be pulled harder than a large one
    absolute = l1_loss(color, target) if weight is None else ((color - target).abs() * weight[..., None]).mean()
    if share == 0:
        return absolute
    similar = ssim(color, target, weight)
    return (1 - share) * absolute + share * (1 - similar) * (1.0 if weight is None else weight.mean())


def _photometric_kernel(library: ctypes.CDLL, target: Tensor, weight: Tensor | None, share: float) -> Kernel:
    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, sizes = ctypes.c_double(), [ctypes.c_int(size) for size in target.shape]
        arrays = pointer(inputs[0]), pointer(target), pointer(weight)
        if library.ff_photometric(*arrays, *sizes, ctypes.c_float(share), ctypes.byref(value), pointer(gradients[0])):
            raise MemoryError(f"no memory for the difference of images of shape {tuple(target.shape)}")
        return value.value

    return kernel


def region(sample: Sample, where: Where, erode: int = 0) -> Tensor | None:
    """(H, W) weight of the pixels that may supervise `where`, or None for all of them."""
    weight = sample.valid
    if where == "all" or sample.mask is None:
        return weight
    moving = sample.mask
    if sample.mask_valid is not None:
        moving = torch.where(sample.mask_valid > 0.5, moving, torch.full_like(moving, float(where == "background")))
    if where == "background" and erode:
        moving = torch.nn.functional.max_pool2d(moving[None, None], 2 * erode + 1, 1, erode)[0, 0]
    chosen = 1 - moving if where == "background" else moving
    return chosen if weight is None else weight * chosen
