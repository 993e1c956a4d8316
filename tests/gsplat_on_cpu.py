"""gsplat's own Python with its CUDA calls answered on the CPU, so that `render/cuda.py` can be run where there is no GPU.

Projection and tile lists are gsplat's plain torch reference, with the three things that its CUDA projection does beside it (opacity below
1/255 culls, the radius hangs on opacity, what is not drawn stays unwritten: NaN here).
Blending is written after what RasterizeToPixels3DGS{Fwd,Bwd}.cu compute.
"""

import types

import torch

CHANNELS = {1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512, 513}  # that the CUDA part is compiled for
MAX_ALPHA = 0.999


def install(patch) -> None:
    """Answer gsplat's CUDA calls through `patch` (pytest's monkeypatch, or anything with its setattr)."""
    import gsplat

    patch.setattr(gsplat, "csrc", types.SimpleNamespace(), raising=False)  # found before a build is tried
    import gsplat.cuda._wrapper as wrapper
    import gsplat.rendering as rendering

    patch.setattr(rendering, "fully_fused_projection", projection)
    patch.setattr(rendering, "isect_tiles", isect_tiles)
    patch.setattr(rendering, "isect_offset_encode", isect_offset_encode)
    patch.setattr(wrapper, "_make_lazy_cuda_func", {"rasterize_to_pixels_3dgs_fwd": forward, "rasterize_to_pixels_3dgs_bwd": backward}.get)


def projection(means, covars, quats, scales, viewmats, Ks, width, height, eps2d=0.3, near_plane=0.01, far_plane=1e10, radius_clip=0.0, packed=False,
               sparse_grad=False, calc_compensations=False, camera_model="pinhole", opacities=None):  # fmt: skip
    from gsplat.cuda import _torch_impl as impl

    covar, _ = impl._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    _, centers, depths, conics, comp = impl._fully_fused_projection(
        means, covar, viewmats, Ks, width, height, eps2d, near_plane, far_plane, calc_compensations, camera_model
    )
    with torch.no_grad():
        opacity = opacities[None] * (1 if comp is None else comp)
        extend = torch.minimum(torch.full_like(opacity, 3.33), (2 * torch.log((opacity * 255).clamp(min=1))).sqrt())
        det = conics[..., 0] * conics[..., 2] - conics[..., 1] ** 2
        reach = torch.stack([conics[..., 2] / det, conics[..., 0] / det], -1).sqrt()
        radius = (extend[..., None] * reach).ceil()
        size = centers.new_tensor([width, height])
        bad = (opacity < 1 / 255) | (depths < near_plane) | (depths > far_plane) | (radius <= radius_clip).all(-1)
        bad |= ((centers + radius <= 0) | (centers - radius >= size)).any(-1) | ~torch.isfinite(radius).all(-1)
        radii = torch.where(bad[..., None], 0, radius).int()
    dead = (radii == 0).any(-1)
    nan = torch.nan
    return radii, torch.where(dead[..., None], nan, centers), torch.where(dead, nan, depths), torch.where(dead[..., None], nan, conics), comp


