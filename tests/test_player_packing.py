"""What a page holds, read back from its bytes alone, is the scene: every motion model, at times between all frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from every_motion import looks, moving_layers, scene_of, straight, walking_camera
from fourfold.export.packing import PackingError, moments_between
from fourfold.export.paths import camera_between
from fourfold.geometry.camera import Camera
from fourfold.geometry.rotations import quat_multiply, quat_normalize, quat_to_matrix
from fourfold.notices import fallbacks, job
from fourfold.render.api import rasterize
from fourfold.scene.motion.linear import Linear
from fourfold.scene.scene import DYNAMIC, Layer, Scene
from fourfold.viewer.packing.blocks import Block, from_text, read_block
from fourfold.viewer.packing.config import PackConfig
from fourfold.viewer.packing.keys import ANGLE_STEP, turned_by, turned_from
from fourfold.viewer.packing.looks import TURN_STEP, from_turn_steps, turn_steps
from fourfold.viewer.packing.measure import held, measured
from fourfold.viewer.packing.read import Packed
from fourfold.viewer.packing.write import Pack, pack

CAPTURE = walking_camera()
KINDS = sorted(moving_layers())


def packed(scene: Scene, config: PackConfig = PackConfig()) -> tuple[Pack, Packed, PackingError]:
    made = pack(scene, CAPTURE, config)
    texts = [part.block.text() for part in made.parts]
    return made, Packed(made.header(), [from_text(text) for text in texts]), measured(made, texts, scene, CAPTURE)


@pytest.mark.parametrize("terms", [0, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_every_motion_model_comes_back(kind: str, terms: int) -> None:
    scene = scene_of(kind, terms)
    made, read, error = packed(scene)
    assert error.pixels < 0.12 and error.worst_pixels < 0.25 and error.decibels > 55
    for time in moments_between(scene, 3):
        truth, (rows, back) = scene.at(time), held(made, read, time)
        missing = torch.ones(len(truth), dtype=torch.bool)
        missing[rows] = False
        assert not missing.any() or float(truth.opacity[missing].max()) < 1.5 / 255
        seen = truth.opacity[rows] > 1 / 255
        truth = truth.select(rows).select(seen)
        back = back.select(seen)
        assert float((truth.opacity - back.opacity).abs().max()) < 0.02
        assert float((truth.color - back.color).abs().max()) < 0.02
        assert float((truth.log_scale - back.log_scale).abs().max()) < 0.05
        same = (quat_normalize(truth.quat_wxyz) * quat_normalize(back.quat_wxyz)).sum(1).abs().clamp(max=1)
        elongated = truth.scale.amax(1) / truth.scale.amin(1) > 1.5
        assert float(torch.acos(same)[elongated].max()) * 2 < 0.06


def test_shared_motions_need_not_turn_about_the_origin() -> None:
    """Many Gaussians, about a pivot, of which the short-lived need no coefficient and the others few."""
    count = 5000
    layer = moving_layers()["lived_bases"]
    g = torch.Generator().manual_seed(3)
    rows = torch.randint(len(layer), (count,), generator=g)
    splats = {name: value[rows] for name, value in layer.splats.items()}
    splats["means"] = splats["means"] + 0.2 * torch.randn(count, 3, generator=g)
    splats["time_center"] = torch.rand(count, generator=g)
    splats["log_radius"] = torch.linspace(-6, 0, count)
    splats["log_duration"] = torch.full((count,), -4.0)
    # the same motion about another pivot: R (m - p) + p + tau + (R - 1) p
    scene = Scene([replace(layer, splats=splats, fixed=layer.fixed | {"pivot": torch.tensor([1.0, -2.0, 3.0])})], (0.0, 1.0))
    made, _, error = packed(scene)
    coefficients = {s["name"]: s["shape"][1] for s in made.lasting.block.sections if s["name"].endswith(".index")}
    assert error.pixels < 0.12 and error.decibels > 50
    assert len(coefficients) >= 2 and len(made.lasting.groups) > len(coefficients), "all kinds of groups are tried here"


def test_a_page_that_is_not_exact_says_so() -> None:
    with job():
        *_, error = packed(scene_of("per_frame"), PackConfig(pixels=30.0, of_size=3.0, least_decibels=45.0))
        assert error.pixels > 0.5 and any("less exactly than it should" in told for told in fallbacks())
    with job():
        packed(scene_of("per_frame"))
        assert not fallbacks()


def test_what_is_never_seen_or_not_finite_is_left_out() -> None:
    splats = looks(30, 3) | straight(30, 4)
    splats["opacity_logit"][:5] = -9.0
    splats["means"][5:8] = torch.nan
    splats["time_center"][8:12] = 40.0
    splats["log_duration"][8:12] = -2.0
    made = pack(Scene([Layer("free", DYNAMIC, Linear(), splats)], (0.0, 1.0)), CAPTURE)
    kept = torch.cat(made.lasting.rows)
    assert not (kept < 12).any() and len(kept) >= 10


EMPTY = Scene([Layer("none", DYNAMIC, Linear(), looks(0, 1) | straight(0, 1))], (0.0, 1.0))


@pytest.mark.parametrize("scene", [EMPTY, replace(scene_of("deformation"), time_range=(0.5, 0.5))])
def test_scenes_without_content_or_length(scene: Scene) -> None:
    made, read, _ = packed(scene)
    assert len(held(made, read, scene.time_range[0])[1]) == made.lasting.count + sum(strand[0].count for strand in made.strands)


def test_the_measured_error_is_that_of_pictures_drawn_from_the_bytes() -> None:
    scene = scene_of("linear")
    made, read, error = packed(scene)
    squares = []
    for time in moments_between(scene, 3):
        camera: Camera = replace(camera_between(CAPTURE, 0, time), near=scene.near)
        both = (scene.at(time), held(made, read, time)[1])
        one, two = (rasterize(g, camera, background=torch.tensor(scene.background)).color.clamp(0, 1) for g in both)
        squares.append(float((one - two).double().square().mean()))
    assert error.decibels == pytest.approx(-10 * np.log10(np.mean(squares)), abs=1e-3)


@given(st.data())
def test_tables_come_back(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 4))
    low, high = sorted(data.draw(st.tuples(st.integers(-(2**28), 2**28), st.integers(-(2**28), 2**28))))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(low, high + 1, (rows, columns))
    if data.draw(st.booleans()):
        values = np.sort(values, axis=0)
    block = Block()
    block.floats("first", values.astype(np.float32))
    block.integers("second", values)
    read = read_block(block.sections, from_text(block.text()))
    assert np.array_equal(read["second"], values) and np.array_equal(read["first"], values.astype(np.float32))


def test_quaternions_lose_half_a_step() -> None:
    quats = quat_normalize(torch.randn(500, 4, generator=torch.Generator().manual_seed(0)))
    same = (quats * from_turn_steps(torch.from_numpy(turn_steps(quats)))).sum(1).abs().clamp(max=1)
    assert float(2 * torch.acos(same).max()) < 2 * 2 * TURN_STEP
    # a turn of a step and a half in each component would be seen: the bound is no accident
    assert float(2 * torch.acos(same).max()) > 0.5 * TURN_STEP


def test_keyframed_rotations_lose_half_a_step() -> None:
    g = torch.Generator().manual_seed(1)
    base, quats = (quat_normalize(torch.randn(2, 300, 4, generator=g)) for _ in range(2))
    back = turned_by(base[0].expand(2, -1, -1), turned_from(base[0], quats))
    between = quat_to_matrix(quat_multiply(back, quats * torch.tensor([1.0, -1, -1, -1])))
    angle = torch.acos(((between.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    assert float(angle.max()) < ANGLE_STEP
