"""The static layer: a static scene fitted already, a dense coloured cloud from depth, from sparse points, or from nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.cutout import object_alone
from fourfold.errors import FourfoldError
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.initialize.frames import Frame, read_frame, reference_frames, unproject_pixels
from fourfold.initialize.splats import make_splats
from fourfold.initialize.still_start import from_still
from fourfold.notices import fallback
from fourfold.priors.contracts import Priors
from fourfold.priors.depth.fill import pull_push
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer


@dataclass(frozen=True)
class BackgroundNumbers:
    """How the static layer starts.

    Attributes:
        count: Gaussians at quality "normal" (a dense initial cloud beats densification: spec calibration.md A).
        frames: how many images are unprojected at most.
        confident: confidence from which a depth is taken as it is; elsewhere inverse depth is filled in smoothly.
        unsure_share: how often a pixel with filled depth is chosen, relative to a confident one.
        opacity: of all Gaussians at the start.
        spacing_share: standard deviation as a share of the distance to the three nearest neighbours.
        smallest, largest: bounds of the standard deviation in pixels of the image it came from.
        fewest_points: fitted Gaussians or sparse points below this number are not worth starting from.
    """

    count: int = 55_000
    frames: int = 14
    confident: float = 0.3
    unsure_share: float = 0.25
    opacity: float = 0.7
    spacing_share: float = 0.7
    smallest: float = 0.3
    largest: float = 6.0
    fewest_points: int = 200


@dataclass(frozen=True)
class Cloud:
    """N points (N, 3) with RGB color (N, 3) and the width of a pixel at their depth, footprint (N,), scene units."""

    points: NDArray[np.float64]
    color: NDArray[np.float32]
    footprint: NDArray[np.float64]


def static_layer(
    capture: Capture,
    priors: Priors,
    quality: Quality,
    random: np.random.Generator,
    numbers: BackgroundNumbers = BackgroundNumbers(),
    name: str = "static",
) -> Layer:
    """The background as a static layer of about `numbers.count * quality.gaussians` Gaussians, or of none where nothing is behind an object.

    Raises:
        FourfoldError: no training image has a known camera.
    """
    chosen = reference_frames(capture, numbers.frames)
    if not chosen:
        raise FourfoldError(f"no training image of {capture.name} has a known camera: run `fourfold prepare` first")
    frames = [read_frame(capture, priors, view, index) for view, index in chosen]
    if object_alone(capture) and not any(frame.still.any() for frame in frames):
        return Layer(name, STATIC, Static(), make_splats(np.zeros((0, 3)), np.zeros((0, 3), np.float32), np.zeros(0), numbers.opacity))
    count = max(100, round(numbers.count * quality.gaussians))
    if priors.still is not None and len(priors.still.means) >= numbers.fewest_points:
        centres = np.stack([-frame.world_to_camera[:3, :3].T @ frame.world_to_camera[:3, 3] for frame in frames])
        return Layer(name, STATIC, Static(), from_still(priors.still, centres, count))
    if any((frame.depth > 0).any() for frame in frames):
        cloud = from_depth(frames, count, random, numbers)
    elif priors.cameras is not None and len(priors.cameras.points) >= numbers.fewest_points:
        fallback("there is no depth prior, the static scene starts from the sparse points of the camera estimation")
        cloud = from_points(np.asarray(priors.cameras.points, np.float64), frames, count, random)
    else:
        fallback("there is neither depth nor a sparse cloud, the static scene starts from random points in view of the cameras")
        cloud = from_nothing(frames, count, random)
    spacing = neighbour_spacing(cloud.points) * numbers.spacing_share
    scale = np.clip(spacing, numbers.smallest * cloud.footprint, numbers.largest * cloud.footprint)
    return Layer(name, STATIC, Static(), make_splats(cloud.points, cloud.color, scale, numbers.opacity))


def from_depth(frames: list[Frame], count: int, random: np.random.Generator, numbers: BackgroundNumbers) -> Cloud:
    """Unproject background pixels; a place that many images see is not sampled more often for it."""
    filled = [_filled_inverse(frame, numbers.confident) for frame in frames]
    shares = [_share(i, frames, filled, numbers) for i in range(len(frames))]
    total = sum(float(share.sum()) for share in shares)
    parts: list[Cloud] = []
    for frame, (inverse, _), share in zip(frames, filled, shares, strict=True):
        wanted = min(round(count * float(share.sum()) / max(total, 1e-9)), int((share > 0).sum()))
        if wanted == 0:
            continue
        pick = random.choice(share.size, wanted, replace=False, p=(share / share.sum()).ravel())
        row, column = np.divmod(pick, share.shape[1])
        depth = 1.0 / inverse[row, column]
        parts.append(Cloud(frame.unproject(row, column, depth), frame.color[row, column], depth / frame.K[0, 0]))
    if not parts:
        return from_nothing(frames, count, random)
    return Cloud(*(np.concatenate([getattr(part, key) for part in parts]) for key in ("points", "color", "footprint")))


def from_points(points: NDArray[np.float64], frames: list[Frame], count: int, random: np.random.Generator) -> Cloud:
    """Sparse points, coloured by an image that shows them, and jittered copies of them up to `count`."""
    points = points[np.isfinite(points).all(1)]
    copies = random.integers(len(points), size=max(0, count - len(points)))
    spread = neighbour_spacing(points)[copies, None]
    points = np.concatenate([points, points[copies] + random.normal(size=(len(copies), 3)) * spread])
    color = np.full((len(points), 3), 0.5, np.float32)
    footprint = np.zeros(len(points))
    for frame in frames:
        column, row, depth, inside = _project(frame, points)
        color[inside] = frame.color[row[inside], column[inside]]
        footprint[inside] = depth[inside] / frame.K[0, 0]
    seen = footprint > 0
    return Cloud(points[seen], color[seen], footprint[seen]) if seen.any() else from_nothing(frames, count, random)


def from_nothing(frames: list[Frame], count: int, random: np.random.Generator) -> Cloud:
    """Random points along pixel rays, about the distance at which the cameras look at the same place."""
    centers = np.stack([-frame.world_to_camera[:3, :3].T @ frame.world_to_camera[:3, 3] for frame in frames])
    axes = np.stack([frame.world_to_camera[2, :3] for frame in frames])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    spread = float(np.linalg.norm(centers - centers.mean(0), axis=1).max())
    target = np.linalg.solve(
        across.sum(0) + 1e-3 * len(frames) * np.eye(3), np.einsum("fij,fj->i", across, centers) + 1e-3 * len(frames) * centers.mean(0)
    )
    distance = float(np.median(((target - centers) * axes).sum(1)))
    distance = distance if distance > 0.1 * spread and distance > 0 else max(3 * spread, 1.0)
    parts: list[Cloud] = []
    for frame in frames:
        rows, columns = np.nonzero(frame.still) if frame.still.any() else np.nonzero(np.ones_like(frame.still))
        pick = random.integers(len(rows), size=-(-count // len(frames)))
        depth = distance / random.uniform(0.4, 2.0, size=len(pick))
        row, column = rows[pick], columns[pick]
        parts.append(Cloud(frame.unproject(row, column, depth), frame.color[row, column], depth / frame.K[0, 0]))
    return Cloud(*(np.concatenate([getattr(part, key) for part in parts]) for key in ("points", "color", "footprint")))


def _filled_inverse(frame: Frame, confident: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(H, W) inverse depth known everywhere, and where it was known with confidence."""
    known = (frame.depth > 0) & (frame.confidence >= confident) & frame.still
    if not known.any():
        known = (frame.depth > 0) & frame.still
    inverse = np.where(known, 1.0 / np.maximum(frame.depth, 1e-9), 0).astype(np.float32)
    if not known.any():
        return inverse, known
    return np.maximum(pull_push(inverse, known), 1e-3 * float(np.median(inverse[known]))), known


