"""One Adam step on several tensors, in place: all rows, or only those an image showed; and whether gradients are finite."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.kernels.devices import compiled, on_gpu
from fourfold.kernels.library import load


@dataclass(frozen=True)
class AdamNumbers:
    """Adam's constants: betas of the two moments and epsilon (1e-15 as in 3D Gaussian splatting, gradients of means are tiny)."""

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-15


class AdamTensor(NamedTuple):
    """A parameter (N, ...) and what its step takes.

    Attributes:
        grad, first, second: shaped like `param`; the moments are updated in place.
        step: number of this step, from 1; it sets the bias correction of every row alike.
        rate: learning rate in units of `param` per step.
        rows: (N,) bool or int64 row numbers; the other rows keep value and moments. None takes all rows.
    """

    param: Tensor
    grad: Tensor
    first: Tensor
    second: Tensor
    step: int
    rate: float
    rows: Tensor | None = None


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
    """`adam_steps` of one tensor; the arguments are those of `AdamTensor`."""
    adam_steps([AdamTensor(param, grad, first, second, step, rate, rows)], numbers)


@torch.no_grad()
def adam_steps(tensors: Sequence[AdamTensor], numbers: AdamNumbers = AdamNumbers()) -> None:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1) on several parameters, in place.

    Contiguous float32 tensors of the CPU go through the compiled kernel, all in one call, bit for bit the same for any number of threads; float32 of
    a GPU through Triton's, one launch each, where Triton is installed; others through torch.

    Raises:
        FourfoldError: shapes differ, a `step` is below 1, or `rows` fits no row.
    """
    together: list[AdamTensor] = []
    for given in tensors:
        ready = _checked(given)
        if ready.param.numel() == 0:
            continue
        whole = ready.param.is_contiguous() and ready.first.is_contiguous() and ready.second.is_contiguous()
        if whole and on_gpu(ready.param, ready.first, ready.second):
            adam_step_on_gpu(*ready[:6], numbers, ready.rows)
        elif whole and compiled(ready.param, ready.first, ready.second) is not None:
            together.append(ready)
        else:
            adam_step_reference(*ready[:6], numbers, ready.rows)
    library = load() if together else None
    if library is not None:
        _step_together(library, together, numbers)


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether no number of `tensors` is infinite or NaN. Contiguous float32 of the CPU goes through the compiled kernel, all in one call."""
    library = compiled(*tensors)
    if library is None or not all(tensor.is_contiguous() for tensor in tensors):
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
    count = len(tensors)
    arrays = (ctypes.c_void_p * count)(*(tensor.data_ptr() for tensor in tensors))
    sizes = (ctypes.c_int64 * (2 * count))(*(size for tensor in tensors for size in (tensor.numel(), 1)))
    found = library.ff_all_finite(arrays, sizes, count)
    if found < 0:
        raise MemoryError(f"no memory to look through {count} gradients")
    return bool(found)


def _checked(given: AdamTensor) -> AdamTensor:
    """`given` with rows as a mask, and a single number as one row."""
    param, grad, first, second, step, rate, rows = given
    for name, tensor in (("grad", grad), ("first", first), ("second", second)):
        if tensor.shape != param.shape:
            raise FourfoldError(
                f"adam_step got {name} of shape {tuple(tensor.shape)} for a parameter of shape {tuple(param.shape)}: they must be equal"
            )
    if step < 1:
        raise FourfoldError(f"adam_step got step {step}: steps count from 1")
    if param.ndim == 0:
        param, grad, first, second = (tensor.view(1) for tensor in (param, grad, first, second))
    return AdamTensor(param, grad, first, second, step, rate, None if rows is None else _mask(rows, param))


def _step_together(library: ctypes.CDLL, tensors: Sequence[AdamTensor], numbers: AdamNumbers) -> None:
    """One call for all of `tensors`, which are checked, contiguous and of float32, but for their gradients."""
    keep_first, keep_second = numbers.betas
    arrays: list[int | None] = []
    sizes: list[int] = []
    packed: list[float] = []
    kept: list[Tensor] = []  # until the kernel has read them
    for param, grad, first, second, step, rate, rows in tensors:
        kept.append(grad.to(torch.float32).contiguous())
        arrays += (param.data_ptr(), kept[-1].data_ptr(), first.data_ptr(), second.data_ptr(), None if rows is None else rows.data_ptr())
        sizes += (param.shape[0], param.numel() // param.shape[0])
        root = math.sqrt(1.0 - keep_second**step)
        packed += (rate / (1.0 - keep_first**step), keep_first, 1.0 - keep_first, keep_second, 1.0 - keep_second, 1.0 / root, numbers.epsilon)
    table = ((ctypes.c_void_p * len(arrays))(*arrays), (ctypes.c_int64 * len(sizes))(*sizes), (ctypes.c_float * len(packed))(*packed))
    if library.ff_adam_steps(*table, len(tensors)):
        raise MemoryError(f"no memory for an Adam step of {len(tensors)} tensors")


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
