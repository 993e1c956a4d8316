"""How far points are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree


def neighbour_spacing(points: NDArray[np.floating], neighbours: int = 3, lonely: float = 1e-2) -> NDArray[np.float32]:
    """(N,) mean distance of each of `points` (N, 3) to its nearest `neighbours`, as 3D Gaussian splatting sizes its first Gaussians; `lonely` for
    a single point."""
    count = len(points)
    if count < 2:
        return np.full(count, lonely, np.float32)
    distance, _ = KDTree(points).query(points, k=min(neighbours + 1, count))
    return distance[:, 1:].mean(1).astype(np.float32)
