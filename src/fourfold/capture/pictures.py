"""What the pictures of a bare recording tell of themselves: two views in one, bars and text that are not of the scene."""

from __future__ import annotations

from dataclasses import replace

from fourfold.capture.frames import SameFrames
from fourfold.capture.glimpses import Burst, bursts
from fourfold.capture.overlays import find_overlays
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
        if (packing := packing_of(seen)) is not None:
            left, right = halves(view.frames, packing)
            views += [replace(view, name=f"{view.name} {side}", frames=half) for side, half in (("left", left), ("right", right))]
            notes.append(f"{view.name} holds two views {packing}: read as two cameras of {left.size[0]}x{left.size[1]}")
            continue
        overlays = find_overlays(seen) if view.valid is None and view.alpha != "opacity" else None
        if overlays is not None and overlays.found:
            view = replace(view, valid=SameFrames(overlays.valid(), len(view.frames)))
            notes.append(f"{view.name}: {overlays.words}" if len(source.views) > 1 else overlays.words)
        views.append(view)
    return noted(replace(source, views=tuple(views)), *notes)


def _seen(view: ViewSource) -> list[Burst]:
    try:
        return bursts(view.frames)
    except FourfoldError:  # a damaged picture is told, with its number, when the recording is read
        return []
