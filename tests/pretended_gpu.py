"""A GPU that is none: tensors hold CPU data and say that they are on "gpu:0", and what they do is checked and counted.

- Mixing them with CPU tensors raises, as CUDA does (but for numbers of no dimension, and CPU indices of an indexing).
- What would make the host wait is counted by the line of ours that did it: numbers that are read, copies across devices, `nonzero`, boolean indexing.
- Launches are counted likewise: operations that are no views and write memory.

The rasterizer and Adam run on the data underneath and count as their Triton kernels do. The loader's thread is not
counted: it waits for itself. The device is made of PyTorch's Python backend, once for the process; it stays, and harms nobody.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_map

A = torch.ops.aten
READS = {A._local_scalar_dense.default, A.is_nonzero.default, A.equal.default, A.allclose.default}
SIZED_BY_DATA = {A.nonzero.default, A.masked_select.default, A._unique2.default, A.unique_dim.default, A.unique_consecutive.default}
SIZED_BY_DATA |= {A.bincount.default, A.repeat_interleave.Tensor, A.argwhere.default}
INDEXING = {A.index.Tensor, A.index_put_.default, A.index_put.default, A._index_put_impl_.default, A._unsafe_index.Tensor}
WRITES_NOTHING = {
    A.empty.memory_format,
    A.empty_like.default,
    A.empty_strided.default,
    A.new_empty.default,
    A.new_empty_strided.default,
    A.detach.default,
}
FACTORIES = ("eye", "arange", "linspace", "full", "zeros", "ones", "rand", "randn", "randperm", "tensor", "as_tensor", "empty")
RASTER_LAUNCHES = (
    14,
    15,
)  # of `triton_backend`, forward and backward, zeros for images that no loss read included; tests/test_render_triton.py counts
RASTER_WAITS = 1


class MixedDevices(RuntimeError):
    """CUDA would have refused."""


@dataclass
class Book:
    """What the pretended device was asked: by the line of ours that asked, while `counting`."""

    waits: Counter[str] = field(default_factory=Counter)
    launches: Counter[str] = field(default_factory=Counter)
    counting: bool = False

    def wait(self, kind: str, count: int = 1) -> None:
        if self.counting and not _loader():
            self.waits[f"{_place()} {kind}"] += count

    def launch(self, count: int = 1) -> None:
        if self.counting and not _loader():
            self.launches[_place()] += count


def _loader() -> bool:
    return threading.current_thread().name.startswith("ThreadPoolExecutor")


_book = Book()


def _place() -> str:
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/fourfold/" in name:
            return f"{name.split('/fourfold/')[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "backward"


class OnGpu(torch.Tensor):
    """A tensor on the pretended device, and the CPU tensor `raw` that it is."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> OnGpu:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=torch.device("gpu:0")
        )

    def __init__(self, raw: torch.Tensor) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"OnGpu({self.raw})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _dispatch(function, args, kwargs or {})

    def data_ptr(self) -> int:
        raise MixedDevices("a kernel of the CPU got the address of a tensor on the GPU")

    def tolist(self) -> Any:
        _book.wait("tolist")
        return self.raw.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert gpu:0 device type tensor to numpy")

    __array__ = numpy


def raw(value: Any) -> Any:
    """The CPU tensor under `value`, or `value` as it is."""
    return value.raw if isinstance(value, OnGpu) else value


def _refuse_mixture(function: Any, args: tuple, on: list[OnGpu], off: list[torch.Tensor]) -> None:
    bad = [t for t in off if t.dim() > 0]
    if function in INDEXING and isinstance(args[0], OnGpu):
        if any(t is not None and not isinstance(t, OnGpu) for t in args[1]):
            _book.wait("upload of an index")
        bad = [t for t in args[2:3] if isinstance(t, torch.Tensor) and not isinstance(t, OnGpu) and t.dim() > 0]
    if bad:
        raise MixedDevices(f"{function} got tensors {[tuple(t.shape) for t in on]} of the GPU and {[tuple(t.shape) for t in bad]} of the CPU")


def _note_wait(function: Any, args: tuple, kwargs: dict[str, Any], on: list[OnGpu], off: list[torch.Tensor]) -> None:
    target = _type_of(kwargs.get("device"))
    if function in READS or function in SIZED_BY_DATA:
        _book.wait(function._opname)
    elif function in INDEXING:
        if any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]):
            _book.wait("boolean index")
        return
    if function is A.copy_.default:
        away, blocking = (
            isinstance(args[1], OnGpu) and not isinstance(args[0], OnGpu),
            not (kwargs.get("non_blocking") or (len(args) > 2 and args[2])),
        )
        sent = isinstance(args[0], OnGpu) and not isinstance(args[1], OnGpu)
    elif function is A._to_copy.default:
        away, sent, blocking = bool(on) and target == "cpu", bool(off) and target == "gpu", not kwargs.get("non_blocking")
    else:
        return
    if away or (sent and blocking):  # what is sent without blocking the driver keeps until it is there, and nobody waits
        _book.wait("copy across devices")


