"""Means that leave out the worst: Shape of Motion's helper M(e, m, q) (spec shape_of_motion.md section 8)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.kernels.devices import compiled, on_gpu, pointer
from fourfold.kernels.scored import Kernel, scored

SAMPLE = 2**14
"""Quantiles are taken from a regular subsample of about this size: exact enough (0.1 % at 98 %), and sorting stays cheap."""


def subsample(values: Tensor) -> Tensor:
    """Every k-th of all `values`, flat and detached; k is odd, so that it walks through all columns of an image of even width."""
    flat = values.detach().flatten()
    stride = max(1, -(-flat.numel() // SAMPLE))
    return flat[:: stride if stride == 1 else stride | 1]


def trimmed_mean(error: Tensor, weight: Tensor | None = None, level: float = 1.0, before_masking: bool = False) -> Tensor:
    """Weighted mean of `error` without the elements at or above its `level` quantile; 0 where no weight is left.

    Args:
        error: (...) not negative; weight: the same shape, or None for all alike.
        level: 1 keeps all elements.
        before_masking: take the quantile of all elements, as the released code does, instead of those with weight. Where most of the
            image is masked out that trims by errors which nobody asked about.

    Source: spec shape_of_motion.md section 8.
    """
    if _fused(error, weight):
        return trimmed_on_gpu(error, weight, level, before_masking=before_masking)
    if level < 1.0 and error.device.type != "cpu":
        kept = _kept_on_gpu(error.detach(), None if before_masking else weight, level)
        weight = kept if weight is None else kept * weight
    elif level < 1.0:
        considered = subsample(error)
        if weight is not None and not before_masking:
            considered = considered[subsample(weight) > 0]
        if considered.numel() > 1:
            limit = torch.quantile(considered, level)
            # errors that are all equal would all be dropped: then there is no worst to leave out
            kept = (error <= limit) if bool(considered.amin() >= limit) else (error < limit)
            weight = kept.to(error.dtype) if weight is None else kept * weight
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum() + 1e-8)


def _fused(error: Tensor, weight: Tensor | None) -> bool:
    """Whether the kernels of GPUs serve."""
    return on_gpu(error) and error.numel() > 0 and not (weight is not None and weight.requires_grad)


def trimmed_on_gpu(
    residual: Tensor, weight: Tensor | None, level: float, axis: int | None = None, signed: bool = False, before_masking: bool = False
) -> Tensor:
    """`trimmed_mean` or, `signed`, `trimmed_l1`, of float32 tensors of a GPU, in a few launches."""
    from fourfold.kernels.triton_trimmed import Trim, TrimmedOnGpu

    return TrimmedOnGpu.apply(residual, weight, Trim(level, axis, signed, before_masking, SAMPLE))  # type: ignore[no-any-return]


def _kept_on_gpu(error: Tensor, weight: Tensor | None, level: float) -> Tensor:
    """(...) 1 for the elements that `trimmed_mean` keeps, without asking the GPU how many there are."""
    considered = subsample(error)
    asked = torch.ones_like(considered, dtype=torch.bool) if weight is None else subsample(weight) > 0
    ordered = torch.where(asked, considered, torch.inf).sort().values
    count = asked.sum()
    place = (count - 1).clamp_min(0) * level  # torch.quantile's, linear between neighbours
    low = place.floor().long()
    below, above = ordered.gather(0, torch.stack([low, torch.minimum(low + 1, (count - 1).clamp_min(0))])).unbind()
    limit = torch.lerp(below, above, (place - low).to(error.dtype))
    # errors that are all equal would all be dropped, and of a single one there is no worst
    kept = (error < limit) | ((ordered[0] >= limit) & (error <= limit)) | (count < 2)
    return kept.to(error.dtype)


def trimmed_l1(residual: Tensor, weight: Tensor | None = None, level: float = 1.0, axis: int | None = None) -> Tensor:
    """`trimmed_mean` of the absolute residuals, or of the absolute differences between neighbours along `axis`; the quantile is exact.

    Args:
        residual: (H, W), any sign; weight: (H, W) or None for all alike. A difference weighs the product of both its pixels' weights.
        level: 1 keeps all elements.
        axis: 0 for differences down the rows, 1 along them, None for the residuals themselves.

    CPU float32 goes through the compiled kernel, that of a GPU through Triton's (there the quantile is a subsample's), others through torch.
    Differentiable in `residual`.

    Raises:
        FourfoldError: the residual is not (H, W), or the weight has another shape.
    """
    if residual.ndim != 2 or (weight is not None and weight.shape != residual.shape):
        raise FourfoldError(
            f"trimmed_l1 got residuals of shape {tuple(residual.shape)} and weights of shape "
            f"{None if weight is None else tuple(weight.shape)}: both must be (H, W)"
        )
    if _fused(residual, weight) and min(residual.shape) > 1:
        return trimmed_on_gpu(residual, weight, level, axis, signed=True)
    library = None if weight is not None and weight.requires_grad else compiled(residual)
    if library is None:
        return trimmed_l1_reference(residual, weight, level, axis)
    return scored(_trimmed_kernel(library, None if weight is None else weight.to(residual.dtype).contiguous(), level, axis), residual)


def trimmed_slopes(residual: Tensor, weight: Tensor | None = None, level: float = 1.0) -> Tensor:
    """The sum of `trimmed_l1` along both axes; of CPU float32 one node of autograd."""
    library = None if weight is not None and weight.requires_grad else compiled(residual)
    if library is None or residual.ndim != 2 or min(residual.shape) < 2:
        return trimmed_l1(residual, weight, level, 0) + trimmed_l1(residual, weight, level, 1)
    shares = None if weight is None else weight.to(residual.dtype).contiguous()
    down, along = (_trimmed_kernel(library, shares, level, axis) for axis in (0, 1))

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        other = torch.empty_like(gradients[0])
        value = down(inputs, gradients) + along(inputs, (other,))
        gradients[0].add_(other)
        return value

    return scored(kernel, residual)


def _trimmed_kernel(library: ctypes.CDLL, weight: Tensor | None, level: float, axis: int | None) -> Kernel:
    direction = ctypes.c_int({None: 0, 1: 1, 0: 2}[axis])

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, sizes = ctypes.c_double(), [ctypes.c_int64(size) for size in inputs[0].shape]
        arrays = pointer(inputs[0]), pointer(weight)
        if library.ff_trimmed_l1(*arrays, *sizes, direction, ctypes.c_float(level), ctypes.byref(value), pointer(gradients[0])):
            raise MemoryError(f"no memory for the trimmed mean of {tuple(inputs[0].shape)} residuals")
        return value.value

    return kernel


def trimmed_l1_reference(residual: Tensor, weight: Tensor | None, level: float, axis: int | None) -> Tensor:
    """The plain twin of `trimmed_l1`, for any device and dtype."""
    if axis is not None:
        length = residual.shape[axis] - 1
        residual = residual.diff(dim=axis)
        weight = None if weight is None else weight.narrow(axis, 1, length) * weight.narrow(axis, 0, length)
    if weight is not None:
        residual = torch.where(weight > 0, residual, 0)
    return trimmed_mean(residual.abs(), weight, level)
