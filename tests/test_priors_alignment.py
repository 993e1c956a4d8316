"""Depth that agrees over time and between cameras: scales, hulls, rooms, votes, against closed forms and synthetic truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic.generate import generate
from fourfold.capture.synthetic.options import SyntheticOptions
from fourfold.priors.contracts import Depth, Masks, PointMaps, Priors, Provenance
from fourfold.priors.depth_alignment.hull_depth import HullDepthNumbers, with_movers
from fourfold.priors.depth_alignment.scales import align_depth, closed_form_scale, confident, ray_weights
from fourfold.priors.depth_alignment.space_time import SpaceTimeNumbers, depth_from_pointmaps, nearest_angle, surround_depth, view_consistent_depth
from fourfold.priors.depth_alignment.steady import steady_depth
from fourfold.priors.depth_alignment.surround_shapes import Room
from fourfold.priors.providers import all_providers, choose
from fourfold.priors.tracking.flow import estimate_flow


@pytest.fixture(scope="module")
def fixed_rig(tmp_path_factory: pytest.TempPathFactory) -> tuple[Capture, Masks, Depth]:
    """Four cameras 90 degrees apart, their exact masks and depth; the capture itself brings no depth."""
    root = tmp_path_factory.mktemp("rig") / "sparse_fixed"
    capture = generate("sparse_fixed", root, options=SyntheticOptions(frames=8, width=160, height=90, fps=12.0, supersample=1, tracks=10))
    masks = Masks(Provenance("truth"), tuple(np.load(root / f"masks_{v:03d}.npy") for v in range(capture.views)))
    depth = tuple(np.load(root / f"depth_{v:03d}.npy") for v in range(capture.views))
    for v in range(capture.views):
        (root / f"depth_{v:03d}.npy").unlink()
    return capture, masks, Depth(Provenance("truth"), depth, tuple((d > 0).astype(np.float16) for d in depth))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.2, 5.0))
def test_closed_form_is_the_brute_force_minimum(seed: int, true_scale: float) -> None:
    random = np.random.default_rng(seed)
    K = np.array([[30.0, 0, 8], [0, 32.0, 5], [0, 0, 1]])
    steady = random.uniform(1, 6, (3, 10, 16))
    agreed = true_scale * steady * random.uniform(0.7, 1.4, steady.shape)
    use = random.uniform(size=steady.shape) > 0.4
    weight = ray_weights(K, 10, 16)[None] * use
    found = closed_form_scale(steady, agreed, weight)
    assert found is not None
    y, x = np.mgrid[0:10, 0:16] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T

    def misfit(s: float) -> float:  # of the point maps themselves
        gap = (s * steady - agreed)[..., None] * rays
        return float((gap**2).sum(-1)[use].sum())

    tried = np.linspace(found * 0.9, found * 1.1, 401)
    assert abs(tried[np.argmin([misfit(s) for s in tried])] - found) <= tried[1] - tried[0]


def test_nothing_in_common_has_no_scale() -> None:
    assert closed_form_scale(np.ones((2, 2)), np.ones((2, 2)), np.zeros((2, 2))) is None


def test_confident_pixels_are_those_of_each_image() -> None:
    sure = np.zeros((2, 1, 20), np.float32)
    sure[0, 0] = np.arange(1, 21) / 20
    sure[1, 0] = np.arange(1, 21) / 2000  # an image with little confidence has its best pixels, too
    depth = np.ones_like(sure)
    depth[0, 0, 19] = 0
    found = confident(sure, depth, 0.95)
    assert found.sum(axis=(1, 2)).tolist() == [1, 1]
    assert found[0, 0, 18]
    assert found[1, 0, 19]
    assert confident(np.full((1, 2, 2), 0.5), np.ones((1, 2, 2)), 0.95).all()


def test_half_the_depth_gets_the_scale_two(fixed_rig: tuple[Capture, Masks, Depth]) -> None:
    capture, _, truth = fixed_rig
    half = replace(truth, depth=tuple(d / 2 for d in truth.depth))
    _, scales = align_depth(capture, half, truth)
    assert np.allclose(scales[capture.train], 2.0, rtol=1e-5)


def errors(depth: Depth, truth: Depth, capture: Capture, where: Masks | None = None) -> float:
    found = []
    for view, index in capture.train_frames():
        one, true = np.asarray(depth.depth[view][index], np.float64), truth.depth[view][index]
        use = (one > 0) & (true > 0) & (np.ones_like(true, bool) if where is None else where.mask[view][index] > 0)
        found.append(np.abs(one[use] - true[use]))
    return float(np.concatenate(found).mean())


def drifting_sources(capture: Capture, truth: Depth, seed: int) -> tuple[Depth, Depth]:
    """Error kinds of the paper: consistent over time with a scale per camera; consistent between cameras with noise in every frame."""
    random = np.random.default_rng(seed)
    steady, agreed = [], []
    for view in range(capture.views):
        true = truth.depth[view]
        grain = random.normal(size=(1, *true.shape[1:]))  # a texture that stays
        steady.append((true * random.uniform(0.4, 2.5) * (1 + 0.01 * grain)).astype(np.float32))
        jump = random.normal(size=(len(true), 1, 1)) * 0.05 + random.normal(size=true.shape) * 0.05
        agreed.append((true * (1 + jump)).astype(np.float32))
    sure = tuple(np.ones(d.shape, np.float16) for d in truth.depth)
    return Depth(Provenance("time"), tuple(steady), sure), Depth(Provenance("view"), tuple(agreed), sure)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_aligned_depth_beats_each_source_alone(fixed_rig: tuple[Capture, Masks, Depth], seed: int) -> None:
    capture, _, truth = fixed_rig
    steady, agreed = drifting_sources(capture, truth, seed)
    aligned, _ = align_depth(capture, steady, agreed)
    both = errors(aligned, truth, capture)
    assert both < 0.6 * min(errors(steady, truth, capture), errors(agreed, truth, capture))


def test_a_rig_whose_cameras_disagree_is_told(fixed_rig: tuple[Capture, Masks, Depth]) -> None:
    capture, _, truth = fixed_rig
    one = replace(truth, depth=tuple(d * (0.5 if v == 0 else 1.0) for v, d in enumerate(truth.depth)))
    made, _ = align_depth(capture, one, truth)
    assert any("check the calibration" in note for note in made.provenance.notes)
    assert not align_depth(capture, truth, truth)[0].provenance.notes


def test_classical_sources_aligned_beat_each_alone(fixed_rig: tuple[Capture, Masks, Depth]) -> None:
    capture, masks, truth = fixed_rig
    random = np.random.default_rng(3)  # masks of real captures flicker
    spoilt = replace(masks, mask=tuple(np.where(random.uniform(size=m.shape) < 0.01, 0, m).astype(np.int8) for m in masks.mask))
    agreed = view_consistent_depth(capture, spoilt, None)
    steady = steady_depth(capture, agreed, estimate_flow(capture))
    aligned, _ = align_depth(capture, steady, agreed)
    both = errors(aligned, truth, capture, masks)
    assert both < errors(agreed, truth, capture, masks)
    assert both < errors(steady, truth, capture, masks)


def test_hull_depth_is_near_the_bodies(fixed_rig: tuple[Capture, Masks, Depth]) -> None:
    from fourfold.priors.depth.rig import stage_of

    capture, masks, truth = fixed_rig
    stage = stage_of(capture)
    assert stage is not None
    nothing = Depth(Provenance("none"), tuple(np.zeros_like(d) for d in truth.depth), truth.confidence)
    block = with_movers(capture, masks, nothing, stage, HullDepthNumbers(rounded=False))
    assert errors(block, truth, capture, masks) < 0.12  # of 2.9 m
    for view, index in capture.train_frames():
        mover = masks.mask[view][index] > 0
        assert (block.depth[view][index][~mover] == 0).all()
        assert (block.depth[view][index][mover] > 0).mean() > 0.95


def test_the_room_of_four_cameras_is_found(fixed_rig: tuple[Capture, Masks, Depth]) -> None:
    from fourfold.priors.depth.rig import stage_of

    capture, masks, truth = fixed_rig
    stage = stage_of(capture)
    assert stage is not None
    assert nearest_angle(capture) > 1.5
    room = surround_depth(capture, masks, stage)
    relative: list[NDArray[np.floating]] = []
    for view, index in capture.train_frames()[::4]:
        still = (masks.mask[view][index] < 0) & (truth.depth[view][index] < 3.0)  # the floor
        relative.append(room.depth[view][index][still] / truth.depth[view][index][still] - 1)
    assert float(np.median(np.abs(np.concatenate(relative)))) < 0.03


def test_rays_meet_a_box_a_cylinder_and_a_dome_where_they_should() -> None:
    east, up = np.array([1.0, 0, 0]), np.array([0, -1.0, 0])
    ahead = np.array([[0.0, 0, 1], [1.0, 0, 0], [0, 1.0, 0], [1.0, 0, 1.0]])
    box = Room(np.zeros(3), up, east, "box", (1.5, 2.0, 3.0, 0.0, 0.0))
    assert np.allclose(box.meets(np.zeros(3), ahead), [3, 2, 1.5, 2])
    turned = replace(box, turn=np.pi / 2)
    assert np.allclose(turned.meets(np.zeros(3), ahead), [2, 3, 1.5, 2])
    tube = replace(box, walls="cylinder", size=(1.5, 2.0, 2.0, 0.0, 0.0))
    assert np.allclose(tube.meets(np.array([1.0, 0, 0]), ahead), [np.sqrt(3), 1, 1.5, (-1 + np.sqrt(7)) / 2])
    dome = replace(tube, walls="dome", size=(10.0, 2.0, 2.0, 0.0, 0.0))
    assert np.allclose(dome.meets(np.zeros(3), ahead), [2, 2, 2, np.sqrt(2)])


def test_one_wrong_frame_is_outvoted(fixed_rig: tuple[Capture, Masks, Depth]) -> None:
    capture, _, truth = fixed_rig
    depth = [np.array(d) for d in truth.depth]
    depth[0][4, 10:30, 10:30] *= 1.15  # a wall that jumps for one moment
    made = steady_depth(capture, replace(truth, depth=tuple(depth)), estimate_flow(capture))
    ratio = made.depth[0][4, 12:28, 12:28] / made.depth[0][3, 12:28, 12:28] / (truth.depth[0][4] / truth.depth[0][3])[12:28, 12:28]
    assert float(np.median(np.abs(ratio - 1))) < 0.01
    assert abs(float(np.median(made.depth[0][capture.train[0]])) - 1) < 1e-3


def test_point_maps_of_one_camera_are_scaled_to_the_others(fixed_rig: tuple[Capture, Masks, Depth]) -> None:
    capture, masks, truth = fixed_rig
    xyz = tuple(np.stack([np.zeros_like(d), np.zeros_like(d), 0.37 * d], -1) for d in truth.depth)
    maps = PointMaps(Provenance("network", True, (), {"scale": "relative"}), xyz, truth.confidence)
    made = depth_from_pointmaps(capture, maps, masks, None, estimate_flow(capture), SpaceTimeNumbers())
    assert np.allclose(made.provenance.figures["scales"], 1 / 0.37, rtol=0.12)
    assert made.provenance.needs_weights


def test_providers_serve_a_few_cameras_only(fixed_rig: tuple[Capture, Masks, Depth]) -> None:
    capture, masks, _ = fixed_rig
    assert choose("depth", capture).name == "space_time"
    single = replace(capture, train=capture.train & (np.arange(capture.views) == 0)[:, None])
    assert choose("depth", single).name != "space_time"
    served = next(p for p in all_providers() if p.name == "space_time")
    made = served.make(capture, Priors(masks=masks, flow=estimate_flow(capture)))[0]
    assert isinstance(made, Depth)
    assert made.provenance.provider == "space_time"
    assert all(float((made.depth[v][t] > 0).mean()) > 0.99 for v, t in capture.train_frames())
    assert Path(capture.root).exists()
