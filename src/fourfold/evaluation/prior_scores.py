"""Errors of priors against the truth: depth, flow, masks and cameras. Each a function of arrays, with its formula; percent where said."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.evaluation.metrics import mask_iou
from fourfold.geometry.alignment import umeyama

Array = NDArray[np.floating[Any]]

OUTLIER_PIXELS, OUTLIER_SHARE = 3.0, 0.05
"""A flow vector is an outlier if it is wrong by more than 3 px and by more than 5 % of its length (KITTI 2015's Fl)."""


def depth_errors(depth: Array, truth: Array, where: NDArray[np.bool_] | None = None) -> dict[str, float] | None:
    """Errors of depth maps of one shape where both are known (greater than 0) and, if given, `where` is True.

    Returns:
        `abs_rel` mean |d - z| / z; `rmse` in scene units; `delta_125` percent with max(d/z, z/d) < 1.25; `known` percent of the truly known
        pixels that have an estimate. The same three after multiplying the estimate by the median of z / d, with the ending `_scaled`
        (one scale for all maps given), and that `scale`. None if nothing is known in both.
    """
    _same(depth, truth)
    judged = truth > 0 if where is None else (truth > 0) & where
    both = judged & (depth > 0)
    if not both.any():
        return None
    d, z = depth[both].astype(np.float64), truth[both].astype(np.float64)
    scale = float(np.median(z / d))
    scaled = {f"{name}_scaled": value for name, value in _depth_figures(scale * d, z).items()}
    return {**_depth_figures(d, z), **scaled, "scale": scale, "known": 100 * float(both.sum()) / int(judged.sum())}


def _depth_figures(d: NDArray[np.float64], z: NDArray[np.float64]) -> dict[str, float]:
    near = np.maximum(d / z, z / d) < 1.25
    return {"abs_rel": float((np.abs(d - z) / z).mean()), "rmse": float(np.sqrt(((d - z) ** 2).mean())), "delta_125": 100 * float(near.mean())}


def flow_errors(flow: Array, truth: Array, where: NDArray[np.bool_]) -> dict[str, float] | None:
    """End-point error of flow (..., 2) in pixels where `where` (...): `epe` mean, `median`, and `outliers` percent by KITTI's rule."""
    _same(flow, truth)
    if not where.any():
        return None
    error = np.linalg.norm(flow[where].astype(np.float64) - truth[where], axis=-1)
    outlier = (error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * np.linalg.norm(truth[where], axis=-1))
    return {"epe": float(error.mean()), "median": float(np.median(error)), "outliers": 100 * float(outlier.mean())}


def mask_scores(mask: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> dict[str, float | None]:
    """Intersection over union of masks (+1 object, -1 background, 0 do not use) of one shape, taken over all images together.

    Returns:
        `iou`: pixels that the estimate (or the truth) calls 0 are left out; `iou_full`: the estimate's 0 counts as background;
        `unused`: percent of pixels that the estimate calls 0.
    """
    _same(mask, truth)
    known = truth != 0
    sure = known & (mask != 0)
    return {
        "iou": mask_iou((mask > 0) & sure, (truth > 0) & sure),
        "iou_full": mask_iou((mask > 0) & known, (truth > 0) & known),
        "unused": 100 * float((mask == 0).mean()),
    }


def camera_errors(
    world_to_camera: Array, truth: Array, view: NDArray[np.integer[Any]], K: Array | None = None, true_K: Array | None = None
) -> dict[str, float] | None:
    """Errors of N camera poses (N, 4, 4) after the similarity that moves their centres closest to the true ones.

    Where the true centres are (nearly) one point or on one line the similarity is taken from the orientations instead: the mean rotation
    between the two worlds. Poses that are not finite are left out. `view` (N,) tells the clips apart; each clip's poses are in order of time.

    Returns:
        `rotation` mean and `rotation_max` degrees; `ate` root mean square distance of centres, scene units, and `ate_share` the same over
        the spread (root mean square distance from their middle) of the true centres, 0 where they are one point; `rpe_rotation` degrees
        and `rpe_translation` scene units: mean errors of the motion from each moment to the next of the same clip; `focal` mean relative
        error in percent; `registered` percent. None with fewer than two poses.
    """
    _same(world_to_camera, truth)
    known = np.isfinite(world_to_camera).all(axis=(1, 2))
    if known.sum() < 2:
        return None
    pose, true = world_to_camera[known].astype(np.float64), truth[known].astype(np.float64)
    scale, rotation, translation = camera_similarity(pose, true)
    centre = scale * _centres(pose) @ rotation.T + translation
    true_centre = _centres(true)
    turned = pose[:, :3, :3] @ rotation.T
    angle = _angles(turned, true[:, :3, :3])
    error = np.linalg.norm(centre - true_centre, axis=1)
    ate = float(np.sqrt((error**2).mean()))
    spread = float(np.sqrt(((true_centre - true_centre.mean(0)) ** 2).sum(1).mean()))
    next_in_clip = np.diff(view[known]) == 0
    steps, true_steps = (_relative(r, c) for r, c in ((turned, centre), (true[:, :3, :3], true_centre)))
    figures = {
        "rotation": float(angle.mean()),
        "rotation_max": float(angle.max()),
        "ate": ate,
        "ate_share": ate / spread if spread > 1e-9 else 0.0,
        "rpe_rotation": _mean(_angles(steps[0], true_steps[0])[next_in_clip]),
        "rpe_translation": _mean(np.linalg.norm(steps[1] - true_steps[1], axis=1)[next_in_clip]),
        "registered": 100 * float(known.mean()),
    }
    if K is not None and true_K is not None:
        figures["focal"] = 100 * float(np.abs(K[known, 0, 0] / true_K[known, 0, 0] - 1).mean())
    return figures


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else 0.0


def camera_similarity(pose: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, rotation (3, 3) and translation (3,) that carry the world of the poses (N, 4, 4) into that of the true ones, see `camera_errors`."""
    source, target = _centres(pose), _centres(true)
    spread = [np.linalg.svd(c - c.mean(0), compute_uv=False) for c in (source, target)]
    if all(s.size > 1 and s[1] > 1e-3 * max(s[0], 1e-12) and s[0] > 1e-9 for s in spread):
        scale, rotation, translation = umeyama(torch.from_numpy(source), torch.from_numpy(target))
        return float(scale), rotation.numpy(), translation.numpy()
    u, _, vh = np.linalg.svd((true[:, :3, :3].transpose(0, 2, 1) @ pose[:, :3, :3]).sum(0))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vh)]) @ vh
    wide = spread[0][0] > 1e-9
    scale = float(spread[1][0] / spread[0][0]) if wide else 1.0
    return scale, rotation, target.mean(0) - scale * rotation @ source.mean(0)


def _centres(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.einsum("nji,nj->ni", pose[:, :3, :3], pose[:, :3, 3])


def _relative(rotation: NDArray[np.float64], centre: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and translation from each camera to the next, in the first one's axes."""
    return rotation[1:] @ rotation[:-1].transpose(0, 2, 1), np.einsum("nij,nj->ni", rotation[:-1], np.diff(centre, axis=0))


def _angles(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) degrees between rotations; exact also for small angles (chord length)."""
    chord = np.linalg.norm(first - second, axis=(1, 2)) / (2 * np.sqrt(2))
    return np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))


def _same(first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.shape != second.shape:
        raise FourfoldError(f"estimate and truth have shapes {first.shape} and {second.shape}, expected the same")
