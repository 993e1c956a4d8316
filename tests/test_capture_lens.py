"""Undistortion against the distortion polynomials written out here, in pixel coordinates with centres at +0.5."""

from __future__ import annotations

import numpy as np
import pytest

from fourfold.capture.lens import Lens, fisheye, pinhole, straightened, undistorter
from fourfold.capture.source import intrinsics

SIZE = (160, 120)
K = intrinsics(120.0, 124.0, 82.3, 58.1)


def _bent(points: np.ndarray, lens: Lens) -> np.ndarray:
    """Normalised points -> distorted normalised points, from the published formulas."""
    x, y = points[..., 0], points[..., 1]
    if lens.model == "fisheye":
        k1, k2, k3, k4 = lens.coefficients
        r = np.hypot(x, y)
        theta = np.arctan(r)
        bent = theta * (1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8)
        scale = np.where(r > 1e-12, bent / np.maximum(r, 1e-12), 1.0)
        return np.stack([x * scale, y * scale], -1)
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = (*lens.coefficients, *np.zeros(8))[:12]
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    across = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + s1 * r2 + s2 * r2**2
    return np.stack([across, y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + s3 * r2 + s4 * r2**2], -1)


def _picture(pixels: np.ndarray) -> np.ndarray:
    """A smooth pattern over continuous pixel coordinates, 0..255."""
    u, v = pixels[..., 0], pixels[..., 1]
    return 127 + 60 * np.sin(u / 9) + 60 * np.cos(v / 11)


def _centres() -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5), -1)


LENSES = [
    pinhole(-0.2, 0.03, 0.001, -0.002),
    pinhole(0.15, -0.02, -0.001, 0.001, 0.01),
    pinhole(0.3, 0.05, 0.0, 0.0, 0.01, further=(0.4, 0.02, 0.001)),
    pinhole(0.1, 0.02, 0.0, 0.0, 0.01, further=(0.05,)),  # six numbers, of which OpenCV knows nothing
    pinhole(-0.1, 0.02, 0.001, 0.0, 0.0, further=(0.0, 0.0, 0.0, 0.01, -0.004, 0.006, 0.002)),
    fisheye(0.05, -0.01, 0.002, 0.0),
    fisheye(),
]


@pytest.mark.parametrize("lens", LENSES)
def test_a_straightened_pixel_shows_what_its_distorted_point_showed(lens: Lens) -> None:
    distorted = _picture(_centres())  # what the sensor holds: the pattern is painted on the sensor itself
    straight = straightened(lens, K, SIZE)
    got = undistorter(lens, K, straight, SIZE)(distorted.astype(np.float32), False).astype(float)
    rays = (_centres() - straight[:2, 2]) / straight[[0, 1], [0, 1]]
    source = _bent(rays, lens) * K[[0, 1], [0, 1]] + K[:2, 2]
    inside = (source > 1).all(-1) & (source < np.array(SIZE) - 1).all(-1)
    assert inside.mean() > 0.9
    # Linear interpolation and OpenCV's maps of 1/32 pixel stay under half a level; half a pixel in K would show as one and more.
    assert np.abs(got - _picture(source))[inside].max() < 0.5


@pytest.mark.parametrize("lens", LENSES[:5])
def test_every_pixel_of_a_straightened_image_was_seen(lens: Lens) -> None:
    white = np.full((SIZE[1], SIZE[0]), 255, np.uint8)
    straight = straightened(lens, K, SIZE)
    got = undistorter(lens, K, straight, SIZE)(white, False)
    assert (got[2:-2, 2:-2] == 255).mean() > 0.995


def test_labels_are_picked_not_mixed() -> None:
    labels = np.where(np.arange(SIZE[0]) % 7 < 3, 1, -1).astype(np.int8)[None].repeat(SIZE[1], 0)
    lens = LENSES[0]
    got = undistorter(lens, K, straightened(lens, K, SIZE), SIZE)(labels, True)
    assert got.dtype == np.int8
    assert set(np.unique(got[2:-2, 2:-2])) <= {-1, 1}


def test_no_distortion_changes_nothing() -> None:
    lens = pinhole()
    assert not lens.bends
    assert straightened(lens, K, SIZE) is K
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert undistorter(lens, K, K, SIZE)(image, False) is image


def test_a_polynomial_that_folds_keeps_the_focal_length() -> None:
    straight = straightened(pinhole(-30.0, 900.0), K, SIZE)
    assert np.isfinite(straight).all()
    assert 0.2 <= straight[0, 0] / K[0, 0] <= 5.0
