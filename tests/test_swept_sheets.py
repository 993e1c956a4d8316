"""Seeds swept through the images of a camera that stays in place, on a card whose path, colours and depth are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.initialize.lived_bases import LivedNumbers, lived_layer
from fourfold.initialize.swept_sheets import SweepNumbers, SweptSeeds, seeds_within, squares, swept_seeds
from fourfold.priors.contracts import Depth, Flow, Masks, Priors
from fourfold.scene.motion.lived_bases import LivedBases
from test_initialize_scenes import PV, QUALITY

T, H, W, FOCAL, NEAR, FAR, RATE = 12, 48, 64, 60.0, 2.0, 5.0, 10
MIDDLE, HALF = np.array([24.0, 24.0]), np.array([9.0, 11.0])
Array = np.ndarray[Any, Any]


def plain(x: Array, y: Array) -> Array:
    return np.stack([0.8 + 0 * x, 0.3 + 0 * y, 0.2 + 0 * x], axis=-1)


def striped(x: Array, y: Array) -> Array:
    return np.where((np.floor(x) % 2 == 0)[..., None], 0.9, 0.1) * np.ones(3)


def varied(x: Array, y: Array) -> Array:
    """Stripes that grow clearer towards the right."""
    return (0.5 + 0.4 * np.where(np.floor(x) % 2 == 0, 1, -1) * 10 ** (2 * (x - HALF[0]) / 18))[..., None] * np.ones(3)


def film(root: Path, path: Array, paint: Callable[[Array, Array], Array] = plain, pose: Array | None = None) -> tuple[Capture, Priors]:
    """A card of 18 x 22 pixels whose middle lies `path` (T, 2) pixels beside where it begins, before a grey wall; flow and depth are exact."""
    root.mkdir(parents=True, exist_ok=True)
    column, row = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    frames, moving = np.full((T, H, W, 3), 100, np.uint8), np.zeros((T, H, W), bool)
    flow = np.zeros((2, T, H, W, 2), np.float16)
    for t in range(T):
        x, y = column - MIDDLE[0] - path[t, 0], row - MIDDLE[1] - path[t, 1]
        moving[t] = (np.abs(x) < HALF[0]) & (np.abs(y) < HALF[1])
        frames[t][moving[t]] = np.round(255 * paint(x, y)[moving[t]])
        for side, other in enumerate((t + 1, t - 1)):
            if 0 <= other < T:
                flow[side, t][moving[t]] = path[other] - path[t]
    np.save(root / "frames_000.npy", frames)
    K = np.array([[FOCAL, 0, W / 2], [0, FOCAL, H / 2], [0, 0, 1]])
    flags, sure = np.ones((1, T), bool), np.ones((T, H, W), np.float16)
    poses = np.tile(np.eye(4), (1, T, 1, 1)) if pose is None else pose[None]
    size, when = np.array([[W, H]]), np.arange(T) / RATE
    capture = Capture(root, np.tile(K, (1, T, 1, 1)), poses, when, size, flags, flags, ~flags, "given", True, "world", ("v0",))
    masks, depth = Masks(PV, (np.where(moving, 1, -1).astype(np.int8),)), np.where(moving, NEAR, FAR).astype(np.float32)
    priors = Priors(masks=masks, depth=Depth(PV, (depth,), (sure,)), flow=Flow(PV, (flow[0],), (flow[1],), (sure,), (sure,)))
    return replace(capture, cameras="fixed"), priors


def straight(x: float, y: float = 0.0) -> Array:
    return np.arange(T)[:, None] * np.array([x, y])


def swept(capture: Capture, priors: Priors, **numbers: float) -> SweptSeeds:
    seeds = swept_seeds(capture, priors, numbers=SweepNumbers(**numbers))
    assert seeds is not None
    return seeds


def lives(seeds: SweptSeeds) -> Array:
    return np.round((seeds.end - seeds.begin) * RATE).astype(int) + 1


def test_a_card_at_rest_is_a_few_large_squares_that_live_throughout_and_cover_it(tmp_path: Path) -> None:
    seeds = swept(*film(tmp_path, straight(0)))
    assert (lives(seeds) == T).all() and not seeds.velocities.any()
    side = np.round(seeds.side / NEAR * FOCAL).astype(int)
    assert 396 * 0.9 <= (side**2).sum() <= 396 * 1.4, "18 x 22 pixels"
    assert side.max() == 4 and len(seeds) <= 396 / 3
    np.testing.assert_allclose(seeds.means[:, 2], NEAR, rtol=1e-6)
    np.testing.assert_allclose(seeds.color[side == 4], np.tile([0.8, 0.3, 0.2], ((side == 4).sum(), 1)), atol=0.03)


def test_detail_decides_how_large_squares_are(tmp_path: Path) -> None:
    capture, priors = film(tmp_path, straight(0), striped)
    fine, rough = (swept(capture, priors, detail=detail) for detail in (0.005, 1e9))
    assert (np.round(fine.side / NEAR * FOCAL) == 1).all() and 396 * 0.7 <= len(fine) <= 396
    assert np.round(rough.side / NEAR * FOCAL).max() == 8 and len(rough) < len(fine) / 8


@pytest.mark.parametrize("way", [(0.4, 0.0), (-0.2, 0.3)])
def test_a_slow_straight_path_is_one_life_with_its_velocity(tmp_path: Path, way: tuple[float, float]) -> None:
    seeds = swept(*film(tmp_path, straight(*way)))
    whole = lives(seeds) >= T - 1
    assert whole.sum() > 20
    expected = np.array([*way, 0]) * NEAR / FOCAL * RATE
    np.testing.assert_allclose(seeds.velocities[whole], np.tile(expected, (whole.sum(), 2, 1)), atol=0.02 * NEAR / FOCAL * RATE)
    first = whole & (seeds.begin == 0)
    xy = seeds.means[first, :2] / NEAR * FOCAL + [W / 2, H / 2] - (T - 1) / 2 * np.array(way)
    assert (np.abs(xy - MIDDLE) < HALF + 0.5).all() and np.abs(xy % 1 - 0.5).max() < 0.51


def test_what_hurries_lives_for_one_image_and_goes_where_the_flow_says_before_and_after(tmp_path: Path) -> None:
    path = np.cumsum(np.arange(T) * 0.25)[:, None] * np.array([1.0, 0.0]) - [8, 0]
    seeds = swept(*film(tmp_path, path))
    step = np.diff(path[:, 0])
    born = np.round(seeds.begin * RATE).astype(int)
    late = (born > 3) & (born < T - 1)
    assert late.any() and (lives(seeds)[late] == 1).all()
    unit = NEAR / FOCAL * RATE
    np.testing.assert_allclose(seeds.velocities[late, 0, 0] / unit, step[born[late] - 1], atol=0.01)
    np.testing.assert_allclose(seeds.velocities[late, 1, 0] / unit, step[born[late]], atol=0.01)


def test_a_path_that_bends_ends_a_life_before_it_is_off_by_more_than_it_may(tmp_path: Path) -> None:
    path = np.concatenate([np.zeros((6, 2)), straight(0.4)[1:7]])
    capture, priors = film(tmp_path, path)
    seeds = swept(capture, priors, off_share=0.0)
    early = seeds.begin == 0
    assert (np.round(seeds.end[early] * RATE) == 5).all(), "rests for six images"
    loose = swept(capture, priors, off=9.0)
    assert (lives(loose)[loose.begin == 0] > 10).mean() > 0.8


@pytest.mark.parametrize("change", ["color", "mask", "depth", "flow"])
def test_what_no_longer_shows_a_seed_ends_it(tmp_path: Path, change: str) -> None:
    capture, priors = film(tmp_path, straight(0))
    assert priors.masks is not None and priors.depth is not None and priors.flow is not None
    moving = priors.masks.mask[0] > 0
    if change == "color":
        frames = np.load(tmp_path / "frames_000.npy")
        frames[5:][moving[5:]] = (30, 60, 220)
        np.save(tmp_path / "frames_000.npy", frames)
    elif change == "mask":
        mask = priors.masks.mask[0].copy()
        mask[5] = -1
        priors = replace(priors, masks=Masks(PV, (mask,)))
    elif change == "depth":
        depth = np.where((np.arange(T) >= 5)[:, None, None] & moving, 1.2 * NEAR, priors.depth.depth[0]).astype(np.float32)
        priors = replace(priors, depth=replace(priors.depth, depth=(depth,)))
    else:
        sure = priors.flow.forward_confidence[0].copy()
        sure[4] = 0
        priors = replace(priors, flow=replace(priors.flow, forward_confidence=(sure,)))
    seeds = swept(capture, priors)
    first, then = seeds.begin == 0, seeds.begin > 0
    assert (np.round(seeds.end[first] * RATE) == 4).all()
    assert (np.round(seeds.begin[then] * RATE) == (6 if change == "mask" else 5)).all() and (np.round(seeds.end[then] * RATE) == T - 1).all()
    np.testing.assert_allclose(seeds.means[then, 2], 1.2 * NEAR if change == "depth" else NEAR, rtol=1e-5)


def test_a_distance_is_the_geometric_mean_of_what_its_images_say_and_the_picture_stays(tmp_path: Path) -> None:
    capture, priors = film(tmp_path, straight(0))
    assert priors.depth is not None
    factor = np.where(np.arange(T) % 2, 1.02, 1.0)
    depth = (priors.depth.depth[0] * factor[:, None, None]).astype(np.float32)
    seeds = swept(capture, replace(priors, depth=replace(priors.depth, depth=(depth,))))
    known = swept(capture, priors)
    mean = NEAR * 1.02**0.5
    np.testing.assert_allclose(seeds.means, known.means * 1.02**0.5, rtol=1e-5)
    np.testing.assert_allclose(seeds.side / known.side, mean / NEAR, rtol=1e-5)


def test_a_camera_that_turns_sees_a_resting_card_stay_where_it_is(tmp_path: Path) -> None:
    """The wall and the card go by in the picture by .3 pixels an image, and nothing moves in the world."""
    angle = -np.arange(T) * 0.3 / FOCAL
    pose = np.tile(np.eye(4), (T, 1, 1))
    pose[:, 0, 0], pose[:, 0, 2], pose[:, 2, 0], pose[:, 2, 2] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    seeds = swept(*film(tmp_path, straight(0.3), pose=pose))
    long = lives(seeds) >= 8
    assert long.sum() > 20
    assert np.abs(seeds.velocities[long]).max() * T / RATE < 0.4 * NEAR / FOCAL, (
        "its picture goes 3.3 pixels, and some tenth faster where it is not in the middle"
    )


def test_a_camera_that_turns_fast_does_not_hurry_what_rests(tmp_path: Path) -> None:
    """All goes by in the picture by one pixel an image."""
    angle = -np.arange(T) * 1.0 / FOCAL
    pose = np.tile(np.eye(4), (T, 1, 1))
    pose[:, 0, 0], pose[:, 0, 2], pose[:, 2, 0], pose[:, 2, 2] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    capture, priors = film(tmp_path, straight(1.0), pose=pose)
    resting, standing = swept(capture, priors), swept(replace(capture, world_to_camera=np.tile(np.eye(4), (1, T, 1, 1))), priors)
    assert (lives(resting) >= 5).mean() > 0.5 and (lives(standing) == 1).all()


def test_as_many_as_are_asked_for(tmp_path: Path) -> None:
    capture, priors = film(tmp_path, straight(0), varied)
    free = seeds_within(capture, priors, 1e9)
    assert free is not None and len(free) == len(swept(capture, priors))
    for share in (0.8, 0.7):
        few = seeds_within(capture, priors, share * len(free))
        assert few is not None and 0.85 * share * len(free) < len(few) < 1.05 * share * len(free)
    least = swept(capture, priors, detail=1e9)
    fewest = seeds_within(capture, priors, 1)
    assert fewest is not None and len(fewest) == len(least), "the largest squares"
    assert seeds_within(capture, replace(priors, masks=Masks(PV, (np.full((T, H, W), -1, np.int8),))), 100) is None


def test_squares_are_summed_beyond_the_border_too() -> None:
    values = np.random.default_rng(0).random((11, 14))
    found = squares(values, 4)
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found[2, 3], values[8:, 12:].sum(), rtol=1e-6)
    np.testing.assert_allclose(found.sum(), values.sum(), rtol=1e-6)


def test_the_layer_is_there_while_its_seeds_live_and_moves_as_they_do(tmp_path: Path) -> None:
    capture, priors = film(tmp_path, straight(0.4))
    layer = lived_layer(capture, priors, QUALITY, np.random.default_rng(0), LivedNumbers(candidates=10**9))
    seeds = swept(capture, priors)
    assert layer is not None and isinstance(layer.motion, LivedBases) and len(layer) == len(seeds)
    times = torch.from_numpy(capture.timestamps).float()
    places = layer.means_at(times).numpy()
    since = capture.timestamps[:, None] - (seeds.begin + seeds.end) / 2
    expected = seeds.means + since[..., None] * seeds.velocities[:, 1]
    np.testing.assert_allclose(places, expected, atol=1e-5)
    opacity = torch.stack([gaussians.opacity for gaussians in layer.motion.at(layer, times)]).numpy()
    alive = (capture.timestamps[:, None] >= seeds.begin - 1e-6) & (capture.timestamps[:, None] <= seeds.end + 1e-6)
    np.testing.assert_allclose(opacity[alive], 0.7, rtol=1e-5)
    assert (opacity[~alive] < 0.6).all()
    np.testing.assert_allclose(layer.splats["log_scale"].exp().numpy(), np.tile(0.5 * seeds.side[:, None], 3), rtol=1e-5)


def test_without_flow_every_image_has_its_own(tmp_path: Path) -> None:
    capture, priors = film(tmp_path, straight(0))
    seeds = swept(capture, replace(priors, flow=None))
    assert (lives(seeds) == 1).all() and not seeds.velocities.any() and len(np.unique(seeds.begin)) == T
