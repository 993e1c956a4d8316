"""The prior `tracks3d` by anchored tracking: any 2D tracks, any depth, and the best 3D tracker at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.notices import fallback
from fourfold.priors.anchored_tracking.anchors import AnchorNumbers, ImageTracks, find_anchors
from fourfold.priors.anchored_tracking.cat3d import Cat3D
from fourfold.priors.anchored_tracking.driver import track_anchored
from fourfold.priors.anchored_tracking.interface import Clip, IterTracker3D
from fourfold.priors.contracts import Depth, Masks, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.priors.foundation.tapip3d import Tapip3D, unavailable
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.lift import empty_tracks, solid_tracks
from fourfold.priors.tracking.track_step import sample


@dataclass(frozen=True)
class QueryNumbers:
    """Which 2D tracks become queries.

    Attributes:
        most: tracks per view, drawn evenly over the query frames (as released: up to 1000 per frame).
        stride: only every n-th query frame that has tracks is used; 1 takes all, as the paper.
        hidden_confidence: of positions while a point is hidden (as released: 0.5; visible ones count 1).
    """

    most: int = 2000
    stride: int = 1
    hidden_confidence: float = 0.5


def anchored_tracks(
    capture: Capture,
    priors: Priors,
    tracker: IterTracker3D,
    numbers: AnchorNumbers = AnchorNumbers(),
    queries: QueryNumbers = QueryNumbers(),
) -> Tracks3D:
    """`Tracks3D`, native, of the points on moving objects that the prior `tracks2d` follows; empty where nothing moves.

    Held-out images are never read; positions at their moments are interpolated. FourfoldError without 2D tracks or depth.
    """
    tracks2d, depth = priors.require(Tracks2D), priors.require(Depth)
    provider = f"{tracker.name} anchored by {tracks2d.provenance.provider}"
    parts = [_track_view(capture, priors, tracks2d, depth, v, tracker, (numbers, queries)) for v in range(capture.views)]
    parts = [p for p in parts if p is not None and len(p[0])]
    if not parts:
        return empty_tracks(capture.times, provider)
    xyz, visible, confidence, color = (np.concatenate([p[i] for p in parts]) for i in range(4))
    provenance = Provenance(provider, tracker.needs_weights or tracks2d.provenance.needs_weights, figures={"tracks": len(xyz)})
    return solid_tracks(provenance, xyz, visible, confidence, color, native=True)


def _track_view(
    capture: Capture, priors: Priors, tracks2d: Tracks2D, depth: Depth, view: int, tracker: IterTracker3D, numbers: tuple[AnchorNumbers, QueryNumbers]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float32]] | None:
    """xyz (P, T, 3), visible (P, T), confidence (P, T) and color (P, 3) of one view's tracks; None without any."""
    known = np.isfinite(capture.world_to_camera[view]).all((1, 2)) & np.isfinite(capture.K[view]).all((1, 2))
    frames = np.flatnonzero(capture.train[view] & capture.present[view] & known)
    rows = _chosen(tracks2d, capture, priors.masks, view, frames, numbers[1])
    if len(frames) < 3 or len(rows) == 0:
        return None
    clip = _clip(capture, priors.masks, depth, view, frames)
    confidence = tracks2d.visibility[rows].astype(np.float32) * tracks2d.confidence[rows].astype(np.float32)
    query = np.searchsorted(frames, tracks2d.query_time[rows])
    anchors, kept = find_anchors(ImageTracks(tracks2d.xy[rows][:, frames], confidence[:, frames], query), clip, numbers[0])
    found = track_anchored(clip, tracker, anchors, numbers[0])
    rows, query = rows[kept[found.kept]], query[kept[found.kept]]
    xyz = found.xyz[:, found.kept].transpose(1, 0, 2)
    visible = numbers[0].visible <= found.visibility[:, found.kept].T
    color = np.zeros((len(rows), 3), np.float32)
    for t in np.unique(query):
        mine = query == t
        color[mine] = sample(np.asarray(clip.rgb[t], np.float32), tracks2d.xy[rows[mine], frames[t]]) / 255
    sure = np.where(visible, np.maximum(found.confidence[:, found.kept].T, numbers[1].hidden_confidence), numbers[1].hidden_confidence)
    return *_spread(xyz, visible, sure, frames, capture.times), color


