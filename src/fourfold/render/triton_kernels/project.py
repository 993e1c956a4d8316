"""Projection of all Gaussians of all views, culling, and the way back from sums over pixels to gradients.

The twin of `kernels/project.cpp` and `kernels/project_backward.cpp`. A program is a block of Gaussians of one view.

A splat is six numbers: centre x, y, whitening m, p, r and log2 of the opacity. With d = pixel - centre its alpha is 2^(log2_opacity - v^2 - u^2),
v = m dx, u = p dy + r dx: a scaled Cholesky factor of the inverse covariance, so that cancellation never lifts the exponent.
"""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

from fourfold.kernels.triton_algebra import cross, dot, three
from fourfold.render.triton_kernels.footprint import (
    covariance_of,
    finite,
    lens_of,
    pose_of,
    rotation_of,
    screen_axes,
    slopes_of,
    turned,
    turned_back,
)

MIN_ALPHA = tl.constexpr(1.0 / 255.0)
MIN_ALPHA2 = tl.constexpr(-7.99435343685886)  # log2(1 / 255)
HALF_LOG2E = tl.constexpr(0.72134752044)
TWO_LN2 = tl.constexpr(1.38629436112)
TWO_LN2_LN2 = tl.constexpr(0.96090602784)
NEVER = tl.constexpr(3.4e38)  # depth of what is not drawn: sorted behind everything


