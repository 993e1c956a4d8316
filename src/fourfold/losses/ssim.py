"""Structural similarity of two images, differentiable in the first (Wang et al. 2004, equation 13; 3D Gaussian splatting's window)."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from fourfold.errors import FourfoldError
from fourfold.kernels.devices import compiled, on_gpu, pointer

WINDOW, SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(image: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Scalar structural similarity of two (H, W, C) images in [0, 1]: the mean over pixels and channels of `ssim_map_reference`.

    Args:
        weight: (H, W) weight of each pixel in the mean, or None for all alike; 1 is returned where no pixel has weight.

    Differentiable in `image`, and outside the compiled kernel in `target` too. CPU float32 images go through the kernel, bit for bit
    the same for any number of threads; others, and targets that want a gradient, through torch.

    Raises:
        FourfoldError: the images are not of one shape (H, W, C), or the weight is not (H, W).
    """
    if image.ndim != 3 or image.shape != target.shape:
        raise FourfoldError(f"ssim got images of shape {tuple(image.shape)} and {tuple(target.shape)}: both must be the same (H, W, C)")
    if weight is not None and weight.shape != image.shape[:2]:
        raise FourfoldError(
            f"ssim got a weight of shape {tuple(weight.shape)} for images of shape {tuple(image.shape)}: it must be {tuple(image.shape[:2])}"
        )
    if image.numel() and not target.requires_grad and not (weight is not None and weight.requires_grad):
        library = compiled(image, target)
        if library is not None:
            return _Fused.apply(library, image, target, weight)  # type: ignore[no-any-return]
        if on_gpu(image, target):
            return ssim_on_gpu(image, target, weight)
    similarity = ssim_map_reference(image, target).mean(2)
    if weight is None:
        return similarity.mean()
    total = weight.sum()
    if total.device.type != "cpu":
        return torch.where(total > 0, (similarity * weight).sum() / torch.where(total > 0, total, 1), 1)
    return (similarity * weight).sum() / total if total > 0 else similarity.sum() * 0 + 1


def ssim_on_gpu(image: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """`ssim` of float32 tensors of a GPU, by Triton's kernels in a handful of launches."""
    from fourfold.kernels.triton_ssim import FusedOnGpu

    return FusedOnGpu.apply(image, target, weight)  # type: ignore[no-any-return]


def ssim_map_reference(image: Tensor, target: Tensor) -> Tensor:
    """(H, W, C) structural similarity around each pixel of two (H, W, C) images in [0, 1], in plain tensor operations.

    The window is an 11x11 Gaussian of sigma 1.5 pixels; outside the image both are zero.
    """
    taps = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    taps = torch.exp(-(taps**2) / (2 * SIGMA**2))
    taps = taps / taps.sum()

    def blurred(value: Tensor) -> Tensor:
        planes = value.permute(2, 0, 1)[:, None]
        planes = conv2d(planes, taps[None, None, :, None], padding=(WINDOW // 2, 0))
        return conv2d(planes, taps[None, None, None, :], padding=(0, WINDOW // 2))[:, 0].permute(1, 2, 0)

    mean_x, mean_y = blurred(image), blurred(target)
    variances = blurred(image * image + target * target) - mean_x**2 - mean_y**2
    covariance = blurred(image * target) - mean_x * mean_y
    return (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2) / ((mean_x**2 + mean_y**2 + _C1) * (variances + _C2))


class _Fused(torch.autograd.Function):
    """Value and gradient in one pass of the compiled kernel; backward only scales the gradient."""

    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, image: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        image, target = image.contiguous(), target.contiguous()
        weight = None if weight is None else weight.detach().to("cpu", torch.float32).contiguous()
        gradient = torch.empty_like(image) if ctx.needs_input_grad[1] else None
        value = ctypes.c_double()
        sizes = [ctypes.c_int(size) for size in image.shape]
        failed = library.ff_ssim(pointer(image), pointer(target), pointer(weight), *sizes, ctypes.byref(value), pointer(gradient))
        if failed:
            raise MemoryError(f"no memory for the structural similarity of images of shape {tuple(image.shape)}")
        ctx.save_for_backward(gradient)
        return image.new_tensor(value.value)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, Tensor | None, None, None]:
        (gradient,) = ctx.saved_tensors
        return None, None if gradient is None else gradient * upstream[0], None, None
