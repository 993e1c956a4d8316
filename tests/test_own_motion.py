"""Shape of Motion's ablations: the new forms of motion go where the bases went, and each variant trains what it says and nothing else."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch

import numpy as np
import pytest
import torch

from every_motion import moving_layers
from exact_priors import exact
from fourfold.capture.synthetic import SyntheticOptions
from fourfold.initialize.own_motion import OwnMotion, RestartBases
from fourfold.recipes import find_recipe
from fourfold.training.trainer import TrainConfig, train

VARIANTS = ("translation_bases", "own_se3", "own_translation", "no_se3_start", "no_tracks")


def test_places_of_their_own_are_those_on_the_bases() -> None:
    layer = moving_layers()["se3_bases"]
    knots = layer.fixed["knots"]
    own = OwnMotion(layer.name).changed(layer)
    for before, after in zip(layer.motion.at(layer, knots), own.motion.at(own, knots), strict=True):
        torch.testing.assert_close(after.means, before.means, atol=1e-5, rtol=0)
        same = (torch.nn.functional.normalize(before.quat_wxyz, dim=1) * after.quat_wxyz).sum(1).abs()
        assert float(same.min()) > 1 - 1e-5 and float(after.visibility.min()) == 1
    stiff = OwnMotion(layer.name, turning=False).changed(layer)
    turned = stiff.motion.at(stiff, knots)
    torch.testing.assert_close(turned[-1].means, layer.motion.at(layer, knots)[-1].means, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[-1].quat_wxyz, turned[0].quat_wxyz)


def test_bases_that_do_not_turn_follow_a_pure_translation() -> None:
    layer = moving_layers()["se3_bases"]
    identity = torch.tensor([1.0, 0, 0, 0, 1, 0]).expand_as(layer.shared["rotation6d"])
    shift = layer.shared["translation"][:1].expand_as(layer.shared["translation"])  # all bases alike: each Gaussian moves by the same
    straight = replace(layer, shared={"rotation6d": identity.contiguous(), "translation": shift.contiguous()})
    found = RestartBases("translation", layer.name).changed(straight)
    torch.testing.assert_close(found.shared["translation"], straight.shared["translation"], atol=1e-5, rtol=0)
    rest = RestartBases("rest", layer.name).changed(layer)
    torch.testing.assert_close(rest.means_at(rest.fixed["knots"])[-1], layer.splats["means"])


@pytest.fixture(scope="module")
def casual(tmp_path_factory):
    return exact("casual", tmp_path_factory.mktemp("casual"), SyntheticOptions(frames=6, width=48, height=32, supersample=1, tracks=160))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_trains_what_it_says(name: str, casual, tmp_path) -> None:
    capture, priors = casual
    recipe = find_recipe(f"shape_of_motion/{name}")
    short = replace(recipe, stages=tuple(replace(stage, steps=4) for stage in recipe.stages))
    scene = train(short, None, capture, priors, tmp_path, TrainConfig(quality="draft", device="cpu"))
    layer = next(one for one in scene.layers if one.name == "object")
    rates = {pattern for stage in recipe.stages for pattern in stage.rates}
    trained = {key for key in (*layer.splats, *layer.shared) if any(fnmatch(f"object.{key}", pattern) for pattern in rates)}
    if name == "own_se3":
        assert {"shift_keys", "quat_keys"} <= trained and not layer.shared
    elif name == "own_translation":
        assert "shift_keys" in trained and "quat_keys" not in trained
    elif name == "translation_bases":
        identity = torch.tensor([1.0, 0, 0, 0, 1, 0]).expand_as(layer.shared["rotation6d"])
        assert torch.equal(layer.shared["rotation6d"], identity) and "translation" in trained
    else:
        assert {"rotation6d", "translation", "motion_logits"} <= trained
    assert ("tracks" in {term.name for stage in recipe.stages for term in stage.terms}) == (name != "no_tracks")
    assert np.isfinite(layer.splats["means"].numpy()).all()
