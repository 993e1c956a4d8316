"""One Adam step on one tensor, in place: all rows, or only those an image showed."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.kernels.devices import compiled, on_gpu, pointer


@dataclass(frozen=True)
class AdamNumbers:
    """Adam's constants: betas of the two moments and epsilon (1e-15 as in 3D Gaussian splatting, gradients of means are tiny)."""

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-15


@torch.no_grad()
def adam_step(
    param: Tensor,
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    rate: float,
    numbers: AdamNumbers = AdamNumbers(),
    rows: Tensor | None = None,
) -> None:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1) on `param` (N, ...), in place.

    Args:
        grad, first, second: shaped like `param`; the moments are updated in place.
        step: number of this step, from 1; it sets the bias correction of every row alike.
        rate: learning rate in units of `param` per step.
        rows: (N,) bool or int64 row numbers; the other rows keep value and moments. None takes all rows.

    CPU float32 tensors go through the compiled kernel, bit for bit the same for any number of threads; float32 of a GPU through Triton's in one
    launch, where Triton is installed; others through torch.

    Raises:
        FourfoldError: shapes differ, `step` is below 1, or `rows` fits no row.
    """
    for name, tensor in (("grad", grad), ("first", first), ("second", second)):
        if tensor.shape != param.shape:
            raise FourfoldError(
                f"adam_step got {name} of shape {tuple(tensor.shape)} for a parameter of shape {tuple(param.shape)}: they must be equal"
            )
    if step < 1:
        raise FourfoldError(f"adam_step got step {step}: steps count from 1")
    if param.ndim == 0:  # a single number is one row
        param, grad, first, second = (tensor.view(1) for tensor in (param, grad, first, second))
    mask = None if rows is None else _mask(rows, param)
    if param.numel() == 0:
        return
    whole = all(tensor.is_contiguous() for tensor in (param, first, second))
    if whole and on_gpu(param, first, second):
        adam_step_on_gpu(param, grad, first, second, step, rate, numbers, mask)
        return
    library = compiled(param, first, second) if whole else None
    if library is None:
        adam_step_reference(param, grad, first, second, step, rate, numbers, mask)
        return
    grad = grad.to(torch.float32).contiguous()
    keep_first, keep_second = numbers.betas
    root = math.sqrt(1.0 - keep_second**step)
    packed = (ctypes.c_float * 7)(
        rate / (1.0 - keep_first**step), keep_first, 1.0 - keep_first, keep_second, 1.0 - keep_second, 1.0 / root, numbers.epsilon
    )
    count = param.shape[0]
    library.ff_adam_step(
        *map(pointer, (param, grad, first, second, mask)), ctypes.c_int64(count), ctypes.c_int64(param.numel() // max(count, 1)), packed
    )


@torch.no_grad()
def adam_step_reference(
    param: Tensor,
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    rate: float,
    numbers: AdamNumbers = AdamNumbers(),
    rows: Tensor | None = None,
) -> None:
    """The slow, obvious twin of `adam_step`; `rows` is (N,) bool. Nothing of it makes the host wait for a GPU."""
    keep_first, keep_second = numbers.betas
    m = keep_first * first + (1.0 - keep_first) * grad
    v = keep_second * second + (1.0 - keep_second) * grad * grad
    value = param - rate / (1.0 - keep_first**step) * m / ((v / (1.0 - keep_second**step)).sqrt() + numbers.epsilon)
    chosen = None if rows is None else rows.reshape(-1, *([1] * (param.ndim - 1)))
    for held, new in ((first, m), (second, v), (param, value)):
        held.copy_(new if chosen is None else torch.where(chosen, new, held))


def adam_step_on_gpu(
    param: Tensor,
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    rate: float,
    numbers: AdamNumbers = AdamNumbers(),
    rows: Tensor | None = None,
) -> None:
    """`adam_step` by the Triton kernel, on contiguous float32 tensors of a GPU; `rows` is (N,) bool.

    At step 1 the moments are zero, whatever the tensors hold, and are written for all rows.
    """
    from fourfold.kernels.triton_adam import BLOCK, adam_kernel

    keep_first, keep_second = numbers.betas
    total, corrected = param.numel(), rate / (1.0 - keep_first**step)
    seen = None if rows is None else rows.view(torch.uint8)
    kernel: Any = adam_kernel[(-(-total // BLOCK),)]
    arrays = (param, grad.to(torch.float32).contiguous(), first, second, seen)
    sizes = (total, total // max(param.shape[0], 1))
    kernel(
        *arrays,
        *sizes,
        corrected,
        keep_first,
        keep_second,
        1.0 / math.sqrt(1.0 - keep_second**step),
        numbers.epsilon,
        ROWS=seen is not None,
        FRESH=step == 1,
        BLOCK=BLOCK,
    )


def _mask(rows: Tensor, param: Tensor) -> Tensor:
    """`rows` as a contiguous (N,) bool mask on the parameter's device."""
    count = param.shape[0]
    if rows.dtype == torch.bool:
        if rows.shape != (count,):
            raise FourfoldError(f"adam_step got a row mask of shape {tuple(rows.shape)} for {count} rows: it must be ({count},)")
        return rows.to(param.device).contiguous()
    if rows.numel() and not (int(rows.min()) >= 0 and int(rows.max()) < count):
        raise FourfoldError(f"adam_step got row numbers from {int(rows.min())} to {int(rows.max())} for {count} rows: they must lie in [0, {count})")
    mask = torch.zeros(count, dtype=torch.bool, device=param.device)
    mask[rows.to(param.device).long()] = True
    return mask