def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height, **options):
    means, radius = torch.nan_to_num(means2d.detach())[0], radii[0]
    low, high = torch.floor((means - radius) / tile_size).long(), torch.ceil((means + radius) / tile_size).long()
    limit = torch.tensor([tile_width, tile_height])
    low, high = torch.minimum(low.clamp(min=0), limit), torch.minimum(high.clamp(min=0), limit)
    extent = (high - low).clamp(min=0)
    count = extent.prod(1) * (radius > 0).all(1)
    g = torch.repeat_interleave(torch.arange(len(count)), count)
    nth = torch.arange(len(g)) - torch.repeat_interleave(count.cumsum(0) - count, count)
    tile = (low[g, 1] + nth // extent[g, 0]) * tile_width + low[g, 0] + nth % extent[g, 0]
    key = (tile << 32) | torch.nan_to_num(depths.detach())[0].float().view(torch.int32).long()[g]
    order = torch.argsort(key, stable=True)
    return count.int()[None], key[order], g[order].int()


def isect_offset_encode(isect_ids, n_images, tile_width, tile_height):
    counts = torch.bincount(isect_ids >> 32, minlength=tile_width * tile_height)
    return (counts.cumsum(0) - counts).int().reshape(1, tile_height, tile_width)


def _tiles(width, height, size, offsets, entries):
    rows, columns = offsets.shape[-2:]
    flat = [*offsets.flatten().tolist(), len(entries)]
    for tile in range(rows * columns):
        y, x = (n * size for n in divmod(tile, columns))
        if flat[tile] < flat[tile + 1]:
            yield entries[flat[tile] : flat[tile + 1]].long(), slice(y, min(y + size, height)), slice(x, min(x + size, width))


def _weights(g, ys, xs, means2d, conics, opacity):
    """Offsets, exp(-sigma), opacity exp(-sigma), alpha, and transmittance before, all (G, P)."""
    px, py = (torch.arange(s.start, s.stop).to(means2d) + 0.5 for s in (xs, ys))
    dx = means2d[g, 0, None] - px.repeat(len(py))
    dy = means2d[g, 1, None] - py.repeat_interleave(len(px))
    a, b, c = (conics[g, i, None] for i in range(3))
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    falloff = torch.exp(-sigma)
    raw = opacity[g, None] * falloff
    alpha = raw.clamp(max=MAX_ALPHA)
    alpha = torch.where((sigma < 0) | (alpha < 1 / 255), 0, alpha)
    after = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    return dx, dy, falloff, raw, torch.where(after > 1e-4, alpha, 0), before


def forward(means2d, conics, colors, opacities, backgrounds, masks, width, height, tile_size, offsets, entries):
    assert colors.shape[-1] in CHANNELS
    assert all(t.is_contiguous() for t in (means2d, conics, colors, opacities))
    image, coverage = colors.new_zeros(1, height, width, colors.shape[-1]), colors.new_zeros(1, height, width, 1)
    for g, ys, xs in _tiles(width, height, tile_size, offsets, entries):
        *_, alpha, before = _weights(g, ys, xs, means2d[0], conics[0], opacities[0])
        shape = (ys.stop - ys.start, xs.stop - xs.start)
        image[0, ys, xs] = ((alpha * before).T @ colors[0][g]).reshape(*shape, -1)
        coverage[0, ys, xs, 0] = (alpha * before).sum(0).reshape(shape)
    if backgrounds is not None:
        image = image + (1 - coverage) * backgrounds[:, None, None]
    return image, coverage, torch.zeros(1, height, width, dtype=torch.int32)


def backward(
    means2d, conics, colors, opacities, backgrounds, masks, width, height, tile_size, offsets, entries, alphas, last, of_image, of_alpha, absgrad
):
    of_means, of_absolute, of_conics, of_colors, of_opacity = (torch.zeros_like(t) for t in (means2d, means2d, conics, colors, opacities))
    for g, ys, xs in _tiles(width, height, tile_size, offsets, entries):
        dx, dy, falloff, raw, alpha, before = _weights(g, ys, xs, means2d[0], conics[0], opacities[0])
        pixels = alpha.shape[1]
        gc, ga = of_image[0, ys, xs].reshape(pixels, -1), of_alpha[0, ys, xs].reshape(pixels)
        weight = alpha * before
        value = colors[0][g] @ gc.T
        behind = (weight * value).flip(0).cumsum(0).flip(0) - weight * value
        left, share = 1 - weight.sum(0), 1 / (1 - alpha)
        of = value * before - behind * share + left * share * ga
        if backgrounds is not None:
            of = of - left * share * (gc @ backgrounds[0])
        of_colors[0].index_add_(0, g, weight @ gc)
        of = torch.where((alpha > 0) & (raw <= MAX_ALPHA), of, 0)
        of_sigma = -raw * of
        a, b, c = (conics[0][g, i, None] for i in range(3))
        by_x, by_y = of_sigma * (a * dx + b * dy), of_sigma * (b * dx + c * dy)
        of_means[0].index_add_(0, g, torch.stack([by_x.sum(1), by_y.sum(1)], 1))
        of_absolute[0].index_add_(0, g, torch.stack([by_x.abs().sum(1), by_y.abs().sum(1)], 1))
        moments = [(0.5 * of_sigma * dx * dx).sum(1), (of_sigma * dx * dy).sum(1), (0.5 * of_sigma * dy * dy).sum(1)]
        of_conics[0].index_add_(0, g, torch.stack(moments, 1))
        of_opacity[0].index_add_(0, g, (falloff * of).sum(1))
    return of_absolute if absgrad else None, of_means, of_conics, of_colors, of_opacity
