"""Which rasterizer draws: the choice between the compiled kernel, Triton's kernels, gsplat and the plain torch reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.notices import fallback
from fourfold.render.api import Backend, RasterOptions, Render
from fourfold.render.points import AtPoints

TRITON_DEVICES = ("cuda", "xpu")  # AMD's GPUs are "cuda" to torch
Rasterizer = Callable[[Gaussians, Camera, Tensor | None, Tensor | None, RasterOptions], Render]
DrawsAtPoints = Callable[[Gaussians, Camera, Tensor | None, Tensor | None, RasterOptions, AtPoints], Render]
SeveralViews = Callable[[Sequence[Gaussians], Sequence[Camera], Sequence[Tensor | None], Tensor | None, RasterOptions], list[Render]]


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
    if backend == "triton":
        return _with_triton(like)
    if backend == "cuda":
        from fourfold.render.cuda import rasterize_cuda, require_gsplat

        if like.device.type != "cuda":
            raise FourfoldError(f"backend 'cuda' got tensors on {like.device}: move them to a CUDA device or take backend 'cpu'")
        require_gsplat()
        return rasterize_cuda
    raise FourfoldError(f"rasterize got backend {backend!r}, expected auto, cpu, triton, cuda or reference")


def _in_double() -> Rasterizer:
    from fourfold.render.reference import rasterize_reference

    fallback("float64 Gaussians are drawn by the torch reference, about a hundred times slower than the kernels: give float32 where speed matters")
    return rasterize_reference


def _with_triton(like: Tensor) -> Rasterizer:
    from fourfold.render.triton_backend import interpreted, missing, rasterize_triton

    if like.device.type == "cpu" and not interpreted():
        raise FourfoldError("backend 'triton' got tensors on cpu: move them to a GPU or take backend 'cpu'")
    if missing():
        raise FourfoldError(f"backend 'triton' cannot be had: {missing()}; render on the CPU")
    return rasterize_triton


def fast_on(device: torch.device) -> tuple[Rasterizer | None, str]:
    """The rasterizer that "auto" takes for float32 tensors on `device`, or None and why only the slow reference is left."""
    if device.type == "cpu":
        from fourfold.render.cpu import available, rasterize_cpu

        return (rasterize_cpu, "") if available() else (None, "no compiled CPU kernel is installed")
    if device.type == "mps":
        from fourfold.render.cpu import available
        from fourfold.render.through_cpu import rasterize_through_cpu

        return (rasterize_through_cpu, "") if available() else (None, "no compiled CPU kernel is installed")
    from fourfold.render.triton_backend import missing, rasterize_triton

    reasons = [missing()] if device.type in TRITON_DEVICES else [f"no rasterizer of fourfold draws on {device.type}"]
    if device.type == "cuda":
        from fourfold.render.cuda import rasterize_cuda, require_gsplat

        try:
            require_gsplat()
        except FourfoldError as error:
            reasons.append(str(error))
        else:
            return rasterize_cuda, ""
    return (None, " and ".join(reasons)) if reasons[0] else (rasterize_triton, "")


def several_views(draw: Rasterizer) -> SeveralViews | None:
    """The function that draws in one call what `draw` draws in several, if there is one."""
    from fourfold.render.triton_backend import rasterize_triton, rasterize_views

    return rasterize_views if draw is rasterize_triton else None


def draws_at_points(draw: Rasterizer) -> DrawsAtPoints | None:
    """`draw` with values blended at single positions, if it can."""
    from fourfold.render.cpu import rasterize_cpu

    return rasterize_cpu if draw is rasterize_cpu else None


def _automatic(like: Tensor) -> Rasterizer:
    from fourfold.render.reference import rasterize_reference

    if like.dtype == torch.float64:
        return _in_double()
    fast, why = fast_on(like.device)
    if fast is not None:
        return fast
    fallback(f"{why}; rendering with the slow torch reference instead")
    return rasterize_reference
