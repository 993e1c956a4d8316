"""Movers of a long film, chunk of time after chunk: each chunk has a motion of its own and hands over to the next at one moment.

The layer holds the Gaussians of all chunks one after the other. A chunk's motion is computed only where it is asked for a time that the chunk
shows; at all others its Gaussians stay as they are kept and are not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.motion import motion_kinds
from fourfold.scene.scene import Layer

NEVER = -1e4
"""Motion logit of the bases that a chunk lacks where another has more."""


@dataclass(frozen=True)
class Chunks:
    """Chunk i shows the times from `begins[i]`, included, to `begins[i + 1]`; the first also what is earlier, the last what is later.

    Reads what the motion model `inner` reads: splats of all chunks in one, and shared and fixed tensors with the chunk's number before their name:
    "3.knots".

    Attributes:
        inner: kind of the chunks' motion model, and its `numbers` by name.
        begins: second at which each chunk begins to be shown, increasing.
        counts: Gaussians of each chunk.
    """

    kind: ClassVar[str] = "chunks"
    inner: str = "static"
    begins: tuple[float, ...] = (0.0,)
    counts: tuple[int, ...] = (0,)
    numbers: tuple[tuple[str, Any], ...] = ()

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (K,), seconds."""
        hidden = replace(layer.canonical(), visibility=layer.splats["means"].new_zeros(len(layer)))
        rows, shown, result = torch.arange(len(layer)), self.shown(times), [hidden] * len(times)
        for number in shown.unique().tolist():
            here, mine = torch.nonzero(shown == number)[:, 0], self.rows(int(number))
            part = self.part(layer, int(number))
            if not len(part):
                continue
            before, after = hidden.select(rows[: mine.start]), hidden.select(rows[mine.stop :])
            for place, moved in zip(here.tolist(), part.motion.at(part, times[here]), strict=True):
                there = moved if moved.visibility is not None else replace(moved, visibility=moved.means.new_ones(len(moved)))
                result[place] = Gaussians.concatenate([before, there, after])
        return result

    def shown(self, times: Tensor) -> Tensor:
        """(K,) number of the chunk that shows each of `times`."""
        begins = torch.tensor(self.begins, dtype=times.dtype, device=times.device)
        return (torch.searchsorted(begins, times.contiguous(), right=True) - 1).clamp_min(0)

    def rows(self, number: int) -> slice:
        """Rows of the layer that belong to chunk `number`."""
        first = sum(self.counts[:number])
        return slice(first, first + self.counts[number])

    def kept(self, rows: Tensor) -> Chunks:
        """The chunks of a layer of which the Gaussians of `rows` (N,) bool stay."""
        return replace(self, counts=tuple(int(rows[self.rows(n)].sum()) for n in range(len(self.counts))))

    def part(self, layer: Layer, number: int) -> Layer:
        """Chunk `number` as a layer of its own."""
        rows, lead = self.rows(number), f"{number}."
        groups = ({k.removeprefix(lead): v for k, v in group.items() if k.startswith(lead)} for group in (layer.shared, layer.fixed))
        splats = {name: value[rows] for name, value in layer.splats.items()}
        shared, fixed = groups
        bases = next((len(v) for k, v in shared.items() if k == "rotation6d"), None)
        if bases is not None and "motion_logits" in splats:
            splats["motion_logits"] = splats["motion_logits"][:, :bases]
        return Layer(layer.name, layer.role, motion_kinds()[self.inner](**dict(self.numbers)), splats, shared, fixed)


def joined(parts: Sequence[Layer | None], begins: Sequence[float]) -> Layer | None:
    """The layers of one name of all chunks as one layer; None where no chunk has any.

    Args:
        parts: one layer per chunk, None where it has none; all of one motion model with the same numbers.
        begins: second at which each chunk begins to be shown.
    """
    there = [part for part in parts if part is not None]
    if not there:
        return None
    bases = max((part.splats["motion_logits"].shape[1] for part in there if "motion_logits" in part.splats), default=0)
    splats = {name: torch.cat([_widened(part.splats[name], name, bases) for part in there]) for name in there[0].splats}
    shared, fixed = (
        {f"{n}.{k}": v for n, part in enumerate(parts) if part is not None for k, v in getattr(part, group).items()} for group in ("shared", "fixed")
    )
    counts = tuple(0 if part is None else len(part) for part in parts)
    moved = there[0].motion
    if any(part.motion != moved for part in there):
        raise ValueError(f"chunks of the layer {there[0].name!r} move by different models")
    numbers = tuple((f.name, getattr(moved, f.name)) for f in fields(moved))  # type: ignore[arg-type]
    motion = Chunks(moved.kind, tuple(float(b) for b in begins), counts, numbers)
    return Layer(there[0].name, there[0].role, motion, splats, shared, fixed)


def _widened(value: Tensor, name: str, bases: int) -> Tensor:
    return torch.nn.functional.pad(value, (0, bases - value.shape[1]), value=NEVER) if name == "motion_logits" else value
