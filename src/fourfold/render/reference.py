"""The rasterizer in plain torch: the oracle of the fast ones, and what serves where none is installed.

Differentiable in everything by autograd, in any floating dtype on any device. One tile of pixels at a time, all its Gaussians at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions, Render, ScreenStatistics
from fourfold.render.inputs import check_inputs
from fourfold.render.projection import MIN_ALPHA, Splats, extents, project, usable_rows, view_colors

TILE = 16  # pixels
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4  # a pixel is finished before its transmittance would fall to this
CHECKPOINT_PAIRS = 20_000_000  # from this many pixel-Gaussian pairs on, tiles are computed again in the backward pass: a pair keeps about 50 bytes


@dataclass(frozen=True)
class _Tile:
    left: int
    top: int
    width: int
    height: int
    splats: Tensor  # (G,) indices into Splats, nearest first


def rasterize_reference(gaussians: Gaussians, camera: Camera, channels: Tensor | None, background: Tensor | None, options: RasterOptions) -> Render:
    """Draw with plain torch; see `render.api.rasterize`.

    Raises:
        FourfoldError: shapes do not match.
    """
    check_inputs(gaussians, camera, channels, background, options)
    means = gaussians.means
    splats = project(gaussians, camera, options, usable_rows(gaussians, channels))
    values = [view_colors(gaussians.select(splats.row), camera), splats.depth[:, None]]
    if channels is not None:
        values.append(channels.to(means.dtype)[splats.row])
    screen = ScreenStatistics(radius=_radius(splats, len(gaussians)))
    _watch_centers(splats, screen, len(gaussians))
    tiles = _tiles(splats, camera)
    values = torch.cat(values, 1)
    blended, alpha, depth, top = _draw_tiles(tiles, splats, values, camera, options, screen)
    if len(splats.row) == 0:  # nothing to draw: still a function of the inputs, with zero gradients
        nothing = values.sum() + splats.opacity.sum() + splats.inverse.sum() + splats.centers.sum()
        blended, alpha = blended + nothing, alpha + nothing
    color = blended[..., :3]
    if background is not None:
        color = color + (1 - alpha)[..., None] * background.to(means.dtype)
    if options.depth == "expected":
        depth = torch.where(alpha > 0, blended[..., 3] / torch.where(alpha > 0, alpha, torch.ones_like(alpha)), torch.zeros_like(alpha))
    extra = None if channels is None else blended[..., 4:]
    return Render(color, alpha, depth, extra, top=top if options.top_contributor else None, screen=screen)


def _radius(splats: Splats, n: int) -> Tensor:
    """(N,) 3 sigma of the major axis of those drawn."""
    with torch.no_grad():
        xx, xy, yy = splats.covariance.unbind(-1)
        major = (xx + yy) / 2 + ((xx - yy).square() / 4 + xy.square()).sqrt()
        return splats.depth.new_zeros(n).index_copy(0, splats.row, 3 * major.sqrt())


def _watch_centers(splats: Splats, screen: ScreenStatistics, n: int) -> None:
    """Note the gradient of the pixel centres in `screen` when it passes by."""
    centers, row = splats.centers, splats.row
    if not centers.requires_grad:
        return
    if len(row) == 0:
        screen.gradient, screen.absolute_gradient = centers.new_zeros(n, 2), centers.new_zeros(n, 2)
        return

    def note(gradient: Tensor) -> None:
        found = gradient.new_zeros(n, 2).index_copy(0, row, gradient)
        screen.gradient = found if screen.gradient is None else screen.gradient + found
        if screen.absolute_gradient is None:
            screen.absolute_gradient = gradient.new_zeros(n, 2)

    centers.register_hook(note)


def _tiles(splats: Splats, camera: Camera) -> list[_Tile]:
    """The tiles in row-major order, each with the splats whose box reaches it."""
    tiles_x, tiles_y = -(-camera.width // TILE), -(-camera.height // TILE)
    with torch.no_grad():
        limit = splats.row.new_tensor([tiles_x - 1, tiles_y - 1])
        extent = extents(splats)
        first = torch.minimum(((splats.centers - extent - 0.5) / TILE).floor().clamp(min=0), limit.to(extent)).long()
        last = torch.minimum(((splats.centers + extent - 0.5) / TILE).floor().clamp(min=0), limit.to(extent)).long()
        columns = last[:, 0] - first[:, 0] + 1
        counts = columns * (last[:, 1] - first[:, 1] + 1)
        splat = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        nth = torch.arange(len(splat), device=splat.device) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        tile = (first[splat, 1] + nth // columns[splat]) * tiles_x + first[splat, 0] + nth % columns[splat]
        order = torch.argsort(tile, stable=True)
        parts = torch.split(splat[order], torch.bincount(tile, minlength=tiles_x * tiles_y).tolist())
    return [
        _Tile(x * TILE, y * TILE, min(TILE, camera.width - x * TILE), min(TILE, camera.height - y * TILE), parts[y * tiles_x + x])
        for y in range(tiles_y)
        for x in range(tiles_x)
    ]


def tile_weights(splats: Splats, camera: Camera) -> Iterator[Tensor]:
    """(G, P) blending weights of each tile in row-major order: its splats, nearest first, by its pixels."""
    screen = ScreenStatistics(radius=splats.depth)
    return (_weights(tile, splats, screen) for tile in _tiles(splats, camera))


def _draw_tiles(
    tiles: list[_Tile], splats: Splats, values: Tensor, camera: Camera, options: RasterOptions, screen: ScreenStatistics
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(H, W, C) blended values, (H, W) alpha, (H, W) median or first depth, (H, W) row of the strongest."""
    pairs = sum(len(t.splats) for t in tiles) * TILE * TILE
    again = pairs >= CHECKPOINT_PAIRS and torch.is_grad_enabled()
    drawn = []
    for tile in tiles:
        arguments = (tile, splats, values, options, screen)
        drawn.append(checkpoint(_draw_tile, *arguments, use_reentrant=False) if again else _draw_tile(*arguments))
    per_row = -(-camera.width // TILE)
    images = []
    for kind in range(4):
        rows = [torch.cat([d[kind] for d in drawn[i : i + per_row]], 1) for i in range(0, len(drawn), per_row)]
        images.append(torch.cat(rows, 0))
    blended, alpha, depth, top = images
    return blended, alpha, depth, top


def _draw_tile(
    tile: _Tile, splats: Splats, values: Tensor, options: RasterOptions, screen: ScreenStatistics
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g, shape = tile.splats, (tile.height, tile.width)
    if len(g) == 0:
        nothing = values.new_zeros(shape)
        return values.new_zeros(*shape, values.shape[1]), nothing, nothing, torch.full(shape, -1, dtype=torch.int32, device=values.device)
    weight = _weights(tile, splats, screen)
    blended = (weight.T @ values[g]).reshape(*shape, -1)
    alpha = weight.sum(0).reshape(shape)
    depth, top = _hits(weight.detach(), splats.depth.detach()[g], splats.row[g], options)
    return blended, alpha, depth.reshape(shape), top.reshape(shape)


def _weights(tile: _Tile, splats: Splats, screen: ScreenStatistics) -> Tensor:
    """(G, P) blending weight alpha_i prod_{j<i} (1 - alpha_j) of each splat in each pixel."""
    g = tile.splats
    xs = torch.arange(tile.left, tile.left + tile.width, device=g.device).to(splats.centers) + 0.5
    ys = torch.arange(tile.top, tile.top + tile.height, device=g.device).to(splats.centers) + 0.5
    center, (xx, xy, yy) = splats.centers[g], splats.inverse[g].unbind(-1)
    dx, dy = xs.repeat(tile.height) - center[:, 0:1], ys.repeat_interleave(tile.width) - center[:, 1:2]
    if dx.requires_grad:
        _watch_pixels(dx, dy, splats.row[g], screen)
    sigma = 0.5 * (xx[:, None] * dx * dx + yy[:, None] * dy * dy) + xy[:, None] * dx * dy
    alpha = (splats.opacity[g][:, None] * torch.exp(-sigma)).clamp(max=MAX_ALPHA)
    alpha = torch.where((alpha >= MIN_ALPHA) & (sigma >= 0), alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, 0)  # only falls: a pixel that is finished stays so
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]], 0)
    return torch.where(after > MIN_TRANSMITTANCE, alpha * before, torch.zeros_like(alpha))


