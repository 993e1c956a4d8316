"""The side score ranks spoilt movers as true side cameras do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from fourfold.evaluation.side_view import SideScore, beside, filled, looked_from, side_score
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer, Scene
from side_truth import Film


@pytest.mark.parametrize(("kind", "seed"), [("casual", 0), ("close", 1), ("arms", 2)])
def test_scenes_are_ranked_as_true_side_cameras_rank_them(kind: str, seed: int, tmp_path: Path) -> None:
    film = Film(kind, seed)
    capture, variants = film.capture(tmp_path), film.variants(seed)
    psnr = {name: film.true_psnr(scene) for name, scene in variants.items()}
    scores = {name: found.score if (found := side_score(scene, capture)) else -1.0 for name, scene in variants.items()}
    table = {name: (round(psnr[name], 2), scores[name]) for name in psnr}
    assert spearmanr(list(psnr.values()), list(scores.values())).statistic > 0.75, table
    assert max(scores, key=lambda name: scores[name]) == max(psnr, key=lambda name: psnr[name]) == "as it is", table
    for worse in ("torn", "smeared", "patches"):
        group = [name for name in psnr if name.startswith(worse)]
        assert sorted(group, key=lambda name: psnr[name]) == sorted(group, key=lambda name: scores[name]), table
    assert scores["relief times 0"] > max(scores[name] for name in ("torn 0.1", "relief times 4", "patches 0.15")), table


def test_relief_and_smear_are_those_of_the_construction(tmp_path: Path) -> None:
    film = Film("close", 3, moments=(20,))
    capture, variants = film.capture(tmp_path), film.variants(0)
    found = {name: side_score(variants[name], capture) for name in ("as it is", "relief times 0", "relief times 2", "torn 0.1")}
    plain, sheet, deep, torn = (score for score in found.values() if isinstance(score, SideScore))
    assert sheet.relief < 0.01 and deep.relief == pytest.approx(2 * plain.relief, rel=0.1)
    eye, surface = film.eyes[0], film.front[0]
    depth = float(np.median(surface[0] @ eye.world_to_camera[2, :3] + eye.world_to_camera[2, 3]))
    size = np.sqrt(len(surface[0])) * depth / eye.K[0, 0]
    assert plain.smear < 0.02 and 0.5 * 0.1 * depth / size < torn.smear < 0.1 * depth / size  # of several Gaussians that make a pixel, less than all


def test_two_bodies_are_judged_apart(tmp_path: Path) -> None:
    """The figure and the ball stand at different depths: neither is deep for that."""
    film = Film("casual", 0)
    score = side_score(film.variants(0)["as it is"], film.capture(tmp_path))
    assert score is not None and score.relief < 0.6 and score.looks == 2


def test_nothing_moves_nothing_is_scored(tmp_path: Path) -> None:
    film = Film("close", 0, moments=(20,))
    layer = film.variants(0)["as it is"].layers[0]
    still = Scene([Layer("static", STATIC, Static(), layer.splats)], (0.0, 1.0))
    assert side_score(still, film.capture(tmp_path)) is None


def test_the_camera_beside_keeps_the_centre_at_its_pixel(tmp_path: Path) -> None:
    film = Film("casual", 0, moments=(10,))
    capture = film.capture(tmp_path)
    front, centre = capture.camera_at(0, 0), np.array([0.2, -0.8, 0.3])
    turned = beside(front, centre, 20.0)
    one, two = (c.world_to_camera.double().numpy() for c in (front, turned))
    assert np.allclose(one[:3, :3] @ centre + one[:3, 3], two[:3, :3] @ centre + two[:3, 3], atol=1e-5)
    assert np.isclose(np.degrees(np.arccos((np.trace(one[:3, :3].T @ two[:3, :3]) - 1) / 2)), 20.0, atol=1e-3)
    assert looked_from(capture, 5) == [(0, 0)]


def test_gaps_are_closed_and_holes_filled_up_to_the_border() -> None:
    mask = np.zeros((60, 100), bool)
    mask[20:, 30:60] = True
    whole = mask.copy()
    mask[30:40, 40:50] = False
    mask[55:, 44] = False
    assert np.array_equal(filled(mask), whole) and not filled(np.zeros((60, 100), bool)).any()
