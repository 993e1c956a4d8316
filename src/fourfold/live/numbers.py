"""Numbers that browsers send: whatever a page's own controls allow, a program may send anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fourfold.errors import FourfoldError


def within(value: object, low: float, high: float) -> float:
    """`value` as a number from `low` to `high`, the nearer end if it lies outside. FourfoldError if it is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise FourfoldError(f"got {str(value)[:40]!r}: expected a number from {low:g} to {high:g}")
    return min(max(float(value), low), high)


def corner(value: Sequence[object]) -> tuple[float, float, float]:
    """Three numbers. FourfoldError if they are not."""
    if len(value) != 3:
        raise FourfoldError(f"got {len(value)} numbers: expected x, y and z")
    x, y, z = (within(v, -1e9, 1e9) for v in value)
    return x, y, z
