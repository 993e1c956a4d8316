"""What the pictures of a bare recording tell of themselves: that no flat camera made them, two views in one, what is not of the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import SameFrames
from fourfold.capture.glimpses import Burst, bursts
from fourfold.capture.overlays import find_overlays
from fourfold.capture.round_pictures import lens_circles, unrolled_sphere
from fourfold.capture.source import Source, ViewSource, noted
from fourfold.capture.stereo import halves, packing_of
from fourfold.errors import FourfoldError


def look_at_pictures(source: Source) -> Source:
    """`source` whose packed views are apart and whose overlays are not valid, with notes; data sets that bring cameras are left as they are."""
    if source.cameras != "unknown":
        return source
    views: list[ViewSource] = []
    notes: list[str] = []
    for view in source.views:
        seen = _seen(view)
        if len(circles := _circles(source, view, seen)) == 1 and view.valid is None:
            view = replace(view, valid=SameFrames(np.where(circles[0], 255, 0).astype(np.uint8), len(view.frames)))
            notes.append(
                f"{view.name} shows the circle of a fisheye lens: what is outside is left out; straighten the film first if its cameras come out bad"
            )
            views.append(view)
            continue
        if (packing := packing_of(seen)) is not None:
            left, right = halves(view.frames, packing)
            views += [replace(view, name=f"{view.name} {side}", frames=half) for side, half in (("left", left), ("right", right))]
            notes.append(f"{view.name} holds two views {packing}: read as two cameras of {left.size[0]}x{left.size[1]}")
            continue
        overlays = find_overlays(seen) if view.valid is None and view.alpha != "opacity" else None
        if overlays is not None and overlays.found:
            overlays = overlays.enlarged(view.frames.size)
            view = replace(view, valid=SameFrames(overlays.valid(), len(view.frames)))
            notes.append(f"{view.name}: {overlays.words}" if len(source.views) > 1 else overlays.words)
        views.append(view)
    return noted(replace(source, views=tuple(views)), *notes)


def _circles(source: Source, view: ViewSource, seen: list[Burst]) -> list[NDArray[np.bool_]]:
    """The inside of a fisheye's circle. FourfoldError for pictures of all that is around."""
    circles = lens_circles(seen)
    if len(circles) == 2:
        what = "the two circles of a camera that sees all around: export reframed (flat) films with the maker's program"
    elif unrolled_sphere(seen):
        what = "all around (its right edge goes on at its left one), which no flat camera sees: cut perspective views out of it first"
    else:
        return circles
    raise FourfoldError(f"{view.name} of {source.path} shows {what}")


def _seen(view: ViewSource) -> list[Burst]:
    try:
        return bursts(view.frames)
    except FourfoldError:  # a damaged picture is told, with its number, when the recording is read
        return []
