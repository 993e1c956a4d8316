"""A part of a page that is written: its bytes, what it says of its groups of Gaussians, and which rows of the scene these are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.courses import Course
from fourfold.scene.scene import Layer
from fourfold.splats.drawn import INVISIBLE, plain
from fourfold.viewer.packing.blocks import Block
from fourfold.viewer.packing.config import WHOLE, PackConfig, tolerances
from fourfold.viewer.packing.fit import Fitted, Window, fitted
from fourfold.viewer.packing.lives import rounded, write_lives
from fourfold.viewer.packing.looks import placed, write_looks, write_places

TABLE_SHARE = 0.25  # of the tolerance that rounding a shared motion may use up
MOST_STEPS = 2**27
FARTHEST = 1e4  # seconds outside the recording at which a Gaussian may have its own moment


@dataclass
class Part:
    """A part that is being written, for the seconds from `begin` to `end`.

    `groups` say what the page must know of each group, `rows` which rows of `scene.at` its Gaussians are, in their order. The page makes room for
    `texels` of what moves, `motions` that are shared and `palette` entries of harmonics, of which `borrowed` are
    another part's.
    """

    begin: float
    end: float
    block: Block = field(default_factory=Block)
    groups: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)
    texels: int = 0
    borrowed: int = 0

    @property
    def motions(self) -> int:
        """Shared motions."""
        return sum(s["shape"][1] // 6 for s in self.block.sections if s["name"].endswith(".turns"))

    @property
    def palette(self) -> int:
        """Entries of all palettes that Gaussians drawn from here need."""
        return self.borrowed + sum(s["shape"][0] for s in self.block.sections if s["name"].endswith(".shs"))

    @property
    def span(self) -> tuple[float, float]:
        return self.begin, self.end

    @property
    def count(self) -> int:
        """Gaussians that are drawn from here."""
        return sum(len(rows) for rows in self.rows)

    def told(self) -> dict[str, Any]:
        """What the page's header says."""
        return {"begin": self.begin, "end": self.end, "count": self.count, "groups": self.groups, "sections": self.block.sections} | {
            "texels": self.texels,
            "motions": self.motions,
            "palette": self.palette,
        }


@dataclass(frozen=True)
class Source:
    """A layer that is packed: its number, where its rows begin in `scene.at`, and the sizes of pixels."""

    layer: Layer
    number: int
    start: int
    capture: Any
    config: PackConfig


def on_cpu(layer: Layer) -> Layer:
    """The layer in single precision on the CPU, without gradients."""

    def moved(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: v.detach().cpu().float() if v.is_floating_point() else v.detach().cpu() for name, v in values.items()}

    return replace(layer, splats=moved(layer.splats), shared=moved(layer.shared), fixed=moved(layer.fixed))


def usable(g: Gaussians) -> Tensor:
    """(N,) bool: finite and not transparent at its best."""
    values = torch.cat([g.means, g.quat_wxyz, g.log_scale, g.color, g.opacity_logit[:, None]], dim=1)
    good = values.isfinite().all(1) & (torch.sigmoid(g.opacity_logit) >= INVISIBLE)
    return good if g.sh_rest is None else good & g.sh_rest.isfinite().flatten(1).all(1)


