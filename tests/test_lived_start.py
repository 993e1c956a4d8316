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
from fourfold.initialize.body_motion import BodyMotion, body_motion
from fourfold.initialize.confirmed_lives import LifeNumbers, Lives, best_stretch, confirmed_lives
from fourfold.initialize.flow_slip import flow_velocities
from fourfold.initialize.followed_bodies import BodyNumbers, follow_bodies
from fourfold.initialize.frames import Frame, read_frame
from fourfold.initialize.lived_bases import BackgroundAndLives, LivedNumbers, lived_layer, longest_cover
from fourfold.initialize.sheet_seeds import Density, SheetSeeds, sheet_depth, sheet_seeds
from fourfold.priors.contracts import Depth, Masks, Priors
from fourfold.scene.scene import STATIC
from test_initialize_scenes import CARD, PV, QUALITY, STEP, H, T, W, make_world


def seeds_of(capture: Capture, priors: Priors, count: int = 20) -> tuple[BodyMotion, SheetSeeds]:
    motion = body_motion(capture, priors, np.random.default_rng(0))
    assert motion is not None
    seeds = sheet_seeds(capture, priors, motion, Density(1.0, count), np.random.default_rng(1))
    assert seeds is not None
    return motion, seeds


def test_seeds_lie_on_the_card_where_it_is_at_the_canonical_time(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    motion, seeds = seeds_of(capture, priors)
    assert len(seeds) == 120 and set(seeds.frame) == set(range(T))
    corner = np.array([-0.6 + 0.2 * motion.indices[motion.canonical], -0.5, CARD])
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
    deep = BodyNumbers(thick=9.0)
    sheet = sheet_depth(read_frame(capture, changed, 0, 0), deep)
    assert sheet is not None
    np.testing.assert_allclose([sheet[tuple(body[n])] for n in (0, 1, 2, 50)], np.array([1.15, 1.1, 1, 1]) * CARD, rtol=1e-6)
    np.testing.assert_allclose(sheet[2:6, 2:8], 1.1 * CARD, rtol=1e-6)
    np.testing.assert_allclose(sheet[28:34, 40:46], 2 * CARD, rtol=1e-6)
    assert (sheet[mask[0] < 0] == 0).all()
    thin = sheet_depth(read_frame(capture, changed, 0, 0))
    assert thin is not None, "a card of 120 pixels is no deeper than 0.3 sqrt(120) pixels"
    np.testing.assert_allclose([thin[tuple(body[n])] for n in (0, 1)], (1 + 0.3 * np.sqrt(120) / 40) * CARD, rtol=1e-6)
    row, column = body[60]
    depth[0, row - 3 : row + 3, column - 3 : column + 3] = 0.6 * CARD  # a ball before the body
    before = sheet_depth(read_frame(capture, changed, 0, 0), BodyNumbers(fewest=10, thick=9.0))
    assert before is not None
    ball = before[row - 3 : row + 3, column - 3 : column + 3][mask[0, row - 3 : row + 3, column - 3 : column + 3] > 0]
    np.testing.assert_allclose(ball, 0.6 * CARD, rtol=1e-6)
    np.testing.assert_allclose(before[tuple(body[5])], CARD, rtol=1e-6)
    depth[0, row - 3 : row + 3, column - 3 : column + 3] = CARD
    flat = sheet_depth(read_frame(capture, changed, 0, 0), BodyNumbers(relief=0.0))
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
    lives = confirmed_lives(capture, replace(priors, flow=None), turned, seeds)
    middle = np.median(seeds.means, axis=0)
    axis = (seeds.frame < 3) & (np.abs(seeds.means - middle)[:, :2] < 0.2).all(1)
    assert axis.sum() > 5
    assert (lives.last[axis] == (2 if degrees < 50 else T - 1)).all()
    assert (lives.confirmed[axis] == 3).all()


def test_a_motion_that_leaves_the_flow_is_left_although_every_colour_agrees(tmp_path: Path) -> None:
    """The tracks stay 1.6 pixels an image behind the card, which is of one colour: lives end before the second pixel, and the flow moves what is
    left on its sheets."""
    capture, priors = make_world(tmp_path)
    assert priors.tracks3d is not None
    late = 0.12 * np.arange(T)[None, :, None] * np.array([1.0, 0, 0])
    slow = replace(priors, tracks3d=replace(priors.tracks3d, xyz=(priors.tracks3d.xyz - late).astype(np.float32)))
    motion, seeds = seeds_of(capture, slow)
    lives = confirmed_lives(capture, slow, motion, seeds)
    assert (lives.last - lives.first == 0).mean() > 0.9
    layer = lived_layer(capture, slow, QUALITY, np.random.default_rng(0), LivedNumbers(candidates=4000, cell=2.7))
    assert layer is not None
    times = torch.from_numpy(capture.timestamps).float()
    places = layer.means_at(times)
    steps = torch.stack([places[t + 1] - places[t] for t in range(T - 1)])
    own = (layer.splats["time_center"][:, None] - times).abs().argmin(1)
    inner = (own > 0) & (own < T - 1)
    rows = torch.arange(len(layer))[inner]
    for step in (steps[own[inner] - 1, rows], steps[own[inner], rows]):
        np.testing.assert_allclose(step.numpy(), np.tile([0.2, 0, 0], (len(rows), 1)), atol=2e-3)  # flow is kept in half precision


def test_flow_moves_a_pixel_at_its_depth_before_and_after_its_own_moment(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    assert priors.flow is not None and priors.masks is not None
    back = priors.flow.backward[0].copy()
    back[3] *= 2  # it came from farther away than it goes
    flow = replace(priors.flow, backward=(back,))
    number, xy = np.array([3, 0, T - 1]), np.array([np.argwhere(priors.masks.mask[0][t] > 0)[60, ::-1] + 0.5 for t in (3, 0, T - 1)])
    found = flow_velocities(capture, replace(priors, flow=flow), number, xy, np.full(3, CARD))
    np.testing.assert_allclose(found[0], [[2 * (0.2 - STEP) * 10 + STEP * 10, 0, 0], [2.0, 0, 0]], atol=0.02)
    np.testing.assert_allclose(found[1:], np.tile([2.0, 0, 0], (2, 2, 1)), atol=0.02)
    assert not flow_velocities(capture, replace(priors, flow=None), number, xy, np.full(3, CARD)).any()


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


def test_a_card_seen_in_every_image_is_few_gaussians_that_live_throughout(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    layer = lived_layer(capture, priors, QUALITY, np.random.default_rng(0), LivedNumbers(candidates=4000, cell=2.7))
    assert layer is not None and 15 <= len(layer) <= 40, "100 would cover every image anew"
    whole = layer.motion.at(layer, torch.from_numpy(capture.timestamps).float())
    for index, gaussians in enumerate(whole):
        alive = gaussians.opacity > 0.35
        left = (-0.6 + 0.2 * index - STEP * index) / CARD * 40 + W / 2
        x = (gaussians.means[alive, 0] - STEP * index) / gaussians.means[alive, 2] * 40 + W / 2
        y = gaussians.means[alive, 1] / gaussians.means[alive, 2] * 40 + H / 2
        assert alive.sum() >= 15
        assert (x > left - 2).all() and (x < left + 12).all() and (y > 10).all() and (y < 26).all()
    radius = layer.splats["log_radius"].exp()
    assert float(radius.max()) == pytest.approx((0.5 + (T - 1) / 2) / 10, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_a_cover_leaves_no_pixel_that_a_seed_explained_and_takes_the_longest_first(seed: int) -> None:
    random = np.random.default_rng(seed)
    row, column = random.integers(0, 6, (30, 4)), random.integers(0, 6, (30, 4))
    row[random.random(row.shape) < 0.4] = -1
    row[np.arange(30), random.integers(0, 4, 30)] = random.integers(0, 6, 30)
    lives = Lives(np.zeros(30, np.int64), np.full(30, 3), row.astype(np.int16), np.where(row < 0, -1, column).astype(np.int16))
    everything = longest_cover(lives, 1.0, random, new=1e-9)
    cells = {(i, row[s, i], column[s, i]) for s in range(30) for i in range(4) if row[s, i] >= 0}
    assert {(i, row[s, i], column[s, i]) for s in everything for i in range(4) if row[s, i] >= 0} == cells
    apart = longest_cover(lives, 1.0, random, new=1.0)
    mine = [(i, row[s, i], column[s, i]) for s in apart for i in range(4) if row[s, i] >= 0]
    assert len(mine) == len(set(mine)), "no two in one cell"
    assert lives.confirmed.max() == lives.confirmed[apart].max()


def test_without_tracks_a_body_follows_its_mask(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    motion = body_motion(capture, replace(priors, tracks3d=None), np.random.default_rng(0))
    assert motion is not None and motion.fitted.translation.shape == (1, T, 3) and len(motion.fitted.means) == 0
    path = motion.fitted.translation[0].numpy()
    np.testing.assert_allclose(np.diff(path[:, 0]), 0.2, atol=0.5 * CARD / 40 + 1e-6)  # masks move by whole pixels
    assert np.abs(path[-1] - path[0] - [0.2 * (T - 1), 0, 0]).max() < 0.6 * CARD / 40
    layer = lived_layer(capture, replace(priors, tracks3d=None), QUALITY, np.random.default_rng(0), LivedNumbers(candidates=4000, cell=2.7))
    assert layer is not None and float(layer.splats["log_radius"].exp().median()) > 0.2, "confirmed along the path"


def test_a_body_with_tracks_needs_no_path_of_its_own_and_one_without_gets_one(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    assert priors.masks is not None and priors.depth is not None
    one = body_motion(capture, priors, np.random.default_rng(0))
    assert one is not None and all((basis < 0).all() for basis in one.own.values())
    mask, depth = priors.masks.mask[0].copy(), priors.depth.depth[0].copy()
    for t in range(T):
        mask[t, 26:33, 30 - 4 * t : 37 - 4 * t], depth[t, 26:33, 30 - 4 * t : 37 - 4 * t] = 1, 2.0  # runs the other way
    two = body_motion(
        capture, replace(priors, masks=Masks(PV, (mask,)), depth=Depth(PV, (depth,), priors.depth.confidence)), np.random.default_rng(0)
    )
    assert two is not None and len(two.fitted.rotation6d) == len(one.fitted.rotation6d) + 1
    assert all((basis[mask[t] > 0] >= 0).sum() == 49 for t, basis in two.own.items())
    np.testing.assert_allclose(np.diff(two.fitted.translation[-1, :, 0].numpy()), STEP - 4 * 2.0 / 40, atol=1e-5)


def test_bodies_are_linked_over_a_gap_and_not_when_they_jump() -> None:
    def frame(number: int, left: int | None) -> Frame:
        moving = np.zeros((H, W), bool)
        if left is not None:
            moving[10:18, left : left + 8] = True
        depth = np.where(moving, 2.0, 0).astype(np.float32)
        return Frame(0, number, np.zeros((H, W, 3), np.float32), np.eye(3), np.eye(4), depth, depth, moving, ~moving)

    steps = [2, 5, 8, None, None, 17, 20, 23]
    bodies = follow_bodies({n: frame(n, left) for n, left in enumerate(steps)})
    assert [list(body.masks) for body in bodies] == [[0, 1, 2, 5, 6, 7]]
    steps = [2, 5, 8, 35, 32, 29]
    bodies = follow_bodies({n: frame(n, left) for n, left in enumerate(steps)})
    assert [list(body.masks) for body in bodies] == [[0, 1, 2], [3, 4, 5]]


def test_without_movers_the_scene_stands_still(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    nothing = Masks(PV, (np.full((T, H, W), -1, np.int8),))
    scene = BackgroundAndLives()(capture, replace(priors, tracks3d=None, masks=nothing), QUALITY, np.random.default_rng(0))
    assert [layer.role for layer in scene.layers] == [STATIC]
