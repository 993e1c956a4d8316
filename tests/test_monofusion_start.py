"""MonoFusion's initialisation: points, coefficients, bases, and the baselines' starts, against closed forms and a known ball."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exact_priors import exact
from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions
from fourfold.initialize.monofusion import ForegroundNumbers, MonoFusionStart
from fourfold.initialize.monofusion_motion import (
    FollowNumbers,
    bases_of_paths,
    coefficient_logits,
    followed_paths,
    identity_bases,
)
from fourfold.initialize.monofusion_points import crowded_moment, hull_points
from fourfold.initialize.mv_shape_of_motion import BLOCKED, about, side_by_side
from fourfold.initialize.point_maps import PointMapScene
from fourfold.initialize.splats import make_splats
from fourfold.priors.contracts import Clouds, Priors, Provenance
from fourfold.priors.depth_alignment.space_time import view_consistent_depth
from fourfold.priors.features.features import pixel_features
from fourfold.priors.features.motion_groups import GroupNumbers, Groups, group_points
from fourfold.priors.rigs.hull_clouds import HullCloudNumbers, hull_clouds
from fourfold.priors.tracking.flow import estimate_flow
from fourfold.recipes.recipe import QUALITIES
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import DYNAMIC, Layer
from rig_scene import RADIUS, RigScene, make_rig


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory) -> tuple[RigScene, Priors]:
    made = make_rig(tmp_path_factory.mktemp("ball") / "capture", views=4, times=5)
    capture = made.capture
    flow = estimate_flow(capture)
    depth = view_consistent_depth(capture, made.masks, None)
    clouds = hull_clouds(capture, made.masks, HullCloudNumbers(every=1))
    return made, Priors(masks=made.masks, depth=depth, flow=flow, clouds=clouds, features=pixel_features(capture, made.masks, flow))


def small(**changes: object) -> MonoFusionStart:
    numbers = ForegroundNumbers(count=1500, groups=GroupNumbers(groups=12), **changes)  # type: ignore[arg-type]
    return MonoFusionStart(foreground=numbers)


def test_the_start_is_the_ball_with_features(ball: tuple[RigScene, Priors]) -> None:
    made, priors = ball
    scene = small()(made.capture, priors, QUALITIES["normal"], np.random.default_rng(0))
    mover, still = scene.layer("object"), scene.layer("static")
    distances = np.linalg.norm(mover.splats["means"].numpy()[:, None] - made.centers[None], axis=2).min(1)
    assert abs(float(np.median(distances)) - RADIUS) < 0.1
    assert mover.splats["feature"].shape == (len(mover), 32)
    assert bool((still.splats["feature"] == 1).all())
    assert bool(torch.isfinite(mover.splats["motion_logits"]).all())
    assert len(mover.fixed["knots"]) == made.capture.times


def test_hull_points_lie_on_the_ball_in_the_colours_of_its_paint(ball: tuple[RigScene, Priors]) -> None:
    made, priors = ball
    assert priors.clouds is not None
    points = hull_points(made.capture, priors, 2, 3000, np.random.default_rng(0))
    spacing = float(priors.clouds.spacing[priors.clouds.index == 2][0])
    off = np.linalg.norm(points.xyz - made.centers[2], axis=1) - RADIUS
    assert len(points.xyz) == 3000
    assert len(np.unique(points.xyz, axis=0)) == 3000  # a point that is used twice is moved twice
    assert abs(float(np.median(off))) < 1.5 * spacing
    assert points.feature.shape == (3000, 32)
    assert bool(points.feature.any(axis=1).all())
    seen = points.view >= 0
    assert set(np.unique(points.view[seen])) == set(range(4))
    for view in range(4):
        pose = made.capture.world_to_camera[view, 2]
        eye = -pose[:3, :3].T @ pose[:3, 3]
        mine = points.xyz[points.view == view]
        assert float(np.mean((mine - made.centers[2]) @ (eye - made.centers[2]) > 0)) > 0.9  # seen from the side of the ball that faces it


def test_hull_start_carries_the_ball_along(ball: tuple[RigScene, Priors]) -> None:
    made, priors = ball
    layer = small(points="hull", trajectories="followed")(made.capture, priors, QUALITIES["normal"], np.random.default_rng(0)).layer("object")
    moved = layer.means_at(layer.fixed["knots"]).numpy()
    assert np.linalg.norm(moved.mean(1) - made.centers, axis=1).max() < RADIUS / 2


def test_crowded_moment_is_the_one_with_the_largest_surface_that_is_trained_on() -> None:
    index = np.repeat([0, 2, 3], [5, 9, 20]).astype(np.int32)
    spacing = np.repeat([1.0, 1.0, 0.5], [5, 9, 20]).astype(np.float32)  # surfaces 5, 9 and 5
    zero = np.zeros((34, 3), np.float32)
    clouds = Clouds(Provenance("hull"), zero, index, zero, zero, spacing)
    assert crowded_moment(clouds, np.ones((2, 4), bool)) == 2
    assert crowded_moment(clouds, np.array([[True, True, False, True]])) == 0


def test_bases_of_exact_tracks_carry_the_ball_along(tmp_path: Path) -> None:
    """Bases of lifted tracks in the place of groups: points of one moment are, moved, where the body is at every other."""
    capture, priors = exact("sparse_fixed", tmp_path, SyntheticOptions(frames=6, width=64, height=48, supersample=1, tracks=400))
    start = MonoFusionStart(foreground=ForegroundNumbers(count=600, trajectories="tracked"), fill_unseen=False)
    layer = start(capture, priors, QUALITIES["normal"], np.random.default_rng(0)).layer("object")
    assert priors.tracks3d is not None and priors.features is not None and "feature" in layer.splats
    truth, moved = priors.tracks3d.xyz, layer.means_at(layer.fixed["knots"]).numpy()
    knots = np.searchsorted(capture.timestamps, layer.fixed["knots"].numpy() - 1e-6)
    still = [np.median(np.linalg.norm(layer.splats["means"].numpy()[:, None] - truth[None, :, t], axis=2).min(1)) for t in knots]
    there = [np.median(np.linalg.norm(moved[k][:, None] - truth[None, :, t], axis=2).min(1)) for k, t in enumerate(knots)]
    assert max(there) < 1.1 * min(there), "carried along, the points are as near to the body at every moment"
    assert max(still) > 1.3 * min(still), "left where they are, they are not"


def test_identity_bases_leave_everything_in_place(ball: tuple[RigScene, Priors]) -> None:
    made, priors = ball
    layer = small()(made.capture, priors, QUALITIES["normal"], np.random.default_rng(0)).layer("object")
    moved = layer.means_at(torch.tensor([0.0, 0.05, 0.13]))
    assert torch.allclose(moved, layer.splats["means"].expand(3, -1, -1), atol=1e-5)


def test_followed_bases_carry_the_ball_along(ball: tuple[RigScene, Priors]) -> None:
    made, priors = ball
    layer = small(trajectories="followed")(made.capture, priors, QUALITIES["normal"], np.random.default_rng(0)).layer("object")
    ends = layer.means_at(layer.fixed["knots"][[0, -1]]).mean(1).numpy()
    true = made.centers[-1] - made.centers[0]
    assert np.linalg.norm(ends[1] - ends[0] - true) < 0.6 * np.linalg.norm(true)  # identity would miss all of it


def test_nearest_group_has_the_largest_coefficient() -> None:
    random = np.random.default_rng(0)
    points, centers = random.normal(size=(200, 3)), random.normal(size=(7, 3))
    logits = coefficient_logits(points, centers)
    weights = torch.softmax(torch.from_numpy(logits), 1)
    assert torch.allclose(weights.sum(1), torch.ones(200))
    nearest = np.linalg.norm(points[:, None] - centers[None], axis=2).argmin(1)
    assert (weights.argmax(1).numpy() == nearest).all()
    assert np.allclose(coefficient_logits(centers[:1], centers[:1], reach=1.0), 10.0)
    scaled = coefficient_logits(points * 100, centers * 100)  # lengths are told in spacings of the groups
    assert np.allclose(scaled, logits, rtol=1e-4)


def test_bases_reproduce_rigid_paths() -> None:
    random = np.random.default_rng(1)
    points = random.normal(size=(60, 3))
    angle = np.array([0.0, 0.4, 0.9])
    paths = np.stack([points @ _about_z(a).T + [a, 0, 2 * a] for a in angle], axis=1)
    groups = Groups(np.zeros(60, np.int64), np.median(points, axis=0)[None])
    pivot = np.array([0.3, -0.2, 0.1])
    shared = bases_of_paths(paths, groups, 0, pivot)
    layer = _layer(points, np.zeros((60, 1)), shared, pivot, [0.0, 1.0, 2.0])
    assert np.allclose(layer.means_at(torch.tensor([0.0, 1.0, 2.0])).numpy(), paths.transpose(1, 0, 2), atol=1e-4)


def test_points_follow_a_steady_cloud() -> None:
    random = np.random.default_rng(2)
    velocity = np.array([0.5, -1.0, 0.2])
    cloud = random.uniform(-1, 1, (400, 3))
    seconds, indices = np.arange(6) / 10, np.arange(6)
    keys = (0, 2, 4, 5)
    clouds = Clouds(
        Provenance("test"),
        np.concatenate([cloud + velocity * seconds[k] for k in keys]).astype(np.float32),
        np.repeat(keys, 400).astype(np.int32),
        np.tile(velocity, (1600, 1)).astype(np.float32),
        np.zeros((1600, 3), np.float32),
        np.full(1600, 0.2, np.float32),
    )
    start = cloud + velocity * seconds[2]
    groups = group_points(start, None, GroupNumbers(groups=5))
    paths = followed_paths(start, groups, clouds, seconds, indices, 2, FollowNumbers())
    assert np.allclose(paths, start[:, None] + velocity * (seconds - seconds[2])[None, :, None], atol=1e-4)


def test_cameras_side_by_side_move_as_they_did_alone() -> None:
    random = np.random.default_rng(3)
    layers = []
    for number in range(2):
        points, pivot = random.normal(size=(30, 3)), random.normal(size=3)
        shared = identity_bases(3, 4)
        shared["translation"] = torch.from_numpy(random.normal(size=(3, 4, 3))).float()
        turn = torch.from_numpy(np.concatenate([_about_z(0.3 + number)[:, 0], _about_z(0.3 + number)[:, 1]])).float()
        shared["rotation6d"] = turn.expand(3, 4, 6).contiguous()
        layers.append(_layer(points, random.normal(size=(30, 3)), shared, pivot, [0.0, 1.0, 2.0, 3.0]))
    joined = side_by_side(layers)
    times = torch.tensor([0.0, 1.5, 3.0])
    alone = torch.cat([layer.means_at(times) for layer in layers], dim=1)
    assert torch.allclose(joined.means_at(times), alone, atol=1e-4)
    weights = torch.softmax(joined.splats["motion_logits"], 1)
    assert bool((weights[:30, 3:] == 0).all())
    assert bool((weights[30:, :3] == 0).all())
    logits = joined.splats["motion_logits"].requires_grad_()
    joined.means_at(times).square().sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert float(logits.grad[logits == BLOCKED].abs().max()) < 1e-30  # the kernel's exp is not quite 0 there
    assert torch.allclose(about(layers[0], layers[0].fixed["pivot"]), layers[0].shared["translation"])


def test_point_maps_are_gone_at_the_next_moment(ball: tuple[RigScene, Priors]) -> None:
    made, priors = ball
    scene = PointMapScene(count=300)(made.capture, priors, QUALITIES["normal"], np.random.default_rng(0))
    rows = scene.slices()["free"]
    for t in (0, 3):
        gaussians = scene.at(float(made.capture.timestamps[t]))
        assert gaussians.visibility is not None
        shown = gaussians.means[rows][gaussians.visibility[rows] > 0.5].numpy()
        assert len(shown) > 100
        assert abs(float(np.median(np.linalg.norm(shown - made.centers[t], axis=1))) - RADIUS) < 0.15


def test_without_moving_depth_there_is_no_object(ball: tuple[RigScene, Priors], tmp_path: Path) -> None:
    made, priors = ball
    still = replace(made.masks, mask=tuple(np.full_like(m, -1) for m in made.masks.mask))
    scene = small()(made.capture, replace(priors, masks=still), QUALITIES["draft"], np.random.default_rng(0))
    assert [layer.name for layer in scene.layers] in (["static"], ["static", "unseen"])
    assert isinstance(made.capture, Capture)


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _layer(points: np.ndarray, logits: np.ndarray, shared: dict[str, torch.Tensor], pivot: np.ndarray, knots: list[float]) -> Layer:
    splats = make_splats(points, np.full((len(points), 3), 0.5), np.full(len(points), 0.1), 0.5)
    splats["motion_logits"] = torch.from_numpy(logits).float()
    fixed = {"knots": torch.tensor(knots), "pivot": torch.from_numpy(pivot).float()}
    return Layer("object", DYNAMIC, SE3Bases(), splats, shared, fixed)