def _share(
    number: int, frames: list[Frame], filled: list[tuple[NDArray[np.float32], NDArray[np.bool_]]], numbers: BackgroundNumbers
) -> NDArray[np.float64]:
    """(H, W) how often each pixel of a frame is chosen: less where its depth is a guess, and shared among the frames that see the place."""
    frame, (inverse, known) = frames[number], filled[number]
    if not (inverse > 0).any():
        return np.zeros(inverse.shape)
    height, width = inverse.shape
    step = 4
    row, column = np.mgrid[0:height:step, 0:width:step]
    points = frame.unproject(row.ravel(), column.ravel(), 1.0 / inverse[row, column].ravel())
    views = np.ones(row.size)
    for i, other in enumerate(frames):
        if i == number or not (filled[i][0] > 0).any():
            continue
        x, y, depth, inside = _project(other, points)
        agrees = np.zeros(row.size, bool)
        agrees[inside] = np.abs(depth[inside] * filled[i][0][y[inside], x[inside]] - 1) < 0.15
        views += agrees & inside
    views = views.reshape(row.shape).repeat(step, 0).repeat(step, 1)[:height, :width]
    return np.where(known, 1.0, numbers.unsure_share) * frame.still / views


def _project(frame: Frame, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Column, row and depth of world points in `frame`, and whether they lie in the image."""
    local = points @ frame.world_to_camera[:3, :3].T + frame.world_to_camera[:3, 3]
    image = local @ frame.K.T
    depth = local[:, 2]
    x, y = np.floor(image[:, :2].T / np.where(depth > 1e-9, depth, 1.0)).clip(-1, 1e6).astype(np.int64)
    height, width = frame.depth.shape
    return x, y, depth, (depth > 1e-9) & (x >= 0) & (y >= 0) & (x < width) & (y < height)


def nearest_depth(frames: list[Frame], layer: Layer) -> float:
    """The distance, scene units, before which nothing needs to be drawn: a fifth of the nearest 1 % of depths in view."""
    points = layer.splats["means"].numpy().astype(np.float64)
    near: list[float] = []
    for frame in frames:
        _, _, depth, inside = _project(frame, points)
        if inside.any():
            near.append(float(np.quantile(depth[inside], 0.01)))
        if (frame.moving & (frame.depth > 0)).any():
            near.append(float(np.quantile(frame.depth[frame.moving & (frame.depth > 0)], 0.01)))
    return 0.2 * min(near) if near else 0.01


__all__ = ["BackgroundNumbers", "Cloud", "from_depth", "from_nothing", "from_points", "nearest_depth", "static_layer", "unproject_pixels"]
