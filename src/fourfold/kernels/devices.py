"""Whose kernels serve some tensors, the compiled ones or Triton's, and how each is called."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fourfold.kernels.library import load


def compiled(*tensors: Tensor | None) -> ctypes.CDLL | None:
    """The compiled kernels, if all of `tensors` are float32 on the CPU (None is nothing to ask) and the kernels are there."""
    fit = all(t is None or (t.device.type == "cpu" and t.dtype == torch.float32) for t in tensors)
    return load() if fit else None


def pointer(tensor: Tensor | None) -> ctypes.c_void_p | None:
    """Where the numbers of a contiguous tensor lie."""
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


@cache
def is_installed() -> bool:
    """Whether Triton can be imported."""
    return importlib.util.find_spec("triton") is not None


def on_gpu(*tensors: Tensor) -> bool:
    """Whether all are float32 on a GPU, and Triton is there to work on them."""
    return all(t.device.type != "cpu" and t.dtype == torch.float32 for t in tensors) and is_installed()


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Tensor | float | None, **constants: int) -> None:
    """A kernel of Triton with that many programs."""
    kernel[grid](*arguments, **constants)
