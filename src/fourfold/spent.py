"""What a piece of work takes: seconds on the clock, and seconds of processors, which do not grow when others share the machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """Seconds: `wall` on the clock, `cpu` of processors, of all threads of this process and of children that have ended."""

    wall: float
    cpu: float

    @staticmethod
    def now() -> Spent:
        """Both since a moment that stays the same."""
        times = os.times()
        return Spent(time.perf_counter(), times.user + times.system + times.children_user + times.children_system)

    def until_now(self) -> Spent:
        """What was spent since this moment."""
        now = Spent.now()
        return Spent(now.wall - self.wall, now.cpu - self.cpu)
