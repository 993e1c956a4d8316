"""Gaussians and positions at further times from one evaluation are those of evaluations apart, in value and gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fourfold.scene.motion.linear import Linear
from fourfold.scene.scene import Layer, Scene
from test_lived_bases import lived_layer
from test_scaffold_motion import made_layer, made_nodes
from test_scene_motion import bases_layer, splats
from tree_scene import random_tree

IMAGES, FURTHER = torch.tensor([0.3, 0.9]), (torch.tensor([0.1, 0.5, 1.1]), torch.tensor([0.2]), torch.tensor([0.7, 0.0]))


def linear_layer() -> Layer:
    values = splats(9, 4, torch.float32)
    own = {"velocity": values["means"].flip(0), "time_center": values["opacity_logit"].clone(), "log_duration": values["opacity_logit"].flip(0)}
    return Layer("free", "dynamic", Linear(), values | own)


LAYERS = {
    "se3_bases": lambda: bases_layer(37, dtype=torch.float32),
    "lived_bases": lambda: lived_layer(21, dtype=torch.float32),
    "motion_tree": random_tree,
    "scaffold": lambda: made_layer(made_nodes()),
    "linear": linear_layer,
}


def fresh(layer: Layer) -> Layer:
    """A copy whose floating tensors want gradients."""

    def leaves(group: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.detach().float().requires_grad_() if value.is_floating_point() else value for name, value in group.items()}

    fixed = {name: value.float() if value.is_floating_point() else value for name, value in layer.fixed.items()}
    return replace(layer, splats=leaves(layer.splats), shared=leaves(layer.shared), fixed=fixed)


def weighed(values: list[torch.Tensor]) -> torch.Tensor:
    """A scalar that asks for gradients of all but the second of `values`, each by numbers of its own."""
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(value.shape, generator=generator) for value in values]
    return torch.stack([(value * factor).sum() for number, (value, factor) in enumerate(zip(values, drawn, strict=True)) if number != 1]).sum()


@pytest.mark.parametrize("kind", LAYERS)
def test_together_is_apart(kind, each_isa):
    one, other = fresh(LAYERS[kind]()), fresh(LAYERS[kind]())
    gaussians, places = one.at_and_means(IMAGES, FURTHER)
    apart = other.motion.at(other, IMAGES)
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(gaussians, apart, strict=True) for name in ("means", "quat_wxyz", "visibility")]
    pairs = [pair for pair in pairs if pair[0] is not None] + list(zip(places, [other.means_at(times) for times in FURTHER], strict=True))
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    weighed([mine for mine, _ in pairs]).backward()
    weighed([theirs for _, theirs in pairs]).backward()
    for group in ("splats", "shared"):
        for name, value in getattr(one, group).items():
            expected = getattr(other, group)[name].grad
            if expected is not None:
                torch.testing.assert_close(value.grad, expected, rtol=1e-4, atol=2e-5 * float(expected.abs().max() + 1e-3), msg=name)


def test_a_scene_tells_each_layer_its_own_times():
    layers = [replace(bases_layer(12, dtype=torch.float32), name="object"), linear_layer()]
    scene = Scene(layers, (0.0, 1.0))
    gaussians, places = scene.at_and_means([0.3, 0.9], {"free": FURTHER})
    assert [len(g) for g in gaussians] == [21, 21]
    assert places["object"] == []
    for found, times in zip(places["free"], FURTHER, strict=True):
        assert torch.equal(found, layers[1].means_at(times))
    assert torch.equal(gaussians[1].means, scene.at(0.9).means)
