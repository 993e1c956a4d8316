"""Any motion model at another speed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.courses import Course, layer_course
from fourfold.scene.flights import Flights, layer_flights
from fourfold.scene.motion import motion_kinds
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class Retimed:
    """What the motion model `inner` shows at start + speed (t - begin).

    Reads what the inner one reads.

    Attributes:
        inner: its kind.
        numbers: its numbers, as pairs of name and value.
        speed: seconds of the recording per second.
        begin, start: at the second `begin` the inner model's second `start` is shown.
    """

    kind: ClassVar[str] = "retimed"
    inner: str = "static"
    numbers: tuple[tuple[str, Any], ...] = ()
    speed: float = 1.0
    begin: float = 0.0
    start: float = 0.0

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (K,), seconds."""
        original = self.original(layer)
        return original.motion.at(original, self.recorded(times))

    def means_at(self, layer: Layer, times: Tensor) -> Tensor:
        """Positions (K, N, 3) alone."""
        return self.original(layer).means_at(self.recorded(times))

    def flights(self, layer: Layer) -> Flights | None:
        """The pieces of the inner motion model at the other speed, None if it has none."""
        f = layer_flights(self.original(layer))
        if f is None:
            return None
        moment, begin, end = (self.begin + (t - self.start) / self.speed for t in (f.moment, f.begin, f.end))
        return replace(f, velocity=f.velocity * self.speed, moment=moment, sigma=f.sigma / self.speed, begin=begin, end=end)

    def course(self, layer: Layer) -> Course | None:
        """The course of the inner motion model at the other speed, None if it has none or if time runs backwards."""
        c = layer_course(self.original(layer))
        if c is None or self.speed <= 0:
            return None
        center, begin, end = (self.begin + (t - self.start) / self.speed for t in (c.center, c.begin, c.end))
        knots = None if c.knots is None else (self.begin + (c.knots - self.start) / self.speed)
        slower = replace(c, center=center, begin=begin, end=end, before=c.before * self.speed, after=c.after * self.speed, knots=knots)
        return replace(slower, radius=c.radius / self.speed, width=c.width / self.speed)

    def kept(self, rows: Tensor) -> Retimed:
        """The same for fewer Gaussians."""
        motion = motion_kinds()[self.inner](**dict(self.numbers))
        told = getattr(motion, "kept", None)
        if told is None:
            return self
        fewer = told(rows)
        return replace(self, numbers=tuple((name, getattr(fewer, name)) for name, _ in self.numbers))

    def original(self, layer: Layer) -> Layer:
        """The layer at its own speed."""
        return replace(layer, motion=motion_kinds()[self.inner](**dict(self.numbers)))

    def recorded(self, times: Tensor) -> Tensor:
        """(K,) seconds of the recording at `times`."""
        return self.start + (times - self.begin) * self.speed
