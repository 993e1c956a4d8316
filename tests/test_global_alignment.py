"""The global alignment of pairs' point maps: exact maps give the exact depth and cameras, noise is averaged away, outliers do not count."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from analytic_scene import look
from fourfold.errors import FourfoldError
from fourfold.priors.depth_alignment.global_alignment import Aligned, GlobalNumbers, align_pairs
from fourfold.priors.depth_alignment.pair_start import Pair, pose_of

HEIGHT, WIDTH = 18, 24
CENTRES = np.array([[-2.0, 0, 0], [2.0, 0.3, 0], [1.5, -0.4, 5.5], [-1.8, 0.2, 6]])
BALL, RADIUS = np.array([0.2, -0.1, 3.0]), 0.9


def cameras(centres: np.ndarray = CENTRES) -> tuple[np.ndarray, np.ndarray]:
    K = np.array([[20.0, 0, WIDTH / 2], [0, 21.0, HEIGHT / 2], [0, 0, 1]])
    return np.tile(K, (len(centres), 1, 1)), np.stack([look(c, BALL + 0.1 * c[[2, 1, 0]] * [0, 1, 0]) for c in centres])


def truth(K: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(H, W) depth of a ball before the inside of a large sphere."""
    x, y = np.meshgrid((np.arange(WIDTH) + 0.5 - K[0, 2]) / K[0, 0], (np.arange(HEIGHT) + 0.5 - K[1, 2]) / K[1, 1])
    ray = np.stack([x, y, np.ones_like(x)], -1)

    def hit(middle: np.ndarray, radius: float, far: bool) -> np.ndarray:
        local = pose[:3, :3] @ middle + pose[:3, 3]
        a, b, c = (ray**2).sum(-1), ray @ local, local @ local - radius**2
        root = np.sqrt(np.maximum(b**2 - a * c, 0))
        return np.where(b**2 >= a * c, (b + root if far else b - root) / a, np.inf)

    return np.minimum(hit(BALL, RADIUS, False), hit(BALL, 8.0, True))


def points_of(K: np.ndarray, pose: np.ndarray, depth: np.ndarray) -> np.ndarray:
    x, y = np.meshgrid((np.arange(WIDTH) + 0.5 - K[0, 2]) / K[0, 0], (np.arange(HEIGHT) + 0.5 - K[1, 2]) / K[1, 1])
    return (np.stack([x, y, np.ones_like(x)], -1) * depth[..., None] - pose[:3, 3]) @ pose[:3, :3]


def made_pairs(
    K: np.ndarray, pose: np.ndarray, noise: float = 0.0, wrong: float = 0.0, seed: int = 0
) -> tuple[list[Pair], list[np.ndarray], np.ndarray]:
    """All directed pairs in units of their own, the true depths, and the scales that undo the units."""
    generator = np.random.default_rng(seed)
    depth = [truth(k, p) for k, p in zip(K, pose, strict=True)]
    pairs, scales = [], []
    for a, b in permutations(range(len(K)), 2):
        unit = float(np.exp(generator.normal(0, 0.5)))
        maps, weights = [], []
        for n in (a, b):
            world = points_of(K[n], pose[n], depth[n])
            local = world @ pose[a, :3, :3].T + pose[a, :3, 3]
            local = local * (1 + noise * generator.standard_normal((HEIGHT, WIDTH, 1)))
            off = generator.random((HEIGHT, WIDTH)) < wrong
            local[off] *= generator.uniform(0.3, 3.0, (int(off.sum()), 1))
            maps.append(local / unit)
            weights.append(generator.uniform(0.5, 2.0, (HEIGHT, WIDTH)))
        pairs.append(Pair((a, b), tuple(maps), tuple(weights)))
        scales.append(unit)
    return pairs, depth, np.array(scales)


def worst(found: Aligned, depth: list[np.ndarray], scale: float = 1.0) -> float:
    """Largest relative error of depth."""
    return max(float(np.abs(scale * f / d - 1).max()) for f, d in zip(found.depth, depth, strict=True))


def typical(found: Aligned, depth: list[np.ndarray]) -> float:
    return float(np.median(np.concatenate([np.abs(f / d - 1).ravel() for f, d in zip(found.depth, depth, strict=True)])))


