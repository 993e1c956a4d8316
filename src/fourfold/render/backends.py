"""Which rasterizer draws: the choice between the compiled kernel, gsplat and the plain torch reference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.notices import fallback
from fourfold.render.api import Backend, RasterOptions, Render

Rasterizer = Callable[[Gaussians, Camera, Tensor | None, Tensor | None, RasterOptions], Render]


def choose(backend: Backend, like: Tensor) -> Rasterizer:
    """The rasterizer for tensors like `like`.

    Float64 on the CPU is always the reference's: the kernels compute in float32.

    Raises:
        FourfoldError: the asked backend is unknown, not installed, or on another device than `like`.
    """
    from fourfold.render.reference import rasterize_reference

    if backend == "reference":
        return rasterize_reference
    if backend == "auto":
        return _automatic(like)
    if backend == "cpu":
        from fourfold.render.cpu import available, rasterize_cpu

        if like.device.type != "cpu":
            raise FourfoldError(f"backend 'cpu' got tensors on {like.device}: move them to the CPU or take backend 'cuda'")
        if like.dtype == torch.float64:
            return _in_double()
        if not available():
            raise FourfoldError("backend 'cpu' has no compiled kernel: install fourfold again with a C++ compiler, or take backend 'reference'")
        return rasterize_cpu
    if backend == "cuda":
        from fourfold.render.cuda import rasterize_cuda, require_gsplat

        if like.device.type != "cuda":
            raise FourfoldError(f"backend 'cuda' got tensors on {like.device}: move them to a CUDA device or take backend 'cpu'")
        require_gsplat()
        return rasterize_cuda
    raise FourfoldError(f"rasterize got backend {backend!r}, expected auto, cpu, cuda or reference")


def _in_double() -> Rasterizer:
    from fourfold.render.reference import rasterize_reference

    fallback("float64 Gaussians are drawn by the torch reference, about a hundred times slower than the kernels: give float32 where speed matters")
    return rasterize_reference


def _automatic(like: Tensor) -> Rasterizer:
    from fourfold.render.reference import rasterize_reference

    if like.dtype == torch.float64:
        return _in_double()
    if like.device.type == "cuda":
        from fourfold.render.cuda import rasterize_cuda, require_gsplat

        try:
            require_gsplat()
        except FourfoldError as error:
            fallback(f"{error}; rendering with the slow torch reference instead")
            return rasterize_reference
        return rasterize_cuda
    if like.device.type == "cpu":
        from fourfold.render.cpu import available, rasterize_cpu

        if available():
            return rasterize_cpu
        fallback("no compiled CPU kernel is installed; rendering with the slow torch reference instead")
    return rasterize_reference
