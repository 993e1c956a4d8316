"""How Gaussians look and where they lie, as whole numbers: neighbours together, positions within boxes of 256."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import quat_normalize
from fourfold.splats.codebook import PaletteConfig, palette
from fourfold.splats.convention import from_smallest_three, smallest_three
from fourfold.splats.drawn import morton_order
from fourfold.viewer.packing.blocks import Block
from fourfold.viewer.packing.config import CELL

TURN_STEP = 1 / 179  # of a component of a quaternion; those beside the largest are below .7072 and fit a byte
LOG_STEP = 0.04  # of the natural logarithm of a standard deviation
SH_STEP = 1 / 256
FINEST = 65535  # steps of a box, at most
PALETTE = PaletteConfig(share=16, smallest=2048, largest=4096, rounds=3)


@dataclass(frozen=True)
class Placed:
    """Gaussians in the order in which they are written.

    Attributes:
        order: (N,) which one each is.
        low: (cells, 3) corner of each box; step: (cells,), scene units.
        means: (N, 3) whole steps from the corner.
    """

    order: Tensor
    low: Tensor
    step: Tensor
    means: Tensor

    @property
    def steps(self) -> Tensor:
        """(N,) step of each Gaussian, scene units."""
        return self.step.repeat_interleave(CELL)[: len(self.means)]

    @property
    def positions(self) -> Tensor:
        """(N, 3) where they are read back."""
        cell = torch.arange(len(self.means)) // CELL
        return self.low[cell] + self.means * self.step[cell][:, None]


def placed(means: Tensor, tolerance: Tensor) -> Placed:
    """Order and boxes of Gaussians at `means` (N, 3) that may lie wrong by `tolerance` (N,), scene units."""
    order = morton_order(means)
    cells = torch.split(order, CELL)
    sorted_cells = [
        cell[means[cell][:, int((means[cell].amax(0) - means[cell].amin(0)).argmax())].argsort(stable=True)] for cell in cells if len(cell)
    ]
    order = torch.cat(sorted_cells) if sorted_cells else order
    low = torch.stack([means[c].amin(0) for c in sorted_cells]) if sorted_cells else means.new_zeros(0, 3)
    high = torch.stack([means[c].amax(0) for c in sorted_cells]) if sorted_cells else low
    wanted = torch.stack([tolerance[c].quantile(0.05) for c in sorted_cells]) if sorted_cells else means.new_zeros(0)
    step = torch.maximum(wanted, (high - low).amax(1) / FINEST)
    cell = torch.arange(len(order)) // CELL
    return Placed(order, low, step, ((means[order] - low[cell]) / step[cell][:, None]).round())


def write_places(block: Block, name: str, where: Placed) -> None:
    """Tables `name`.low, .step and .mean."""
    block.floats(f"{name}.low", where.low.numpy())
    block.floats(f"{name}.step", where.step.numpy())
    block.integers(f"{name}.mean", where.means.numpy())


def write_looks(block: Block, name: str, g: Gaussians) -> None:
    """Tables `name`.quat, .scale, .color, .alpha, and .sh, .shs where there are harmonics; of plain Gaussians (splats/drawn.py)."""
    block.integers(f"{name}.quat", turn_steps(g.quat_wxyz))
    block.integers(f"{name}.scale", (g.log_scale / LOG_STEP).round().numpy())
    red, green, blue = (g.color.clamp(0, 1) * 255).round().long().unbind(1)
    block.integers(f"{name}.color", torch.stack([green, (red - green) & 255, (blue - green) & 255], dim=1).numpy())
    block.integers(f"{name}.alpha", (g.opacity * 255).round().numpy())
    if g.sh_rest is not None and len(g):
        rows, which = palette(g.sh_rest.flatten(1), PALETTE)
        block.integers(f"{name}.shs", (rows / SH_STEP).round().numpy())
        block.integers(f"{name}.sh", which.numpy())


def read_looks(tables: dict[str, NDArray[Any]], name: str) -> tuple[Tensor, Gaussians]:
    """(N,) steps and what `write_places` and `write_looks` wrote, in their order."""
    get = {key.removeprefix(f"{name}."): torch.from_numpy(value) for key, value in tables.items() if key.startswith(f"{name}.")}
    count = len(get["mean"])
    cell = torch.arange(count) // CELL
    step = get["step"][cell, 0] if count else get["mean"].new_zeros(0).float()
    means = get["low"][cell] + get["mean"] * step[:, None] if count else torch.zeros(0, 3)
    green, red, blue = get["color"].unbind(1)
    color = torch.stack([(red + green) & 255, green, (blue + green) & 255], dim=1) / 255
    alpha = (get["alpha"][:, 0] / 255).clamp(1e-6, 1 - 1e-6)
    harmonics = (get["shs"][get["sh"][:, 0]] * SH_STEP).unflatten(1, (-1, 3)).float() if "sh" in get else None
    return step, Gaussians(means.float(), from_turn_steps(get["quat"]), get["scale"] * LOG_STEP, torch.logit(alpha), color.float(), harmonics)


def turn_steps(quat_wxyz: Tensor) -> NDArray[np.int64]:
    """(N, 4) place of the largest component, and the three others in order in whole steps, signed so that the largest is positive."""
    largest, others = smallest_three(quat_normalize(quat_wxyz))
    return torch.cat([largest[:, None], (others / TURN_STEP).round().long()], dim=1).numpy()


def from_turn_steps(rows: Tensor) -> Tensor:
    """(N, 4) unit quaternions of `turn_steps`."""
    return from_smallest_three(rows[:, 0], rows[:, 1:] * TURN_STEP)
