"""Initial scenes of an analytic world: a textured wall, a moving card before it, one moving camera."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.drawing import picture
from fourfold.initialize.fill_holes import FillHoles
from fourfold.initialize.frames import read_frame, reference_frames
from fourfold.initialize.object_layer import ObjectNumbers
from fourfold.initialize.residual_layer import ResidualLayer
from fourfold.initialize.shape_of_motion import BackgroundAndObject
from fourfold.initialize.static_scene import StaticScene
from fourfold.priors.contracts import Cameras, Depth, Flow, Masks, Priors, Provenance, Tracks3D
from fourfold.recipes.recipe import Quality

W, H, T = 48, 36, 6
WALL, CARD, FOCAL, STEP = 6.0, 3.0, 40.0, 0.05
QUALITY = Quality(pixels=W * H, steps=1.0, gaussians=0.05)
PV = Provenance("test")


def make_world(root: Path) -> tuple[Capture, Priors]:
    """The camera moves right by STEP a frame; the card, 10 x 12 pixels, moves right by 0.2 a frame."""
    frames = np.zeros((T, H, W, 3), np.uint8)
    mask, depth = np.full((T, H, W), -1, np.int8), np.full((T, H, W), WALL, np.float32)
    flow = np.zeros((T, H, W, 2), np.float16)
    pose = np.tile(np.eye(4), (1, T, 1, 1))
    corner = np.zeros((T, 3))
    for t in range(T):
        pose[0, t, 0, 3] = -STEP * t
        x = (np.arange(W) + 0.5 - W / 2) / FOCAL * WALL + STEP * t
        y = (np.arange(H) + 0.5 - H / 2) / FOCAL * WALL
        frames[t, ..., 0] = 127 + 100 * np.sin(3 * x)
        frames[t, ..., 1] = (127 + 100 * np.sin(2 * y))[:, None]
        corner[t] = (-0.6 + 0.2 * t, -0.5, CARD)
        left = round((corner[t, 0] - STEP * t) / CARD * FOCAL + W / 2)
        mask[t, 12:24, left : left + 10] = 1
        depth[t, 12:24, left : left + 10] = CARD
        frames[t, 12:24, left : left + 10] = (250, 250, 20)
        flow[t, 12:24, left : left + 10, 0] = (0.2 - STEP) / CARD * FOCAL
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "frames_000.npy", frames)
    K = np.array([[FOCAL, 0, W / 2], [0, FOCAL, H / 2], [0, 0, 1]])
    flags = np.ones((1, T), bool)
    capture = Capture(
        root, np.tile(K, (1, T, 1, 1)), pose, np.arange(T) / 10, np.array([[W, H]]), flags, flags, ~flags, "given", True, "world", ("v0",)
    )
    confidence = np.ones((T, H, W), np.float16)
    grid = np.random.default_rng(0).uniform((0, 0, 0), (0.75, 0.9, 0), size=(60, 3))
    xyz = (corner[None] + grid[:, None]).astype(np.float32)
    ones = np.ones((60, T), np.float16)
    tracks = Tracks3D(
        PV, xyz, ones, ones, np.full((60, 3), 0.9, np.float32), np.full(60, 0.1, np.float32), np.zeros(60, np.int32), np.ones(60, np.uint8)
    )
    fields = Flow(PV, (flow,), (-flow,), (confidence,), (confidence,))
    return capture, Priors(masks=Masks(PV, (mask,)), depth=Depth(PV, (depth,), (confidence,)), flow=fields, tracks3d=tracks)


def test_static_points_lie_on_the_wall_and_none_on_the_mover(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    layer = static_layer(capture, priors, QUALITY, np.random.default_rng(0))
    assert abs(len(layer) - 55_000 * 0.05) < 200
    assert torch.allclose(layer.splats["means"][:, 2], torch.tensor(WALL), atol=1e-3)
    colors = torch.sigmoid(layer.splats["color_logit"])
    assert not ((colors[:, 0] > 0.95) & (colors[:, 1] > 0.95)).any()


def test_doubtful_depth_is_filled_from_its_surroundings_and_chosen_less_often(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    assert priors.depth is not None
    depth, confidence = priors.depth.depth[0].copy(), priors.depth.confidence[0].copy()
    depth[:, :, 30:] = 500.0
    confidence[:, :, 30:] = 0.05
    priors = replace(priors, depth=Depth(PV, (depth,), (confidence,)))
    layer = static_layer(capture, priors, QUALITY, np.random.default_rng(0))
    assert float((layer.splats["means"][:, 2] - WALL).abs().max()) < 0.5
    x = layer.splats["means"][:, 0] / WALL * FOCAL + W / 2
    right, left = float((x > 34).float().mean()) / 14, float((x < 24).float().mean()) / 24
    assert right < 0.6 * left


def test_without_depth_it_starts_from_sparse_points_and_without_those_from_rays(tmp_path: Path) -> None:
    capture, _ = make_world(tmp_path)
    points = np.random.default_rng(0).uniform((-3, -2, WALL), (3, 2, WALL), size=(400, 3)).astype(np.float32)
    cameras = Cameras(PV, capture.K, capture.world_to_camera, points, np.zeros(400, np.float32), np.full(400, 3, np.int32))
    sparse = static_layer(capture, Priors(cameras=cameras), QUALITY, np.random.default_rng(0))
    assert abs(float(sparse.splats["means"][:, 2].median()) - WALL) < 0.1
    bare = static_layer(capture, Priors(), QUALITY, np.random.default_rng(0))
    assert len(bare) > 1000 and torch.isfinite(bare.splats["means"]).all()


def test_the_object_layer_follows_the_card(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    scene = BackgroundAndObject(object=ObjectNumbers(count=8000))(capture, priors, QUALITY, np.random.default_rng(0))
    assert [layer.name for layer in scene.layers] == ["static", "object"] and scene.scale == 1.0
    assert np.allclose(scene.up, (0, -1, 0), atol=1e-6) and 0 < scene.near < CARD
    layer = scene.layer("object")
    assert 300 <= len(layer) <= 420 and torch.allclose(layer.fixed["knots"], torch.arange(T) / 10)
    moved = layer.motion.at(layer, layer.fixed["knots"])
    middle = torch.stack([g.means.median(0).values for g in moved])
    assert torch.allclose(middle.diff(dim=0), torch.tensor([0.2, 0, 0]).expand(T - 1, 3), atol=0.01)
    assert float((moved[3].means[:, 2] - CARD).abs().max()) < 0.05
    moving = read_frame(capture, priors, 0, 3).moving
    error = np.abs(picture(scene, capture, 0, 3).color - capture.image(0, 3) / 255.0)[moving].mean()
    alone = np.abs(picture(replace(scene, layers=scene.layers[:1]), capture, 0, 3).color - capture.image(0, 3) / 255.0)[moving].mean()
    assert error < 0.5 * alone


def test_without_tracks_there_is_no_object_layer(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    scene = BackgroundAndObject()(capture, replace(priors, tracks3d=None), QUALITY, np.random.default_rng(0))
    assert [layer.name for layer in scene.layers] == ["static"]


def test_the_residual_layer_appears_where_the_static_scene_fails_and_moves_with_the_flow(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    scene = StaticScene(BackgroundNumbers(count=60_000))(capture, priors, QUALITY, np.random.default_rng(0))
    better = ResidualLayer(count=4000, closer=0.5, threshold=0.2)(scene, capture, priors, QUALITY, np.random.default_rng(0))
    layer = better.layer("free")
    at_card = layer.splats["means"][:, 2] < 4.5
    assert len(layer) > 50 and float(at_card.float().mean()) > 0.9
    assert abs(float(layer.splats["velocity"][at_card, 0].median()) - 1.5) < 0.5  # 0.15 relative to the camera in a tenth of a second
    perfect = ResidualLayer(threshold=10.0)(scene, capture, priors, QUALITY, np.random.default_rng(0))
    assert perfect is scene


def test_edges_that_are_off_are_no_failure_of_the_scene(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    scene = StaticScene(BackgroundNumbers(count=60_000))(capture, priors, QUALITY, np.random.default_rng(0))
    frames = np.load(tmp_path / "frames_000.npy")
    frames[:, 28:34, 36:44] = (20, 20, 250)  # a piece that fails as badly as the card
    frames[:, :, 3] = (20, 250, 20)  # and an edge
    np.save(tmp_path / "frames_000.npy", frames)
    layer = ResidualLayer(count=4000, closer=0.5, threshold=0.2, blur=0.3)(scene, capture, priors, QUALITY, np.random.default_rng(0)).layer("free")
    red, green, blue = torch.sigmoid(layer.splats["color_logit"]).T
    assert float((blue > 0.8).float().mean()) > 0.1 and not ((green > 0.8) & (red < 0.2)).any()


def test_what_masks_hold_is_left_to_the_movers_unless_asked(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    scene = BackgroundAndObject(BackgroundNumbers(count=60_000), ObjectNumbers(count=400))(capture, priors, QUALITY, np.random.default_rng(0))
    scene.layer("object").splats["opacity_logit"] -= 20  # a mover that explains nothing
    add = ResidualLayer(count=4000, closer=0.5, threshold=0.2)
    assert all(layer.name != "free" for layer in add(scene, capture, priors, QUALITY, np.random.default_rng(0)).layers)
    assert len(replace(add, inside_movers=True)(scene, capture, priors, QUALITY, np.random.default_rng(0)).layer("free")) > 50


def test_holes_behind_the_mover_are_filled_at_the_wall(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    scene = StaticScene()(capture, priors, QUALITY, np.random.default_rng(0))
    layer = scene.layer("static")
    away = (layer.splats["means"][:, 0].abs() > 0.9) | (layer.splats["means"][:, 1].abs() > 0.9)
    layer.splats = {k: v[away] for k, v in layer.splats.items()}
    filled = FillHoles(fewest=5, share=0.5)(scene, capture, priors, QUALITY, np.random.default_rng(0))
    hole = filled.layer("hole")
    assert len(hole) > 10
    assert float((hole.splats["means"][:, 2] - WALL).abs().max()) < 1.0


def test_reference_frames_are_spread_over_views_and_times(tmp_path: Path) -> None:
    capture, priors = make_world(tmp_path)
    assert reference_frames(capture, 3) == [(0, 0), (0, 2), (0, 5)]
    frame = read_frame(capture, priors, 0, 0)
    assert frame.moving.sum() == 120 and not (frame.still & frame.moving).any() and frame.still.sum() < H * W - 120


@pytest.mark.parametrize("pixel", [(0, 0), (20, 31)])
def test_unprojection_is_the_inverse_of_the_camera(tmp_path: Path, pixel: tuple[int, int]) -> None:
    capture, priors = make_world(tmp_path)
    frame = read_frame(capture, priors, 0, 4)
    point = frame.unproject(np.array([pixel[0]]), np.array([pixel[1]]), np.array([2.5]))[0]
    local = frame.world_to_camera[:3, :3] @ point + frame.world_to_camera[:3, 3]
    image = frame.K @ local
    assert np.allclose(image[:2] / image[2], (pixel[1] + 0.5, pixel[0] + 0.5)) and np.isclose(local[2], 2.5)
