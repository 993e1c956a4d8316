"""From matches between cameras to 3D tracks, and the 2D tracks they came from. Source: spec sparse_dynamic_cameras.md section 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.notices import fallback
from fourfold.priors.contracts import Depth, Flow, Masks, Matches, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.priors.multiview_tracks.consistent import ConsistencyNumbers, Observations, filter_epipolar, triangulate_tracks
from fourfold.priors.multiview_tracks.follow import FollowConfig, Follower, follow_view
from fourfold.priors.multiview_tracks.linking import Links, alike_ends, link_matches, strongest
from fourfold.priors.multiview_tracks.support import SupportNumbers, moves_along, on_surface
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.lift import empty_tracks, fill_between, lift_tracks, solid_tracks, unproject_points
from fourfold.priors.tracking.track_step import sample
from fourfold.priors.tracking.tracks import track_points


@dataclass(frozen=True)
class MultiviewNumbers:
    """Numbers of the multi-view tracks.

    Attributes:
        epipolar, triangulation: the ablation switches of the paper's Table 3; without triangulation the depth prior lifts the 2D tracks.
        most: linked points followed at most; evenly over the moments, the surest of each.
        same: matches that share a pixel of a camera within so many pixels are one point.
        alike, patch: a camera stays in a match if its patch of `patch` pixels correlates at least so much with that of another camera.
        fewest: a track is kept if it was triangulated at so many moments (MoSca's `tap_loading_min_valid_cnt`), or in all of a shorter clip.
        consistency: of the epipolar filter and the triangulation; support: of the neighbours' witness; follow: of the 2D tracker.
    """

    epipolar: bool = True
    triangulation: bool = True
    most: int = 9000
    same: float = 1.0
    alike: float = 0.7
    patch: int = 7
    fewest: int = 4
    consistency: ConsistencyNumbers = field(default_factory=ConsistencyNumbers)
    support: SupportNumbers = field(default_factory=SupportNumbers)
    follow: FollowConfig = field(default_factory=FollowConfig)


def multiview_tracks(
    capture: Capture, matches: Matches, depth: Depth, follower: Follower, numbers: MultiviewNumbers = MultiviewNumbers()
) -> tuple[Tracks3D, Tracks2D]:
    """Tracks that the cameras agree on.

    Args:
        capture: with cameras.
        depth: what points are lifted by where they are not triangulated.
        follower: a 2D tracker.

    Returns:
        `Tracks3D` with native 0 (between the moments at which a point was triangulated it is interpolated) and the 2D tracks with the
        visibility that is left, one per point and camera. Both are empty if nothing was matched.
    """
    links = alike_ends(link_matches(matches, capture.views, numbers.same), capture, numbers.alike, numbers.patch)
    links = strongest(links, numbers.most)
    observations = follow_links(capture, links, follower)
    if numbers.epipolar:
        observations = Observations(observations.xy, filter_epipolar(observations, capture, numbers.consistency))
    if numbers.triangulation:
        xyz, valid, error = triangulate_tracks(observations, capture, numbers.consistency)
        valid = moves_along(xyz, on_surface(xyz, valid, capture, numbers.support), links.time, capture, numbers.support)
    else:
        xyz, valid = lift_observations(capture, observations, depth)
        error = np.zeros(valid.shape)
    fewest = min(numbers.fewest, max(2, capture.times))
    keep = np.flatnonzero(valid.sum(axis=1) >= fewest)
    if len(keep) == 0:
        note = f"no point of {capture.name} was triangulated from two cameras at {fewest} moments"
        return empty_tracks(capture.times, "multiview_tracks", (note,)), _flat_tracks(observations, links, keep)
    confidence = np.where(valid, 1 / (1 + error), 0)[keep]
    filled = fill_between(xyz[keep], valid[keep])
    figures = {"tracks": len(keep), "followed": len(links.time), "mean_valid": round(float(valid[keep].mean()), 4)}
    solid = solid_tracks(Provenance("multiview_tracks", figures=figures), filled, valid[keep], confidence, _colors(capture, links, keep))
    return solid, _flat_tracks(observations, links, keep)


def follow_links(capture: Capture, links: Links, follower: Follower) -> Observations:
    """Every end of every link followed through its own view."""
    points, views = links.xy.shape[:2]
    xy = np.zeros((points, views, capture.times, 2))
    seen = np.zeros((points, views, capture.times), bool)
    for view in range(views):
        own = np.flatnonzero(np.isfinite(links.xy[:, view, 0]))
        if len(own) == 0:
            continue
        xy[own, view], seen[own, view] = follower(capture, view, links.xy[own, view].astype(np.float32), links.time[own])
        xy[own, view, links.time[own]] = links.xy[own, view]
    return Observations(xy, seen)


def lift_observations(capture: Capture, observations: Observations, depth: Depth) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(P, T, 3) means over the cameras of what the depth prior says at each observation, and (P, T) where it says anything."""
    points, views, times = observations.seen.shape
    total, count = np.zeros((points, times, 3)), np.zeros((points, times))
    for view in range(views):
        for time in np.flatnonzero(observations.seen[:, view].any(axis=0)):
            image = depth.depth[view][time]
            rows = np.flatnonzero(observations.seen[:, view, time])
            xy = observations.xy[rows, view, time]
            height, width = image.shape
            column, row = np.clip(np.floor(xy).astype(int), 0, [width - 1, height - 1]).T
            z = np.asarray(image, np.float64)[row, column]
            good = z > 0
            total[rows[good], time] += unproject_points(xy[good], z[good], capture.K[view, time], capture.world_to_camera[view, time])
            count[rows[good], time] += 1
    return total / np.maximum(count, 1)[..., None], count > 0


def _colors(capture: Capture, links: Links, keep: NDArray[np.intp]) -> NDArray[np.float32]:
    """(P, 3) colour of each point at its own moment in the first camera that saw it."""
    color = np.zeros((len(keep), 3), np.float32)
    view = np.isfinite(links.xy[keep, :, 0]).argmax(axis=1)
    for own_view, time in {(int(v), int(t)) for v, t in zip(view, links.time[keep], strict=True)}:
        rows = np.flatnonzero((view == own_view) & (links.time[keep] == time))
        image = np.asarray(capture.image(own_view, time), np.float32)
        color[rows] = sample(image, links.xy[keep[rows], own_view].astype(np.float32)) / 255
    return color


def _flat_tracks(observations: Observations, links: Links, keep: NDArray[np.intp]) -> Tracks2D:
    """The kept points' tracks, one per camera that still sees it anywhere."""
    row, view = np.nonzero(observations.seen[keep].any(axis=2))
    seen = observations.seen[keep][row, view]
    xy = observations.xy[keep][row, view].astype(np.float32)
    provenance = Provenance("multiview_tracks", figures={"tracks": len(row), "mean_visible": round(float(seen.mean()), 4) if len(row) else 0.0})
    visible = seen.astype(np.float16)
    return Tracks2D(provenance, xy, visible, visible.copy(), view.astype(np.int32), links.time[keep][row].astype(np.int32))


def _missing(capture: Capture) -> str | None:
    return None if ((capture.train & capture.present).sum(axis=0) >= 2).any() and capture.times >= 2 else ""


WORKING = MultiviewNumbers(consistency=ConsistencyNumbers(sampson=0.5))
"""The classical tracker errs by about 0.3 px per axis, and images are small: at 0.1 px three of four true observations would be lost."""


ENOUGH = 64
"""Tracks; with fewer a mover has no shape."""


def _each_alone(capture: Capture, priors: Priors, found: int) -> list[Tracks3D | Tracks2D]:
    """Tracks of each camera, lifted by depth, for cameras too far apart to be matched."""
    fallback(f"only {found} points could be followed by several cameras at once: each camera's own tracks, lifted by depth, take their place")
    masks = priors.require(Masks)
    flat = track_points(capture, masks, priors.require(Flow))
    return [lift_tracks(flat, priors.require(Depth), masks, capture), flat]


def _maker(numbers: MultiviewNumbers) -> Callable[[Capture, Priors], list[Tracks3D | Tracks2D]]:
    def make(capture: Capture, priors: Priors) -> list[Tracks3D | Tracks2D]:
        follower = partial(follow_view, masks=priors.require(Masks), flow=priors.require(Flow), config=numbers.follow)
        solid, flat = multiview_tracks(capture, priors.require(Matches), priors.require(Depth), follower, numbers)
        return [solid, flat] if len(solid.xyz) >= ENOUGH else _each_alone(capture, priors, len(solid.xyz))

    return make


_MAKES, _NEEDS = ("tracks3d", "tracks2d"), ("masks", "flow", "cameras", "matches", "depth")
PROVIDERS = (
    # for who insists on them by name: who asks for tracks gets those of each camera, which need no other camera that sees the same
    Provider("multiview_tracks", _MAKES, _NEEDS, -1, _missing, _maker(WORKING), version=3),
    # the rows of the paper's Table 3
    Provider("multiview_no_epipolar", _MAKES, _NEEDS, -1, _missing, _maker(replace(WORKING, epipolar=False)), version=2),
    Provider("multiview_no_triangulation", _MAKES, _NEEDS, -1, _missing, _maker(replace(WORKING, triangulation=False)), version=2),
    Provider("multiview_neither", _MAKES, _NEEDS, -1, _missing, _maker(replace(WORKING, epipolar=False, triangulation=False)), version=2),
)
