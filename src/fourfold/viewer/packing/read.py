"""A packed scene read back as the page reads it, from header and bytes alone: what measures the error, and the page's oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.interpolation import cubic_matrix
from fourfold.geometry.rotations import matrix_to_quat, quat_multiply, quat_normalize, rotation6d_to_matrix
from fourfold.viewer.packing.blocks import read_block
from fourfold.viewer.packing.fit import Window
from fourfold.viewer.packing.keys import HIDDEN, LOOK_STEP, turned_by
from fourfold.viewer.packing.lives import Lives, read_lives
from fourfold.viewer.packing.looks import read_looks
from fourfold.viewer.packing.parts import whole_weights

Tables = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Packed:
    """`header` of `Pack.header` and the bytes of all parts in the order of the page."""

    header: dict[str, Any]
    data: Sequence[bytes]

    @cached_property
    def lasting(self) -> Tables:
        """The tables of the lasting part."""
        return read_block(self.header["lasting"]["sections"], self.data[0])

    def shown(self, time: float) -> list[tuple[int, dict[str, Any], Tables]]:
        """Number in the page, header and tables of the parts that are shown at `time`: the lasting one and one of each strand."""
        chosen, number = [(0, self.header["lasting"], self.lasting)], 1
        for strand in self.header["strands"]:
            at = max((i for i, part in enumerate(strand) if part["begin"] <= time), default=0)
            if strand:
                chosen.append((number + at, strand[at], read_block(strand[at]["sections"], self.data[number + at])))
            number += len(strand)
        return chosen

    def at(self, time: float) -> list[tuple[int, int, Gaussians]]:
        """(number of the part, number of the group in it, its Gaussians) of all groups that are shown at `time`."""
        result: list[tuple[int, int, Gaussians]] = []
        for number, part, tables in self.shown(time):
            for index, group in enumerate(part["groups"]):
                if "film" in group:
                    looks = tables if f"{group['name']}.mean" in tables else self.lasting
                    result.append((number, index, _filmed(group, part, tables, looks, time)))
                else:
                    result.append((number, index, self._course(group, part, tables, time)))
        return result

    def _course(self, group: dict[str, Any], part: dict[str, Any], tables: Tables, time: float) -> Gaussians:
        name, span, tick = group["name"], (part["begin"], part["end"]), self.header["tick"]
        steps, looks = read_looks(tables, name)
        lives = read_lives(tables, name, span, tick)
        means, quats = looks.means, looks.quat_wxyz
        if group["table"] is not None:
            rotation, shift = _blended(tables, group["table"], name, time)
            means = (rotation @ means[..., None])[..., 0] + shift
            quats = quat_multiply(matrix_to_quat(rotation), quats)
        if f"{name}.center" in tables:
            means = means + _line(tables, name, (steps, lives), span, tick, time)
        return replace(looks, means=means, quat_wxyz=quats, visibility=None if lives is None else lives.fading(time))


def _blended(tables: Tables, table: str, name: str, time: float) -> tuple[Tensor, Tensor]:
    """(N, 3, 3) rotations and (N, 3) translations of a group on shared motions."""
    knots, steps = (torch.from_numpy(tables[f"{table}.{key}"])[:, 0] for key in ("knots", "steps"))
    between = cubic_matrix(knots, torch.tensor([time], dtype=knots.dtype)).double()[0]
    turns, shifts = (
        between @ torch.from_numpy(tables[f"{table}.{key}"]).double() * float(step) for key, step in zip(("turns", "shifts"), steps, strict=True)
    )
    motions = torch.cat([turns.reshape(-1, 6), shifts.reshape(-1, 3)], dim=1).float()
    index, weight = torch.from_numpy(tables[f"{name}.index"]), whole_weights(torch.from_numpy(tables[f"{name}.weight"]))
    values = (motions[index] * weight[..., None]).sum(1)
    return rotation6d_to_matrix(values[:, :6]), values[:, 6:]


def _line(tables: Tables, name: str, group: tuple[Tensor, Lives | None], span: tuple[float, float], tick: float, time: float) -> Tensor:
    """(N, 3) how far a group is beside its shared motions."""
    steps, lives = group
    center = span[0] + torch.from_numpy(tables[f"{name}.center"][:, 0]).float() * tick
    first, last = (torch.full_like(center, end) for end in span) if lives is None else lives.seen(span)
    early, late = (torch.from_numpy(tables[f"{name}.{end}"]) * steps[:, None] for end in ("early", "late"))
    return Window(first, center, last).straight(torch.full_like(center, time), early, late)


def _filmed(group: dict[str, Any], part: dict[str, Any], tables: Tables, lasting: Tables, time: float) -> Gaussians:
    """The Gaussians of a group of keyframes, level after level."""
    name = group["name"]
    steps, looks = read_looks(lasting, name)
    level = torch.from_numpy(tables[f"{name}.level"][:, 0])
    share = min(max((time - part["begin"]) / max(part["end"] - part["begin"], 1e-12), 0.0), 1.0)
    moved: list[Gaussians] = []
    for one in level.unique().tolist():
        rows = torch.nonzero(level == one)[:, 0]
        if one != HIDDEN:
            keys = {key: torch.from_numpy(tables[f"{name}.l{one}.{key}"]) for key in KEYED if f"{name}.l{one}.{key}" in tables}
            moved.append(_between(looks.select(rows), steps[rows], keys, share))
    return Gaussians.concatenate(moved)


KEYED = ("place", "turn", "size", "alpha", "color")


def _between(base: Gaussians, steps: Tensor, keys: dict[str, Tensor], share: float) -> Gaussians:
    """The Gaussians `share` of the way through a block."""
    count = len(keys["place"])
    left = min(int(share * (count - 1)), max(count - 2, 0))
    right = min(left + 1, count - 1)
    part = share * (count - 1) - left if count > 1 else 0.0
    pair = {key: value[[left, right]].float() for key, value in keys.items()}

    def run(values: Tensor) -> Tensor:
        return values[0] + part * (values[1] - values[0])

    quats = turned_by(base.quat_wxyz.expand(2, -1, -1), pair["turn"].unflatten(1, (-1, 3)))
    flip = torch.where((quats[0] * quats[1]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    quats = quat_normalize(quats[0] + part * (flip * quats[1] - quats[0]))
    moved = replace(base, means=base.means + run(pair["place"]).reshape(-1, 3) * steps[:, None], quat_wxyz=quats)
    if "size" in pair:
        moved = replace(moved, log_scale=base.log_scale + run(pair["size"]).reshape(-1, 3) * LOOK_STEP)
    if "color" in pair:
        moved = replace(moved, color=run(pair["color"]).reshape(-1, 3) / 255)
    if "alpha" in pair:
        moved = replace(moved, opacity_logit=torch.logit((run(pair["alpha"]) / 255).clamp(1e-6, 1 - 1e-6)))
    return moved
