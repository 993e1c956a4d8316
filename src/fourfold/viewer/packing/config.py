"""Numbers of the packing, and how fine each Gaussian has to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.capture.capture import Capture

CELL = 256  # Gaussians that share a box
BRIEF = 2.4  # widths after which exp(-x^2) is less than 1/255
COEFFICIENTS = (0, 1, 2, 4, 8, 16)  # of a Gaussian on shared motions, whichever is enough
WHOLE = 4095  # what the coefficients of a Gaussian sum up to


@dataclass(frozen=True)
class PackConfig:
    """How exact a page is.

    Attributes:
        pixels: a Gaussian may lie so far from where it belongs, pixels of the filmed images; what is written is finer than that by a half.
        of_size: or so much of its smallest standard deviation, where that is more.
        opacity: of 1, by which fading may be off.
        tick: seconds to which lifetimes are rounded.
        seconds: length of a block of keyframes, about.
        moments: of a lifetime, and of each of its seconds, at which shared motions are compared with what is written; most_moments: never more.
        cameras: of those filmed, at most so many tell how near a Gaussian is.
        most_pixels, least_decibels: a page that is worse says so.
    """

    pixels: float = 0.03
    of_size: float = 0.02
    opacity: float = 0.012
    tick: float = 1 / 1024
    seconds: float = 1.0
    moments: int = 8
    most_moments: int = 48
    cameras: int = 24
    most_pixels: float = 0.5
    least_decibels: float = 42.0


def pixel_sizes(means: Tensor, capture: Capture, config: PackConfig) -> Tensor:
    """(N,) scene units of a pixel at each of `means` (N, 3), as the nearest of the filmed cameras sees it."""
    known = np.argwhere(np.isfinite(capture.world_to_camera).all(axis=(2, 3)) & capture.present)
    chosen = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), config.cameras)).astype(int))]
    best = torch.full((len(means),), torch.inf)
    for view, index in chosen:
        pose = torch.from_numpy(capture.world_to_camera[view, index]).float()
        distance = (means - (-pose[:3, :3].T @ pose[:3, 3])).norm(dim=1)
        best = torch.minimum(best, distance / float(capture.K[view, index, :2, :2].diagonal().max()))
    return best


def tolerances(means: Tensor, log_scale: Tensor, capture: Capture, config: PackConfig) -> Tensor:
    """(N,) scene units by which the Gaussians may lie wrong."""
    smallest = log_scale.exp().amin(1)
    return torch.maximum(config.pixels * pixel_sizes(means, capture, config), config.of_size * smallest).clamp_min(1e-7)
