"""Errors as real priors make them, added to exact depth, masks and tracks: for tests of robustness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fourfold.capture.synthetic.options import NoiseOptions
from fourfold.capture.synthetic.truth import Truth, truth_image

Array = NDArray[np.floating[Any]]

NOISY = "noisy"


def noisy_depth(depth: Array, options: NoiseOptions, rng: np.random.Generator) -> NDArray[np.float32]:
    """Spoilt depth (H, W): an unknown scale and a smooth relative error per image, per-pixel error, and holes (0)."""
    scale = np.exp(options.depth_scale * rng.standard_normal())
    bend = options.depth_scale * _field(rng, depth.shape, 0.3)
    spoilt = depth * scale * (1 + bend + options.depth_relative * rng.standard_normal(depth.shape))
    field = _field(rng, depth.shape, 0.03)
    hole = field > np.quantile(field, 1 - options.depth_holes) if options.depth_holes > 0 else np.zeros(depth.shape, bool)
    return np.where(hole | (depth <= 0), 0, np.maximum(spoilt, 1e-3)).astype(np.float32)


def noisy_mask(mask: NDArray[np.int8], options: NoiseOptions, rng: np.random.Generator) -> NDArray[np.int8]:
    """Spoilt mask (H, W): its border wanders in and out by about `mask_pixels`; 0 (ignore) stays."""
    inside = (mask > 0).astype(np.uint8)
    signed = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    moved = signed + options.mask_pixels * np.sqrt(np.pi / 2) * _field(rng, mask.shape, 0.05)
    result = np.where(moved > 0, 1, -1) if inside.any() else np.full(mask.shape, -1)
    return np.where(mask == 0, 0, result).astype(np.int8)


def noisy_tracks2d(xy: Array, options: NoiseOptions, rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Spoilt image tracks (P, T, 2) in an image of `size` (width, height): jitter, and a share of tracks that jump away and stay away."""
    spoilt = xy + options.track_pixels * rng.standard_normal(xy.shape)
    lost = rng.random(xy.shape[0]) < options.track_outliers
    start = rng.integers(0, xy.shape[1], xy.shape[0])
    jump = rng.uniform(-0.25, 0.25, (xy.shape[0], 2)) * np.array(size)
    after = (np.arange(xy.shape[1]) >= start[:, None]) & lost[:, None]
    return (spoilt + after[..., None] * jump[:, None]).astype(np.float32)


def noisy_tracks3d(xyz: Array, options: NoiseOptions, rng: np.random.Generator) -> NDArray[np.float32]:
    """Spoilt trajectories (P, T, 3): half of the variance stays with the point, half is new at every moment."""
    constant, fresh = rng.standard_normal((xyz.shape[0], 1, 3)), rng.standard_normal(xyz.shape)
    return (xyz + options.track_metres * (constant + fresh) / np.sqrt(2)).astype(np.float32)


def write_noisy(root: Path, truth: Truth, views: int, options: NoiseOptions, rng: np.random.Generator) -> None:
    """Write `root/noisy/`: depth_VVV.npy, masks_VVV.npy and tracks.safetensors with xyz (P, T, 3), xy (V, P, T, 2), visibility (V, P, T)."""
    folder = root / NOISY
    folder.mkdir()
    size = (0, 0)
    for view in range(views):
        depth, masks = truth_image(root, "depth", view), truth_image(root, "masks", view)
        size = (depth.shape[2], depth.shape[1])
        np.save(folder / f"depth_{view:03d}.npy", np.stack([noisy_depth(d, options, rng) for d in depth]), allow_pickle=False)
        np.save(folder / f"masks_{view:03d}.npy", np.stack([noisy_mask(m, options, rng) for m in masks]), allow_pickle=False)
    xy = np.stack([noisy_tracks2d(truth.xy[v], options, rng, size) for v in range(views)])
    arrays = {"xyz": noisy_tracks3d(truth.xyz, options, rng), "xy": xy, "visibility": truth.visibility.astype(np.uint8)}
    save_file(arrays, folder / "tracks.safetensors")


def _field(rng: np.random.Generator, shape: tuple[int, ...], grain: float) -> Array:
    """(H, W) smooth random field of mean 0 and deviation 1; `grain` is its correlation length as a share of the width."""
    field = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), max(0.5, grain * shape[1]), borderType=cv2.BORDER_REFLECT)
    return (field - field.mean()) / max(float(field.std()), 1e-12)
