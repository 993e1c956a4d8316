"""Exact masks, depth and tracks of a generated capture: right where the truth is right, for who insists, and nobody else sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourfold.benchmarking import ablation, table
from fourfold.benchmarking.cases import find_case
from fourfold.benchmarking.hidden import hide, with_heldout_cameras
from fourfold.benchmarking.table import TableOptions
from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.truth import Truth, truth_image
from fourfold.errors import FourfoldError
from fourfold.options import Clock, Options, silent
from fourfold.pipeline import Run, prepare
from fourfold.priors.contracts import Priors
from fourfold.priors.providers import choose
from fourfold.recipes import find_recipe

SMALL = SyntheticOptions(frames=6, width=64, height=48, supersample=1, tracks=120)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    generate("sparse_moving", root / "clip", options=SMALL)
    return hide(root / "clip", root / "hidden")


def test_what_is_hidden_is_in_the_truth_alone(hidden: Path) -> None:
    capture, whole = Capture.load(hidden), Capture.load(hidden.parent / "clip")
    trained = capture.train.any(axis=1)
    assert trained.any() and not trained.all()
    for view in range(capture.views):
        assert not capture.has("depth", view) and capture.has("masks", view) == (not trained[view])
        for kind in ("masks", "depth"):
            assert np.array_equal(truth_image(hidden, kind, view), truth_image(hidden.parent / "clip", kind, view))
    assert np.array_equal(capture.image(0, 0), whole.image(0, 0)) and np.array_equal(capture.K, whole.K)


def test_exact_priors_are_the_truth_at_the_size_of_the_images(hidden: Path, tmp_path: Path) -> None:
    capture = prepare_capture([hidden], tmp_path / "capture", pixels=64 * 48 // 4)
    assert tuple(capture.sizes[0]) == (32, 24)
    truth, priors = Truth.load(hidden), Priors()
    (masks,) = choose("masks:truth-masks", capture).make(capture, priors)
    (depth,) = choose("depth:truth-depth", capture).make(capture, priors)
    solid, flat = choose("tracks3d:truth-tracks", capture).make(capture, priors)
    view = int(np.flatnonzero(capture.train.any(1))[0])
    shown = np.flatnonzero(capture.train[view])
    blocks = (truth_image(hidden, "masks", view)[shown] > 0).reshape(len(shown), 24, 2, 32, 2).mean((2, 4))
    assert np.array_equal(masks.mask[view][shown] > 0, blocks >= 0.5)
    assert np.array_equal(depth.depth[view][shown], truth_image(hidden, "depth", view)[shown][:, 1::2, 1::2])
    # a point's path in the image is its path in the world, projected by the smaller image's camera
    rows = np.flatnonzero(flat.view == view)
    local = np.einsum("tij,ptj->pti", capture.world_to_camera[view, :, :3, :3], solid.xyz) + capture.world_to_camera[view, :, :3, 3]
    pixels = np.einsum("tij,ptj->pti", capture.K[view], local)
    pixels = pixels[..., :2] / pixels[..., 2:]
    away = np.array([np.abs(pixels - flat.xy[row])[:, flat.visibility[row] > 0].max((1, 2)).min() for row in rows])
    assert len(away) > 50 and away.max() < 1e-3
    assert not flat.visibility[rows][:, ~capture.train[view]].any()
    assert len(solid.xyz) <= len(truth.xyz)


def test_nobody_is_served_unasked_and_other_captures_have_none(hidden: Path, tmp_path: Path) -> None:
    capture = prepare_capture([hidden], tmp_path / "capture", pixels=1_000_000)
    assert all(not choose(prior, capture).name.startswith("truth") for prior in ("masks", "depth", "tracks2d", "tracks3d"))
    assert choose("masks", capture).name == "explained"  # masks of the held-out view tell where is measured, not what moves
    generate("casual", tmp_path / "clip", options=SMALL)
    (tmp_path / "clip" / "truth" / "truth.safetensors").unlink()
    with pytest.raises(FourfoldError, match="nothing can provide the prior 'masks:truth-masks'"):
        choose("masks:truth-masks", prepare_capture([tmp_path / "clip"], tmp_path / "other", pixels=1_000_000))


def test_an_oracle_differs_in_one_prior() -> None:
    full, exact = find_recipe("shape_of_motion"), find_recipe("shape_of_motion/exact_tracks")
    assert set(exact.priors) - set(full.priors) == {"tracks2d:truth-tracks", "tracks3d:truth-tracks"} and exact.stages == full.stages
    assert find_recipe("fourdgs360/exact_depth").priors[1] == "depth:truth-depth"
    plan = ablation.oracle_plan("sparse_dynamic", "masks")
    assert plan.captures == ("synth_sparse_moving_hidden",) and ablation.variants_of(plan) == ["exact_masks", "full"]
    assert ablation.oracle_plan("lived_bases", "depth").captures == ("synth_casual_hidden",)
    with pytest.raises(FourfoldError, match="monofusion does not ask for tracks: choose one of masks, depth"):
        ablation.oracle_plan("monofusion", "tracks")


def test_an_oracle_is_benchmarked_on_what_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate("sparse_moving", tmp_path / "synth_sparse_moving", options=SMALL)
    asked: list[Path] = []

    def made_up(task):
        asked.append(task.capture)
        value = 20.0 if task.options.recipe.endswith("exact_tracks") else 18.0
        metrics = {"psnr": value, "psnr_dynamic": value, "mask_iou": 0.5}
        facts = {"variants": {}, "size": [16, 16], "as_published": True, "images": 2, "recipe_used": "x", "quality": "draft"}
        return {"metrics": metrics, "seconds": 1.0, "gaussians": 10, "command": task.command, "run": str(task.folder), **facts}

    monkeypatch.setattr(table, "measured", made_up)
    result = ablation.bench_ablation("sparse_dynamic", TableOptions(tmp_path, tmp_path / "out", seeds=2), oracle="tracks")
    assert {path.name for path in asked} == {"synth_sparse_moving_hidden"} and result["name"] == "oracle_tracks_sparse_dynamic"
    judged = {o["metric"]: o for o in result["orderings"]}
    assert judged["psnr_dynamic"]["mean_gain"] == 2.0 and judged["psnr_dynamic"]["pairs"] == 2
    assert find_case("synth_sparse_moving_hidden").places[0].dataset == "synth_sparse_moving_hidden"


def test_exact_cameras_serve_a_run_that_insists_on_them(hidden: Path, tmp_path: Path) -> None:
    bare = hide(hidden.parent / "clip", tmp_path / "bare", cameras=True)
    assert not Capture.load(bare).posed.any() and not any(file.name.startswith("depth") for file in bare.glob("*.npy"))
    options = Options("shape_of_motion/exact_cameras", "draft")
    prepare([bare], tmp_path / "run", options, silent, Clock())
    capture, truth, whole = Run(tmp_path / "run").capture, Truth.load(bare), Capture.load(bare)
    assert capture.cameras == "given" and np.array_equal(capture.world_to_camera, truth.world_to_camera)
    factor = capture.sizes[0, 0] / whole.sizes[0, 0]
    assert np.allclose(capture.K[..., :2, :], truth.K[..., :2, :] * factor)
    assert choose("cameras", prepare([bare], tmp_path / "other", Options("shape_of_motion", "draft"), silent, Clock())).name == "bundle"


def test_heldout_cameras_come_into_the_world_that_was_estimated(hidden: Path, tmp_path: Path) -> None:
    bare = hide(hidden.parent / "clip", tmp_path / "bare", cameras=True)
    truth, capture = Truth.load(bare), Capture.load(bare)
    turn, scale, shift = np.array([[0.0, -1, 0], [0.6, 0, -0.8], [0.8, 0, 0.6]]), 2.5, np.array([3.0, -1, 2])
    pose = truth.world_to_camera.copy()
    pose[..., :3, :3] = truth.world_to_camera[..., :3, :3] @ turn.T
    pose[..., :3, 3] = scale * truth.world_to_camera[..., :3, 3] - pose[..., :3, :3] @ shift
    unknown = np.where(capture.train[..., None, None], pose, np.nan)
    estimated = with_heldout_cameras(capture.with_cameras(truth.K.copy(), unknown, "estimated"), bare)
    assert estimated.cameras == "estimated" and capture.heldout.any()
    for view, time in estimated.heldout_frames():
        local = (scale * truth.xyz[:, time] @ turn.T + shift) @ estimated.world_to_camera[view, time, :3, :3].T + estimated.world_to_camera[
            view, time, :3, 3
        ]
        pixels = local @ estimated.K[view, time].T
        there = truth.depth[view, :, time] > 0.1
        assert np.abs(pixels[there, :2] / pixels[there, 2:] - truth.xy[view, there, time]).max() < 1e-6
    assert np.array_equal(estimated.world_to_camera[capture.train], pose[capture.train])


def test_the_question_of_cameras_is_put_to_what_is_filmed_bare() -> None:
    plan = ablation.oracle_plan("lived_bases", "cameras")
    assert plan.captures == ("synth_casual_bare",) and ablation.variants_of(plan) == ["exact_cameras", "full"]
    assert find_recipe("lived_bases/exact_cameras").priors == ("cameras:truth-cameras", *find_recipe("lived_bases").priors)
