"""Seeds on a sheet and their lives, in the analytic world of a moving card (test_initialize_scenes.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.capture.capture import Capture
from fourfold.geometry.rotations import matrix_to_rotation6d
from fourfold.initialize.confirmed_lives import LifeNumbers, best_stretch, confirmed_lives
from fourfold.initialize.frames import read_frame
from fourfold.initialize.lived_bases import BackgroundAndLives, LivedNumbers, lived_layer
from fourfold.initialize.object_layer import ObjectMotion, ObjectNumbers, object_motion
from fourfold.initialize.sheet_seeds import SheetSeeds, sheet_depth, sheet_seeds
from fourfold.priors.contracts import Depth, Masks, Priors
from fourfold.scene.scene import DYNAMIC
from test_initialize_scenes import CARD, PV, QUALITY, STEP, H, T, W, make_world


def seeds_of(capture: Capture, priors: Priors, count: int = 120) -> tuple[ObjectMotion, SheetSeeds]:
    motion = object_motion(capture, priors, np.random.default_rng(0), ObjectNumbers())
    assert motion is not None
    seeds = sheet_seeds(capture, priors, motion, count, np.random.default_rng(1))
    assert seeds is not None
    return motion, seeds


def test_seeds_lie_on_the_card_where_it_is_at_the_canonical_time(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    motion, seeds = seeds_of(capture, priors)
    assert len(seeds) == 120 and set(seeds.frame) == set(range(T))
    corner = np.array([-0.6 + 0.2 * motion.tracks.indices[motion.tracks.canonical], -0.5, CARD])
    inside = seeds.means - corner
    pixel = CARD / 40
    assert (inside[:, :2] > -1.5 * pixel).all() and (inside[:, 0] < 10 * pixel + 1.5 * pixel).all() and (inside[:, 1] < 13.5 * pixel).all()
    np.testing.assert_allclose(seeds.means[:, 2], CARD, atol=0.05)
    np.testing.assert_allclose(seeds.pixel, pixel, rtol=1e-6)
    np.testing.assert_allclose(seeds.share, 120 / 20)


def test_a_sheet_keeps_relief_within_its_share_and_bodies_apart(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    assert priors.depth is not None and priors.masks is not None
    depth, mask = priors.depth.depth[0].copy(), priors.masks.mask[0].copy()
    body = np.argwhere(mask[0] > 0)
    depth[0][tuple(body[0])] = 2 * CARD  # a spike
    depth[0][tuple(body[1])] = 1.1 * CARD  # relief
    depth[0][tuple(body[2])] = 0  # unknown
    mask[0, 2:6, 2:8], depth[0, 2:6, 2:8] = 1, 1.1 * CARD  # a part that is seen apart
    mask[0, 28:34, 40:46], depth[0, 28:34, 40:46] = 1, 2 * CARD  # another body
    changed = replace(priors, masks=Masks(PV, (mask,)), depth=Depth(PV, (depth,), priors.depth.confidence))
    sheet = sheet_depth(read_frame(capture, changed, 0, 0), relief=0.15)
    assert sheet is not None
    np.testing.assert_allclose([sheet[tuple(body[n])] for n in (0, 1, 2, 50)], np.array([1.15, 1.1, 1, 1]) * CARD, rtol=1e-6)
    np.testing.assert_allclose(sheet[2:6, 2:8], 1.1 * CARD, rtol=1e-6)
    np.testing.assert_allclose(sheet[28:34, 40:46], 2 * CARD, rtol=1e-6)
    assert (sheet[mask[0] < 0] == 0).all()
    flat = sheet_depth(read_frame(capture, changed, 0, 0), relief=0.0)
    assert flat is not None and set(np.round(flat[mask[0] > 0] / CARD, 6)) == {1.0, 1.1, 2.0}


def test_a_card_that_looks_the_same_lives_throughout_and_a_changed_one_until_it_changes(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    motion, seeds = seeds_of(capture, priors)
    lives = confirmed_lives(capture, priors, motion, seeds)
    inner = np.abs(seeds.means[:, 0] - np.median(seeds.means[:, 0])) < 0.2
    assert inner.sum() > 30
    assert (lives.first[inner] == 0).all() and (lives.last[inner] == T - 1).all() and (lives.confirmed[inner] == T).all()
    frames = np.load(tmp_path / "frames_000.npy")
    assert priors.masks is not None
    frames[4:][priors.masks.mask[0][4:] > 0] = (20, 30, 200)
    np.save(tmp_path / "frames_000.npy", frames)
    lives = confirmed_lives(capture, priors, motion, seeds)
    early = inner & (seeds.frame < 4)
    assert (lives.last[early] == 3).all() and (lives.first[early] == 0).all()


def test_a_seed_outside_the_mask_is_contradicted_whichever_way_it_faces(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    motion, seeds = seeds_of(capture, priors)
    assert priors.masks is not None
    mask = priors.masks.mask[0].copy()
    mask[2] = -1
    gone = replace(priors, masks=Masks(PV, (mask,)))
    lives = confirmed_lives(capture, gone, motion, seeds, LifeNumbers(turned=0.0))
    assert (lives.last[seeds.frame < 2] == 1).all() and (lives.first[seeds.frame > 2] == 3).all()


@pytest.mark.parametrize("degrees", [30.0, 120.0])
def test_what_is_turned_away_is_neither_confirmed_nor_contradicted_by_its_colour(tmp_path: Path, degrees: float) -> None:
    """A body that turns at frame 3 and is of another colour from then on: seen from nearly the same side that contradicts, from behind not."""
    capture, priors = make_world(tmp_path)
    motion, seeds = seeds_of(capture, priors)
    angle = np.radians(degrees)
    turn = torch.tensor([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], dtype=torch.float32)
    rotation6d = motion.fitted.rotation6d.detach().clone()
    rotation6d[:, 3:] = matrix_to_rotation6d(turn)
    turned = replace(motion, fitted=replace(motion.fitted, rotation6d=rotation6d))
    frames = np.load(tmp_path / "frames_000.npy")
    assert priors.masks is not None
    frames[3:][priors.masks.mask[0][3:] > 0] = (20, 30, 200)
    np.save(tmp_path / "frames_000.npy", frames)
    lives = confirmed_lives(capture, priors, turned, seeds)
    middle = np.median(seeds.means, axis=0)
    axis = (seeds.frame < 3) & (np.abs(seeds.means - middle)[:, :2] < 0.2).all(1)
    assert axis.sum() > 5
    assert (lives.last[axis] == (2 if degrees < 50 else T - 1)).all()
    assert (lives.confirmed[axis] == 3).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-2, 1), min_size=1, max_size=9), st.integers(0, 8))
def test_the_best_stretch_is_the_longest_of_the_largest_sums(scores: list[int], own: int) -> None:
    own = min(own, len(scores) - 1)
    values = np.array(scores, float)
    values[own] = 1
    first, last = best_stretch(values[None], np.array([own]))
    every = [(a, b) for a in range(own + 1) for b in range(own, len(scores))]
    most = max(values[a : b + 1].sum() for a, b in every)
    longest = max(b - a for a, b in every if values[a : b + 1].sum() == most)
    assert values[first[0] : last[0] + 1].sum() == most and last[0] - first[0] == longest


def test_the_layer_has_as_many_gaussians_as_asked_and_fewer_of_those_that_live_long(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    numbers = LivedNumbers(count=2000)
    layer = lived_layer(capture, priors, QUALITY, np.random.default_rng(0), numbers)
    assert layer is not None and len(layer) == 100
    whole = layer.motion.at(layer, torch.from_numpy(capture.timestamps).float())
    for index, gaussians in enumerate(whole):
        alive = gaussians.opacity > 0.35
        left = (-0.6 + 0.2 * index - STEP * index) / CARD * 40 + W / 2
        x = (gaussians.means[alive, 0] - STEP * index) / gaussians.means[alive, 2] * 40 + W / 2
        y = gaussians.means[alive, 1] / gaussians.means[alive, 2] * 40 + H / 2
        assert alive.sum() > 30
        assert (x > left - 2).all() and (x < left + 12).all() and (y > 10).all() and (y < 26).all()
    radius = layer.splats["log_radius"].exp()
    assert float(radius.max()) == pytest.approx((0.5 + (T - 1) / 2) / 10, rel=1e-4)


def test_without_tracks_the_scene_stands_still(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    scene = BackgroundAndLives()(capture, replace(priors, tracks3d=None), QUALITY, np.random.default_rng(0))
    assert [layer.role for layer in scene.layers] != [] and all(layer.role != DYNAMIC for layer in scene.layers)