def test_exact_maps_give_exact_depth_between_preset_cameras() -> None:
    K, pose = cameras()
    pairs, depth, scales = made_pairs(K, pose)
    found = align_pairs(pairs, K, pose)
    assert worst(found, depth) < 1e-4 and np.abs(found.scale / scales - 1).max() < 1e-4
    assert np.array_equal(found.world_to_camera, pose)
    assert all(np.abs(c - 1.25).mean() < 0.2 for c in found.confidence)


def test_noise_of_the_pairs_is_averaged_away_and_the_cost_never_rises() -> None:
    K, pose = cameras()
    pairs, depth, _ = made_pairs(K, pose, noise=0.03)
    found = align_pairs(pairs, K, pose)
    alone = float(np.median(np.abs(0.03 * np.random.default_rng(1).standard_normal(10_000))))
    assert typical(found, depth) < 0.6 * alone  # six maps tell of each pixel
    squares = align_pairs(pairs, K, pose, GlobalNumbers(robust=False, enough=-1.0, sweeps=15))
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in zip(squares.costs, squares.costs[1:], strict=False))


def test_wrong_points_do_not_count_where_distances_do() -> None:
    K, pose = cameras()
    pairs, depth, _ = made_pairs(K, pose, noise=0.01, wrong=0.15)
    robust, squares = align_pairs(pairs, K, pose), align_pairs(pairs, K, pose, GlobalNumbers(robust=False))
    assert typical(robust, depth) < 0.2 * typical(squares, depth)


def test_cameras_are_found_where_they_are_not_known() -> None:
    """Equation 4: up to the similarity that no image tells."""
    K, pose = cameras()
    pairs, depth, _ = made_pairs(K, pose, noise=0.002)
    found = align_pairs(pairs, K)
    assert np.allclose(found.world_to_camera[0], np.eye(4)) and np.exp(np.log(found.scale).mean()) == pytest.approx(1, rel=0.02)
    first = np.linalg.inv(pose[0])
    centre = np.stack([-(p[:3, :3].T @ p[:3, 3]) for p in found.world_to_camera])
    true = np.stack([-((p @ first)[:3, :3].T @ (p @ first)[:3, 3]) for p in pose])
    scale = float((true * centre).sum() / (centre * centre).sum())
    assert np.abs(scale * centre - true).max() < 0.03
    for own, there in zip(found.world_to_camera, pose, strict=True):
        assert np.abs(own[:3, :3] - (there @ first)[:3, :3]).max() < 0.01
    assert typical(Aligned(tuple(scale * d for d in found.depth), *list(vars(found).values())[1:]), depth) < 0.01


def test_a_standing_camera_has_no_scale_and_does_not_shrink() -> None:
    """Frames of one camera: a body comes nearer, the pairs tell by how much; all in one unit."""
    K, pose = cameras(np.tile(CENTRES[:1], (3, 1)))
    generator = np.random.default_rng(3)
    still = truth(K[0], pose[0])
    depth = [np.where(still < 4, still * factor, still) for factor in (1.0, 0.9, 0.8)]
    pairs = []
    for a, b in permutations(range(3), 2):
        unit = float(np.exp(generator.normal(0, 0.3)))
        maps = [(points_of(K[n], np.eye(4), depth[n])) / unit for n in (a, b)]
        pairs.append(Pair((a, b), (maps[0], maps[1]), (np.ones((HEIGHT, WIDTH)), np.ones((HEIGHT, WIDTH)))))
    found = align_pairs(pairs, K, pose)
    ratio = np.concatenate([(f / d).ravel() for f, d in zip(found.depth, depth, strict=True)])
    assert ratio.max() / ratio.min() < 1 + 1e-3 and ratio.min() > 0.1


def test_pairs_must_join_the_images_and_a_pose_needs_points() -> None:
    K, pose = cameras()
    pairs = [p for p in made_pairs(K, pose)[0] if 3 not in p.images]
    with pytest.raises(FourfoldError, match="do not join all 4 of them: 3 stay apart"):
        align_pairs(pairs, K)
    assert pose_of(np.zeros((HEIGHT, WIDTH, 3)), np.zeros((HEIGHT, WIDTH)), K[0]) is None
