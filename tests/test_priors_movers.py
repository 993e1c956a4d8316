"""Moving objects: bundle adjustment, structure from motion, scale rivals, and the whole chain on a scene known in closed form."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from analytic_scene import AnalyticScene, make_scene, surface_points
from fourfold.priors.cameras.pose_path import fill_path, fill_poses
from fourfold.priors.contracts import Depth, LongTracks, Masks, Provenance, Tracks2D, Tracks3D
from fourfold.priors.depth.plane_sweep import static_depth
from fourfold.priors.movers.factorisation import looking_rotation
from fourfold.priors.movers.loose_parts import loose_tracks
from fourfold.priors.movers.mover_models import ImageTracks, ModelConfig, Mover, MoverModel, relief
from fourfold.priors.movers.mover_regions import movers_of
from fourfold.priors.movers.movers import MoverConfig, moving_objects
from fourfold.priors.movers.object_align import align_object
from fourfold.priors.movers.object_evidence import ground_ratio, occlusion_bound
from fourfold.priors.movers.object_scale import ScaleConfig, ScaleEvidence, choose_scale, ground_contact, minimal_acceleration, minimal_motion
from fourfold.priors.movers.object_sfm import solve_object
from fourfold.priors.tracking.flow import estimate_flow
from fourfold.priors.tracking.long_tracks import long_tracks
from fourfold.priors.tracking.tracks import track_points
from moving_body import cloud


@pytest.mark.parametrize(("noise", "turn", "depth"), [(0.0, 0.05, 0.01), (0.5, 2.5, 0.02)])
def test_a_rigid_cloud_is_recovered_up_to_its_scale(noise: float, turn: float, depth: float) -> None:
    xy, visible, K, poses = cloud(noise=noise)
    rigid = solve_object(xy, visible, K)
    assert rigid is not None
    found = rigid.object_to_camera
    assert np.isfinite(found).all()
    relative = [m[:, :3, :3] @ m[0, :3, :3].T for m in (found, poses)]
    wrong = Rotation.from_matrix(relative[0] @ relative[1].transpose(0, 2, 1)).magnitude()
    assert np.degrees(wrong).max() < turn
    ratio = poses[:, 2, 3] / found[:, 2, 3]
    assert np.ptp(ratio) / ratio.mean() < 4 * depth
    assert rigid.error < 0.02 + 1.5 * noise
    assert rigid.inliers > 0.95


def test_a_start_that_is_mirrored_in_depth_loses_against_one_that_bulges() -> None:
    xy, visible, K, poses = cloud(noise=0.3)
    mirror = np.diag([1.0, 1.0, -1.0])
    wrong = poses.copy()
    wrong[:, :3, :3] = mirror @ poses[:, :3, :3] @ mirror
    rigid = solve_object(xy, visible, K, known=(wrong,))
    assert rigid is not None
    relative = [m[:, :3, :3] @ m[0, :3, :3].T for m in (rigid.object_to_camera, poses)]
    assert np.degrees(Rotation.from_matrix(relative[0] @ relative[1].transpose(0, 2, 1)).magnitude()).max() < 2.5


def test_two_bodies_are_not_one() -> None:
    xy, visible, K, _ = cloud(frames=12)
    other, also, _, _ = cloud(frames=12)
    other = other[:, ::-1] + 25 * np.sin(2.0 * np.arange(12))[None, :, None] * [1, 0.4]
    rigid = solve_object(np.concatenate([xy, other]), np.concatenate([visible, also[:, ::-1]]), K)
    assert rigid is None or rigid.inliers < 0.75


def test_too_few_tracks_give_nothing() -> None:
    xy, visible, K, _ = cloud()
    assert solve_object(xy[:6], visible[:6], K) is None
    assert solve_object(xy, np.zeros_like(visible), K) is None


def test_the_looking_rotation_turns_a_ray_into_the_axis() -> None:
    for ray in ([0.3, -0.2, 1.0], [0, 0, 1.0], [-0.8, 0.6, 0.4]):
        rotation = looking_rotation(np.array(ray))
        np.testing.assert_allclose(rotation @ ray, [0, 0, np.linalg.norm(ray)], atol=1e-12)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def _path(object_path: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Camera centres on a curve, and offsets to the object in object units."""
    s = np.linspace(0, 1, len(object_path))
    centers = np.stack([2 * np.sin(3 * s), 0.3 * np.cos(5 * s), 0.4 * s], axis=1)
    return centers, (object_path - centers) / scale


