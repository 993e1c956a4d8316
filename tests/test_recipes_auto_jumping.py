"""Captures of an object alone from a camera that jumps: their masks, background, hulls, and the recipe that suits them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.capture.cutout import backdrop, object_alone
from fourfold.initialize.background import static_layer
from fourfold.priors.contracts import Priors
from fourfold.priors.given import opacity_masks
from fourfold.priors.providers import choose
from fourfold.priors.rigs.shared_hulls import clouds_of, depth_of, shared_hulls
from fourfold.recipes.auto import camera_jump, choose_recipe
from fourfold.recipes.recipe import QUALITIES, Recipe, Suits
from fourfold.training.batch import SampleStore, Source

SIZE, TIMES, RADIUS = 64, 32, 0.5


def pose_at(turn: float, height: float) -> np.ndarray:
    """A camera 4 units away that looks at the origin."""
    center = 4 * np.array([np.cos(turn) * np.cos(height), np.sin(height), np.sin(turn) * np.cos(height)])
    forward = -center / np.linalg.norm(center)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
    return pose


def ball(root: Path, step_degrees: float, alpha_means: str | None = "opacity") -> Capture:
    """One camera that goes on by `step_degrees` a moment around a red ball at the origin; its alpha is exact to a pixel."""
    K = np.array([[80.0, 0, SIZE / 2], [0, 80.0, SIZE / 2], [0, 0, 1]])
    poses = np.stack([pose_at(np.radians(step_degrees) * t, 0.6 * np.sin(2.4 * t) if step_degrees > 20 else 0.2) for t in range(TIMES)])
    row, column = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    angle = np.arctan(np.hypot(column - SIZE / 2, row - SIZE / 2) / 80.0)
    inside = angle < np.arcsin(RADIUS / 4)
    frames = np.full((TIMES, SIZE, SIZE, 3), 255, np.uint8)
    frames[:, inside] = (200, 30, 30)
    np.save(root / "frames_000.npy", frames)
    if alpha_means is not None:
        np.save(root / "alpha_000.npy", np.repeat((inside * 255).astype(np.uint8)[None], TIMES, 0))
    every = np.ones((1, TIMES), bool)
    return Capture(
        root=root,
        K=np.broadcast_to(K, (1, TIMES, 3, 3)).copy(),
        world_to_camera=poses[None],
        timestamps=np.linspace(0, 1, TIMES),
        sizes=np.array([[SIZE, SIZE]]),
        present=every,
        train=every,
        heldout=~every,
        cameras="given",
        metric=False,
        name="ball",
        view_names=("only",),
        facts={} if alpha_means is None else {"alpha_means": alpha_means},
    )


@pytest.fixture
def jumping(tmp_path: Path) -> Capture:
    return ball(tmp_path, 77.0)


def made(name: str, **suits: object) -> Recipe:
    return Recipe(name, name, "", (), None, (), Suits(**suits))  # type: ignore[arg-type]


def test_a_jumping_camera_gets_no_recipe_for_video(jumping: Capture, tmp_path: Path) -> None:
    film = made("film", video=True, rank=50)
    jump = made("jump", video=False, rank=10)
    plain = made("plain", rank=1)
    assert choose_recipe(jumping, [film, jump, plain])[0].name == "jump"
    assert choose_recipe(jumping, [film, plain])[0].name == "plain"
    (tmp_path / "slow").mkdir()
    assert choose_recipe(ball(tmp_path / "slow", 5.0), [film, jump, plain])[0].name == "film"


def test_the_sentence_says_that_it_is_no_video(jumping: Capture) -> None:
    recipe, sentence = choose_recipe(jumping, [made("jump", video=False, rank=10, because="it bends (jump)")])
    assert "no video" in sentence and f"{camera_jump(jumping):.0f} degrees from one moment" in sentence and sentence.endswith(": it bends (jump)")
    assert recipe.name == "jump"


def test_the_jump_is_the_angle_between_neighbouring_moments(tmp_path: Path) -> None:
    straight = ball(tmp_path, 5.0)
    forward = straight.world_to_camera[0, :2, 2, :3]
    assert camera_jump(straight) == pytest.approx(np.degrees(np.arccos(forward[0] @ forward[1])), abs=1e-6)


def test_an_object_alone_is_asked_for_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    needs, other = made("needs", alone=True, rank=5), made("other", rank=1)
    assert choose_recipe(ball(tmp_path / "a", 77.0, None), [needs, other])[0].name == "other"
    assert choose_recipe(ball(tmp_path / "b", 77.0), [needs, other])[0].name == "needs"


def test_only_opacity_makes_an_object_alone(tmp_path: Path) -> None:
    capture = ball(tmp_path, 77.0)
    assert object_alone(capture) and backdrop(capture) == (1.0, 1.0, 1.0)
    assert not object_alone(replace(capture, facts={"alpha_means": "valid"}))
    (tmp_path / "full").mkdir()
    full = ball(tmp_path / "full", 77.0)
    np.save(full.root / "alpha_000.npy", np.full((TIMES, SIZE, SIZE), 255, np.uint8))
    assert not object_alone(full) and backdrop(full) is None


def test_masks_are_the_opacity(jumping: Capture) -> None:
    assert choose("masks", jumping).name == "opacity"
    mask = opacity_masks(jumping).mask[0]
    assert set(np.unique(mask)) == {-1, 1}
    np.testing.assert_array_equal(mask[3] > 0, jumping.alpha(0, 3) > 127)  # type: ignore[operator]


def test_images_with_opacity_are_composited_once(jumping: Capture) -> None:
    alpha = np.load(jumping.root / "alpha_000.npy")
    alpha[:, SIZE // 2, SIZE // 2] = 128
    np.save(jumping.root / "alpha_000.npy", alpha)
    capture = replace(jumping, root=jumping.root.parent / jumping.root.name)
    store = SampleStore(Source(capture, Priors(), torch.device("cpu"), (1.0, 1.0, 1.0), composited=True))
    np.testing.assert_allclose(store.sample(0, 0).image.numpy(), capture.image(0, 0) / 255.0, atol=1e-6)
    grey = SampleStore(Source(capture, Priors(), torch.device("cpu"), (0.25, 0.25, 0.25), composited=True)).sample(0, 0).image
    np.testing.assert_allclose(grey[0, 0].numpy(), 0.25, atol=1e-6)


def test_hulls_of_a_still_ball_are_the_ball(jumping: Capture) -> None:
    assert choose("clouds", jumping).name == choose("depth", jumping).name == "shared_hulls"
    masks = opacity_masks(jumping)
    hulls = shared_hulls(jumping, masks)
    clouds, depth = clouds_of(jumping, hulls), depth_of(jumping, masks, hulls)
    clouds.check(jumping.sizes, jumping.times)
    depth.check(jumping.sizes, jumping.times)
    assert len(np.unique(clouds.index)) >= 2
    distance = np.linalg.norm(clouds.xyz, axis=1)
    pixel = 4 / 80.0
    assert abs(np.median(distance) - RADIUS) < 2 * pixel and distance.max() < RADIUS + 6 * pixel
    np.testing.assert_allclose(clouds.color, np.broadcast_to(np.array([200, 30, 30]) / 255, clouds.color.shape), atol=1e-3)
    assert not clouds.velocity.any()
    middle = depth.depth[0][:, SIZE // 2, SIZE // 2]
    np.testing.assert_allclose(middle, 4 - RADIUS, atol=3 * pixel)
    assert not np.asarray(depth.depth[0])[np.asarray(masks.mask[0]) < 0].any()


def test_nothing_is_behind_an_object_alone(jumping: Capture) -> None:
    priors = Priors(masks=opacity_masks(jumping))
    assert len(static_layer(jumping, priors, QUALITIES["draft"], np.random.default_rng(0))) == 0
