"""Blending, forward and backward: a program is one tile of TILE x TILE pixels, Gaussian after Gaussian.

The twin of `kernels/blend.cpp` and `kernels/draw_backward.cpp`: the same exponent, the same rules, so that the same contributions are kept.
Tiles of 8 x 8 pixels on one warp need no shared memory for their sums. Channels are taken `WIDTH` at a time: more would not fit the registers.
"""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false

import triton
import triton.language as tl

MIN_ALPHA2 = tl.constexpr(-7.99435343685886)  # log2(1 / 255): weaker contributions are skipped
MAX_ALPHA = tl.constexpr(0.999)
MIN_TRANSMITTANCE = tl.constexpr(1e-4)  # a pixel is finished before its transmittance would fall to this
CHUNK = tl.constexpr(32)  # entries between two looks at whether any pixel of the tile is unfinished
MOMENTS = tl.constexpr(8)


@triton.jit
def _pixels(tile, tiles_of_view, tiles_x, width, height, TILE: tl.constexpr):
    """Position of each pixel of the tile, its index in the images of all views, and whether it lies in the image."""
    view, local = tile // tiles_of_view, tile % tiles_of_view
    i = tl.arange(0, TILE * TILE)
    x, y = (local % tiles_x) * TILE + i % TILE, (local // tiles_x) * TILE + i // TILE
    inside = (x < width) & (y < height)
    return x.to(tl.float32) + 0.5, y.to(tl.float32) + 0.5, (view * height + y) * width + x, inside


@triton.jit
def _exponent(splats, g, px, py):
    """log2 of alpha before the cap, and what its gradient needs."""
    splat = splats + g * 6
    m, p, r = tl.load(splat + 2), tl.load(splat + 3), tl.load(splat + 4)
    dx, dy = px - tl.load(splat), py - tl.load(splat + 1)
    v, u = m * dx, p * dy + r * dx
    return tl.load(splat + 5) - v * v - u * u, v, u, m, r


@triton.jit
def draw_kernel(
    splats, values, backgrounds, ids, offsets, color, alpha, depth, channels, left, last, first, median, top,
    width, height, tiles_x, tiles_of_view,
    EXTRA: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr, TRACK: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of all views, groups of WIDTH channels). `left`: what light is left; `last`: the entry blended last; the rest as `Render` has it.

    TRACK: also the rows of the first hit, of that which takes the transmittance to 1/2, and of the largest weight, -1 where there is none.
    """
    tile, group = tl.program_id(0), tl.program_id(1)
    px, py, pixel, inside = _pixels(tile, tiles_of_view, tiles_x, width, height, TILE)
    total: tl.constexpr = 4 + EXTRA
    k = group * WIDTH + tl.arange(0, WIDTH)
    blend = tl.zeros([TILE * TILE, WIDTH], tl.float32)
    light = tl.where(inside, 1.0, -1.0)  # the sign of the transmittance marks a finished pixel
    coverage, deep = tl.zeros([TILE * TILE], tl.float32), tl.zeros([TILE * TILE], tl.float32)
    latest = tl.full([TILE * TILE], -1, tl.int32)
    hit, half, best, strongest = latest, latest, latest, coverage
    entry, end = tl.load(offsets + tile), tl.load(offsets + tile + 1)
    alive = 1
    while (entry < end) & (alive > 0):
        stop = tl.minimum(entry + CHUNK, end)
        for j in range(entry, stop):
            g = tl.load(ids + j)
            log2_alpha, _, _, _, _ = _exponent(splats, g, px, py)
            reached = (log2_alpha >= MIN_ALPHA2) & (light > 0)
            a = tl.minimum(tl.exp2(log2_alpha), MAX_ALPHA)
            rest = light - a * light
            blended = reached & (rest > MIN_TRANSMITTANCE)
            weight = tl.where(blended, a * light, 0.0)
            coverage += weight
            deep += weight * tl.load(values + g * total + total - 1)
            blend += weight[:, None] * tl.load(values + g * total + k, mask=k < total, other=0.0)[None, :]
            latest = tl.where(blended, j, latest)
            if TRACK:
                hit = tl.where(blended & (hit < 0), g, hit)
                half = tl.where(blended & (light > 0.5), g, half)
                best = tl.where(weight > strongest, g, best)
                strongest = tl.maximum(weight, strongest)
            light = tl.where(blended, rest, tl.where(reached, -light, light))
        alive = tl.max((light > 0).to(tl.int32), 0)
        entry = stop
    behind = tl.load(backgrounds + (tile // tiles_of_view) * 3 + k, mask=k < 3, other=0.0)
    blend += tl.abs(light)[:, None] * behind[None, :]
    tl.store(color + pixel[:, None] * 3 + k[None, :], blend, mask=inside[:, None] & (k < 3)[None, :])
    if EXTRA > 0:
        tl.store(channels + pixel[:, None] * EXTRA + (k - 3)[None, :], blend, mask=inside[:, None] & ((k >= 3) & (k < total - 1))[None, :])
    once = inside & (tl.zeros([TILE * TILE], tl.int32) + group == 0)  # of whole tensors: a mask is made of truth values alone
    tl.store(alpha + pixel, coverage, mask=once)
    tl.store(depth + pixel, tl.where(coverage > 0, deep / tl.where(coverage > 0, coverage, 1.0), 0.0), mask=once)
    tl.store(left + pixel, tl.abs(light), mask=once)
    tl.store(last + pixel, latest, mask=once)
    if TRACK:
        tl.store(first + pixel, hit, mask=once)
        tl.store(median + pixel, half, mask=once)
        tl.store(top + pixel, best, mask=once)


@triton.jit
def _of_values(of_color, of_channels, of_depth, pixel, inside, k, EXTRA: tl.constexpr):
    """(pixels, WIDTH) d loss / d blended value k; of the depth, `of_depth` is already divided by the coverage."""
    total: tl.constexpr = 4 + EXTRA
    on = inside[:, None]
    g = tl.load(of_color + pixel[:, None] * 3 + k[None, :], mask=on & (k < 3)[None, :], other=0.0)
    if EXTRA > 0:
        g += tl.load(of_channels + pixel[:, None] * EXTRA + (k - 3)[None, :], mask=on & ((k >= 3) & (k < total - 1))[None, :], other=0.0)
    return g + tl.where((k == total - 1)[None, :], of_depth[:, None], 0.0)


@triton.jit
def draw_backward_kernel(
    splats, values, backgrounds, ids, slots, offsets, alpha, depth, left, last, of_color, of_alpha, of_depth, of_channels, records, of_background,
    width, height, tiles_x, tiles_of_view,
    EXTRA: tl.constexpr, WIDTH: tl.constexpr, GROUPS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of all views). Back to front: one record per entry of the list, the eight moments and d loss / d values, at its place `slots`.

    Moments, with q = d loss / d ln alpha of a pixel: sums of q, q v, q u, q vv, q uv, q uu, |q (m v + r u)| and |q u| (AbsGS).
    `of_background`: a part per tile.
    """
    tile = tl.program_id(0)
    px, py, pixel, inside = _pixels(tile, tiles_of_view, tiles_x, width, height, TILE)
    total: tl.constexpr = 4 + EXTRA
    stride: tl.constexpr = MOMENTS + GROUPS * WIDTH
    k = tl.arange(0, WIDTH)
    light = tl.load(left + pixel, mask=inside, other=0.0)
    latest = tl.load(last + pixel, mask=inside, other=-1)
    # depth = sum w z / sum w: d depth / d w_i = (z_i - depth) / alpha
    coverage = tl.load(alpha + pixel, mask=inside, other=0.0)
    of_deep = tl.where(coverage > 0, tl.load(of_depth + pixel, mask=inside, other=0.0) / tl.where(coverage > 0, coverage, 1.0), 0.0)
    constant = -of_deep * tl.load(depth + pixel, mask=inside, other=0.0)
    of_first = _of_values(of_color, of_channels, of_deep, pixel, inside, k, EXTRA)
    ground = tl.load(backgrounds + (tile // tiles_of_view) * 3 + k, mask=k < 3, other=0.0)
    # what light from behind is worth, times the light that is left
    behind = light * (tl.sum(of_first * ground[None, :], 1) - tl.load(of_alpha + pixel, mask=inside, other=0.0))
    tl.store(of_background + tile * 3 + k, tl.sum(of_first * light[:, None], 0), mask=k < 3)
    begin, newest = tl.load(offsets + tile), tl.max(latest, 0)
    for step in range(0, newest - begin + 1):
        j = newest - step
        g = tl.load(ids + j)
        log2_alpha, v, u, m, r = _exponent(splats, g, px, py)
        blended = (log2_alpha >= MIN_ALPHA2) & (latest >= j)
        if tl.max(blended.to(tl.int32), 0) > 0:
            full = tl.exp2(log2_alpha)
            a = tl.where(blended, tl.minimum(full, MAX_ALPHA), 0.0)
            inverse = 1.0 / (1.0 - a)
            light = light * inverse
            weight = a * light
            record = records + tl.load(slots + j) * stride
            here = constant
            if GROUPS == 1:
                here += tl.sum(of_first * tl.load(values + g * total + k, mask=k < total, other=0.0)[None, :], 1)
                tl.store(record + MOMENTS + k, tl.sum(weight[:, None] * of_first, 0))
            else:
                for group in range(GROUPS):  # the gradient images are read again for each Gaussian: too many channels to be kept
                    c = group * WIDTH + k
                    of = _of_values(of_color, of_channels, of_deep, pixel, inside, c, EXTRA)
                    here += tl.sum(of * tl.load(values + g * total + c, mask=c < total, other=0.0)[None, :], 1)
                    tl.store(record + MOMENTS + c, tl.sum(weight[:, None] * of, 0))
            q = tl.where(blended & (full < MAX_ALPHA), a * (light * here - behind * inverse), 0.0)
            behind += weight * here
            qv, qu = q * v, q * u
            tl.store(record, tl.sum(q, 0))
            tl.store(record + 1, tl.sum(qv, 0))
            tl.store(record + 2, tl.sum(qu, 0))
            tl.store(record + 3, tl.sum(qv * v, 0))
            tl.store(record + 4, tl.sum(qv * u, 0))
            tl.store(record + 5, tl.sum(qu * u, 0))
            tl.store(record + 6, tl.sum(tl.abs(m * qv + r * qu), 0))
            tl.store(record + 7, tl.sum(tl.abs(qu), 0))
