"""Which part of what a reader found is taken: views by name, moments by time, number and rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.source import CaptureOptions, Source, ViewSource, noted
from fourfold.errors import FourfoldError

SAME_TIME = 1e-6  # seconds
RATE_SLACK = 1.02  # a rate asked for that is within this factor of the film's own takes all frames


def as_it_is(source: Source) -> Source:
    """`source`."""
    return source


def select(source: Source, options: CaptureOptions, cut: Callable[[Source], Source] = as_it_is) -> Source:
    """The part of `source` that `options` asks for, with a note of what was left out; `cut` shortens what lies between start and end before
    frames are thinned out.

    FourfoldError if a view does not exist or nothing is left.
    """
    views = source.views
    if options.views:
        named = {v.name: v for v in views}
        missing = [name for name in options.views if name not in named]
        if missing:
            raise FourfoldError(f"{source.path} has no view {missing[0]!r}: it has {', '.join(named)}")
        views = tuple(named[name] for name in options.views)
    elapsed = source.timestamps - source.timestamps[0]
    inside = (elapsed >= options.start - 1e-9) & (elapsed < (np.inf if options.end is None else options.end - 1e-9))
    seen = np.any([v.present for v in views], axis=0)
    keep = np.flatnonzero(inside & seen)
    if not len(keep):
        span = f"from {options.start} s on" if options.end is None else f"between {options.start} s and {options.end} s"
        raise FourfoldError(f"{source.path} has no frame {span}: it lasts {elapsed[-1]:.2f} s")
    shot = cut(take(replace(source, views=views), keep))
    elapsed = shot.timestamps - source.timestamps[0]
    thinned = np.arange(len(elapsed))
    if options.fps is not None and source.facts.get("fps_from") != "given":  # images without times were given this rate on reading
        thinned = at_rate(elapsed, options.fps)
    thinned = thinned[:: options.every]
    if options.max_frames is not None:
        thinned = thinned[:: -(-len(thinned) // options.max_frames)]
    part, elapsed = take(shot, thinned), elapsed[thinned]
    if len(keep) == int(seen.sum()) and len(thinned) == len(shot.timestamps):
        return part
    return noted(part, f"{len(thinned)} of {int(seen.sum())} moments are taken, from {elapsed[0]:.2f} s to {elapsed[-1]:.2f} s")


def take(source: Source, keep: NDArray[np.int64]) -> Source:
    """The moments `keep` (increasing indices) of `source`, without the views that saw none of them."""
    kept = tuple(_moments(v, keep) for v in source.views)
    return replace(source, views=tuple(v for v in kept if v.present.any()), timestamps=source.timestamps[keep])


def at_rate(elapsed: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """Numbers of the moments nearest to a clock of `fps` ticks per second that begins with the first; all where there are no more than that."""
    span = float(elapsed[-1] - elapsed[0])
    if len(elapsed) < 2 or (len(elapsed) - 1) / span <= fps * RATE_SLACK:
        return np.arange(len(elapsed))
    ticks = elapsed[0] + np.arange(int(np.floor(span * fps + 1e-6)) + 1) / fps
    after = np.clip(np.searchsorted(elapsed, ticks), 1, len(elapsed) - 1)
    earlier = ticks - elapsed[after - 1] <= elapsed[after] - ticks + SAME_TIME  # of two equally near ones the earlier, whatever rounding says
    return np.unique(np.where(earlier, after - 1, after)).astype(np.int64)


def _moments(view: ViewSource, keep: NDArray[np.int64]) -> ViewSource:
    lenses = tuple(view.lenses[i] for i in keep) if len(view.lenses) > 1 else view.lenses
    return replace(
        view,
        frame_of_time=view.frame_of_time[keep],
        K=view.K[keep],
        world_to_camera=view.world_to_camera[keep],
        heldout=view.heldout[keep],
        unused=view.unused[keep],
        lenses=lenses,
    )
