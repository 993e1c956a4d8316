"""What a mover looks like from the side, judged without any picture from there.

On the filmed path everything can be painted right at a wrong depth. Seen from 20 degrees to either side about its own centre, a mover whose
Gaussians lie at wrong depths falls apart: its silhouette has holes and smears, a pixel of it is made of Gaussians far from each other, and its
surface reaches far too deep, or not at all. `side_score` puts that into one number between 0 and 1; higher is better, and of two scenes of the
same capture the one with the higher score looks better from the side (tests/test_evaluation_side_view.py holds it to true side cameras).

It does not see a mover that is whole but stands at a wrong distance as a whole, nor what the still part looks like from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.evaluation.novel_views import turned_about
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import quat_normalize, quat_to_matrix
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene

Array = NDArray[np.float32]
Look = tuple[float, float, float, float]


@dataclass(frozen=True)
class SideOptions:
    """Numbers of the look from the side.

    Attributes:
        degrees: how far to either side.
        looks: filmed images from which it is looked, spread evenly over the clip.
        longest: longer side of what is rendered, pixels.
        faint: least opacity of what belongs to a silhouette.
        solid: least opacity of what is solid.
        least_part: bodies smaller than this share of all movers in the picture are passed over.
        smear: thickness of what makes a pixel, over the size of the body, that halves the score.
        relief: depth of the seen surface, over the size of the body, of usual bodies: least and most. A walking person has .35 to .42.
        flat: what is left of the score of a mover without any relief.
        dense: share of the front view's silhouette that is solid in a body without holes, less its blurred rim.
    """

    degrees: float = 20.0
    looks: int = 5
    longest: int = 320
    faint: float = 0.1
    solid: float = 0.8
    least_part: float = 0.1
    smear: float = 0.08
    relief: tuple[float, float] = (0.3, 0.6)
    flat: float = 0.5
    dense: float = 0.7


@dataclass(frozen=True)
class SideScore:
    """Means over looks.

    Attributes:
        score: 0 to 1, the product of how solid, how deep and how sharp the mover is.
        solid: share of the silhouette at -degrees and +degrees that is solid, over that of the front view, at most 1.
        front_solid: share of the front view's silhouette that is solid.
        relief: depth of the seen surface over the size of the body: 0 a sheet, above 1 drawn out along the view.
        smear: standard deviation along the ray of what makes a pixel, over the size of the body.
        looks: how many filmed images it was looked from.
    """

    score: float
    solid: float
    front_solid: float
    relief: float
    smear: float
    looks: int


@dataclass(frozen=True)
class _Sight:
    """Movers alone through one camera: alpha, mean depth and deviation of depth along the ray, scene units, each (H, W)."""

    alpha: Array
    depth: Array
    thickness: Array


def side_score(scene: Scene, capture: Capture, options: SideOptions = SideOptions()) -> SideScore | None:
    """How whole the movers of `scene` are from the side; None where nothing moves or no camera that sees it is known.

    Takes about a second on one core. Compare scenes of one capture by `.score`.
    """
    rows = scene.foreground_rows().bool()
    if not bool(rows.any()):
        return None
    frames = counted(looked_from(capture, options.looks), "how whole movers are")
    looks = [found for frame in frames if (found := _look(scene, rows, capture, frame, options)) is not None]
    if not looks:
        return None
    solid, front, relief, smear = (float(n) for n in np.mean(looks, axis=0))
    score = np.mean([_score(*look, options=options) for look in looks])
    return SideScore(round(float(score), 4), round(solid, 4), round(front, 4), round(relief, 4), round(smear, 4), len(looks))


def side_sheet(scene: Scene, capture: Capture, options: SideOptions = SideOptions(), rows: int = 3) -> NDArray[np.uint8] | None:
    """(H, W, 3) picture of the whole scene: a row for each of `rows` looks, -degrees, 0 and +degrees side by side; None where nothing moves."""
    found = [views_beside(scene, capture, frame, options) for frame in counted(looked_from(capture, rows), "pictures")]
    lines = [np.concatenate(views, axis=1) for views in found if views is not None]
    return np.concatenate([line for line in lines if line.shape == lines[0].shape]) if lines else None


def views_beside(scene: Scene, capture: Capture, frame: tuple[int, int], options: SideOptions = SideOptions()) -> list[NDArray[np.uint8]] | None:
    """The whole scene (H, W, 3) from -degrees, 0 and +degrees about what moves in `frame` (view, time index); None where nothing moves in it."""
    movers, background = scene.foreground_rows().bool(), torch.tensor(scene.background)
    if not bool(movers.any()):
        return None
    with torch.no_grad():
        gaussians = scene.at(float(capture.timestamps[frame[1]]))
        camera = front_camera(scene, capture, frame, options.longest)
        front = _sight(gaussians.select(movers), camera)
        body = front.alpha > 0.5
        if not body.any():
            return None
        centre = mover_centre(front.depth, body, camera)
        turned = [beside(camera, centre, s * options.degrees) for s in (-1.0, 0.0, 1.0)]
        shots = [rasterize(gaussians, view, background=background).color for view in turned]
    return [(shot.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy() for shot in shots]


def looked_from(capture: Capture, number: int) -> list[tuple[int, int]]:
    """(view, time index) of up to `number` training images with a known camera, evenly over the clip, the first and last not among them."""
    known = capture.posed
    frames = [frame for frame in capture.train_frames() if known[frame]]
    chosen = np.unique(((np.arange(number) + 0.5) / number * len(frames)).astype(int)) if frames else []
    return [frames[i] for i in chosen]


def beside(camera: Camera, centre: NDArray[np.float64], degrees: float) -> Camera:
    """`camera` turned by `degrees` about the vertical of its own image through `centre` (3,), which stays where it was in the picture."""
    pose = camera.world_to_camera.double().cpu().numpy()
    return replace(camera, world_to_camera=torch.from_numpy(turned_about(pose, centre, pose[1, :3], degrees)).to(camera.world_to_camera))


def front_camera(scene: Scene, capture: Capture, frame: tuple[int, int], longest: int) -> Camera:
    """The filmed camera of `frame`, its image reduced to at most `longest` pixels."""
    camera = capture.camera_at(*frame)
    return replace(camera, near=scene.near).scaled(min(1.0, longest / max(camera.width, camera.height)))


def mover_centre(sight_depth: Array, body: NDArray[np.bool_], camera: Camera) -> NDArray[np.float64]:
    """(3,) median point of the seen surface: depth (H, W) where `body` (H, W)."""
    rows, columns = np.nonzero(body)
    K, pose = camera.K.double().cpu().numpy(), camera.world_to_camera.double().cpu().numpy()
    depth = sight_depth[rows, columns].astype(np.float64)
    local = np.stack([(columns + 0.5 - K[0, 2]) / K[0, 0] * depth, (rows + 0.5 - K[1, 2]) / K[1, 1] * depth, depth], -1)
    return np.median((local - pose[:3, 3]) @ pose[:3, :3], axis=0)


def _look(
    scene: Scene, rows: torch.Tensor, capture: Capture, frame: tuple[int, int], options: SideOptions
) -> tuple[float, float, float, float] | None:
    """Solid, front solid, relief and smear of one look; None where the movers are not in the picture."""
    with torch.no_grad():
        movers = scene.at(float(capture.timestamps[frame[1]])).select(rows)
        camera = front_camera(scene, capture, frame, options.longest)
        front = _sight(movers, camera)
        body = front.alpha > 0.5
        if body.sum() < 30:  # pixels: too few to have a shape
            return None
        relief, smear = _depths(front, body, float(camera.K[0, 0]), options)
        centre = mover_centre(front.depth, body, camera)
        here = _solid_share(front.alpha, options)
        sides = [_solid_share(_sight(movers, beside(camera, centre, s * options.degrees)).alpha, options) for s in (-1.0, 1.0)]
    return float(np.mean([min(1.0, share / max(here, 1e-6)) for share in sides])), here, relief, smear


def _score(solid: float, front: float, relief: float, smear: float, *, options: SideOptions) -> float:
    least, most = options.relief
    deep = options.flat + (1 - options.flat) * min(1.0, relief / least) if relief < least else min(1.0, most / relief)
    return solid * min(1.0, front / options.dense) * deep / (1 + smear / options.smear)


def _sight(movers: Gaussians, camera: Camera) -> _Sight:
    """Blend depth and its square, each Gaussian's own extent along the ray included."""
    pose = camera.world_to_camera.to(movers.means)
    depth = movers.means @ pose[2, :3] + pose[2, 3]
    ray = torch.nn.functional.normalize(movers.means - camera.center.to(movers.means), dim=-1)
    axes = quat_to_matrix(quat_normalize(movers.quat_wxyz))
    own = (torch.einsum("nij,ni->nj", axes, ray) * movers.scale).square().sum(-1)
    middle = depth.median()  # squares of differences lose no digits
    drawn = rasterize(movers, camera, channels=torch.stack([depth - middle, (depth - middle).square() + own], -1))
    channels = drawn.color.new_zeros((*drawn.alpha.shape, 2)) if drawn.channels is None else drawn.channels
    alpha, blended = drawn.alpha.cpu().numpy(), channels.cpu().numpy()
    mean = blended[..., 0] / np.maximum(alpha, 1e-6)
    spread = blended[..., 1] / np.maximum(alpha, 1e-6) - mean * mean
    return _Sight(alpha, (mean + float(middle)).astype(np.float32), np.sqrt(np.maximum(spread, 0)).astype(np.float32))


