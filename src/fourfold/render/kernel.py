"""The compiled rasterizer's C interface (`kernels/raster.h`, `kernels/points.h`) as ctypes structures."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p

from torch import Tensor

_GAUSSIAN_ARRAYS = ("means", "quat", "log_scale", "opacity_logit", "visibility", "color", "sh_rest", "channels")
GRADIENT_ARRAYS = (*_GAUSSIAN_ARRAYS, "background", "world_to_camera", "screen", "absolute_screen")


class CGaussians(ctypes.Structure):
    _fields_ = [("count", c_int64), *((name, c_void_p) for name in _GAUSSIAN_ARRAYS), ("sh_terms", c_int32), ("channel_count", c_int32)]


class CCamera(ctypes.Structure):
    _fields_ = [
        ("world_to_camera", c_float * 16),
        *((name, c_float) for name in ("fx", "fy", "cx", "cy", "near_plane", "dilation")),
        *((name, c_int32) for name in ("width", "height", "antialias", "depth_mode")),
    ]


class CImages(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("color", "alpha", "depth", "channels", "top", "radius")]


class CImageGradients(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("color", "alpha", "depth", "channels")]


class CGradients(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in GRADIENT_ARRAYS]


class CPoints(ctypes.Structure):
    _fields_ = [
        ("count", c_int64),
        *((name, c_int32) for name in ("groups", "width")),
        *((name, c_void_p) for name in ("pixels", "values", "of_points", "by_values")),
    ]


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Give the library's rasterizer functions their types; returns the library."""
    library.ff_raster_forward.restype = c_void_p
    library.ff_raster_forward.argtypes = [POINTER(CGaussians), POINTER(CCamera), c_void_p, POINTER(CImages)]
    library.ff_raster_backward.restype = ctypes.c_int
    library.ff_raster_backward.argtypes = [c_void_p, POINTER(CGaussians), c_void_p, POINTER(CImageGradients), POINTER(CGradients)]
    library.ff_raster_backward_with_points.restype = ctypes.c_int
    library.ff_raster_backward_with_points.argtypes = [*library.ff_raster_backward.argtypes, POINTER(CPoints)]
    library.ff_points_forward.restype = ctypes.c_int
    library.ff_points_forward.argtypes = [c_void_p, POINTER(CPoints), c_void_p]
    library.ff_raster_free.restype = None
    library.ff_raster_free.argtypes = [c_void_p]
    library.ff_raster_counts.restype = None
    library.ff_raster_counts.argtypes = [c_void_p, POINTER(c_int64)]
    library.ff_set_threads.restype = None
    library.ff_set_threads.argtypes = [ctypes.c_int]
    library.ff_get_threads.restype = ctypes.c_int
    library.ff_get_threads.argtypes = []
    return library


def address(tensor: Tensor | None) -> int | None:
    """The data pointer of a contiguous tensor, None for none."""
    return None if tensor is None else tensor.data_ptr()
