"""Held-out frames: render them, keep them beside the truth, and score them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.evaluation import metrics
from fourfold.priors.foundation.lpips import SMALLEST, lpips_here
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene

RenderFrame = Callable[[int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class Scores:
    """Scores of a set of held-out frames: `mean` over frames and one row per frame (view, index, time and the metrics)."""

    mean: dict[str, float | None]
    frames: list[dict[str, Any]]


def scene_renderer(scene: Scene, capture: Capture) -> RenderFrame:
    """A function (view, time index) -> (H, W, 3) float32 in [0, 1] that renders `scene` through the capture's own camera."""
    background = torch.tensor(scene.background)

    def render(view: int, index: int) -> NDArray[np.float32]:
        camera = replace(capture.camera_at(view, index), near=scene.near)  # as it was trained: nearer Gaussians were never seen
        with torch.no_grad():
            image = rasterize(scene.at(float(capture.timestamps[index])), camera, background=background).color
        return image.clamp(0, 1).cpu().numpy()

    return render


def nearest_frame(capture: Capture) -> RenderFrame:
    """The baseline that copies the training image nearest in time, among those the one whose camera centre is nearest."""
    import cv2

    centers = _centers(capture)
    train = np.array(capture.train_frames())

    def copy(view: int, index: int) -> NDArray[np.float32]:
        gap = np.abs(capture.timestamps[train[:, 1]] - capture.timestamps[index])
        distance = np.linalg.norm(centers[train[:, 0], train[:, 1]] - centers[view, index], axis=-1)
        v, t = train[np.lexsort((np.nan_to_num(distance), train[:, 0] != view, gap))[0]]
        width, height = (int(n) for n in capture.sizes[view])
        image = cv2.resize(capture.image(int(v), int(t)), (width, height), interpolation=cv2.INTER_AREA)
        return image.astype(np.float32) / 255

    return copy


def score(render: RenderFrame, capture: Capture, masks: Mapping[tuple[int, int], NDArray[np.bool_]], keep: Path | None = None) -> Scores:
    """Score `render` on all held-out frames.

    Args:
        masks: (view, time index) -> (H, W) True where something moves; frames without one get no regional figures.
        keep: directory that receives the 8-bit images `VIEW_TIME.png`, `truth/VIEW_TIME.png` and, where something moves, `masks/VIEW_TIME.png`.

    What is scored is the render as the 8-bit file holds it, so that the figures can be computed again from what is kept; `psnr_unrounded`
    is that of the float render.
    """
    rows: list[dict[str, Any]] = []
    backbone, _ = lpips_here("alex")
    for view, index in counted(scorable_frames(capture)):
        unrounded = render(view, index)
        image = metrics.rounded(unrounded)
        truth = capture.image(view, index).astype(np.float32) / 255
        moving = masks.get((view, index))
        rows.append(
            {
                "view": view,
                "index": index,
                "time": float(capture.timestamps[index]),
                "psnr": metrics.psnr(image, truth),
                "ssim": metrics.ssim(image, truth) if min(image.shape[:2]) >= 11 else None,
                "psnr_dynamic": None if moving is None else metrics.psnr(image, truth, moving),
                "psnr_static": None if moving is None else metrics.psnr(image, truth, ~moving),
                "lpips": None if backbone is None or min(image.shape[:2]) < SMALLEST else backbone(image, truth),
                "psnr_unrounded": metrics.psnr(unrounded, truth),
            }
        )
        if keep is not None:
            name = f"{view:03d}_{index:05d}.png"
            save_png(keep / name, image)
            save_png(keep / "truth" / name, truth)
            if moving is not None:
                save_mask(keep / "masks" / name, moving)
    names = ("psnr", "ssim", "psnr_dynamic", "psnr_static", "lpips")
    return Scores({name: metrics.mean_of([row[name] for row in rows]) for name in names}, rows)


def scorable_frames(capture: Capture) -> list[tuple[int, int]]:
    """Held-out images with a known camera; the others cannot be rendered and are left out of every score."""
    known = capture.posed
    return [(view, index) for view, index in capture.heldout_frames() if known[view, index]]


def filmed_beside(capture: Capture) -> Capture:
    """`capture` with the training images next in time to its held-out ones, in the same view, in their place: what was filmed beside them. Scores of
    these tell nothing of the scene's quality, only how much is lost between filmed moments."""
    beside = np.zeros_like(capture.heldout)
    for view, index in scorable_frames(capture):
        there = np.flatnonzero(capture.train[view] & capture.posed[view])
        if len(there):
            beside[view, there[np.abs(capture.timestamps[there] - capture.timestamps[index]).argmin()]] = True
    return replace(capture, heldout=beside)


def moving_regions(capture: Capture, estimated: Mapping[int, NDArray[np.int8]]) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Where held-out images show something moving, found without any scene.

    The capture's own masks; else the estimated masks of that view (T, H, W); else, for a camera that stands still, what differs from
    the temporal median of the held-out images. Views where none applies are missing.
    """
    regions: dict[tuple[int, int], NDArray[np.bool_]] = {}
    by_median: dict[int, dict[int, NDArray[np.bool_]]] = {}
    for view, index in capture.heldout_frames():
        given = capture.mask(view, index)
        if given is not None:
            regions[view, index] = given > 0
        elif view in estimated:
            regions[view, index] = estimated[view][index] > 0
        else:
            if view not in by_median:
                by_median[view] = _median_difference(capture, view)
            if index in by_median[view]:
                regions[view, index] = by_median[view][index]
    return {key: region for key, region in regions.items() if region.any()}


def save_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a mask as an 8-bit grey PNG, 255 inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def save_png(path: Path, image: NDArray[np.floating[Any]]) -> None:
    """Write a float image in [0, 1] as an 8-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)).save(path)


def _centers(capture: Capture) -> NDArray[np.float64]:
    pose = capture.world_to_camera
    return -np.einsum("vtji,vtj->vti", pose[..., :3, :3], pose[..., :3, 3])


def _median_difference(capture: Capture, view: int) -> dict[int, NDArray[np.bool_]]:
    """Pixels of a standing camera's held-out images that differ from their temporal median by more than 0.1, cleaned."""
    import cv2

    indices = [t for v, t in capture.heldout_frames() if v == view]
    poses = capture.world_to_camera[view, indices]
    if len(indices) < 5 or not np.allclose(poses, poses[:1], atol=1e-6):
        return {}
    images = np.stack([capture.image(view, t) for t in indices]).astype(np.float32) / 255
    difference = np.abs(images - np.median(images, axis=0)).max(axis=-1)
    kernel = np.ones((5, 5), np.uint8)
    clean = [cv2.dilate(cv2.morphologyEx((d > 0.1).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), kernel) > 0 for d in difference]
    return dict(zip(indices, clean, strict=True))