def test_minimal_motion_is_right_for_an_object_that_stays() -> None:
    centers, offsets = _path(np.tile([0.5, 0.2, 4.0], (20, 1)), 2.5)
    rival = minimal_motion(centers, offsets)
    assert rival.scale == pytest.approx(2.5)
    assert rival.quality == pytest.approx(1)
    choice = choose_scale(ScaleEvidence(centers, offsets))
    assert choice.scale == pytest.approx(2.5)
    assert choice.confidence > 0.9


def test_minimal_acceleration_is_right_for_an_object_that_drifts_evenly() -> None:
    s = np.arange(20)[:, None]
    centers, offsets = _path(np.array([[0.5, 0.2, 4.0]]) + s * [0.3, 0, 0.1], 2.5)
    assert minimal_acceleration(centers, offsets).scale == pytest.approx(2.5)
    assert abs(minimal_motion(centers, offsets).scale - 2.5) > 0.3


def test_ground_contact_wins_over_an_object_that_walks_with_the_camera() -> None:
    s = np.linspace(0, 1, 20)
    walk = np.stack([2.6 * np.sin(3 * s), 0 * s + 0.5, 4 + 0.4 * s], axis=1)
    centers, offsets = _path(walk, 2.5)
    assert minimal_motion(centers, offsets).scale < 0
    ground = np.stack([2.5 * np.exp(0.05 * np.random.default_rng(0).normal(size=20)), np.full(20, 0.9)], axis=1)
    choice = choose_scale(ScaleEvidence(centers, offsets, ground))
    assert choice.winner == "ground_contact"
    assert choice.scale == pytest.approx(2.5, rel=0.05)


def test_a_hopping_object_touches_the_ground_at_its_smallest_ratios() -> None:
    height = np.abs(np.sin(np.linspace(0, 9, 40)))
    rival = ground_contact(np.stack([2.5 * (1 + 0.7 * height), np.full(40, 1.0)], axis=1), ScaleConfig())
    assert rival is not None
    assert rival.scale == pytest.approx(2.5, rel=0.15)
    assert rival.quality <= 0.6


def test_an_object_is_not_put_behind_what_it_hides() -> None:
    centers, offsets = _path(np.tile([0.5, 0.2, 4.0], (20, 1)), 2.5)
    choice = choose_scale(ScaleEvidence(centers, offsets, bounds=np.full(5, 1.5)))
    assert choice.scale <= 1.5
    assert choice.winner == "occlusion_bound"
    assert choice.confidence < 0.3


def test_a_motion_that_hardly_fits_does_not_put_a_thing_before_the_camera() -> None:
    random = np.random.default_rng(7)
    centers = np.cumsum(random.normal(0, 0.05, (12, 3)), axis=0)
    offsets = np.array([0, 0, 1.0]) + random.normal(0, 0.05, (12, 3)) - 0.3 * (centers - centers.mean(0))  # drawn along a little: no rigid motion
    ground = np.stack([np.full(12, 6.0), np.full(12, 0.15)], axis=1)  # a contact that convinces nobody
    choice = choose_scale(ScaleEvidence(centers, offsets, ground, np.full(12, 5.0)))
    weak = [rival for name, rival in choice.rivals.items() if name != "ground_contact" and rival.scale > 0]
    assert max(rival.quality for rival in weak) > 0.2
    assert choice.scale > 4 and choice.confidence < ScaleConfig().least_quality