def _watch_pixels(dx: Tensor, dy: Tensor, row: Tensor, screen: ScreenStatistics) -> None:
    """Add |d loss / d centre| of every pixel to the statistics (AbsGS)."""

    def note(axis: int):
        def add(gradient: Tensor) -> None:
            if screen.absolute_gradient is None:
                screen.absolute_gradient = gradient.new_zeros(len(screen.radius), 2)
            screen.absolute_gradient[:, axis].index_add_(0, row, gradient.abs().sum(1))

        return add

    dx.register_hook(note(0))
    dy.register_hook(note(1))


def _hits(weight: Tensor, depth: Tensor, row: Tensor, options: RasterOptions) -> tuple[Tensor, Tensor]:
    """(P,) depth of the asked hit and (P,) row of the strongest splat; 0 and -1 where nothing was hit."""
    hit = weight > 0
    if options.depth == "median":  # the splat that takes the transmittance to 1/2, else the last one
        before = 1 - (weight.cumsum(0) - weight)
        chosen = hit & (before > 0.5)
        index = torch.where(chosen, torch.arange(len(row), device=row.device)[:, None], 0).amax(0)
    else:
        index = hit.to(torch.uint8).argmax(0)
    nothing = ~hit.any(0)
    top = torch.where(nothing, -1, row[weight.argmax(0)]).to(torch.int32)
    return depth[index].masked_fill(nothing, 0), top
