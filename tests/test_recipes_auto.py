"""Which recipe a capture gets by itself, over the whole shelf: by the number of cameras, whether they move, and how far around they go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.geometry.rotations import so3_exp
from fourfold.priors.providers import choose
from fourfold.recipes import all_recipes
from fourfold.recipes.auto import camera_arc, choose_recipe
from test_recipes_auto_jumping import pose_at

TIMES = 24


def film(starts: tuple[float, ...], sweep: float, height: float = 0.2) -> Capture:
    """Cameras 4 units from the origin that start at `starts` degrees and each go `sweep` degrees around it over the clip."""
    turns = np.radians(np.array(starts)[:, None] + np.linspace(0, sweep, TIMES)[None])
    poses = np.stack([[pose_at(t, height) for t in row] for row in turns])
    K = np.array([[80.0, 0, 32], [0, 80.0, 32], [0, 0, 1]])
    every = np.ones(turns.shape, bool)
    sizes = np.tile([64, 64], (len(starts), 1))
    names = tuple(f"camera {i}" for i in range(len(starts)))
    moments = np.linspace(0, 1, TIMES)
    return Capture(Path("none"), np.tile(K, (*turns.shape, 1, 1)), poses, moments, sizes, every, every, ~every, "given", False, "film", names)


def panned(degrees: float) -> Capture:
    """One hand-held camera that turns by `degrees` on the spot, trembling by a thousandth."""
    shown = film((0.0,), 10.0)
    turn = so3_exp(torch.tensor([[0.0, np.radians(a), 0.0] for a in np.linspace(0, degrees, TIMES)])).numpy()
    center = np.random.default_rng(0).normal(size=(TIMES, 3)) * 1e-3
    poses = np.tile(np.eye(4), (TIMES, 1, 1))
    poses[:, :3, :3] = turn
    poses[:, :3, 3] = -np.einsum("tij,tj->ti", turn, center)
    return replace(shown, world_to_camera=poses[None])


def reduced(capture: Capture, images: int) -> Capture:
    """The capture of which only the first images are trained on."""
    return replace(capture, train=capture.train & (np.arange(TIMES) < images))


def hopping(capture: Capture, degrees: float) -> Capture:
    """Its second camera hops forth and back by so many degrees around the origin every eight moments."""
    poses = capture.world_to_camera.copy()
    turn = np.radians(degrees * (np.arange(TIMES) // 8 % 2))
    poses[1, :, :3, :3] = poses[1, :, :3, :3] @ so3_exp(torch.tensor(turn[:, None] * [[0.0, 1.0, 0.0]])).numpy()
    return replace(capture, world_to_camera=poses)


@pytest.mark.parametrize(
    ("capture", "recipe"),
    [
        (film((0.0,), 40.0), "lived_bases"),
        (film((0.0,), 200.0), "himor"),
        (film((0.0, 35.0, 70.0), 25.0), "lived_bases"),
        (hopping(film((0.0, 35.0, 70.0), 25.0), 9.0), "sparse_dynamic"),
        (film((0.0, 35.0, 70.0, 105.0, 140.0, 175.0), 25.0), "sparse_dynamic"),
        (film((0.0, 90.0, 180.0, 270.0), 0.0), "lived_bases"),
        (panned(150.0), "lived_bases"),
        (reduced(film((0.0,), 40.0), 12), "mosca"),
        (reduced(film((0.0,), 40.0), 21), "lived_bases"),
    ],
)
def test_the_shelf(capture: Capture, recipe: str) -> None:
    found, sentence = choose_recipe(capture, all_recipes())
    assert found.name == recipe
    assert sentence.startswith(f"{capture.views} training camera") and sentence.count(".") == 0


def test_a_jumping_camera_that_goes_round_is_no_film() -> None:
    jumps = film((0.0,), 23 * 77.0)
    assert camera_arc(jumps) > 120 and choose_recipe(jumps, all_recipes())[0].name not in (
        "fourdgs360",
        "lived_bases",
        "shape_of_motion",
        "sparse_dynamic",
    )


@pytest.mark.parametrize("sweep", [15.0, 90.0, 179.0])
def test_the_arc_is_the_angle_gone_around(sweep: float) -> None:
    assert camera_arc(film((0.0,), sweep, height=0.0)) == pytest.approx(sweep, abs=1e-3)


def test_a_pan_goes_around_nothing() -> None:
    assert camera_arc(panned(150.0)) == 0.0


def test_one_of_several_providers_may_be_insisted_on() -> None:
    capture = film((0.0, 35.0), 10.0)
    assert choose("tracks3d:mvtracker|anchored", capture).name in ("mvtracker", "anchored")
    assert choose("tracks3d:nobody|lifted_tracks", capture).name == "lifted_tracks"