def write_course(part: Part, source: Source, course: Course) -> None:
    """The Gaussians of a layer that moves in closed form, a group for each number of coefficients."""
    config, span = source.config, part.span
    layer = source.layer
    looks = replace(layer.motion.at(layer, torch.tensor([sum(span) / 2]))[0], visibility=None)
    lives = rounded(course, span, config.tick)
    first, last = lives.seen(span)
    there = torch.nonzero(usable(replace(looks, means=course.means)) & (first <= last))[:, 0]
    if not len(there):
        return
    course, lives, looks = course.select(there), lives.select(there), plain(looks.select(there))
    first, last = lives.seen(span)
    straight = (course.before == course.after).all(1)
    inside = torch.minimum(torch.maximum(course.center, first), last)
    own = inside if course.weights is None else course.center.clamp(span[0] - FARTHEST, span[1] + FARTHEST)
    center = torch.where(straight if course.weights is None else straight & (course.before == 0).all(1), (first + last) / 2, own)
    center = span[0] + ((center - span[0]) / config.tick).round() * config.tick
    window = Window(first, center, last)
    sizes = looks.scale
    spread = sizes.amax(1) - sizes.amin(1)
    allowed = tolerances(course.places(center)[0], looks.log_scale, source.capture, config)
    canonical = layer.splats["quat_wxyz"][there]
    table = _write_table(part, source, course, allowed)
    for fit in fitted(course, canonical, spread, allowed, (window, window.inside(span[0], config.tick)), config):
        name = f"g{len(part.groups)}"
        order = _write_fit(part.block, name, fit, allowed[fit.rows], looks.select(fit.rows))
        rows = fit.rows[order]
        if not lives.select(rows).always(span):
            write_lives(part.block, name, lives.select(rows), span, config.tick)
        if fit.early is not None:
            part.block.integers(f"{name}.center", ((fit.center[order] - span[0]) / config.tick).round().numpy())
        if any(f"{name}.{key}" in part.block.names for key in ("on", "center", "index")):
            part.texels += len(rows) * (3 + -(-fit.index.shape[1] // 4))
        part.groups.append({"name": name, "layer": source.number, "count": len(rows), "table": table if fit.index.shape[1] else None})
        part.rows.append(there[rows] + source.start)


def _write_fit(block: Block, name: str, fit: Fitted, allowed: Tensor, looks: Gaussians) -> Tensor:
    """Tables of one group: places, looks, .index and .weight of shared motions, .early and .late ends of lines. Returns the order of its rows."""
    where = placed(fit.means, allowed)
    order = where.order
    write_places(block, name, where)
    write_looks(block, name, replace(looks.select(order), quat_wxyz=fit.quats[order]))
    if fit.index.shape[1]:
        block.integers(f"{name}.index", fit.index[order].numpy())
        block.integers(f"{name}.weight", fit.weight[order, 1:].numpy())
    if fit.early is not None and fit.late is not None:
        for end, values in (("early", fit.early), ("late", fit.late)):
            block.integers(f"{name}.{end}", (values[order] / where.steps[:, None]).round().numpy())
    return order


def _write_table(part: Part, source: Source, course: Course, allowed: Tensor) -> str | None:
    """Tables .knots (seconds), .turns and .shifts of the shared motions, whole steps of .steps; translations with the pivot. None if none."""
    if course.table is None or course.knots is None or course.pivot is None:
        return None
    name = f"t{source.number}"
    arm = (course.means - course.pivot).norm(dim=1)
    fine = TABLE_SHARE * allowed
    turns, shifts = course.table[..., :6].flatten(1), (course.table[..., 6:] + course.pivot).flatten(1)
    steps = [float((fine / arm.clamp_min(1e-6)).quantile(0.05)), float(fine.quantile(0.05))]
    steps = [max(min(step, 1e-3), float(values.abs().max()) / MOST_STEPS) for step, values in zip(steps, (turns, shifts), strict=True)]
    block = part.block
    block.floats(f"{name}.knots", course.knots.numpy())
    block.floats(f"{name}.steps", torch.tensor(steps).numpy())
    for key, values, step in zip(("turns", "shifts"), (turns, shifts), steps, strict=True):
        block.integers(f"{name}.{key}", (values.double() / step).round().numpy())
    return name


def whole_weights(rest: Tensor) -> Tensor:
    """(N, K) shares of a whole, of which `rest` (N, K - 1) are given as whole numbers and the first is what is left."""
    return torch.cat([WHOLE - rest.sum(1, keepdim=True), rest], dim=1).float() / WHOLE
