"""How text on the command line becomes numbers: durations and short option names shared by commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from fourfold.errors import FourfoldError

if TYPE_CHECKING:
    from fourfold.capture.capture import Capture

Out = Annotated[Path, arg(aliases=["-o"])]
"""A path to write, `-o` for short."""

MaybeOut = Annotated[Path | None, arg(aliases=["-o"])]
"""The same where there is a usual place for it."""

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Seconds of a duration such as `90`, `90s`, `10m`, `1h30m` or `1.5h`.

    Raises:
        FourfoldError: the text is no positive duration.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text.strip() or total <= 0 or (len(parts) > 1 and any(not unit for _, unit in parts)):
        raise FourfoldError(f"{text!r} is not a duration: write for example 90s, 10m or 1h30m")
    return total


def check_positive(**numbers: float | None) -> None:
    """FourfoldError naming the first option whose number is not above 0; None is not given and good."""
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise FourfoldError(f"--{name.replace('_', '-')} got {number:g}: expected a number above 0")


def check_view(capture: Capture, view: int) -> None:
    """FourfoldError if `capture` has no view of that number."""
    if not 0 <= view < capture.views:
        raise FourfoldError(f"--view got {view}: {capture.name} has the views 0 to {capture.views - 1} ({', '.join(capture.view_names)})")
