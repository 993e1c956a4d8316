"""Lifetimes as whole numbers: when Gaussians come and go, rounded before anything else is fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.scene.courses import Course
from fourfold.viewer.packing.blocks import Block
from fourfold.viewer.packing.config import BRIEF

WIDTH_STEP = 0.025  # of the natural logarithm of the seconds of fading
UNSEEN = 1 / 256  # who has lost no more than this by an end of the recording never fades there
LONGEST = 14  # logarithm of the seconds of the slowest fading


@dataclass(frozen=True)
class Lives:
    """Lifetimes of N Gaussians as they are read back, seconds: there from `on` to `off` within `begin` <= t < `end`, fading over `width` beyond."""

    on: Tensor
    off: Tensor
    width: Tensor
    begin: Tensor
    end: Tensor

    def select(self, rows: Tensor) -> Lives:
        """The Gaussians `rows`."""
        return Lives(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def seen(self, span: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """(N,) first and last second of each in a recording from span[0] to span[1]; the first is after the last where it is never seen."""
        first = torch.maximum(self.on - BRIEF * self.width, self.begin).clamp_min(span[0])
        return first, torch.minimum(self.off + BRIEF * self.width, self.end).clamp_max(span[1])

    def fading(self, time: float) -> Tensor:
        """(N,) factor on the opacity."""
        beyond = torch.maximum(self.on - time, time - self.off).clamp_min(0)
        return torch.exp(-(beyond / self.width).square()) * ((self.begin <= time) & (time < self.end))

    def always(self, span: tuple[float, float]) -> bool:
        """Whether all are fully there from the first to the last second."""
        return bool(((self.on <= span[0]) & (self.off >= span[1]) & (self.begin <= span[0]) & (self.end > span[1])).all())


def rounded(course: Course, span: tuple[float, float], tick: float) -> Lives:
    """The lifetimes of `course` in a recording from span[0] to span[1], to the `tick` seconds."""
    on, off = course.center - course.radius, course.center + course.radius
    logs = course.width.clamp(torch.finfo(torch.float32).tiny, 1e30).log().clamp(-LONGEST, LONGEST)
    width = ((logs / WIDTH_STEP).round() * WIDTH_STEP).exp()
    ends = (course.center.new_tensor(span[0]), course.center.new_tensor(span[1]))
    lost = [1 - torch.exp(-(((end - course.center).abs() - course.radius).clamp_min(0) / course.width).square()) for end in ends]
    on = torch.where((on <= ends[0]) | ((lost[0] < UNSEEN) & (course.center > ends[0])), ends[0], on)
    off = torch.where((off >= ends[1]) | ((lost[1] < UNSEEN) & (course.center < ends[1])), ends[1], off)
    far = BRIEF * width
    on, off = torch.minimum(on, ends[1] + 1.1 * far), torch.maximum(off, ends[0] - 1.1 * far)
    on, off = (ends[0] + ((x - ends[0]) / tick).round() * tick for x in (on, off))
    # rounding must not make the end of the recording a moment of fading
    off = torch.where((off - ends[1]).abs() <= tick, off.clamp_min(float(ends[1])), off)
    return Lives(on, off, width, course.begin, course.end)


def write_lives(block: Block, name: str, lives: Lives, span: tuple[float, float], tick: float) -> None:
    """Tables `name`.on, .off (ticks after span[0]), .width, and .window (seconds) where there are windows."""
    block.integers(f"{name}.on", ((lives.on - span[0]) / tick).round().numpy())
    block.integers(f"{name}.off", ((lives.off - span[0]) / tick).ceil().numpy())
    block.integers(f"{name}.width", (lives.width.log() / WIDTH_STEP).round().numpy())
    if bool(lives.begin.isfinite().any() or lives.end.isfinite().any()):
        block.floats(f"{name}.window", torch.stack([lives.begin, lives.end], dim=1).clamp(-1e9, 1e9).numpy())


def read_lives(get: dict[str, NDArray[Any]], name: str, span: tuple[float, float], tick: float) -> Lives | None:
    """What `write_lives` wrote, None where nothing was."""
    if f"{name}.on" not in get:
        return None
    on, off, width = (torch.from_numpy(get[f"{name}.{key}"][:, 0]).float() for key in ("on", "off", "width"))
    ever = torch.full_like(on, torch.inf)
    lives = Lives(span[0] + on * tick, span[0] + off * tick, (width * WIDTH_STEP).exp(), -ever, ever)
    if f"{name}.window" not in get:
        return lives
    begin, end = torch.from_numpy(get[f"{name}.window"]).unbind(1)
    return replace(lives, begin=begin, end=end)
