"""Which camera of a calibration took which video or folder of images: told by names, by numbers in them, or by order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from fourfold.capture.frames import natural

Pairs = list[tuple[int, int]]
LEAST_WITHIN = 2  # letters of a name that lies within another


def paired(cameras: Sequence[str], frames: Sequence[str], by_order: bool = True) -> Pairs | None:
    """(camera, frames) by number for cameras and frames that belong together, in the order of the cameras; None if they cannot be told.

    Asked in turn: equal names; a name within the other; the last number in them, if every camera's is among the frames'; the natural order,
    if there are as many. The first way that pairs any of them counts; a camera or frames without a partner are left out.
    """
    if len(set(cameras)) < len(cameras) or len(set(frames)) < len(frames):
        return None
    for way in (_equal, _within):
        found = _matches(cameras, frames, way)
        if found:
            return found
    numbers, theirs = [_number(n) for n in cameras], [_number(n) for n in frames]
    told = None not in numbers and len(set(numbers)) == len(numbers) and len(set(theirs)) == len(theirs)
    if told and set(numbers) <= set(theirs) and len(numbers) > 1:
        return [(c, theirs.index(n)) for c, n in enumerate(numbers)]
    if not by_order or len(cameras) != len(frames):
        return None
    ordered = (sorted(range(len(names)), key=lambda i: natural(names[i])) for names in (cameras, frames))
    return sorted(zip(*ordered, strict=True))


def _matches(cameras: Sequence[str], frames: Sequence[str], way: Callable[[str, str], bool]) -> Pairs | None:
    """Pairs under `way`, None if one name has several partners."""
    found = [(c, f) for c, camera in enumerate(cameras) for f, name in enumerate(frames) if way(camera, name)]
    return found if len({c for c, _ in found}) == len({f for _, f in found}) == len(found) else None


def _equal(camera: str, name: str) -> bool:
    return camera.lower() == name.lower()


def _within(camera: str, name: str) -> bool:
    short, long = sorted((camera.lower(), name.lower()), key=len)
    if len(short) < LEAST_WITHIN:
        return False
    # cam1 lies within left_cam1 and not within cam10
    return re.search(rf"(?<!\d){re.escape(short)}(?!\d)" if short[0].isdigit() else rf"{re.escape(short)}(?!\d)", long) is not None


def _number(name: str) -> int | None:
    found = re.findall(r"\d+", name)
    return int(found[-1]) if found else None
