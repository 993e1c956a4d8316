"""One mover in object units: rigid where its points move as one body, flat where they do not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import LongTracks, Tracks2D
from fourfold.priors.movers.object_align import AlignConfig, AlignedTracks, align_object
from fourfold.priors.movers.object_sfm import ObjectSfmConfig, RigidObject, solve_object
from fourfold.priors.movers.object_starts import resting
from fourfold.priors.movers.object_sweep import ObjectShape, ObjectSweepConfig, object_depth, sweep_object

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ModelConfig:
    """Numbers of the choice of a model.

    Attributes:
        sfm, sweep, align: the parts.
        inside: share of a track's visible moments that must lie in the mover's mask.
        rigid_error: median reprojection error of a rigid body, as a share of the image's diagonal.
        rigid_inliers, rigid_frames: shares of observations and of frames that a rigid body must explain.
        least_inwardness: how far inside the mask the points of a rigid body must lie, see `_inwardness`.
        least_turn: rotation below which relief cannot be told, radians.
        least_alignment: median correlation of the aligned images below which the alignment is not believed.
        firmer: long tracks, fewer but never sliding, take the place of chained ones if they leave unexplained this many times less.
        deepest: relief of a mover in roots of its area beyond which a rigid fit, good as it may be, is not believed: turning little, a body and one
            many times as deep that turns less are explained nearly as well. Bodies found right have .3 to 1.3, wrong ones 2 to 7.
        rough_inliers, rough_points: share of observations and number of points from which a bad rigid fit still gives an articulated object
            its depth.
    """

    sfm: ObjectSfmConfig = field(default_factory=ObjectSfmConfig)
    sweep: ObjectSweepConfig = field(default_factory=ObjectSweepConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    inside: float = 0.8
    rigid_error: float = 0.004
    rigid_inliers: float = 0.75
    rigid_frames: float = 0.6
    least_inwardness: float = 0.18
    least_turn: float = 0.05
    least_alignment: float = 0.5
    firmer: float = 4.0
    deepest: float = 2.0
    rough_inliers: float = 0.5
    rough_points: int = 60


@dataclass(frozen=True)
class Mover:
    """A mover as seen in F training frames of one view: view, time indices, masks (F, H, W), K and world_to_camera per frame."""

    view: int
    times: list[int]
    masks: NDArray[np.bool_]
    K: Array
    world_to_camera: Array


@dataclass(frozen=True)
class ImageTracks:
    """P tracks in F frames: xy (P, F, 2) pixels, visible (P, F), and placed (P, F), where xy is good though perhaps hidden."""

    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]
    placed: NDArray[np.bool_]


@dataclass(frozen=True)
class MoverModel:
    """A mover in object units.

    Attributes:
        kind: "rigid", "articulated" (a rigid body explains it roughly) or "flat" (only direction and apparent size are known).
        centers: (F, 3) the object's centre in camera axes, object units; NaN where unknown.
        depth: (F, H, W) float32 depth inside the mask in object units, 0 elsewhere.
        object_to_camera: (F, 4, 4) for "rigid", NaN where unknown; None otherwise.
        shape: dense points, for "rigid".
        tracks: image tracks of the mover, for lifting.
        figures: JSON-able.
    """

    kind: str
    centers: Array
    depth: NDArray[np.float32]
    object_to_camera: Array | None
    shape: ObjectShape | None
    tracks: ImageTracks
    figures: dict[str, object]


def tracks_of(mover: Mover, tracks: Tracks2D, inside: float) -> ImageTracks:
    """The tracks of the mover's view that stay in its mask."""
    return _staying(mover, *seen_tracks(tracks, mover.view, mover.times), inside)