def test_the_ground_under_an_object_gives_its_scale_and_a_wall_does_not_count() -> None:
    height, width, focal, camera_height = 90, 120, 100.0, 1.2
    rows = np.arange(height)[:, None] + 0.5 - 30
    ground = np.where(rows > 1, focal * camera_height / np.maximum(rows, 1), 60).repeat(width, axis=1).astype(np.float32)
    mask = np.zeros((height, width), bool)
    mask[35:60, 40:60] = True
    contact = focal * camera_height / (60 - 30)
    own = np.where(mask, contact / 3.0, 0)
    found = ground_ratio(ground, np.ones_like(ground), mask, own)
    assert found is not None
    assert found[0] == pytest.approx(3.0, rel=0.06)
    assert found[1] > 0.8
    wall = ground_ratio(np.full_like(ground, contact), np.ones_like(ground), mask, own)
    assert wall is not None and wall[1] < 0.05
    assert ground_ratio(ground, np.ones_like(ground), np.roll(mask, 30, axis=0), own) is None
    assert occlusion_bound(np.full_like(ground, 9.0), mask, np.where(mask, 2.0, 0)) == pytest.approx(4.5)
    assert occlusion_bound(np.zeros_like(ground), mask, np.where(mask, 2.0, 0)) is None


def test_movers_are_followed_and_specks_ignored() -> None:
    masks = np.zeros((8, 60, 100), bool)
    for t in range(8):
        masks[t, 10:25, 5 + 9 * t : 25 + 9 * t] = True
        masks[t, 40:52, 60 - 5 * t : 75 - 5 * t] = t != 3
        masks[t, 2:4, 2:4] = True
    movers = movers_of(masks)
    assert len(movers) == 2
    for t in range(8):
        assert movers[0][t, 12, 10 + 9 * t] and not movers[0][t, 45, 65 - 5 * t]
        assert movers[1][t, 45, 65 - 5 * t] == (t != 3)
        assert not movers[0][t, 3, 3] and not movers[1][t, 3, 3]


def test_poses_between_are_cubic() -> None:
    s = np.arange(9) / 10
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.stack([0 * s, 0.8 * s, 0 * s], axis=1)).as_matrix()
    poses[:, :3, 3] = np.stack([s**3, s**2, 1 - s], axis=1)
    known = np.ones(9, bool)
    known[[2, 5]] = False
    spoilt = np.where(known[:, None, None], poses, np.nan)
    np.testing.assert_allclose(fill_poses(spoilt, known, s), poses, atol=1e-6)
    held = fill_path(np.array([[1.0], [2.0], [0.0]]), np.array([True, True, False]), np.array([0.0, 1.0, 2.0]))
    assert held[2, 0] == 2


def test_alignment_finds_a_known_affine_map() -> None:
    random = np.random.default_rng(4)
    texture = cv2.GaussianBlur(random.integers(0, 255, (120, 160, 3), np.uint8), (0, 0), 2.5)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    first = np.zeros((120, 160), np.uint8)
    cv2.ellipse(first, (70, 60), (38, 20), 20, 0, 360, 1, -1)
    angle, scale = 0.5, 1.15
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = np.concatenate([linear, (np.array([95.0, 62.0]) - linear @ [70, 60])[:, None]], axis=1)
    second = cv2.warpAffine(first, moved, (160, 120), flags=cv2.INTER_NEAREST)
    image = cv2.warpAffine(texture, moved, (160, 120))
    aligned = align_object([texture, image, texture], np.stack([first, second, first]) > 0)
    assert aligned is not None
    reference = aligned.reference
    frame = 1 if reference != 1 else 0
    truth = moved if frame == 1 else cv2.invertAffineTransform(moved)
    points = aligned.xy[:, reference] - 0.5
    expected = points @ truth[:, :2].T + truth[:, 2] + 0.5
    error = np.linalg.norm(aligned.xy[:, frame] - expected, axis=1)
    assert np.median(error) < 0.5
    assert aligned.visible[:, frame].mean() > 0.6


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> AnalyticScene:
    return make_scene(tmp_path_factory.mktemp("scene"), times=16, width=160, height=120, hold=8)


@pytest.fixture(scope="module")
def solved(scene: AnalyticScene) -> tuple[Depth, Tracks3D]:
    tracks = track_points(scene.capture, scene.masks, estimate_flow(scene.capture))
    return moving_objects(scene.capture, scene.masks, tracks, long_tracks(scene.capture), static_depth(scene.capture, scene.masks))


