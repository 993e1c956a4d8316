"""Writing of keyframes: a group of looks once, and for each block of time the keyframes of who is seen in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.geometry.gaussians import Gaussians
from fourfold.splats.drawn import plain
from fourfold.viewer.packing.blocks import Block, read_block
from fourfold.viewer.packing.config import PackConfig, tolerances
from fourfold.viewer.packing.keys import HIDDEN, LOOK_STEP, Film, film_of, key_moments, levels, turned_from
from fourfold.viewer.packing.looks import placed, read_looks, write_looks, write_places
from fourfold.viewer.packing.parts import Part, Source, usable

MOST_MOMENTS = 64  # of a block, that are compared at once


@dataclass(frozen=True)
class Reference:
    """The looks that keyframes of a layer refer to, as they are read back.

    Attributes:
        name: of the group.
        rows: (N,) of the layer; steps: (N,) scene units; allowed: (N,) scene units.
        looks: the Gaussians at the middle of the recording; entries: of their palette of harmonics.
    """

    name: str
    rows: Tensor
    steps: Tensor
    allowed: Tensor
    looks: Gaussians
    entries: int


def write_reference(part: Part, source: Source, name: str) -> Reference:
    """The looks of the layer at the middle of the part, most opaque as far as a few moments show it: group `name`, which is not drawn by itself."""
    layer = source.layer
    moments = torch.linspace(part.begin, part.end, 9)
    frames = layer.motion.at(layer, moments)
    good = torch.stack([usable(frame) for frame in frames]).all(0)
    rows = torch.nonzero(good)[:, 0]
    middle = plain(replace(frames[4], visibility=None).select(rows))
    allowed = tolerances(middle.means, middle.log_scale, source.capture, source.config)
    where = placed(middle.means, allowed)
    middle, rows, allowed = middle.select(where.order), rows[where.order], allowed[where.order]
    write_places(part.block, name, where)
    write_looks(part.block, name, middle)
    mine = [section for section in part.block.sections if section["name"].startswith(f"{name}.")]
    steps, looks = read_looks(read_block(mine, bytes(part.block.data)), name)
    entries = next((section["shape"][0] for section in mine if section["name"] == f"{name}.shs"), 0)
    return Reference(name, rows, steps, allowed, looks, entries)


def write_film(part: Part, source: Source, reference: Reference, interval: float) -> None:
    """The keyframes of a layer in the seconds of `part`, whose moments lie `interval` apart."""
    layer, name = source.layer, reference.name
    moments = torch.linspace(part.begin, part.end, moments_of(part.span, interval))
    film = film_of([frame.select(reference.rows) for frame in layer.motion.at(layer, moments)])
    level = levels(film, reference.allowed, source.config)
    seen = [torch.nonzero(level == one)[:, 0] for one in level.unique().tolist() if one != HIDDEN]
    group = {"name": name, "layer": source.number, "film": len(moments), "count": sum(len(rows) for rows in seen)}
    if not seen:
        return
    part.block.integers(f"{name}.level", level.numpy())
    part.borrowed += 0 if f"{name}.mean" in part.block.names else reference.entries
    for rows in seen:
        kept = key_moments(len(moments), int(level[rows[0]]))
        keys = f"{name}.l{int(level[rows[0]])}"
        _write_keys(part.block, keys, _at(film.select(rows), kept), reference, rows)
        looks = any(f"{keys}.{key}" in part.block.names for key in ("size", "alpha", "color"))
        part.texels += len(rows) * (1 + len(kept) * (2 if looks else 1))
    part.groups.append(group)
    part.rows.append(torch.cat([reference.rows[rows] for rows in seen]) + source.start)


def _at(film: Film, moments: Tensor) -> Film:
    return Film(*(x[moments] for x in (film.means, film.quats, film.log_scale, film.opacity, film.color)))


def _write_keys(block: Block, name: str, film: Film, reference: Reference, rows: Tensor) -> None:
    """Tables .place and .turn (K, 3 M) in whole steps from the reference; .size, .alpha and .color where they differ from it."""
    base, steps = reference.looks.select(rows), reference.steps[rows]
    block.integers(f"{name}.place", ((film.means - base.means) / steps[:, None]).round().flatten(1).numpy())
    block.integers(f"{name}.turn", turned_from(base.quat_wxyz, film.quats).flatten(1).numpy())
    size = ((film.log_scale - base.log_scale) / LOOK_STEP).round()
    if bool((size.abs() > 1).any()):
        block.integers(f"{name}.size", size.flatten(1).numpy())
    alpha = (film.opacity * 255).round()
    if bool(((alpha - (base.opacity * 255).round()).abs() > 0).any()):
        block.integers(f"{name}.alpha", alpha.numpy())
    color = (film.color.clamp(0, 1) * 255).round()
    if bool(((color - (base.color * 255).round()).abs() > 1).any()):
        block.integers(f"{name}.color", color.flatten(1).numpy())


def moments_of(span: tuple[float, float], interval: float) -> int:
    """2^n + 1 moments of a block whose finest steps are no longer than half a frame."""
    wanted = max(2.0, 2 * (span[1] - span[0]) / interval - 1e-6)
    return 2 ** min(int(np.ceil(np.log2(wanted))), int(np.log2(MOST_MOMENTS))) + 1


def frame_interval(capture: Capture) -> float:
    """Seconds between frames, the usual ones."""
    steps = np.diff(capture.timestamps)
    return float(np.median(steps)) if len(steps) else 1.0


def cuts(span: tuple[float, float], capture: Capture, config: PackConfig) -> Sequence[float]:
    """Seconds at which blocks begin and end: a power of two of frames each, about `config.seconds` long, the last as long as is left."""
    interval = frame_interval(capture)
    frames = 2 ** max(0, round(np.log2(max(config.seconds / interval, 1))))
    length = frames * interval
    count = max(1, int(np.ceil((span[1] - span[0]) / length - 1e-6)))
    return [min(span[0] + k * length, span[1]) for k in range(count)] + [span[1]]
