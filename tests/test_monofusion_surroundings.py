"""Surroundings continued where no camera looks: a sphere of points with a cap missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fourfold.initialize.splats import make_splats
from fourfold.initialize.unseen_surroundings import UnseenNumbers, unseen_surroundings
from fourfold.priors.depth.rig import stage_of
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer
from rig_scene import make_rig


def sphere(center: np.ndarray, radius: float, count: int = 6000) -> np.ndarray:
    random = np.random.default_rng(0).normal(size=(count, 3))
    return center + radius * random / np.linalg.norm(random, axis=1, keepdims=True)


def layer_of(points: np.ndarray, color: np.ndarray) -> Layer:
    return Layer("static", STATIC, Static(), make_splats(points, color, np.full(len(points), 0.05), 0.7))


def test_a_missing_cap_is_filled_at_the_same_distance_and_colour(tmp_path: Path) -> None:
    capture = make_rig(tmp_path / "capture", views=4, times=2).capture
    stage = stage_of(capture)
    assert stage is not None
    points = sphere(stage.center, 4.0)
    seen = points[(points - stage.center)[:, 1] < 2.0]
    color = np.tile([0.2, 0.5, 0.8], (len(seen), 1))
    filled = unseen_surroundings(layer_of(seen, color), capture, UnseenNumbers(rows=24))
    assert filled is not None
    added = filled.splats["means"].numpy() - stage.center
    assert len(added) > 20
    distance = np.linalg.norm(added, axis=1)
    assert np.allclose(distance, 4.0, rtol=0.02)
    assert (added[:, 1] / distance > 0.4).all()  # only where there was nothing: the cap begins at 0.5
    assert np.allclose(torch.sigmoid(filled.splats["color_logit"]).numpy(), [0.2, 0.5, 0.8], atol=0.02)
    assert unseen_surroundings(layer_of(points, np.full((len(points), 3), 0.5)), capture, UnseenNumbers(rows=12)) is None


def test_one_camera_has_no_stage_to_look_from(tmp_path: Path) -> None:
    capture = make_rig(tmp_path / "capture", views=1, times=2).capture
    layer = layer_of(sphere(np.zeros(3), 1.0, 50), np.full((50, 3), 0.5))
    assert unseen_surroundings(layer, capture) is None
