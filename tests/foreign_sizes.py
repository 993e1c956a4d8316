"""How many bytes each pointer of each function of the kernels reaches, told by the other arguments of a call, for calls through a pipe."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

from fourfold.losses.track_error import _CTargets
from fourfold.priors.cameras.bundle_system import _Call
from fourfold.priors.tracking.track_anchor import _Call as _AlignCall
from fourfold.render.kernel import GRADIENT_ARRAYS, CCamera, CGaussians, CGradients, CImageGradients, CImages, CPoints

INT, FLOAT = "int", "float"  # arguments that are no pointers
Sizes = dict[str, int]  # bytes of an argument or, of a structure, of what its pointers point to


def _longs(address: int, count: int) -> tuple[int, ...]:
    return tuple((ctypes.c_int64 * count).from_address(address))


def _structure(kind: type[ctypes.Structure], address: int) -> Any:
    return kind.from_address(address)


def _adam(a: Sequence[Any]) -> list[Any]:
    sizes = _longs(a[1], 2 * a[3])
    each = [(4 * rows * width, rows) for rows, width in zip(sizes[::2], sizes[1::2], strict=True)]
    return [tuple(size for floats, rows in each for size in (floats, floats, floats, floats, rows)), 16 * a[3], 28 * a[3], INT]


def _all_finite(a: Sequence[Any]) -> list[Any]:
    sizes = _longs(a[1], 2 * a[2])
    return [tuple(4 * rows * width for rows, width in zip(sizes[::2], sizes[1::2], strict=True)), 16 * a[2], INT]


def _ssim(a: Sequence[Any]) -> list[Any]:
    image = 4 * a[3] * a[4] * a[5]
    return [image, image, 4 * a[3] * a[4], INT, INT, INT, 8, image]


def _trimmed(a: Sequence[Any]) -> list[Any]:
    image = 4 * a[2] * a[3]
    return [image, image, INT, INT, INT, FLOAT, 8, image]


def _photometric(a: Sequence[Any]) -> list[Any]:
    return [*_ssim(a)[:6], FLOAT, *_ssim(a)[6:]]


def _disparity(a: Sequence[Any]) -> list[Any]:
    image = 4 * a[4]
    return [image, image, image, (image,) * 3, INT, FLOAT, FLOAT, FLOAT, image, image, image]


def _second_difference(a: Sequence[Any]) -> list[Any]:
    values = 4 * math.prod(_longs(a[1], 4))
    return [values, 32, FLOAT, FLOAT, 8, values]


def _cover(a: Sequence[Any]) -> list[Any]:
    groups = max(_longs(a[0], a[1]), default=-1) + 1
    last = _longs(a[2], groups + 1)[-1]
    return [8 * a[1], INT, 8 * (groups + 1), 8 * last, INT, FLOAT, INT, 8 * (max(_longs(a[3], last), default=-1) + 1), groups]


def _path_loss(a: Sequence[Any]) -> list[Any]:
    numbers, moments = 4 * math.prod(_longs(a[4], 2)), _longs(a[4], 2)[1]
    return [3 * numbers, 3 * numbers, numbers, 12 * moments, 16, 12, 16, 3 * numbers]


def _sweep_smooth(a: Sequence[Any]) -> list[Any]:
    planes, height, width = _longs(a[2], 3)
    volume = 4 * planes * height * width
    return [volume, 4 * height * width, 24, 8, volume]


def _track_error(a: Sequence[Any]) -> list[Any]:
    t = _structure(_CTargets, a[0])
    pairs, read = 4 * t.queries * t.targets, 4 * t.queries * (3 * t.targets + 1)
    return [(_CTargets, (read, 64 * t.targets, 36 * t.targets, 2 * pairs, pairs, pairs, pairs, 4 * t.targets)), 8, read]


def _table(a: Sequence[Any]) -> list[Any]:
    q, r, m = _longs(a[2], 3)
    now, then, table = 32 * q * m, 32 * r * m, 32 * q * (r * m + 1)
    return [now, then, 24, table, now, then][: len(a)]


def _weights(a: Sequence[Any]) -> list[Any]:
    n, m, j, r, pull = _longs(a[7], 5)
    columns = j + pull
    return [12 * r * m, 12 * n, 4 * m, 8 * n, 8 * n, 8 * m * j, m * j, 40, FLOAT, 8 * n * columns, 4 * n * columns, 4 * n * (j + 1)]


def _weights_backward(a: Sequence[Any]) -> list[Any]:
    n, m, j, _, pull = _longs(a[4], 5)
    return [8 * n, 8 * m * j, 4 * n * (j + pull), 4 * n * (j + 1), 40, 4 * n * (j + pull), 4 * m]


def _rigidity(a: Sequence[Any]) -> list[Any]:
    k, m, j, s = _longs(a[6], 4)
    given = [12 * k * m, 16 * k * m, 8 * m * j, 4 * m * j, 8 * s, 4 * s, 32]
    return [*given, 8, 8, given[0], given[1]]


def _skin(a: Sequence[Any]) -> list[Any]:
    n, m, k, q, turned, _ = _longs(a[5], 6)
    given = [32 * q * m, 8 * n * k, 4 * n * k, 12 * n, 16 * n, 48, (12 * n,) * q, (16 * n,) * turned or 0]
    return given if len(a) == 8 else [*given, (given[0], given[2], given[3], given[4])]


def _blend(a: Sequence[Any]) -> list[Any]:
    n, b, q, turned = _longs(a[5], 4)
    given = [4 * n * b, 12 * n, 16 * n, 36 * q * b, 12, 32, (12 * n,) * q, (16 * n,) * turned or 0]
    return given if len(a) == 8 else [*given, (given[0], given[1], given[2], given[3])]


def _leaf_weights(a: Sequence[Any]) -> list[Any]:
    n, m, k = _longs(a[4 if len(a) == 6 else 5], 3)
    given, weights = [12 * n, 12 * m, 4 * m, 8 * n * k], 4 * n * k
    return [*given, 24, weights] if len(a) == 6 else [*given, weights, 24, weights, 12 * m, 4 * m]


def _two_terms(a: Sequence[Any]) -> list[Any]:
    q, m, e = _longs(a[5], 3)
    return [16 * q * m, 12 * q * m, 12 * m, 8 * e, 8 * e, 24, 8, 8, 16 * q * m, 12 * q * m]


def _between_knots(a: Sequence[Any]) -> list[Any]:
    widths, (r, k, q) = _longs(a[1], a[2]), _longs(a[4], 3)
    out, values = 4 * q * r * sum(widths), tuple(4 * r * k * width for width in widths)
    return [values, 8 * a[2], INT, 4 * q * k, 24, out]


def _between_knots_backward(a: Sequence[Any]) -> list[Any]:
    values, widths, _, weights, sizes, out = _between_knots(a)
    return [out, widths, INT, weights, sizes, values]


def _bundle(a: Sequence[Any]) -> Any:
    call = _structure(_Call, a[0])
    seen = ctypes.c_int64.from_address(call.first + 8 * call.tracks).value
    f, c, n = call.frames, call.lenses, call.tracks
    return (16 * seen, 8 * seen, 4 * seen, 8 * (n + 1), 72 * f, 24 * f, 4 * f, 32 * c, 24 * n, 48 * n, 8 * n, 16 * n), 6 * f + 2 * c, n


def _bundle_reduce(a: Sequence[Any]) -> list[Any]:
    inner, unknown, _ = _bundle(a)
    return [(_Call, inner), 8 * unknown**2, 8 * unknown]


def _bundle_residuals(a: Sequence[Any]) -> list[Any]:
    inner = _bundle(a)[0]
    return [(_Call, tuple(0 if index in (1, 9, 11) else size for index, size in enumerate(inner))), inner[0]]


def _bundle_follow(a: Sequence[Any]) -> list[Any]:
    inner, unknown, tracks = _bundle(a)
    return [(_Call, inner), 8 * unknown, 24 * tracks]


def _align(a: Sequence[Any]) -> list[Any]:
    c = _structure(_AlignCall, a[0])
    n, k, image = c.points, c.samples, 4 * c.height * c.width
    anchors = 1 + max(_longs(c.rows, n), default=-1)
    known = (4 * anchors * k, 4 * anchors, 24 * anchors * k, 144 * anchors)
    return [(_AlignCall, (image, 8 * k, 4 * k, *known, 8 * n, 8 * n, 16 * n, 4 * n))]


def _solve(a: Sequence[Any]) -> list[Any]:
    return [8 * a[2] ** 2, 8 * a[2] * a[3], INT, INT]


def _gaussians(address: int) -> tuple[Any, tuple[int, ...]]:
    g = _structure(CGaussians, address)
    n = g.count
    return g, (12 * n, 16 * n, 12 * n, 4 * n, 4 * n, 12 * n, 12 * n * g.sh_terms, 4 * n * g.channel_count)


def _raster_forward(a: Sequence[Any]) -> list[Any]:
    (g, arrays), camera = _gaussians(a[0]), _structure(CCamera, a[1])
    pixels = camera.width * camera.height
    size_of_frame[0] = (pixels, g.count)
    images = (12 * pixels, 4 * pixels, 4 * pixels, 4 * pixels * g.channel_count, 4 * pixels, 4 * g.count)
    return [(CGaussians, arrays), ctypes.sizeof(CCamera), 12, (CImages, images)]


def _points(address: int, n: int) -> tuple[Any, int]:
    """Of a `CPoints`: the sizes of its arrays, and the bytes of what is read at the points."""
    p = _structure(CPoints, address)
    wide, read = 4 * p.groups * p.width * n, 4 * p.count * (p.groups * p.width + 1)
    return (CPoints, (8 * p.count, wide, read, wide)), read


def _points_forward(a: Sequence[Any]) -> list[Any]:
    return [INT, *_points(a[1], frames[a[0]][1])]


def _raster_backward_with_points(a: Sequence[Any]) -> list[Any]:
    return [*_raster_backward(a), _points(a[5], _gaussians(a[1])[0].count)[0] if a[5] else 0]


def _raster_backward(a: Sequence[Any]) -> list[Any]:
    (g, arrays), (pixels, _) = _gaussians(a[1]), frames[a[0]]
    images = (12 * pixels, 4 * pixels, 4 * pixels, 4 * pixels * g.channel_count)
    gradients = (*arrays, 12, 64, 8 * g.count, 8 * g.count)
    assert len(gradients) == len(GRADIENT_ARRAYS)
    return [INT, (CGaussians, arrays), 12, (CImageGradients, images), (CGradients, gradients)]


frames: dict[int, tuple[int, int]] = {}  # pixels and Gaussians of each frame that a forward pass left
size_of_frame = [(0, 0)]
SIZES: dict[str, Callable[[Sequence[Any]], list[Any]]] = {
    "ff_adam_steps": _adam,
    "ff_all_finite": _all_finite,
    "ff_ssim": _ssim,
    "ff_trimmed_l1": _trimmed,
    "ff_photometric": _photometric,
    "ff_disparity": _disparity,
    "ff_ordinal_depth": lambda a: [4 * a[5], 4 * a[5], 8 * a[4], 8 * a[4], INT, INT, FLOAT, FLOAT, 8, 4 * a[5]],
    "ff_normalised_depth": lambda a: [4 * a[3], 4 * a[3], a[3], INT, 8, 4 * a[3]],
    "ff_pose_duals": lambda a: [16 * a[2], 12 * a[2], INT, 32 * a[2]],
    "ff_pose_duals_backward": lambda a: [16 * a[2], 12 * a[2], INT, 32 * a[2], 16 * a[2], 12 * a[2]],
    "ff_smooth_nodes": lambda a: [12 * a[2] * a[3], 16 * a[2] * a[3], INT, INT, 16, 8, 12 * a[2] * a[3], 16 * a[2] * a[3]],
    "ff_leaf_weights": _leaf_weights,
    "ff_leaf_weights_backward": _leaf_weights,
    "ff_square_from": lambda a: [4 * a[1], INT, FLOAT, 8, 4 * a[1]],
    "ff_two_terms": _two_terms,
    "ff_second_difference": _second_difference,
    "ff_ray_motion": lambda a: [36 * a[1], INT, 12, FLOAT, 8, 36 * a[1]],
    "ff_spread_of_three": lambda a: [12 * a[1], INT, FLOAT, 8, 12 * a[1]],
    "ff_cover": _cover,
    "ff_path_loss": _path_loss,
    "ff_sweep_smooth": _sweep_smooth,
    "ff_track_error": _track_error,
    "ff_motion_table": _table,
    "ff_motion_table_backward": _table,
    "ff_scaffold_weights": _weights,
    "ff_scaffold_weights_backward": _weights_backward,
    "ff_rigidity": _rigidity,
    "ff_skin_forward": _skin,
    "ff_skin_backward": _skin,
    "ff_blend_forward": _blend,
    "ff_blend_backward": _blend,
    "ff_between_knots": _between_knots,
    "ff_between_knots_backward": _between_knots_backward,
    "ff_align_patches": _align,
    "ff_bundle_reduce": _bundle_reduce,
    "ff_bundle_follow": _bundle_follow,
    "ff_bundle_residuals": _bundle_residuals,
    "ff_solve_positive": _solve,
    "ff_raster_forward": _raster_forward,
    "ff_raster_backward": _raster_backward,
    "ff_raster_backward_with_points": _raster_backward_with_points,
    "ff_points_forward": _points_forward,
    "ff_raster_free": lambda a: [INT],
    "ff_raster_counts": lambda a: [INT, 24],
    "ff_set_threads": lambda a: [INT],
    "ff_get_threads": lambda a: [],
    "ff_x86_level": lambda a: [],
}
