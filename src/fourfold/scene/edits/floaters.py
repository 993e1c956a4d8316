"""Floaters: Gaussians in empty space, far from their neighbours as these are not from theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from fourfold.scene.edits.rows import kept
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class FloaterNumbers:
    """What counts as a floater.

    Attributes:
        neighbours: how many nearest Gaussians say how densely a place is filled.
        apart: a Gaussian goes if its mean distance to them is more than so many times theirs; smaller removes more.
        own_size: and more than so many times its own largest standard deviation: what is large fills its own surroundings.
    """

    neighbours: int = 8
    apart: float = 3.0
    own_size: float = 3.0


def without_floaters(scene: Scene, numbers: FloaterNumbers = FloaterNumbers()) -> Scene:
    """The scene without what floats at the middle of the recording, each layer judged among its own Gaussians."""
    with torch.no_grad():
        now = scene.at(sum(scene.time_range) / 2)
        stay = torch.cat([~_float(now.means[place], now.scale[place], numbers) for place in scene.slices().values()])
    return kept(scene, stay)


def _float(means: Tensor, scale: Tensor, numbers: FloaterNumbers) -> Tensor:
    if len(means) <= numbers.neighbours:
        return torch.zeros(len(means), dtype=torch.bool)
    places = means.double().cpu().numpy()
    spacing, ratio = relative_spacing(places, numbers.neighbours)
    large = scale.amax(1).double().cpu().numpy()
    return torch.from_numpy((ratio > numbers.apart) & (spacing > numbers.own_size * large))


def relative_spacing(places: NDArray[np.float64], neighbours: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean distance (N,) of each place to its nearest neighbours, and that over the median of what its neighbours have."""
    distance, near = cKDTree(places).query(places, k=neighbours + 1)
    spacing = distance[:, 1:].mean(1)
    return spacing, spacing / np.maximum(np.median(spacing[near[:, 1:]], axis=1), 1e-12)