def _depths(front: _Sight, body: NDArray[np.bool_], focal: float, options: SideOptions) -> tuple[float, float]:
    """Relief and smear of the bodies in the front view, weighted by their area; a body's size is the root of its area in the picture."""
    parts, count = ndimage.label(filled(body))
    area = ndimage.sum_labels(body, parts, np.arange(1, count + 1))
    found: list[tuple[float, float, float]] = []
    for number in np.flatnonzero(area >= options.least_part * area.sum()) + 1:
        inside = body & (parts == number)
        depth = front.depth[inside]
        size = float(np.sqrt(inside.sum()) * np.median(depth) / focal)
        low, high = np.percentile(depth, [5, 95])
        found.append((float(inside.sum()), float(high - low) / size, float(np.minimum(front.thickness[inside], size).mean()) / size))
    weight, relief, smear = np.array(found).T
    return float(np.average(relief, weights=weight)), float(np.average(smear, weights=weight))


def _solid_share(alpha: Array, options: SideOptions) -> float:
    """Share of the silhouette, its holes filled, that is solid; 0 where there is no silhouette."""
    return float((alpha > options.solid).sum() / max(filled(alpha > options.faint).sum(), 1))


def filled(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """(H, W) `mask` with gaps of up to 2 % of the width closed and holes filled."""
    size = max(3, round(0.02 * mask.shape[1]) | 1)
    padded = np.pad(mask.astype(np.uint8), size)  # closing must not lose what touches the border
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))[size:-size, size:-size]
    return np.asarray(ndimage.binary_fill_holes(closed > 0), bool)