def seen_tracks(tracks: Tracks2D, view: int, times: list[int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The tracks of one view at F of its moments: xy (P, F, 2) pixels, and where they are visible (P, F)."""
    own = np.flatnonzero(tracks.view == view)
    visible = (tracks.visibility[own][:, times].astype(np.float32) * tracks.confidence[own][:, times].astype(np.float32)) > 0.3
    return tracks.xy[own][:, times], visible


def long_tracks_of(mover: Mover, tracks: LongTracks, inside: float) -> ImageTracks:
    """The same of long tracks, which hold to the patch they began on and end where it turns away; chained ones slide on over the surface."""
    column = np.full(int(max(mover.times)) + 1, -1)
    column[mover.times] = np.arange(len(mover.times))
    known = (tracks.view[tracks.track] == mover.view) & (tracks.time < len(column))
    known[known] = column[tracks.time[known]] >= 0
    row = np.unique(tracks.track[known], return_inverse=True)
    xy = np.zeros((len(row[0]), len(mover.times), 2), np.float32)
    visible = np.zeros(xy.shape[:2], bool)
    place = row[1], column[tracks.time[known]]
    xy[place], visible[place] = tracks.xy[known], True
    return _staying(mover, xy, visible, inside)


def _staying(mover: Mover, xy: NDArray[np.float32], visible: NDArray[np.bool_], inside: float) -> ImageTracks:
    """Tracks xy (P, F, 2), visible (P, F) that are in the mover's mask in the share `inside` of their frames, at least two."""
    height, width = mover.masks.shape[1:]
    column, row = np.clip(xy[..., 0].astype(int), 0, width - 1), np.clip(xy[..., 1].astype(int), 0, height - 1)
    within = mover.masks[np.arange(len(mover.times))[None], row, column] & visible
    count = visible.sum(axis=1)
    keep = (count >= 2) & (within.sum(axis=1) >= inside * np.maximum(count, 1))
    return ImageTracks(xy[keep], within[keep], within[keep])


def model_mover(capture: Capture, mover: Mover, tracks: Tracks2D, longtracks: LongTracks, config: ModelConfig) -> list[MoverModel]:
    """The models that the tracks allow, best first: rigid from its tracks or an affine alignment alone; else articulated, then flat."""
    held, own = long_tracks_of(mover, longtracks, config.inside), tracks_of(mover, tracks, config.inside)
    rigid = solve_object(own.xy, own.visible, mover.K, config.sfm)
    figures: dict[str, object] = {"tracks": len(own.xy), "long_tracks": len(held.xy)}
    if rigid is not None and _is_rigid(rigid, mover, (own.xy, own.visible), config):
        model = _rigid_model(capture, mover, rigid, own, config, figures | {"tracks_from": "chained tracks"})
        firm = _firmer(own, held, mover, rigid, config)
        if firm is not None:  # of two bodies that the tracks allow, the one that is not the deeper
            other = _rigid_model(capture, mover, firm, held, config, figures | {"tracks_from": "long tracks"})
            model = min(other, model, key=lambda one: relief(one, mover))
        if _believed(model, mover, config, figures):
            return [model]
        rigid = None
    images = [np.asarray(capture.image(mover.view, t)) for t in mover.times]
    aligned = align_object(images, mover.masks, config.align)
    if aligned is not None:
        figures["alignment"] = round(float(np.median(aligned.correlation)), 3)
        believed = float(np.median(aligned.correlation)) >= config.least_alignment
        second = solve_object(aligned.xy, aligned.visible, mover.K, config.sfm) if believed else None
        if second is not None and _is_rigid(second, mover, (aligned.xy, aligned.visible), config):
            model = _rigid_model(capture, mover, second, own, config, figures | {"tracks_from": "affine alignment"})
            if _believed(model, mover, config, figures):
                return [model]
            second = None
        if second is not None and (rigid is None or _placed(second, mover) * second.inliers > _placed(rigid, mover) * rigid.inliers):
            rigid = second
    models: list[MoverModel] = []
    if rigid is not None:
        figures |= _describe(rigid)
        if _is_rough(rigid, mover, config):
            articulated = replace(_rigid_model(capture, mover, rigid, own, config, figures), kind="articulated")
            models += [articulated] if _believed(articulated, mover, config, figures) else []
    return [*models, _flat_model(mover, aligned, own, config, figures)]


def _believed(model: MoverModel, mover: Mover, config: ModelConfig, figures: dict[str, object]) -> bool:
    """Whether the model is no deeper than a body may be; if it is, `figures` tell of it."""
    deep = relief(model, mover)
    if deep > config.deepest:
        figures["too_deep"] = round(deep, 2)
    return deep <= config.deepest


def relief(model: MoverModel, mover: Mover) -> float:
    """How deep the mover is where it is seen, in roots of its area: the middle nine tenths of its depths, the median over images that place it."""
    found: list[float] = []
    for frame in np.flatnonzero((model.depth > 0).any(axis=(1, 2))):
        depths = model.depth[frame][model.depth[frame] > 0]
        near, middle, far = np.percentile(depths, (5, 50, 95))
        found.append(float((far - near) / middle * mover.K[frame, 0, 0] / np.sqrt(len(depths))))
    return float(np.median(found)) if found else 0.0


def _is_rough(rigid: RigidObject, mover: Mover, config: ModelConfig) -> bool:
    """Whether a bad rigid fit is still good enough to give an articulated object its depth."""
    rough = _placed(rigid, mover) > config.rigid_frames and rigid.inliers > config.rough_inliers and rigid.turned >= config.least_turn
    return rough and len(rigid.points) > config.rough_points


def _firmer(own: ImageTracks, held: ImageTracks, mover: Mover, rigid: RigidObject, config: ModelConfig) -> RigidObject | None:
    """The body by its long tracks `held`, if one body explains them far better than chained ones from all over it: those slide then."""
    everywhere = replace(config.sfm, evenly=True)
    starts = resting(mover.masks, mover.K, mover.world_to_camera), rigid.object_to_camera
    firm = solve_object(held.xy, held.visible, mover.K, everywhere, starts)
    if firm is None or not _is_rigid(firm, mover, (held.xy, held.visible), config):
        return None
    slid = solve_object(own.xy, own.visible, mover.K, everywhere)
    return firm if slid is not None and (1 - firm.inliers) * config.firmer <= 1 - slid.inliers else None


def _is_rigid(rigid: RigidObject, mover: Mover, tracks: tuple[NDArray[np.float32], NDArray[np.bool_]], config: ModelConfig) -> bool:
    """Whether the fit is good, lasts, and rests on points inside the mask, not on its rim, where the background sticks to the tracks."""
    limit = max(1.0, config.rigid_error * float(np.hypot(*mover.masks.shape[1:])))
    fits = rigid.error < limit and rigid.inliers > config.rigid_inliers and _placed(rigid, mover) > config.rigid_frames
    return fits and _inwardness(mover.masks, tracks[0][rigid.tracks], tracks[1][rigid.tracks]) > config.least_inwardness


def _inwardness(masks: NDArray[np.bool_], xy: NDArray[np.float32], visible: NDArray[np.bool_]) -> float:
    """Median over visible points of their distance to the mask's rim, as a share of the largest in that frame (0.29 for an even disc)."""
    height, width = masks.shape[1:]
    values: list[NDArray[np.float32]] = []
    for frame in np.flatnonzero(visible.any(axis=0)):
        distance = cv2.distanceTransform(masks[frame].astype(np.uint8), cv2.DIST_L2, 5)
        column, row = xy[visible[:, frame], frame].astype(int).T
        inside = distance[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        values.append(inside / max(float(distance.max()), 1e-6))
    return float(np.median(np.concatenate(values))) if values else 0.0


def _placed(rigid: RigidObject, mover: Mover) -> float:
    return float(np.isfinite(rigid.object_to_camera[:, 0, 0]).sum()) / max(int(mover.masks.any(axis=(1, 2)).sum()), 1)


def _describe(rigid: RigidObject) -> dict[str, object]:
    return {
        "rigid_error_px": round(rigid.error, 3),
        "rigid_inliers": round(rigid.inliers, 3),
        "frames_placed": int(np.isfinite(rigid.object_to_camera[:, 0, 0]).sum()),
        "turned_degrees": round(float(np.degrees(rigid.turned)), 2),
        "sparse_points": len(rigid.points),
    }


def _rigid_model(
    capture: Capture,
    mover: Mover,
    rigid: RigidObject,
    tracks: ImageTracks,
    config: ModelConfig,
    figures: dict[str, object],
) -> MoverModel:
    poses = rigid.object_to_camera
    shape = None
    if rigid.turned >= config.least_turn:
        shape = sweep_object(capture, mover.view, mover.times, mover.masks, poses, rigid.points, config.sweep)
    figures = figures | _describe(rigid) | {"shape": "sparse points" if shape is None else "plane sweep"}
    if shape is None:
        shape = _sparse_shape(capture, mover, rigid, config)
    figures |= {"dense_points": len(shape.points), "shape_confident": round(shape.confident, 3)}
    depth = np.zeros(mover.masks.shape, np.float32)
    for frame in np.flatnonzero(np.isfinite(poses[:, 0, 0])):
        depth[frame], _ = object_depth(shape.points, poses[frame], mover.K[frame], mover.masks[frame])
    middle = np.median(shape.points, axis=0)
    centers = poses[:, :3, :3] @ middle + poses[:, :3, 3]
    return MoverModel("rigid", centers, depth, poses, shape, tracks, figures)


def _sparse_shape(capture: Capture, mover: Mover, rigid: RigidObject, config: ModelConfig) -> ObjectShape:
    """Dense points on the surface spanned by the sparse ones, seen from the placed frame with the largest mask."""
    placed = np.isfinite(rigid.object_to_camera[:, 0, 0])
    frame = int(np.where(placed, mover.masks.sum(axis=(1, 2)), -1).argmax())
    pose = rigid.object_to_camera[frame]
    depth, _ = object_depth(rigid.points, pose, mover.K[frame], mover.masks[frame])
    rows, columns = np.nonzero(depth > 0)
    stride = max(1, round(np.sqrt(len(rows) / config.sweep.points)))
    keep = (rows % stride == 0) & (columns % stride == 0)
    rows, columns = rows[keep], columns[keep]
    rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=1) @ np.linalg.inv(mover.K[frame]).T
    points = (rays * depth[rows, columns][:, None] - pose[:3, 3]) @ pose[:3, :3]
    color = np.asarray(capture.image(mover.view, mover.times[frame]))[rows, columns].astype(np.float32) / 255
    spacing = depth[rows, columns].astype(np.float64) * stride / mover.K[frame, 0, 0]
    return ObjectShape(points, color, spacing, np.full(len(rows), frame), 0.0)


def _flat_model(
    mover: Mover,
    aligned: AlignedTracks | None,
    tracks: ImageTracks,
    config: ModelConfig,
    figures: dict[str, object],
) -> MoverModel:
    """Direction from the mask's centre, depth from its apparent size (the largest is nearest), the same over the whole mask."""
    frames = len(mover.times)
    shown = mover.masks.sum(axis=(1, 2)) > 30
    size = np.sqrt(np.maximum(mover.masks.sum(axis=(1, 2)), 1).astype(np.float64))
    centre = np.zeros((frames, 2))
    for frame in np.flatnonzero(shown):
        rows, columns = np.nonzero(mover.masks[frame])
        centre[frame] = columns.mean() + 0.5, rows.mean() + 0.5
    use_aligned = aligned is not None and float((aligned.correlation[shown] >= config.align.least_correlation).mean()) > config.rigid_frames
    if aligned is not None and use_aligned:
        good = aligned.correlation >= config.align.least_correlation
        size = np.where(good, np.sqrt(np.abs(np.linalg.det(aligned.affine[:, :, :2]))) * size[aligned.reference], size)
        moved = np.einsum("fij,j->fi", aligned.affine[:, :, :2], centre[aligned.reference]) + aligned.affine[:, :, 2]
        centre = np.where(good[:, None], moved, centre)
        tracks = ImageTracks(aligned.xy, aligned.visible, np.repeat((good & shown)[None], len(aligned.xy), axis=0))
    relative = np.median(size[shown]) / size if shown.any() else size
    relative = _smooth(relative, shown)
    rays = np.einsum("fij,fj->fi", np.linalg.inv(mover.K), np.concatenate([centre, np.ones((frames, 1))], axis=1))
    centers = np.where(shown[:, None], rays * relative[:, None], np.nan)
    depth = np.where(mover.masks, relative[:, None, None], 0).astype(np.float32)
    return MoverModel("flat", centers, depth, None, None, tracks, figures | {"lifted_from": "affine alignment" if use_aligned else "long tracks"})


def _smooth(values: Array, known: NDArray[np.bool_], images: int = 9) -> Array:
    """Running median, then mean, over so many of the known frames: what a mask's area tells of a distance comes and goes with its parts."""
    result = values.copy()
    steady = median_filter(values[known], size=images, mode="nearest")
    result[known] = uniform_filter1d(steady, images, mode="nearest")
    return result
