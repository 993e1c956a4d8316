"""Whether Triton's kernels serve some tensors."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor


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
