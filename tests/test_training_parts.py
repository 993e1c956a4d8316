"""Samplers, schedules, batches, track targets, bounds and the metrics file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.errors import FourfoldError
from fourfold.losses.photometric import Photometric
from fourfold.priors.contracts import Depth, Masks, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.recipes.recipe import Quality, Rate, Stage, Term
from fourfold.scene.scene import Scene
from fourfold.training.batch import SampleStore, Source
from fourfold.training.metrics_log import MetricsLog, read_metrics
from fourfold.training.optimizer import update, watch
from fourfold.training.safety import keep_sane
from fourfold.training.samplers import Epochs, RandomImages, generator
from fourfold.training.schedule import Length, divisor_at, planned_steps, rate_at, rate_of, steps_within
from fourfold.training.state import Lengths, lengths_of, scene_extent
from fourfold.training.trainer import choose_device
from test_density_control import make_layer
from test_training_resume import H, T, W, make_capture

PV = Provenance("test")


def test_an_epoch_shows_every_image_once_and_depends_on_the_seed_alone(tmp_path: Path) -> None:
    capture = make_capture(tmp_path)

    def epoch(seed: int, number: int, stage: int = 0) -> list[tuple[int, int]]:
        return [Epochs(1)(capture, step, generator(seed, stage, step))[0] for step in range(number * T, (number + 1) * T)]

    assert sorted(epoch(0, 0)) == sorted(capture.train_frames())
    assert epoch(0, 3) == epoch(0, 3)
    assert len({tuple(epoch(seed, number, stage)) for seed in range(3) for number in range(3) for stage in range(2)}) > 6
    across = Epochs(3)(capture, 1, generator(0, 0, 1))  # the last image of one epoch and the first two of the next
    assert across == [epoch(0, 0)[3], *epoch(0, 1)[:2]]
    assert RandomImages(5)(capture, 2, generator(0, 0, 2)) == RandomImages(5)(capture, 2, generator(0, 0, 2))


def test_rates_decay_exponentially_and_then_stay() -> None:
    rate = Rate(1.0, final=0.01, until=0.5, per_extent=True)
    assert math.isclose(rate_at(rate, 0.0, 3.0), 3.0)
    assert math.isclose(rate_at(rate, 0.25, 3.0), 0.3)
    assert math.isclose(rate_at(rate, 0.9, 3.0), 0.03)
    assert rate_of({"a.means": rate, "a.*": Rate(2.0)}, "a.means") is rate
    assert rate_of({"a.means": rate}, "b.means") is None
    assert math.isclose(rate_at(Rate(0.5, per_pixel=True), 0.9, 3.0, 0.02), 0.01)


def test_a_pixel_is_as_large_as_a_layer_is_far_and_what_is_not_in_the_picture_does_not_count(tmp_path: Path) -> None:
    capture = make_capture(tmp_path)  # focal length 20
    near, far = make_layer(5), replace(make_layer(5), name="far")
    near.splats["means"], far.splats["means"] = (torch.tensor([[0.0, 0, z]]).repeat(5, 1) for z in (2.0, 40.0))
    far.splats["means"][:2] = torch.tensor([[0.0, 0, -9], [900, 0, 9]])
    lengths = lengths_of(Scene([near, far], (0.0, 1.0)), capture)
    assert lengths.pixels == pytest.approx({"static": 0.1, "far": 2.0}, rel=1e-6)
    rates, scene = {"far.means": Rate(0.5, per_pixel=True)}, Scene([far], (0.0, 1.0))
    watch(scene, rates)
    before = far.splats["means"].detach().clone()
    far.splats["means"].sum().backward()
    update(scene, {}, rates, {}, 0.0, lengths)
    assert torch.allclose(before - far.splats["means"].detach(), torch.ones(5, 3), atol=1e-4)  # Adam's first step is the rate


def test_steps_follow_quality_clip_length_and_budget() -> None:
    stage = Stage("s", 100, (Term("rgb", Photometric(), 1.0),), {}, Epochs(), per_frame=4.0, resolution=((0.0, 4), (0.5, 1)))
    assert planned_steps(stage, Quality(1, 0.4, 1), Length(10, True)) == 40
    assert planned_steps(stage, Quality(1, 1.0, 1), Length(100, True)) == 400
    assert planned_steps(replace(stage, most=300), Quality(1, 1.0, 1), Length(100, True)) == 300
    assert planned_steps(replace(stage, most=300), Quality(1, 0.4, 1), Length(50, True)) == 80
    alone = replace(stage, most=300, most_alone=350)
    assert [planned_steps(alone, Quality(1, 1.0, 1), Length(100, one)) for one in (True, False)] == [350, 300]
    assert [divisor_at(stage, p) for p in (0.0, 0.49, 0.5, 1.0)] == [4, 4, 1, 1]
    calls: list[int] = []
    assert steps_within(1e6, 500, 500, calls.append) == 500 and len(calls) == 6
    assert steps_within(0.0, 500, 500, calls.append) == 10


def make_priors() -> Priors:
    mask = np.full((T, H, W), -1, np.int8)
    mask[:, 4:8, 6:12] = 1
    mask[:, 0, 0] = 0
    depth = np.full((T, H, W), 4.0, np.float32)
    depth[:, 4:8, 6:12] = 2.0
    depth[:, 12:] = 0
    xy = np.zeros((3, T, 2), np.float32) + np.array([[8.5, 5.5], [20.5, 10.5], [9.5, 6.5]], np.float32)[:, None]
    visibility = np.ones((3, T), np.float16)
    visibility[2, 0] = 0
    tracks = Tracks2D(PV, xy, visibility, np.ones((3, T), np.float16), np.zeros(3, np.int32), np.zeros(3, np.int32))
    return Priors(masks=Masks(PV, (mask,)), depth=Depth(PV, (depth,), (np.ones((T, H, W), np.float16),)), tracks2d=tracks)


def test_a_reduced_sample_is_averaged_and_its_camera_scaled(tmp_path: Path) -> None:
    capture = make_capture(tmp_path)
    store = SampleStore(Source(capture, make_priors(), torch.device("cpu"), near=0.5))
    full, half = store.sample(0, 1), store.sample(0, 1, 2)
    assert torch.allclose(half.image, full.image.reshape(H // 2, 2, W // 2, 2, 3).mean((1, 3)), atol=1e-6)
    assert torch.allclose(half.camera.K[:2], full.camera.K[:2] / 2) and half.camera.near == 0.5
    assert half.mask is not None and half.mask_valid is not None and half.depth is not None
    assert half.mask[2:4, 3:6].min() == 1 and half.mask.sum() == 6
    assert half.mask_valid[0, 0] == 0.75
    assert torch.allclose(half.depth[3, 4], torch.tensor(2.0)) and half.depth[6:].abs().sum() == 0
    assert store.sample(0, 1) is full, "samples are kept"
    small = SampleStore(Source(capture, make_priors(), torch.device("cpu")), budget=1)
    first = small.sample(0, 0)
    small.sample(0, 1)
    assert small.sample(0, 0) is not first and torch.equal(small.sample(0, 0).image, first.image)


def test_an_image_with_alpha_is_shown_over_the_background(tmp_path: Path) -> None:
    capture = make_capture(tmp_path)
    alpha = np.zeros((T, H, W), np.uint8)
    alpha[:, :, 5:] = 255
    np.save(tmp_path / "alpha_000.npy", alpha)
    sample = SampleStore(Source(capture, Priors(), torch.device("cpu"), background=(0.2, 0.4, 0.6))).sample(0, 0)
    assert torch.allclose(sample.image[:, :5], torch.tensor([0.2, 0.4, 0.6]).expand(H, 5, 3))
    assert torch.allclose(sample.image[:, 5:], torch.from_numpy(capture.image(0, 0)[:, 5:] / 255.0).float())


def test_prefetched_batches_are_those_made_one_by_one(tmp_path: Path) -> None:
    store = SampleStore(Source(make_capture(tmp_path), make_priors(), torch.device("cpu")))
    stage = Stage("s", 10, (), {}, Epochs(2), resolution=((0.0, 2), (0.5, 1)), track_targets=2)
    with store.prefetched(stage, 1, 7, 3, 10) as batches:
        ahead = list(batches)
    assert len(ahead) == 7
    for step, batch in enumerate(ahead, start=3):
        again = store.batch(stage, 1, 7, step, 10)
        for a, b in zip(batch, again, strict=True):
            assert (a.view, a.index) == (b.view, b.index) and torch.equal(a.image, b.image)
            assert a.tracks is not None and b.tracks is not None and torch.equal(a.tracks.times, b.tracks.times)


def test_track_targets_start_on_movers_and_carry_depth(tmp_path: Path) -> None:
    store = SampleStore(Source(make_capture(tmp_path), make_priors(), torch.device("cpu")))
    stage = Stage("s", 10, (), {}, Epochs(1), resolution=((0.0, 2),), track_targets=3)
    for step in range(T):
        sample = store.batch(stage, 0, 0, step, 10)[0]
        tracks = sample.tracks
        assert tracks is not None
        expected = [[4.25, 2.75]] if sample.index == 0 else [[4.25, 2.75], [4.75, 3.25]]
        assert tracks.pixels.tolist() == expected, "only visible tracks on the mover, in pixels of the reduced image"
        assert len(tracks.times) == 3 and sample.time not in tracks.times.tolist()
        assert tracks.depth[0].tolist() == [2.0, 2.0, 2.0]
        assert all(camera.width == W // 2 for camera in tracks.cameras)


def test_3d_tracks_serve_where_there_are_no_2d_ones(tmp_path: Path) -> None:
    xyz = np.zeros((1, T, 3), np.float32) + np.array([0, 0, 2.0], np.float32)
    one = np.ones((1, T), np.float16)
    tracks = Tracks3D(PV, xyz, one, one, np.zeros((1, 3), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), np.ones(1, np.uint8))
    store = SampleStore(Source(make_capture(tmp_path), Priors(tracks3d=tracks), torch.device("cpu")))
    sample = store.batch(Stage("s", 1, (), {}, Epochs(1), track_targets=1), 0, 0, 0, 1)[0]
    assert sample.tracks is not None
    expected = 0.1 * sample.index / 2.0 * 20 + W / 2
    assert torch.allclose(sample.tracks.pixels, torch.tensor([[expected, H / 2]]), atol=1e-4) and float(sample.tracks.depth[0, 0]) == 2.0


def test_only_seen_rows_with_a_rate_move() -> None:
    layer = make_layer(6)
    scene = Scene([layer], (0.0, 1.0))
    rates = {"static.means": Rate(0.1)}
    watch(scene, rates)
    assert layer.splats["means"].requires_grad and not layer.splats["color_logit"].requires_grad
    before = layer.splats["means"].detach().clone()
    (layer.splats["means"] ** 2).sum().backward()
    rows = torch.tensor([True, False, True, False, True, False])
    update(scene, {}, rates, {"static": rows}, 0.0, Lengths(1.0))
    moved = (layer.splats["means"].detach() - before).abs().amax(1)
    assert (moved[rows] > 0.05).all() and (moved[~rows] == 0).all()


def test_bounds_hold_and_quaternions_return_to_unit_length() -> None:
    layer = make_layer(4)
    layer.splats["log_scale"][0] = 99.0
    layer.splats["color_logit"][1] = -99.0
    frozen = layer.splats["opacity_logit"].fill_(99.0).clone()
    keep_sane(Scene([layer], (0.0, 1.0)), {"static.[lqc]*": Rate(1.0)}, 99, 2.0, 10)
    assert float(layer.splats["log_scale"].max()) <= math.log(20.0) + 1e-6 and float(layer.splats["color_logit"].min()) == -8.0
    assert torch.allclose(layer.splats["quat_wxyz"].norm(dim=1), torch.ones(4))
    assert torch.equal(layer.splats["opacity_logit"], frozen)


def test_far_background_does_not_blow_up_the_extent(tmp_path: Path) -> None:
    capture, layer = make_capture(tmp_path), make_layer(100)
    layer.splats["means"][:60] = torch.rand(60, 3) + torch.tensor([0, 0, 3.0])
    layer.splats["means"][60:] = 1000.0 * torch.randn(40, 3)
    assert 2.0 < scene_extent(Scene([layer], (0.0, 1.0)), capture) < 6.0


def test_metrics_are_cut_back_to_the_checkpoint_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0, 0)
    for step in range(5):
        log.write({"stage": 0, "step": step, "losses": {"rgb": 0.5 if step else math.inf}})
    log.close()
    with path.open("a") as file:
        file.write('{"stage": 0, "st')
    MetricsLog(path, 0, 3).close()
    assert [line["step"] for line in read_metrics(path)] == [0, 1, 2]
    assert read_metrics(path)[0]["losses"]["rgb"] is None and "Infinity" not in path.read_text()
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_an_absent_device_is_told_in_one_sentence() -> None:
    with pytest.raises(FourfoldError, match="there is no device 'banana'"):
        choose_device("banana")
