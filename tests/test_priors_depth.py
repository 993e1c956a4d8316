"""Static depth by plane sweep against exact depth, and its parts against closed forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytic_scene import AnalyticScene, make_scene
from fourfold.errors import FourfoldError
from fourfold.notices import fallbacks
from fourfold.priors.contracts import Cameras, Masks, Provenance
from fourfold.priors.depth.enclosed_depth import enclosed_depth
from fourfold.priors.depth.fill import pull_push, splat_nearest
from fourfold.priors.depth.plane_sweep import StaticDepthConfig, static_depth
from fourfold.priors.depth.rig import stage_of
from fourfold.priors.depth.sweep_cost import SweepConfig, SweepImage, plane_homography, smooth_volume, winner
from fourfold.priors.depth.sweep_references import unproject
from fourfold.priors.depth.sweep_views import choose_neighbours, gather_sources
from fourfold.priors.depth_range import near_far
from rig_scene import make_rig


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> AnalyticScene:
    return make_scene(tmp_path_factory.mktemp("scene"), times=10, width=128, height=96, hold=5)


def test_depth_matches_the_exact_depth_without_knowing_the_range(scene: AnalyticScene) -> None:
    depth = static_depth(scene.capture, scene.masks, config=StaticDepthConfig(max_references=4, neighbours=6))
    train = scene.capture.train[0]
    static = ~scene.moving & train[:, None, None]
    error = np.abs(depth.depth[0] / scene.depth - 1)[static]
    sure = depth.confidence[0][static] > 0.25
    assert sure.mean() > 0.85
    assert np.median(error[sure]) < 0.012
    assert np.quantile(error[sure], 0.95) < 0.05
    assert np.median(error[~sure]) < 0.15
    assert depth.provenance.figures["range_from"] == "coarse sweep"
    near, far = near_far(depth)
    true_near, true_far = np.quantile(scene.depth[static], [0.005, 0.995])
    assert near == pytest.approx(true_near, rel=0.1)
    assert far == pytest.approx(true_far, rel=0.1)


def test_held_out_frames_are_neither_read_nor_given_depth(scene: AnalyticScene, tmp_path: Path) -> None:
    config = StaticDepthConfig(max_references=2, neighbours=3, sweep=SweepConfig(planes=24))
    frames = np.array(np.load(scene.capture.root / "frames_000.npy"))
    frames[scene.capture.heldout[0]] = np.random.default_rng(0).integers(0, 255, frames[scene.capture.heldout[0]].shape, np.uint8)
    np.save(tmp_path / "frames_000.npy", frames)
    clean, spoilt = (static_depth(c, scene.masks, config=config) for c in (scene.capture, replace(scene.capture, root=tmp_path)))
    np.testing.assert_array_equal(clean.depth[0], spoilt.depth[0])
    assert (clean.depth[0][scene.capture.heldout[0]] == 0).all()
    assert (clean.depth[0][scene.capture.train[0]] > 0).all()


def test_sparse_points_give_the_range(scene: AnalyticScene) -> None:
    world = unproject(scene.depth[0], scene.capture.K[0, 0], scene.capture.world_to_camera[0, 0])[~scene.moving[0]][::40]
    none = np.zeros(len(world), np.float32)
    cameras = Cameras(Provenance("truth"), scene.capture.K, scene.capture.world_to_camera, world.astype(np.float32), none, none.astype(np.int32))
    config = StaticDepthConfig(max_references=2, neighbours=4, sweep=SweepConfig(planes=48))
    depth = static_depth(scene.capture, scene.masks, cameras, config)
    assert depth.provenance.figures["range_from"] == "sparse points"
    sure = (depth.confidence[0] > 0.25) & ~scene.moving
    assert np.median(np.abs(depth.depth[0] / scene.depth - 1)[sure]) < 0.015


def test_a_camera_that_stood_still_gives_nominal_depth_and_says_so(scene: AnalyticScene) -> None:
    still = replace(scene.capture, world_to_camera=np.repeat(scene.capture.world_to_camera[:, :1], scene.capture.times, axis=1), cameras="fixed")
    depth = static_depth(still, scene.masks, config=StaticDepthConfig(nominal_depth=3.0))
    train = scene.capture.train[0]
    assert (depth.depth[0][train] == 3).all()
    assert (depth.confidence[0] == 0).all()
    assert "depth cannot be known" in depth.provenance.notes[0]


def test_depth_of_the_capture_is_taken_as_it_is(scene: AnalyticScene, tmp_path: Path) -> None:
    np.save(tmp_path / "frames_000.npy", np.load(scene.capture.root / "frames_000.npy"))
    holes = np.where(np.arange(128) < 4, 0, scene.depth).astype(np.float32)
    np.save(tmp_path / "depth_000.npy", holes)
    depth = static_depth(replace(scene.capture, root=tmp_path), scene.masks)
    train = scene.capture.train[0]
    np.testing.assert_array_equal(depth.depth[0][train], holes[train])
    assert (depth.confidence[0][train][..., :4] == 0).all()
    assert depth.provenance.provider == "given"


def test_neighbours_are_on_both_sides_and_not_the_frame_itself(scene: AnalyticScene) -> None:
    sources = gather_sources(scene.capture, scene.masks, SweepConfig())
    assert len(sources) == int(scene.capture.train.sum())
    middle = len(sources) // 2
    near = choose_neighbours(sources, middle, 4)
    side = [sources[i].center[0] - sources[middle].center[0] for i in near]
    assert middle not in near and len(set(near)) == 4
    assert min(side) < 0 < max(side)


def test_the_homography_moves_pixels_as_projection_does() -> None:
    random = np.random.default_rng(1)
    K = np.array([[100.0, 0, 40], [0, 110, 30], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, 3] = [0.3, -0.1, 0.2]
    empty = np.zeros((60, 80), np.uint8)
    reference, other = SweepImage(np.zeros((60, 80, 4), np.uint8), empty, K, np.eye(4)), SweepImage(np.zeros((60, 80, 4), np.uint8), empty, K, pose)
    pixel = random.uniform(0, 60, (20, 2))
    matrix = plane_homography(reference, other, 1 / 4.0)
    moved = np.concatenate([pixel, np.ones((20, 1))], axis=1) @ matrix.T
    points = 4.0 * np.concatenate([pixel + 0.5, np.ones((20, 1))], axis=1) @ np.linalg.inv(K).T + pose[:3, 3]
    expected = points @ K.T
    np.testing.assert_allclose(moved[:, :2] / moved[:, 2:], expected[:, :2] / expected[:, 2:] - 0.5, atol=1e-9)


def test_the_parabola_finds_a_minimum_between_planes() -> None:
    planes = np.linspace(0.1, 0.5, 9)
    true = np.array([[0.222, 0.3], [0.41, 0.127]])
    volume = ((planes[:, None, None] - true) ** 2).astype(np.float32)
    inverse, cost, _ = winner(volume, planes)
    np.testing.assert_allclose(inverse, true, atol=1e-5)
    assert (cost >= 0).all()


def test_smoothing_overrules_a_lonely_pixel_but_not_an_edge() -> None:
    truth = np.where(np.arange(12) < 6, 2, 9)
    volume = np.ones((12, 12, 12), np.float32)
    volume[truth, :, np.arange(12)] = 0
    volume[:, 5, 2] = 0.5
    volume[11, 5, 2] = 0.45
    guide = np.where(np.arange(12)[None, :, None] < 6, 0, 200).repeat(12, axis=0).astype(np.uint8).repeat(3, axis=2)
    assert volume[:, 5, 2].argmin() == 11
    smooth = smooth_volume(volume, guide, SweepConfig())
    np.testing.assert_array_equal(smooth.argmin(axis=0), np.tile(truth, (12, 1)))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 50), st.integers(0, 1000), st.integers(3, 40), st.integers(3, 40))
def test_pull_push_keeps_what_is_known_and_stays_between(value: float, seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    values = random.uniform(value, 2 * value, (height, width)).astype(np.float32)
    known = random.random((height, width)) < 0.2
    known[0, 0] = True
    filled = pull_push(values, known)
    np.testing.assert_allclose(filled[known], values[known], rtol=1e-5)
    assert filled.min() >= values[known].min() * (1 - 1e-4) and filled.max() <= values[known].max() * (1 + 1e-4)
    np.testing.assert_allclose(pull_push(np.full_like(values, value), known), value, rtol=1e-4)


def test_pull_push_says_what_it_got() -> None:
    with pytest.raises(FourfoldError, match="expected two equal"):
        pull_push(np.zeros((3, 4)), np.zeros((4, 3), bool))


def test_splatting_keeps_the_nearest_and_drops_what_is_behind() -> None:
    xy = np.array([[4.5, 3.5], [4.5, 3.5], [1.5, 1.5], [np.nan, 2.0]])
    drawn = splat_nearest(xy, np.array([3.0, 2.0, -1.0, 4.0]), 8, 8)
    assert drawn[3, 4] == 2
    assert drawn[1, 1] == 0
    assert (drawn > 0).sum() == 4


def test_masks_hide_movers_from_the_sweep(scene: AnalyticScene) -> None:
    sources = gather_sources(scene.capture, scene.masks, SweepConfig())
    for source in sources:
        assert (source.image.valid[scene.moving[source.frames[0][1]]] == 0).all()
    open_masks = Masks(Provenance("none"), (np.full(scene.moving.shape, -1, np.int8),))
    assert (gather_sources(scene.capture, open_masks, SweepConfig())[0].image.valid == 255).all()


@pytest.mark.parametrize("views", [3, 4])
def test_cameras_a_quarter_turn_apart_give_the_sphere_they_stand_on(tmp_path: Path, views: int) -> None:
    made = make_rig(tmp_path / "capture", views=views, times=2)
    swept = static_depth(made.capture, made.masks)
    enclosed = enclosed_depth(made.capture, made.masks, None)
    stage = stage_of(made.capture)
    assert stage is not None
    assert any("no two cameras" in sentence for sentence in fallbacks())
    for depth in (swept, enclosed):
        assert all(not np.asarray(c).any() for c in depth.confidence)
        for view in range(views):
            world = unproject(depth.depth[view][0], made.capture.K[view, 0], made.capture.world_to_camera[view, 0]).reshape(-1, 3)
            np.testing.assert_allclose(np.linalg.norm(world - stage.center, axis=1), stage.radius, rtol=0.02)