def test_a_rolling_body_is_solved_as_a_rigid_one(scene: AnalyticScene, solved: tuple[Depth, Tracks3D]) -> None:
    depth, tracks = solved
    figures = tracks.provenance.figures["mover_0"]
    assert figures["kind"] == "rigid"
    assert len(tracks.xyz) > 1500
    assert (tracks.native[tracks.group == 0] == 1).all()
    assert np.isfinite(tracks.xyz).all()
    moving = scene.moving & scene.capture.train[0][:, None, None]
    ratio = depth.depth[0][moving] / scene.depth[moving]
    assert np.median(ratio) == pytest.approx(1, abs=0.12)
    # what the object's own frame decides, apart from its scale: the shape, and that it stays the same over time
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.02
    assert {"minimal_motion_1", "ground_contact"} <= set(figures["scale"]["rivals"])


def test_tracks_follow_the_body_at_all_times_up_to_the_scale(scene: AnalyticScene, solved: tuple[Depth, Tracks3D]) -> None:
    depth, tracks = solved
    train = scene.capture.train[0]
    moving = scene.moving & train[:, None, None]
    scale = float(np.median(depth.depth[0][moving] / scene.depth[moving]))
    centers = -np.einsum("tji,tj->ti", scene.capture.world_to_camera[0, :, :3, :3], scene.capture.world_to_camera[0, :, :3, 3])
    xyz = (tracks.xyz[tracks.group == 0] - centers) / scale + centers
    query = int(np.flatnonzero(train)[len(np.flatnonzero(train)) // 2])
    rows = np.flatnonzero(tracks.visibility[tracks.group == 0, query] > 0)
    pose = scene.capture.world_to_camera[0, query]
    camera = xyz[rows, query] @ pose[:3, :3].T + pose[:3, 3]
    pixel = camera @ scene.capture.K[0, query].T
    world, on_body = surface_points(scene, pixel[:, :2] / pixel[:, 2:], query)
    error = np.linalg.norm(xyz[rows] - world, axis=2)[on_body] / 1.5
    assert on_body.mean() > 0.9
    assert np.median(error[:, train]) < 0.05
    assert np.median(error[:, ~train]) < 0.06


def test_the_relief_of_a_distant_ball_is_that_of_half_a_sphere() -> None:
    """In a disc's pixels the distance to the middle has a uniform square: nine tenths of the depths span R (.95^.5 - .05^.5), the area is pi R^2."""
    K = np.tile(np.array([[4000.0, 0, 100], [0, 4000, 100], [0, 0, 1]]), (2, 1, 1))
    row, column = np.mgrid[:200, :200] + 0.5
    square = ((row - 100) ** 2 + (column - 100) ** 2) * (100 / 4000) ** 2
    depth = np.where(square < 4, 100 - np.sqrt(np.maximum(4 - square, 0)), 0).astype(np.float32)
    mover = Mover(0, [0, 1], np.stack([depth > 0, depth > 0]), K, np.tile(np.eye(4), (2, 1, 1)))
    nothing = ImageTracks(np.zeros((0, 2, 2), np.float32), np.zeros((0, 2), bool), np.zeros((0, 2), bool))
    model = MoverModel("rigid", np.zeros((2, 3)), np.stack([depth, depth]), None, None, nothing, {})
    assert relief(model, mover) == pytest.approx((np.sqrt(0.95) - np.sqrt(0.05)) / np.sqrt(np.pi), rel=0.03)
    deeper = replace(model, depth=np.where(model.depth > 0, 100 + 5 * (model.depth - 100), 0))
    assert relief(deeper, mover) == pytest.approx(5 * relief(model, mover), rel=0.1)


def test_a_body_that_would_be_many_times_as_deep_as_large_is_not_believed(scene: AnalyticScene, solved: tuple[Depth, Tracks3D]) -> None:
    tracks = track_points(scene.capture, scene.masks, estimate_flow(scene.capture))
    config = MoverConfig(model=ModelConfig(deepest=0.01))
    depth, lifted = moving_objects(scene.capture, scene.masks, tracks, long_tracks(scene.capture), solved[0], config)
    figures = lifted.provenance.figures["mover_0"]
    assert (figures["kind"], figures["too_deep"] > 0.01) == ("flat", True)
    assert any("times as deep as large as a rigid body, which is not believed" in note for note in lifted.provenance.notes)
    shown = scene.moving[scene.capture.train[0].argmax()]
    assert np.ptp(depth.depth[0][scene.capture.train[0].argmax()][shown]) == 0  # a flat layer


def _no_long_tracks() -> LongTracks:
    none = np.zeros(0, np.int32)
    return LongTracks(Provenance("none"), np.zeros((0, 2), np.float32), none, none, none)


def test_nothing_moves_gives_no_tracks_and_the_static_depth(scene: AnalyticScene, solved: tuple[Depth, Tracks3D]) -> None:
    still = Masks(Provenance("none"), (np.full(scene.moving.shape, -1, np.int8),))
    static = solved[0]
    tracks = Tracks2D(
        Provenance("none"), np.zeros((0, 16, 2), np.float32), np.zeros((0, 16)), np.zeros((0, 16)), np.zeros(0, np.int32), np.zeros(0, np.int32)
    )
    depth, found = moving_objects(scene.capture, still, tracks, _no_long_tracks(), static)
    assert found.xyz.shape == (0, 16, 3)
    np.testing.assert_array_equal(depth.depth[0], static.depth[0])


def test_where_depth_is_not_known_movers_lie_before_what_they_hide(scene: AnalyticScene) -> None:
    """A camera on the spot: everything still is put at one depth, and all movers, whatever their model, nearer."""
    pose = np.repeat(scene.capture.world_to_camera[:, :1], scene.capture.times, axis=1)
    capture = replace(scene.capture, world_to_camera=pose, cameras="fixed")
    static = static_depth(capture, scene.masks)
    own = track_points(scene.capture, scene.masks, estimate_flow(scene.capture))
    depth, tracks = moving_objects(capture, scene.masks, own, long_tracks(scene.capture), static)
    moving = scene.moving & capture.train[0][:, None, None]
    assert set(np.unique(depth.depth[0][~scene.moving & capture.train[0][:, None, None]])) == {1.0}
    assert (depth.depth[0][moving] > 0.1).all() and np.quantile(depth.depth[0][moving], 0.9) < 0.85
    away = tracks.xyz @ pose[0, 0, :3, :3].T + pose[0, 0, :3, 3]
    assert len(tracks.xyz) and np.quantile(away[..., 2], 0.9) < 0.9


def test_an_object_without_lasting_texture_is_not_called_rigid_and_it_is_said(scene: AnalyticScene, solved: tuple[Depth, Tracks3D]) -> None:
    flicker = np.array(np.load(scene.capture.root / "frames_000.npy"))
    flicker[scene.moving] = np.random.default_rng(0).integers(90, 160, (int(scene.moving.sum()), 3), np.uint8)
    root = scene.capture.root.parent / "flicker"
    root.mkdir()
    np.save(root / "frames_000.npy", flicker)
    capture = replace(scene.capture, root=root)
    depth, tracks = moving_objects(capture, scene.masks, track_points(capture, scene.masks, estimate_flow(capture)), long_tracks(capture), solved[0])
    assert tracks.provenance.figures["mover_0"]["kind"] != "rigid"
    assert any("not rigid" in note or "flat layer" in note for note in tracks.provenance.notes)
    moving = scene.moving & scene.capture.train[0][:, None, None]
    assert (depth.depth[0][moving] > 0).all()
    assert np.isfinite(tracks.xyz).all()


def test_a_limb_that_waves_is_loose_and_the_body_is_not() -> None:
    xy, visible, K, poses = cloud(frames=16, points=120)
    limb = np.arange(120) < 20
    waved = xy + np.where(limb[:, None, None], 9 * np.sin(1.3 * np.arange(16))[None, :, None] * [0.3, 1], 0)
    tracks = ImageTracks(waved.astype(np.float32), visible, visible)
    mover = Mover(0, list(range(16)), np.ones((16, 180, 320), bool), K, poses)
    model = MoverModel("rigid", poses[:, :3, 3], np.ones((16, 180, 320), np.float32), poses, None, tracks, {})
    loose, judged = loose_tracks(mover, model, limit=2.0)
    assert judged.sum() > 30 and (limb & judged).sum() >= 5
    assert loose[limb & judged].mean() > 0.9
    assert not loose[~limb].any()
