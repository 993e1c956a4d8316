"""Scenes as `gaussian-birth`, straight flights with lifetimes: exact up to the format's own steps where the motion model flies straight.

What bends or turns is cut into straight pieces. That is meant for scenes with spherical harmonics, which `keyframe-delta` cannot hold.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.export.dot4dgs.columns import columns
from fourfold.export.dot4dgs.keyframes import check_states
from fourfold.export.dot4dgs.straight import Cuts, StraightConfig, about, finer
from fourfold.export.dot4dgs.surroundings import front_records
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.flights import Flights, scene_flights
from fourfold.scene.scene import Scene

MOST_PIECES = 20_000_000  # Gaussians times moments of a layer that does not fly straight


@dataclass(frozen=True)
class Parts:
    """M pieces of a scene's Gaussians.

    Attributes:
        looks: rotation, size, colour and opacity of what the pieces belong to.
        flown: the pieces; `rows` are rows of `looks`.
        identity: per row of `looks`, which row of `scene.at` it stands for.
    """

    looks: Gaussians
    flown: Flights
    identity: Tensor


@dataclass(frozen=True)
class BirthConfig:
    """Numbers of a `gaussian-birth` file.

    Attributes:
        profile: the format's name for its finest steps; see `steps` for positions.
        cutoff: share of its opacity below which a Gaussian that fades is left out, the format's word for what is invisible.
        windows: beginnings and ends per second: the library plans a chunk between any two, so there must not be one per Gaussian.
    """

    profile: str = "fine"
    cutoff: float = 1 / 255
    windows: int = 256


def encode_birth(scene: Scene, capture: Capture, parts: Parts, config: BirthConfig = BirthConfig()) -> bytes:
    """The file of a scene whose Gaussians are the pieces `parts`."""
    import fourdgs

    begin, end = scene.time_range
    flown = on_grid(parts.flown, begin, config.windows)
    kept = visible(flown, parts.looks, (begin, end))
    options = fourdgs.WriteOptions(
        profile=config.profile, cutoff=config.cutoff, preserve_source_ids=True, library="fourfold", extra_records=tuple(front_records(scene, capture))
    )
    flown = flown.select(kept)
    out = io.BytesIO()
    fourdgs.write(out, columns(parts.looks, flown, parts.identity[flown.rows], begin), end - begin, options=options)
    return out.getvalue()


def flying_parts(scene: Scene) -> Parts | None:
    """The pieces of a scene all of whose layers fly straight, None for another."""
    flown = scene_flights(scene)
    if flown is None:
        return None
    looks = scene.at(scene.time_range[0]).detach().to(torch.float32).to("cpu")
    return Parts(looks, _cpu(flown), torch.arange(len(looks)))


def straightened_parts(scene: Scene, capture: Capture, times: NDArray[np.float64], straight: StraightConfig = StraightConfig()) -> Parts:
    """The pieces of any scene: layers that fly straight as they are, of the rest one piece per Gaussian and moment, looking as then."""
    looks, flights, identity, start = [], [], [], 0
    for layer, place in zip(scene.layers, scene.slices().values(), strict=True):
        alone = replace(scene, layers=[layer])
        straight_parts = flying_parts(alone) or _cut(alone, finer(alone, capture, times, straight, MOST_PIECES // max(len(layer), 1)))
        looks.append(straight_parts.looks)
        flights.append(replace(straight_parts.flown, rows=straight_parts.flown.rows + start))
        identity.append(straight_parts.identity + place.start)
        start += len(straight_parts.looks)
    return Parts(Gaussians.concatenate(looks), Flights.concatenate(flights), torch.cat(identity))


def _cut(scene: Scene, cuts: Cuts) -> Parts:
    check_states(sum(len(layer) for layer in scene.layers), len(cuts), MOST_PIECES)
    looks, flights, identity, start = [], [], [], 0
    for index, (center, piece) in enumerate(cuts.pieces()):
        rows, shown, velocity = about(scene, center, piece)
        one = torch.ones(len(rows))
        first, last = (-torch.inf if index == 0 else piece[0]), (torch.inf if index == len(cuts) - 1 else piece[1])
        looks.append(shown)
        own = torch.arange(start, start + len(rows))
        flights.append(Flights(own, shown.means, velocity, center * one, torch.inf * one, first * one, last * one))
        identity.append(rows)
        start += len(rows)
    return Parts(Gaussians.concatenate(looks), Flights.concatenate(flights), torch.cat(identity))


def on_grid(flown: Flights, begin: float, per_second: int) -> Flights:
    """The same pieces, beginning and ending on one of `per_second` moments; an empty one has its end at its beginning."""
    first, last = (((edge - begin) * per_second).round() / per_second + begin for edge in (flown.begin, flown.end))
    return replace(flown, begin=first, end=torch.maximum(first, last))


def visible(flown: Flights, looks: Gaussians, span: tuple[float, float]) -> Tensor:
    """(M,) bool: the pieces that are finite and at some time of `span` opaque enough to be drawn."""
    begin, end = span
    nearest = torch.maximum(torch.minimum(flown.moment, flown.end.clamp(max=end)), flown.begin.clamp(min=begin))
    fade = torch.exp(-0.5 * ((nearest - flown.moment) / flown.sigma).square())
    g = looks.select(flown.rows)
    parts = [flown.means, flown.velocity, flown.moment[:, None], g.quat_wxyz, g.scale, g.color, g.opacity_logit[:, None]]
    finite = torch.stack([part.isfinite().all(dim=1) for part in parts]).all(dim=0)
    there = (flown.begin <= end) & (flown.end > begin) & (flown.begin < flown.end)
    return finite & there & (torch.sigmoid(g.opacity_logit) * fade >= 1 / 255)


def _cpu(flown: Flights) -> Flights:
    return Flights(flown.rows.cpu(), *(getattr(flown, n).detach().float().cpu() for n in ("means", "velocity", "moment", "sigma", "begin", "end")))