def _chosen(
    tracks2d: Tracks2D, capture: Capture, masks: Masks | None, view: int, frames: NDArray[np.intp], queries: QueryNumbers
) -> NDArray[np.intp]:
    """Rows of the tracks of `view` that start on something moving, thinned out evenly over their query frames."""
    rows = np.flatnonzero((tracks2d.view == view) & np.isin(tracks2d.query_time, frames))
    started = np.unique(tracks2d.query_time[rows])[:: queries.stride]
    chosen: list[NDArray[np.intp]] = []
    for t in started:
        own = rows[tracks2d.query_time[rows] == t]
        mask = _mask(capture, masks, view, int(t))
        inside = np.ones(len(own), bool) if mask is None else sample(mask.astype(np.float32), tracks2d.xy[own, t]) > 0.5
        chosen.append(own[inside])
    total = sum(map(len, chosen))
    if total <= queries.most:
        return np.concatenate(chosen) if chosen else np.zeros(0, np.intp)
    random = np.random.default_rng(total)
    return np.concatenate([np.sort(random.choice(own, int(len(own) * queries.most / total), replace=False)) for own in chosen])


def _clip(capture: Capture, masks: Masks | None, depth: Depth, view: int, frames: NDArray[np.intp]) -> Clip:
    rgb = np.stack([capture.image(view, int(t)) for t in frames])
    moving = [_mask(capture, masks, view, int(t)) for t in frames]
    mask = np.stack([m for m in moving if m is not None]) if all(m is not None for m in moving) else None
    return Clip(rgb, np.asarray(depth.depth[view][frames], np.float32), capture.K[view, frames], capture.world_to_camera[view, frames], mask)


def _mask(capture: Capture, masks: Masks | None, view: int, index: int) -> NDArray[np.bool_] | None:
    mask = capture.mask(view, index) if masks is None else masks.mask[view][index]
    return None if mask is None else np.asarray(mask) > 0


def _spread(
    xyz: NDArray[np.float64], visible: NDArray[np.bool_], confidence: NDArray[np.float64], frames: NDArray[np.intp], times: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Values at `frames` put on all `times`: positions in between are linear and not visible, the ends repeat."""
    place = np.interp(np.arange(times), frames, np.arange(len(frames)))
    low = np.clip(np.floor(place).astype(int), 0, len(frames) - 1)
    high, share = np.minimum(low + 1, len(frames) - 1), (place - low)[None, :, None]
    known = np.isin(np.arange(times), frames)
    return xyz[:, low] * (1 - share) + xyz[:, high] * share, visible[:, low] & known, confidence[:, low] * np.where(known, 1.0, 0.5)


def _missing(capture: Capture) -> str | None:
    return None if (capture.train & capture.present).any() else ""


def best_tracker() -> IterTracker3D:
    """TAPIP3D where its weights, its repository and a CUDA device are at hand, else `Cat3D`; says so to those who use weights."""
    reason = unavailable()
    if reason is None:
        return Tapip3D()
    if reason:
        fallback(f"tracks3d from anchored runs without TAPIP3D ({reason}), the weight-free Cat3D is anchored")
    return Cat3D()


def _learned(_: Capture) -> str | None:
    """What tells results of TAPIP3D from those of `Cat3D`."""
    return Tapip3D.name if unavailable() is None else None


def _by(numbers: AnchorNumbers = AnchorNumbers(), queries: QueryNumbers = QueryNumbers()) -> Callable[[Capture, Priors], list[Tracks3D]]:
    """How a provider makes tracks with the best tracker at hand."""
    return lambda capture, priors: [anchored_tracks(capture, priors, best_tracker(), numbers, queries)]


def _variant(name: str, make: Callable[[Capture, Priors], list[Tracks3D]]) -> Provider:
    """A provider for who insists on it."""
    return Provider(name, ("tracks3d",), ("masks", "tracks2d", "depth"), -1, _missing, make, inputs=_learned)


def _alone(capture: Capture, priors: Priors) -> list[Tracks3D]:
    return [anchored_tracks(capture, priors, Cat3D(), AnchorNumbers(tau=np.inf))]


PROVIDERS = (
    Provider("anchored", ("tracks3d",), ("masks", "tracks2d", "depth"), 16, _missing, _by(), inputs=_learned),
    Provider("cat3d", ("tracks3d",), ("masks", "tracks2d", "depth"), 4, _missing, _alone),  # 2D tracks only say where to start
    _variant("unanchored", _by(AnchorNumbers(tau=np.inf))),  # the paper's figure 8: the tracker of `anchored` by itself
    _variant("anchored_03", _by(AnchorNumbers(tau=0.3))),  # the supplement's figure 12
    _variant("anchored_07", _by(AnchorNumbers(tau=0.7))),
    _variant("anchored_by_share", _by(AnchorNumbers(tau=None))),  # the supplement's rule, from the confidences of the clip
    _variant("anchored_every_query", _by(queries=QueryNumbers(most=50_000))),  # A.1 and A.2: as many tracks as Gaussians
)