def _type_of(device: Any) -> str | None:
    return None if device is None else torch.device(device).type


def _dispatch(function: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    on, off = [t for t in tensors if isinstance(t, OnGpu)], [t for t in tensors if not isinstance(t, OnGpu)]
    if on and off and function not in (A._to_copy.default, A.copy_.default):
        _refuse_mixture(function, args, on, off)
    _note_wait(function, args, kwargs, on, off)
    if not function.is_view and function not in WRITES_NOTHING:
        _book.launch()
    plain = {name: torch.device("cpu") if name == "device" and value is not None else raw(value) for name, value in kwargs.items()}
    plain.pop("pin_memory", None)
    found = function(*tree_map(raw, args), **tree_map(raw, plain))
    if function is A._to_copy.default and _type_of(kwargs.get("device")) == "cpu":
        return found
    itself = {id(t.raw): t for t in on}  # operations in place answer with what they got
    return tree_map(lambda t: itself.get(id(t), OnGpu(t)) if isinstance(t, torch.Tensor) else t, found)


@cache
def _register() -> torch.device:
    from torch.utils import backend_registration

    backend_registration._setup_privateuseone_for_python_backend("gpu")
    library = torch.library.Library("aten", "IMPL")

    def strided(size: Any, stride: Any, *, dtype: Any = None, **options: Any) -> OnGpu:
        return OnGpu(torch.empty_strided(size, stride, dtype=dtype))

    def empty(size: Any, *, dtype: Any = None, **options: Any) -> OnGpu:
        return OnGpu(torch.empty(size, dtype=dtype))

    def copied(source: Any, target: Any, non_blocking: bool = False) -> Any:
        raw(target).copy_(raw(source))
        return target

    library.impl("empty_strided", strided, "PrivateUse1")
    library.impl("empty.memory_format", empty, "PrivateUse1")
    library.impl("_copy_from", copied, "PrivateUse1")
    _register.library = library  # type: ignore[attr-defined]  # its registrations end with it
    return torch.device("gpu:0")


def _factory(old: Any) -> Any:
    def make(*args: Any, device: Any = None, **options: Any) -> Any:
        if device is None or torch.device(device).type != "gpu":
            return old(*args, **options) if device is None else old(*args, device=device, **options)
        _book.launch()
        wanted = options.pop("requires_grad", False)
        made = OnGpu(raw(old(*(raw(a) for a in args), **options)))
        return made.requires_grad_() if wanted else made

    return make


def _quantile(old: Any) -> Any:
    def quantile(input: Any, q: Any, dim: Any = None, **options: Any) -> Any:
        if not isinstance(input, OnGpu):
            return old(input, q, dim, **options)
        _book.launch(8)  # a sort is several; its inside does not pass the wrapper
        return OnGpu(old(input.raw.detach(), raw(q), dim, **options))

    return quantile


@contextmanager
def pretended(patch: pytest.MonkeyPatch) -> Iterator[tuple[torch.device, Book]]:
    """The device and its book; the rasterizer and Adam answer for it while this lasts."""
    from fourfold.render import backends
    from pretended_kernels import rasterize_pretended, stand_in, views_pretended

    global _book
    device, before = _register(), _book
    _book = Book()
    for name in FACTORIES:
        patch.setattr(torch, name, _factory(getattr(torch, name)))
    patch.setattr(torch, "quantile", _quantile(torch.quantile))
    fast_on = backends.fast_on
    patch.setattr(backends, "fast_on", lambda where: (rasterize_pretended, "") if where.type == "gpu" else fast_on(where))
    several = backends.several_views
    patch.setattr(backends, "several_views", lambda draw: views_pretended if draw is rasterize_pretended else several(draw))
    stand_in(patch)
    try:
        yield device, _book
    finally:
        _book = before


_free = False


def is_free() -> bool:
    """Whether what is drawn now is part of a call that was counted."""
    return _free


@contextmanager
def free() -> Iterator[None]:
    """Rasterizations in here cost nothing."""
    global _free
    _free = True
    try:
        yield
    finally:
        _free = False


def count(launches: int, waits: int = 0) -> None:
    """What a kernel that runs underneath would have cost."""
    _book.launch(launches)
    if waits:
        _book.wait("length of a list", waits)
