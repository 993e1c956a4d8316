"""Density control: edits keep invariants, and the optimiser's moments follow the rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.density.absgrad import absgrad_control
from fourfold.density.adaptive import AdaptiveControl
from fourfold.density.base import DensityControl, Edit, GrowthStatistics, Moment
from fourfold.density.capped import CappedGrowth
from fourfold.density.mcmc import Relocation, relocated
from fourfold.errors import FourfoldError
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer
from fourfold.training.edits import apply_edit
from fourfold.training.state import Moments


def make_layer(count: int, seed: int = 0) -> Layer:
    random = torch.Generator().manual_seed(seed)
    shapes = {"means": (count, 3), "quat_wxyz": (count, 4), "log_scale": (count, 3), "opacity_logit": (count,), "color_logit": (count, 3)}
    return Layer("static", STATIC, Static(), {k: torch.randn(v, generator=random) for k, v in shapes.items()})


def statistics(count: int, gradient: torch.Tensor | None = None) -> GrowthStatistics:
    fresh = GrowthStatistics.zeros(count, torch.device("cpu"))
    fresh.count += 1
    if gradient is not None:
        fresh.gradient += gradient
        fresh.absolute_gradient += gradient
    return fresh


AT = Moment(step=300, steps=1000, extent=1.0, frames=10)
NUMBERS = AdaptiveControl(reset_every=0, cull_opacity=0.1)
CONTROLS: list[DensityControl] = [NUMBERS, absgrad_control(NUMBERS), CappedGrowth(most=60), Relocation(most=60)]


@pytest.mark.parametrize("control", CONTROLS)
@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 50), seed=st.integers(0, 1000))
def test_edits_are_consistent_and_depend_on_their_arguments_alone(control: DensityControl, count: int, seed: int) -> None:
    layer = make_layer(count, seed)
    gathered = statistics(count, torch.rand(count, generator=torch.Generator().manual_seed(seed)) * 1e-3)
    before = {k: v.clone() for k, v in layer.splats.items()}
    edit = control(layer, gathered, AT, np.random.default_rng(seed))
    again = control(layer, gathered, AT, np.random.default_rng(seed))
    assert all(torch.equal(before[k], layer.splats[k]) for k in before), "control must not change the layer"
    if edit is None or again is None:
        assert edit is None and again is None
        return
    assert torch.equal(edit.source, again.source) and all(torch.equal(edit.changes[k], again.changes[k]) for k in edit.changes)
    rows = len(edit.source)
    assert edit.fresh.shape == (rows,) and (rows == 0 or (int(edit.source.min()) >= 0 and int(edit.source.max()) < count))
    apply_edit(layer, edit, {})
    assert {len(v) for v in layer.splats.values()} == {rows}
    assert all(torch.isfinite(v).all() for v in layer.splats.values())
    untouched = ~edit.fresh
    for name in ("means", "color_logit", "quat_wxyz"):
        assert torch.equal(layer.splats[name][untouched], before[name][edit.source[untouched]])


def test_small_pulled_ones_are_cloned_large_ones_split_faint_ones_removed() -> None:
    layer = make_layer(4)
    layer.splats["log_scale"] = torch.log(torch.tensor([0.001, 0.1, 0.001, 0.001]))[:, None].repeat(1, 3)
    layer.splats["opacity_logit"] = torch.tensor([2.0, 2.0, 2.0, -5.0])
    gathered = statistics(4, torch.tensor([1e-3, 1e-3, 1e-5, 1e-3]))
    edit = NUMBERS(layer, gathered, AT, np.random.default_rng(0))
    assert edit is not None
    assert edit.source.tolist() == [0, 2, 0, 1, 1]
    assert edit.fresh.tolist() == [False, False, True, True, True]
    apply_edit(layer, edit, {})
    assert torch.allclose(layer.splats["log_scale"][3:].exp(), torch.full((2, 3), 0.1 / 1.6))
    assert not torch.equal(layer.splats["means"][3], layer.splats["means"][4])
    released = replace(NUMBERS, jitter=False)(make_layer(4), gathered, AT, np.random.default_rng(0))
    assert released is not None and "means" not in released.changes


def test_split_halves_are_drawn_from_the_gaussian() -> None:
    layer = make_layer(1)
    layer.splats["log_scale"] = torch.log(torch.tensor([[3.0, 0.02, 0.02]]))
    layer.splats["quat_wxyz"] = torch.tensor([[math.cos(math.pi / 4), 0, 0, math.sin(math.pi / 4)]])  # x axis turned to y
    draws = []
    for seed in range(300):
        edit = NUMBERS(layer, statistics(1, torch.ones(1)), AT, np.random.default_rng(seed))
        if edit is not None and "means" in edit.changes:
            draws.append(edit.changes["means"] - layer.splats["means"])
    spread = torch.cat(draws).std(0)
    assert abs(float(spread[1]) - 3.0) < 0.35 and float(spread[0]) < 0.03 and float(spread[2]) < 0.03


def test_opacity_reset_fades_everything_and_zeroes_its_moments() -> None:
    control = replace(NUMBERS, reset_every=300, stop=4000)
    layer = make_layer(5)
    layer.splats["opacity_logit"] = torch.tensor([4.0, 3.0, 2.0, 1.0, -3.0])
    memory = {name: Moments(torch.ones_like(v), torch.ones_like(v)) for name, v in (("static.opacity_logit", layer.splats["opacity_logit"]),)}
    edit = control(layer, statistics(5), AT, np.random.default_rng(0))
    assert edit is not None
    apply_edit(layer, edit, memory)
    assert torch.sigmoid(layer.splats["opacity_logit"]).max() <= 0.08 + 1e-6
    assert float(layer.splats["opacity_logit"][4]) == -3.0
    assert memory["static.opacity_logit"].first.abs().sum() == 0


def test_capped_growth_reaches_the_cap_and_never_passes_it() -> None:
    layer, control = make_layer(40), CappedGrowth(most=60, share=0.3, cull_opacity=0.0)
    for step in range(100, 700, 100):
        edit = control(layer, statistics(len(layer), torch.rand(len(layer))), replace(AT, step=step), np.random.default_rng(step))
        if edit is not None:
            apply_edit(layer, edit, {})
    assert len(layer) == 60


@pytest.mark.parametrize("copies", [1, 2, 5, 20])
def test_relocation_keeps_the_blended_opacity_at_the_centre(copies: int) -> None:
    opacity = torch.tensor([0.1, 0.5, 0.95], dtype=torch.float64)
    faded, shrink = relocated(opacity, torch.full((3,), copies))
    assert torch.allclose(1 - (1 - faded) ** copies, opacity)
    assert (shrink <= 1 + 1e-9).all()
    # the integral of the blended profile along a line through the centre is kept: equation 9
    x = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    before = opacity[:, None] * torch.exp(-(x**2) / 2)
    after = 1 - (1 - faded[:, None] * torch.exp(-((x / shrink[:, None]) ** 2) / 2)) ** copies
    assert torch.allclose(before.sum(1), after.sum(1), rtol=1e-6)


def test_relocation_moves_the_dead_to_the_living() -> None:
    layer = make_layer(6)
    layer.splats["opacity_logit"] = torch.tensor([3.0, -9.0, 3.0, -9.0, -9.0, 0.0])
    edit = Relocation(most=6)(layer, statistics(6), AT, np.random.default_rng(0))
    assert edit is not None
    assert set(edit.source.tolist()) <= {0, 2, 5} and len(edit.source) == 6


def test_moments_follow_their_rows() -> None:
    layer = make_layer(3)
    memory = {"static.means": Moments(torch.arange(9.0).reshape(3, 3), torch.arange(9.0).reshape(3, 3), 5)}
    edit = Edit(torch.tensor([2, 0, 0]), torch.tensor([False, False, True]), {}, ())
    growth = apply_edit(layer, edit, memory)
    assert memory["static.means"].first.tolist() == [[6, 7, 8], [0, 1, 2], [0, 0, 0]]
    assert memory["static.means"].steps == 5 and len(growth.count) == 3


def test_an_edit_of_a_wrong_shape_is_refused() -> None:
    with pytest.raises(FourfoldError, match="expected 2 rows of an existing parameter"):
        apply_edit(make_layer(3), Edit(torch.tensor([0, 1]), torch.zeros(2, dtype=torch.bool), {"means": torch.zeros(3, 3)}), {})