@triton.jit
def project_kernel(
    means, quat, log_scale, logit, visibility, color, channels, cameras, splats, values, radius, boxes, counts, keys,
    n, width, height, near, dilation,
    EXTRA: tl.constexpr, VISIBILITY: tl.constexpr, ANTIALIAS: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Grid (blocks, views). Writes, for all R rows: splats (R, 6), values (R, 4 + EXTRA), radius (R,), boxes of tiles (R, 4), their counts, depths.

    The values are colour, channels, depth.
    """
    local = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    on = local < n
    row = tl.program_id(1) * n + local
    camera = cameras + tl.program_id(1) * 18
    R, translation = pose_of(camera)
    lens = lens_of(camera)
    fx, fy, cx, cy = lens
    mean, log = three(means, row, on), three(log_scale, row, on)
    scale = (tl.exp(log[0]), tl.exp(log[1]), tl.exp(log[2]))
    _, inverse_norm, rotation = rotation_of(quat, row, on)
    point = turned(R, mean)
    point = (point[0] + translation[0], point[1] + translation[1], point[2] + translation[2])
    slopes = slopes_of(point, lens, width, height)
    _, row_x, row_y = screen_axes(R, rotation, scale, point, slopes, lens)
    xx, xy, yy, det, plain_det = covariance_of(row_x, row_y, dilation)
    opacity = 1.0 / (1.0 + tl.exp(-tl.load(logit + row, mask=on, other=0.0)))
    if VISIBILITY:
        opacity *= tl.load(visibility + row, mask=on, other=0.0)
    if ANTIALIAS:
        opacity *= tl.sqrt(plain_det / det)
    x, y = fx * point[0] / point[2] + cx, fy * point[1] / point[2] + cy
    seen = on & (point[2] > near) & (opacity >= MIN_ALPHA) & (det > 0) & finite(mean[0] + mean[1] + mean[2] + log[0] + log[1] + log[2])
    seen = seen & finite(x) & finite(y) & finite(xx * yy) & finite(det) & finite(opacity) & finite(inverse_norm)
    width_of_row: tl.constexpr = 4 + EXTRA
    for k in range(3):
        value = tl.load(color + row * 3 + k, mask=on, other=0.0)
        tl.store(values + row * width_of_row + k, value, mask=on)
        seen = seen & finite(value)
    for k in range(EXTRA):
        value = tl.load(channels + row * EXTRA + k, mask=on, other=0.0)
        tl.store(values + row * width_of_row + 3 + k, value, mask=on)
        seen = seen & finite(value)
    tl.store(values + row * width_of_row + 3 + EXTRA, tl.where(seen, point[2], 0.0), mask=on)

    # {alpha >= 1/255} is the ellipse d^T Sigma^-1 d <= reach; the margin keeps pixels that rounding would lose.
    log2_opacity = tl.log2(tl.where(seen, opacity, 1.0))
    reach = (log2_opacity - MIN_ALPHA2) * TWO_LN2 * 1.0001 + 1e-5
    extent_x, extent_y = tl.sqrt(reach * xx), tl.sqrt(reach * yy)
    seen = seen & (x + extent_x >= 0.5) & (x - extent_x <= width - 0.5) & (y + extent_y >= 0.5) & (y - extent_y <= height - 0.5)
    p = tl.sqrt(xx * HALF_LOG2E / det)
    tl.store(splats + row * 6, x, mask=on)
    tl.store(splats + row * 6 + 1, y, mask=on)
    tl.store(splats + row * 6 + 2, tl.sqrt(1.0 / xx * HALF_LOG2E), mask=on)
    tl.store(splats + row * 6 + 3, p, mask=on)
    tl.store(splats + row * 6 + 4, -p * xy / xx, mask=on)
    tl.store(splats + row * 6 + 5, log2_opacity, mask=on)
    middle, half = 0.5 * (xx + yy), 0.5 * (xx - yy)
    tl.store(radius + row, tl.where(seen, 3.0 * tl.sqrt(middle + tl.sqrt(half * half + xy * xy)), 0.0), mask=on)
    left, right = _tiles(x, extent_x, seen, width, TILE)
    top, bottom = _tiles(y, extent_y, seen, height, TILE)
    tl.store(boxes + row * 4, left, mask=on)
    tl.store(boxes + row * 4 + 1, top, mask=on)
    tl.store(boxes + row * 4 + 2, right, mask=on)
    tl.store(boxes + row * 4 + 3, bottom, mask=on)
    tl.store(counts + row, tl.where(seen, (right - left + 1) * (bottom - top + 1), 0), mask=on)
    tl.store(keys + row, tl.where(seen, point[2], NEVER), mask=on)


@triton.jit
def _tiles(center, extent, seen, pixels, TILE: tl.constexpr):
    """First and last tile, along one axis, that centre +- extent reaches."""
    last = (pixels + TILE - 1) // TILE - 1
    low = tl.minimum(tl.maximum(tl.floor((center - extent - 0.5) / TILE), 0.0), last.to(tl.float32))
    high = tl.minimum(tl.maximum(tl.floor((center + extent - 0.5) / TILE), 0.0), last.to(tl.float32))
    return tl.where(seen, low, 0.0).to(tl.int32), tl.where(seen, high, 0.0).to(tl.int32)


@triton.jit
def project_backward_kernel(
    means, quat, log_scale, logit, visibility, cameras, splats, counts, sums, stride,
    of_means, of_quat, of_log_scale, of_logit, of_visibility, of_screen, of_absolute, of_pose,
    n, width, height, dilation, depth_column,
    VISIBILITY: tl.constexpr, ANTIALIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Grid (blocks, views). `sums` (R, stride): the eight moments of `draw_backward_kernel`, then values. `of_pose` (views, blocks, 12): parts.

    With q = d loss / d ln alpha: moments Q, Qv, Qu, Qvv, Quv, Quu are sums of q, q v, q u, ... over pixels, and
    d loss / d Sigma = 1/2 Sigma^-1 (sum q d d^T) Sigma^-1 becomes products of them with the whitening.
    """
    local = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    on = local < n
    row = tl.program_id(1) * n + local
    drawn = on & (tl.load(counts + row, mask=on, other=0) > 0)
    camera = cameras + tl.program_id(1) * 18
    R, translation = pose_of(camera)
    lens = lens_of(camera)
    fx, fy, _, _ = lens
    mean, log = three(means, row, drawn), three(log_scale, row, drawn)
    scale = (tl.exp(log[0]), tl.exp(log[1]), tl.exp(log[2]))
    unit, inverse_norm, rotation = rotation_of(quat, row, drawn)
    point = turned(R, mean)
    point = (point[0] + translation[0], point[1] + translation[1], tl.where(drawn, point[2] + translation[2], 1.0))
    slopes = slopes_of(point, lens, width, height)
    ux, uy, free_x, free_y = slopes
    M, row_x, row_y = screen_axes(R, rotation, scale, point, slopes, lens)

    moments = sums + row * stride
    q, qv, qu = tl.load(moments, mask=drawn, other=0.0), tl.load(moments + 1, mask=drawn, other=0.0), tl.load(moments + 2, mask=drawn, other=0.0)
    of_depth = tl.load(moments + depth_column, mask=drawn, other=0.0)
    whitening = splats + row * 6
    m, p, r = (
        tl.load(whitening + 2, mask=drawn, other=0.0),
        tl.load(whitening + 3, mask=drawn, other=0.0),
        tl.load(whitening + 4, mask=drawn, other=0.0),
    )
    screen_x, screen_y = (m * qv + r * qu) * TWO_LN2, p * qu * TWO_LN2
    tl.store(of_screen + row * 2, screen_x, mask=on)
    tl.store(of_screen + row * 2 + 1, screen_y, mask=on)
    tl.store(of_absolute + row * 2, tl.load(moments + 6, mask=drawn, other=0.0) * TWO_LN2, mask=on)
    tl.store(of_absolute + row * 2 + 1, p * tl.load(moments + 7, mask=drawn, other=0.0) * TWO_LN2, mask=on)
    _write_opacity(logit, visibility, of_logit, of_visibility, row, on, drawn, q, VISIBILITY)

    of_x, of_y = _of_rows(moments, drawn, (m, p, r), row_x, row_y, dilation, ANTIALIAS)
    # row_x = jx (M_0 - ux M_2), row_y = jy (M_1 - uy M_2), jx = fx / z, jy = fy / z.
    inverse_z = 1.0 / point[2]
    jx, jy = fx * inverse_z, fy * inverse_z
    first, second = (jx * of_x[0], jx * of_x[1], jx * of_x[2]), (jy * of_y[0], jy * of_y[1], jy * of_y[2])
    third = (-ux * first[0] - uy * second[0], -ux * first[1] - uy * second[1], -ux * first[2] - uy * second[2])
    along_x, along_y = dot(of_x, row_x), dot(of_y, row_y)
    bottom = (M[6], M[7], M[8])
    of_slope_x = tl.where(free_x, -dot(first, bottom), 0.0) + fx * screen_x
    of_slope_y = tl.where(free_y, -dot(second, bottom), 0.0) + fy * screen_y
    of_z = of_depth - inverse_z * (along_x + along_y + inverse_z * (of_slope_x * point[0] + of_slope_y * point[1]))
    of_point = (of_slope_x * inverse_z, of_slope_y * inverse_z, of_z)
    of_mean = turned_back(R, of_point)
    _store_three(of_means, row, on, drawn, of_mean)

    part = of_pose + (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * 12
    axes = (scale[0] * rotation[0], scale[1] * rotation[1], scale[2] * rotation[2])
    axes = (axes[0], axes[1], axes[2], scale[0] * rotation[3], scale[1] * rotation[4], scale[2] * rotation[5])
    axes = (axes[0], axes[1], axes[2], axes[3], axes[4], axes[5], scale[0] * rotation[6], scale[1] * rotation[7], scale[2] * rotation[8])
    _store_pose_row(part, 0, drawn, of_point[0], mean, turned(axes, first))
    _store_pose_row(part, 1, drawn, of_point[1], mean, turned(axes, second))
    _store_pose_row(part, 2, drawn, of_point[2], mean, turned(axes, third))

    # v: d loss / d rotation of the quaternion, before the scale
    inner = (
        turned_back(R, (first[0], second[0], third[0])),
        turned_back(R, (first[1], second[1], third[1])),
        turned_back(R, (first[2], second[2], third[2])),
    )
    of_scale = (
        scale[0] * dot(inner[0], (rotation[0], rotation[3], rotation[6])),
        scale[1] * dot(inner[1], (rotation[1], rotation[4], rotation[7])),
        scale[2] * dot(inner[2], (rotation[2], rotation[5], rotation[8])),
    )
    _store_three(of_log_scale, row, on, drawn, of_scale)
    _write_quat(of_quat, row, on, drawn, unit, inverse_norm, inner, scale)


@triton.jit
def _of_rows(moments, drawn, whitening, row_x, row_y, dilation, ANTIALIAS: tl.constexpr):
    """d loss / d rows of J M, from Sigma = rows rows^T + dilation I and, when antialiased, ln compensation = ln area - 1/2 ln det."""
    m, p, r = whitening
    qvv, quv = tl.load(moments + 3, mask=drawn, other=0.0), tl.load(moments + 4, mask=drawn, other=0.0)
    quu = tl.load(moments + 5, mask=drawn, other=0.0)
    ruu = r * quu
    of_xx = (m * m * qvv + r * (2.0 * m * quv + ruu)) * TWO_LN2_LN2
    of_xy = 2.0 * p * (m * quv + ruu) * TWO_LN2_LN2
    of_yy = p * p * quu * TWO_LN2_LN2
    nothing = 0.0 * m
    of_normal = (nothing, nothing, nothing)
    if ANTIALIAS:
        q = tl.load(moments, mask=drawn, other=0.0)
        xx, xy, yy, det, plain_det = covariance_of(row_x, row_y, dilation)
        half = 0.5 * q / det
        of_xx, of_yy, of_xy = of_xx - half * yy, of_yy - half * xx, of_xy + 2.0 * half * xy
        by_area = tl.where(plain_det > 0, q / plain_det, 0.0)
        normal = cross(row_x, row_y)
        of_normal = (by_area * normal[0], by_area * normal[1], by_area * normal[2])
    a, b = cross(row_y, of_normal), cross(of_normal, row_x)
    of_x = (
        2.0 * of_xx * row_x[0] + of_xy * row_y[0] + a[0],
        2.0 * of_xx * row_x[1] + of_xy * row_y[1] + a[1],
        2.0 * of_xx * row_x[2] + of_xy * row_y[2] + a[2],
    )
    of_y = (
        2.0 * of_yy * row_y[0] + of_xy * row_x[0] + b[0],
        2.0 * of_yy * row_y[1] + of_xy * row_x[1] + b[1],
        2.0 * of_yy * row_y[2] + of_xy * row_x[2] + b[2],
    )
    return of_x, of_y


@triton.jit
def _write_opacity(logit, visibility, of_logit, of_visibility, row, on, drawn, q, VISIBILITY: tl.constexpr):
    e = tl.exp(-tl.load(logit + row, mask=drawn, other=0.0))
    tl.store(of_logit + row, tl.where(drawn, q * e / (1.0 + e), 0.0), mask=on)
    if VISIBILITY:
        tl.store(of_visibility + row, tl.where(drawn, q / tl.load(visibility + row, mask=drawn, other=1.0), 0.0), mask=on)


@triton.jit
def _store_three(array, row, on, drawn, v):
    tl.store(array + row * 3, tl.where(drawn, v[0], 0.0), mask=on)
    tl.store(array + row * 3 + 1, tl.where(drawn, v[1], 0.0), mask=on)
    tl.store(array + row * 3 + 2, tl.where(drawn, v[2], 0.0), mask=on)


@triton.jit
def _store_pose_row(part, i, drawn, of_coordinate, mean, through_shape):
    """Row i of d loss / d world_to_camera, summed over the block: of the centre, and of M = R rotation S."""
    tl.store(part + 4 * i, tl.sum(tl.where(drawn, of_coordinate * mean[0] + through_shape[0], 0.0), 0))
    tl.store(part + 4 * i + 1, tl.sum(tl.where(drawn, of_coordinate * mean[1] + through_shape[1], 0.0), 0))
    tl.store(part + 4 * i + 2, tl.sum(tl.where(drawn, of_coordinate * mean[2] + through_shape[2], 0.0), 0))
    tl.store(part + 4 * i + 3, tl.sum(tl.where(drawn, of_coordinate, 0.0), 0))


@triton.jit
def _write_quat(of_quat, row, on, drawn, unit, inverse_norm, inner, scale):
    w, x, y, z = unit
    v0, v3, v6 = inner[0][0] * scale[0], inner[0][1] * scale[0], inner[0][2] * scale[0]
    v1, v4, v7 = inner[1][0] * scale[1], inner[1][1] * scale[1], inner[1][2] * scale[1]
    v2, v5, v8 = inner[2][0] * scale[2], inner[2][1] * scale[2], inner[2][2] * scale[2]
    a = 2.0 * (x * (v7 - v5) + y * (v2 - v6) + z * (v3 - v1))
    b = 2.0 * (w * (v7 - v5) + y * (v1 + v3) + z * (v2 + v6) - 2.0 * x * (v4 + v8))
    c = 2.0 * (w * (v2 - v6) + x * (v1 + v3) + z * (v5 + v7) - 2.0 * y * (v0 + v8))
    d = 2.0 * (w * (v3 - v1) + x * (v2 + v6) + y * (v5 + v7) - 2.0 * z * (v0 + v4))
    radial = a * w + b * x + c * y + d * z
    tl.store(of_quat + row * 4, tl.where(drawn, (a - radial * w) * inverse_norm, 0.0), mask=on)
    tl.store(of_quat + row * 4 + 1, tl.where(drawn, (b - radial * x) * inverse_norm, 0.0), mask=on)
    tl.store(of_quat + row * 4 + 2, tl.where(drawn, (c - radial * y) * inverse_norm, 0.0), mask=on)
    tl.store(of_quat + row * 4 + 3, tl.where(drawn, (d - radial * z) * inverse_norm, 0.0), mask=on)
