"""Every prior as a film: captions and, for each, one picture per moment."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.export.drawing import DrawingConfig, draw_tracks, track_colors
from fourfold.export.tracks import PointTracks
from fourfold.priors import pictures
from fourfold.priors.contracts import Cameras, Clouds, Depth, Disparity, Features, Flow, Masks, Matches, PointMaps, Prior, Tracks2D, Tracks3D
from fourfold.priors.pictures import Picture

MOST_TRACKS = 500  # drawn per view, evenly spread
MOST_VIEWS = 4  # shown, evenly spread
SIDE = (480, 360)  # pixels of a picture of points in space
WIDEST = 640  # pixels; larger pictures are reduced


@dataclass(frozen=True)
class Film:
    """One prior as seen in one way: `name` of its files, a `caption`, and `frames` (V x T pictures of one size, made when asked for)."""

    name: str
    caption: str
    frames: Callable[[], Iterator[Picture]]


def films_of(capture: Capture, prior: Prior) -> list[Film]:
    """All ways to look at `prior`: one per shown view for what lies in the images, one for what lies in space."""
    match prior:
        case Cameras():
            return [Film("above", "the cameras seen from above, with the points they were found by", lambda: _cameras(capture, prior))]
        case Tracks3D() | Clouds():
            return [Film("space", "left from the first camera's side, right from above; the cameras are white", lambda: _space(capture, prior))]
        case _:
            return [_view_film(capture, prior, v) for v in shown_views(capture)]


def shown_views(capture: Capture) -> list[int]:
    """At most `MOST_VIEWS` views with training images, evenly spread."""
    views = np.flatnonzero((capture.train & capture.present).any(axis=1))
    return [int(v) for v in views[np.unique(np.linspace(0, len(views) - 1, min(len(views), MOST_VIEWS)).astype(int))]] if len(views) else []


def _view_film(capture: Capture, prior: Prior, view: int) -> Film:
    words: dict[type[Prior], str] = {
        Masks: "red moves, blue is not used",
        Depth: "near is warm, far is cold, unknown is black",
        Disparity: "near is warm, far is cold, of unknown scale",
        Flow: "direction is hue, length is brightness, to the next frame; dark where it is not trusted",
        Tracks2D: "visible points with the way they came",
        Features: "the three strongest directions as red, green and blue",
        PointMaps: "the points of each image from the side: depth to the right",
        Matches: "points matched with another image, by where they are in it",
    }
    return Film(f"view{view}", f"{capture.view_names[view]}: {words.get(type(prior), '')}", lambda: _view_frames(capture, prior, view))


def _view_frames(capture: Capture, prior: Prior, view: int) -> Iterator[Picture]:
    times = np.flatnonzero(capture.present[view] & capture.train[view])
    if isinstance(prior, Tracks2D):
        yield from _tracks(capture, prior, view, times)
        return
    paint = _painter(capture, prior, view, times)
    for moment in times:
        yield fitted(paint(int(moment)))


def _painter(capture: Capture, prior: Prior, view: int, times: NDArray[np.int64]) -> Callable[[int], Picture]:
    size = (int(capture.sizes[view, 0]), int(capture.sizes[view, 1]))
    match prior:
        case Masks():
            return lambda t: pictures.mask_picture(np.asarray(capture.image(view, t)), prior.mask[view][t])
        case Depth():
            ends = pictures.depth_range_of(prior.depth[view][times])
            return lambda t: pictures.depth_picture(prior.depth[view][t], ends)
        case Disparity():
            values = np.asarray(prior.disparity[view][times][:, ::4, ::4], np.float32)
            known = values[values > 0]
            ends = (float(np.percentile(known, 2)), float(np.percentile(known, 98))) if known.size else (0.0, 1.0)
            return lambda t: pictures.disparity_picture(prior.disparity[view][t], ends)
        case Flow():
            some = np.asarray(prior.forward[view][times][:, ::4, ::4], np.float32)
            longest = max(float(np.percentile(np.linalg.norm(some, axis=-1), 99)), 1e-3) if some.size else 1.0
            return lambda t: _trusted(pictures.flow_picture(prior.forward[view][t], longest), prior.forward_confidence[view][t])
        case Features():
            basis = pictures.feature_basis(prior.feature[view][times])
            return lambda t: pictures.feature_picture(prior.feature[view][t], basis, size)
        case PointMaps():
            box = pictures.box_of(np.asarray(prior.xyz[view][times][:, ::8, ::8], np.float32)[..., [2, 1]])
            return lambda t: _points_aside(capture, prior, view, t, box)
        case Matches():
            return lambda t: _matched(capture, prior, view, t)
        case _:
            return lambda t: np.asarray(capture.image(view, t))


def _trusted(picture: Picture, confidence: NDArray[np.floating]) -> Picture:
    return (picture * (0.25 + 0.75 * (confidence.astype(np.float32) > 0.5))[..., None]).astype(np.uint8)


def _points_aside(capture: Capture, prior: PointMaps, view: int, index: int, box: NDArray[np.float64]) -> Picture:
    xyz = prior.xyz[view][index][::2, ::2].reshape(-1, 3).astype(np.float32)
    height, width = prior.xyz[view].shape[1:3]
    image = cv2.resize(np.ascontiguousarray(capture.image(view, index)), (width, height), interpolation=cv2.INTER_AREA)
    order = np.argsort(-np.nan_to_num(xyz[:, 0]))  # what is nearer to the eye, at the camera's left, is drawn last
    canvas = np.zeros((SIDE[1], SIDE[0], 3), np.uint8)
    return pictures.dots(canvas, pictures.map_to(xyz[order][:, [2, 1]], box, SIDE), image[::2, ::2].reshape(-1, 3)[order], 0)


def _matched(capture: Capture, prior: Matches, view: int, index: int) -> Picture:
    shown = (np.asarray(capture.image(view, index)) * 0.5).astype(np.uint8)
    here = [np.flatnonzero((prior.images[:, 2 * side] == view) & (prior.images[:, 2 * side + 1] == index)) for side in (0, 1)]
    for rows, mine, other in ((here[0], prior.xy_a, prior.xy_b), (here[1], prior.xy_b, prior.xy_a)):
        chosen = np.isin(prior.pair, rows)
        if chosen.any():
            pictures.dots(shown, mine[chosen], track_colors(other[chosen]))
    return shown


def _tracks(capture: Capture, prior: Tracks2D, view: int, times: NDArray[np.int64]) -> Iterator[Picture]:
    rows = np.flatnonzero(prior.view == view)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_TRACKS)).astype(int))] if len(rows) else rows
    first = fitted(np.asarray(capture.image(view, int(times[0])))) if len(times) else np.zeros((2, 2, 3), np.uint8)
    scale = first.shape[1] / float(capture.sizes[view, 0])
    frames = np.stack([(fitted(np.asarray(capture.image(view, int(t)))) * 0.6).astype(np.uint8) for t in times])
    xy = prior.xy[rows][:, times] * np.float32(scale)
    nothing = np.zeros((len(rows), len(times), 3), np.float32)
    tracks = PointTracks(capture.timestamps[times], nothing, prior.visibility[rows][:, times].astype(np.float32), xy)
    yield from draw_tracks(frames, tracks, DrawingConfig(tail=8, width=1, radius=2))


def _cameras(capture: Capture, prior: Cameras) -> Iterator[Picture]:
    centres = _centres(capture.with_cameras(prior.K, prior.world_to_camera, "estimated"))
    _, right, forward = _axes(prior.world_to_camera)
    across = np.stack([right, forward])
    known = centres.reshape(-1, 3)[np.isfinite(centres.reshape(-1, 3)).all(1)]
    scene = prior.points.astype(np.float64) if len(prior.points) else np.zeros((0, 3))
    reach = np.concatenate([known, scene[:: max(1, len(scene) // 5000)]]) if len(known) else np.zeros((1, 3))
    box = pictures.box_of(reach @ across.T, 1.0)
    box = np.stack([np.minimum(box[0], (known @ across.T).min(0)), np.maximum(box[1], (known @ across.T).max(0))]) if len(known) else box
    looks = prior.world_to_camera[..., 2, :3]
    arrow = 0.06 * float((box[1] - box[0]).max())
    turned = np.array([1, -1])  # forward is up in the picture

    def place(points: NDArray[np.floating]) -> NDArray[np.float64]:
        return pictures.map_to(points @ across.T * turned, np.sort(box * turned, axis=0), SIDE)

    background = pictures.dots(np.zeros((SIDE[1], SIDE[0], 3), np.uint8), place(scene), np.full((len(scene), 3), 110, np.uint8), 0)
    for t in range(capture.times):
        canvas = background.copy()
        for view in range(capture.views):
            colour = tuple(round(255 * c) for c in colorsys.hsv_to_rgb((0.1 + 0.382 * view) % 1.0, 0.7, 1.0))
            path = centres[view, : t + 1][np.isfinite(centres[view, : t + 1]).all(1)]
            if len(path):
                cv2.polylines(canvas, [np.round(place(path)).astype(np.int32).reshape(-1, 1, 2)], False, colour, 1)
            if np.isfinite(centres[view, t]).all():
                a, b = (np.round(place(p)).astype(int).tolist() for p in (centres[view, t], centres[view, t] + arrow * looks[view, t]))
                cv2.arrowedLine(canvas, a, b, colour, 2, tipLength=0.35)
        yield canvas


def _space(capture: Capture, prior: Tracks3D | Clouds) -> Iterator[Picture]:
    down, right, forward = _axes(capture.world_to_camera)
    all_points = prior.xyz.reshape(-1, 3)
    colours = (np.clip(prior.color, 0, 1) * 255).astype(np.uint8)
    centres = _centres(capture)
    for_side, for_top = np.stack([forward, down]), np.stack([right, -forward])
    boxes = [pictures.box_of(all_points[:: max(1, len(all_points) // 50_000)] @ axes.T, 0.5) for axes in (for_side, for_top)]
    for t in range(capture.times):
        points = prior.xyz[:, t] if isinstance(prior, Tracks3D) else prior.xyz[prior.index == t]
        shown = colours if isinstance(prior, Tracks3D) else colours[prior.index == t]
        halves = []
        for axes, box in zip((for_side, for_top), boxes, strict=True):
            canvas = np.full((SIDE[1], SIDE[0], 3), 30, np.uint8)
            if isinstance(prior, Tracks3D):
                for before in range(max(0, t - 6), t):
                    pictures.dots(canvas, pictures.map_to(prior.xyz[:, before] @ axes.T, box, SIDE), (shown * 0.5).astype(np.uint8), 0)
            pictures.dots(canvas, pictures.map_to(points @ axes.T, box, SIDE), shown, 1)
            pictures.dots(canvas, pictures.map_to(centres[:, t] @ axes.T, box, SIDE), np.full((capture.views, 3), 255, np.uint8), 2)
            halves.append(canvas)
        yield np.hstack(halves)


def _centres(capture: Capture) -> NDArray[np.float64]:
    """(V, T, 3) camera centres, NaN where unknown."""
    return -np.einsum("vtji,vtj->vti", capture.world_to_camera[..., :3, :3], capture.world_to_camera[..., :3, 3])


def _axes(poses: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Down (the mean of the cameras'), right and level forward of the first known camera, in the world."""
    rows = poses.reshape(-1, 4, 4)
    rows = rows[np.isfinite(rows).all(axis=(1, 2))]
    if not len(rows):
        rows = np.eye(4)[None]
    down = rows[:, 1, :3].mean(0)
    down = rows[0, 1, :3] if np.linalg.norm(down) < 0.1 else down / np.linalg.norm(down)
    forward = rows[0, 2, :3] - (rows[0, 2, :3] @ down) * down
    forward = forward / np.linalg.norm(forward) if np.linalg.norm(forward) > 1e-3 else rows[0, 1, :3]
    return down, np.cross(down, forward), forward


def fitted(picture: Picture) -> Picture:
    """`picture`, reduced to at most `WIDEST` pixels."""
    longest = max(picture.shape[:2])
    if longest <= WIDEST:
        return picture
    size = tuple(round(n * WIDEST / longest) for n in picture.shape[1::-1])
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)


def renamed(film: Film, prefix: str) -> Film:
    """`film` with `prefix` before its name."""
    return replace(film, name=f"{prefix}_{film.name}")
