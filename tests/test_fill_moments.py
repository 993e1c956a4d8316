"""Missing moments of motion that repeats: closed forms, and a patch of known path, its images and its tracks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.gaps import fill_gaps, gap_weights
from fourfold.initialize.drawing import picture
from fourfold.initialize.fill_moments import FillMoments
from fourfold.initialize.splats import make_splats
from fourfold.initialize.track_steps import paths_of_bases
from fourfold.priors.contracts import LongTracks, Masks, Priors, Provenance
from fourfold.recipes.recipe import QUALITIES
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import DYNAMIC, Layer, Scene

PV = Provenance("truth")
T, H, W, FOCAL, DEPTH = 42, 24, 32, 40.0, 4.0
KNOWN = np.arange(T) % 8 != 4


def bob(period: float) -> NDArray[np.float64]:
    """(T, 3) a path that drifts, bends and goes up and down every `period` moments."""
    t = np.arange(T)
    return np.stack([0.01 * t + 1e-4 * t**2, 0.09 * np.sin(2 * np.pi * t / period), np.zeros(T)], axis=1)


@pytest.mark.parametrize("period", [2.2, 2.7, 3.3, 4.6, 6.0])
def test_what_repeats_is_told_where_cubics_fail(period: float) -> None:
    truth = bob(period)
    weights = gap_weights(truth, KNOWN)
    assert len(weights) and 2 * weights.sum() == pytest.approx(1)
    gone = ~KNOWN
    missed, cubic = (np.abs(fill_gaps(np.where(KNOWN[:, None], truth, 9.0), KNOWN, w) - truth)[gone].max() for w in (weights, np.zeros(0)))
    assert missed < 0.1 * cubic and cubic > 0.01


def test_noise_and_slow_motion_are_left_to_cubics() -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        assert len(gap_weights(np.cumsum(random.normal(size=(T, 3)), axis=0), KNOWN)) == 0
    t = np.arange(T)[:, None] / T
    slow = np.concatenate([t, t**2, np.sin(2 * t)], axis=1)
    assert np.abs(fill_gaps(slow, KNOWN, gap_weights(slow, KNOWN)) - slow)[3:-3].max() < 1e-4
    assert len(gap_weights(bob(2.7)[:14], KNOWN[:14])) == 0, "too short to tell"


def test_known_rows_stay_and_outer_ones_repeat() -> None:
    values, known = bob(2.7), KNOWN.copy()
    known[:3] = known[-2:] = False
    filled = fill_gaps(values, known, np.array([0.7, -0.2]))
    np.testing.assert_array_equal(filled[known], values[known])
    np.testing.assert_allclose(filled[:3], np.tile(values[3], (3, 1)))
    np.testing.assert_allclose(filled[-2:], np.tile(values[-3], (2, 1)))


def world(root: Path, period: float, spacing: NDArray[np.float64]) -> tuple[Scene, Capture, Priors]:
    """A patch of Gaussians that bobs before a turning camera, filmed; the layer has knots at training moments alone."""
    random, times = np.random.default_rng(1), np.cumsum(spacing) - spacing[0]
    points = np.concatenate([random.uniform(-0.4, 0.4, (80, 2)), np.full((80, 1), DEPTH)], axis=1)
    splats = make_splats(points, random.uniform(0, 1, (80, 3)).astype(np.float32), np.full(80, 0.06), 0.9) | {"motion_logits": torch.zeros(80, 1)}
    path = torch.from_numpy(bob(period)).float()
    upright = torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(1, T, 6)
    fixed = {"knots": torch.from_numpy(times).float(), "pivot": torch.tensor([0, 0, DEPTH])}
    whole = Layer("object", DYNAMIC, SE3Bases(), splats, {"rotation6d": upright, "translation": path[None]}, fixed)
    pose = np.tile(np.eye(4), (1, T, 1, 1))
    angle = 0.05 * np.sin(np.arange(T))
    pose[0, :, 0, 0] = pose[0, :, 2, 2] = np.cos(angle)
    pose[0, :, 0, 2], pose[0, :, 2, 0] = np.sin(angle), -np.sin(angle)
    K = np.tile(np.array([[FOCAL, 0, W / 2], [0, FOCAL, H / 2], [0, 0, 1]]), (1, T, 1, 1))
    flags = np.ones((1, T), bool)
    capture = Capture(root, K, pose, times, np.array([[W, H]]), flags, KNOWN[None], ~KNOWN[None], "given", True, "world", ("v0",))
    scene = Scene([whole], (float(times[0]), float(times[-1])))
    np.save(root / "frames_000.npy", np.stack([np.round(255 * picture(scene, capture, 0, t).color) for t in range(T)]).astype(np.uint8))
    moved = points[None, :30] + bob(period)[:, None]
    local = np.einsum("tij,tpj->tpi", pose[0, :, :3, :3], moved)
    xy = (local[..., :2] / local[..., 2:] * FOCAL + (W / 2, H / 2)).transpose(1, 0, 2).reshape(-1, 2)
    tracks = LongTracks(
        PV, xy.astype(np.float32), np.tile(np.arange(T), 30).astype(np.int32), np.repeat(np.arange(30), T).astype(np.int32), np.zeros(30, np.int32)
    )
    rows = torch.from_numpy(KNOWN)
    part = replace(whole, shared={name: value[:, rows] for name, value in whole.shared.items()}, fixed=fixed | {"knots": fixed["knots"][rows]})
    return replace(scene, layers=[part]), capture, Priors(masks=Masks(PV, (np.ones((T, H, W), np.int8),)), longtracks=tracks)


def test_tracks_on_gaussians_tell_the_path_of_their_basis(tmp_path: Path) -> None:
    scene, capture, priors = world(tmp_path, 2.7, np.ones(T))
    assert priors.longtracks is not None
    path = paths_of_bases(scene.layers[0], capture, priors, priors.longtracks)
    truth = bob(2.7)[KNOWN]
    np.testing.assert_allclose(path[0, :, :2], (truth - truth[0])[:, :2], atol=0.01)  # a tenth of a pixel


def test_a_bobbing_body_is_where_it_was_at_moments_that_were_held_out(tmp_path: Path) -> None:
    scene, capture, priors = world(tmp_path, 2.7, np.ones(T))
    filled = FillMoments()(scene, capture, priors, QUALITIES["draft"], np.random.default_rng(0)).layers[0]
    times = torch.from_numpy(capture.timestamps).float()
    inner = (~KNOWN) & (np.arange(T) > 4) & (np.arange(T) < T - 4)
    missed, cubic = (
        np.abs(layer.motion.means_at(layer, times).mean(1).numpy() - layer.splats["means"].mean(0).numpy() - bob(2.7))[inner].max()
        for layer in (filled, scene.layers[0])
    )
    assert missed < 0.3 * cubic and cubic > 0.05
    at_knots = [layer.motion.means_at(layer, times[KNOWN]) for layer in (filled, scene.layers[0])]
    torch.testing.assert_close(at_knots[0], at_knots[1])


def test_uneven_films_and_images_that_disagree_change_nothing(tmp_path: Path) -> None:
    uneven = np.where(np.arange(T) % 3 == 0, 2.0, 1.0)
    (tmp_path / "uneven").mkdir()
    scene, capture, priors = world(tmp_path / "uneven", 2.7, uneven)
    assert FillMoments()(scene, capture, priors, QUALITIES["draft"], np.random.default_rng(0)) is scene
    scene, capture, priors = world(tmp_path, 2.7, np.ones(T))
    still = replace(scene.layers[0], shared=scene.layers[0].shared | {"translation": torch.zeros(1, int(KNOWN.sum()), 3)})
    same = replace(scene, layers=[still])
    assert FillMoments()(same, capture, replace(priors, longtracks=None), QUALITIES["draft"], np.random.default_rng(0)) is same
