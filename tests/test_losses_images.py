"""Losses over images: closed forms, and gradients against float64 finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.losses.base import Loss, Sample, Step
from fourfold.losses.depth import DepthDisparity, DepthGradient
from fourfold.losses.masks import AlphaMask, ForegroundMask, OpaqueEverywhere
from fourfold.losses.photometric import Photometric, region
from fourfold.losses.regularizers import LittleOpacity, ScaleVariance
from fourfold.losses.robust import trimmed_mean
from fourfold.render.api import Render, ScreenStatistics
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene

H, W = 9, 12


def camera() -> Camera:
    K = torch.tensor([[10.0, 0, W / 2], [0, 10.0, H / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera(K, torch.eye(4, dtype=torch.float64), W, H)


def layer(name: str, role: str, count: int) -> Layer:
    random = torch.Generator().manual_seed(count)
    shapes = {"means": (count, 3), "quat_wxyz": (count, 4), "log_scale": (count, 3), "opacity_logit": (count,), "color_logit": (count, 3)}
    return Layer(name, role, Static(), {k: torch.randn(v, generator=random, dtype=torch.float64) for k, v in shapes.items()})


def make_step(color: Tensor, alpha: Tensor, depth: Tensor, sample: Sample, extra: dict[str, Tensor] | None = None) -> Step:
    scene = Scene([layer("static", STATIC, 3), layer("object", DYNAMIC, 2), layer("free", DYNAMIC, 4)], (0.0, 1.0))
    gaussians: list[Gaussians] = scene.at_times([0.0])
    render = Render(color, alpha, depth, None, screen=ScreenStatistics(torch.zeros(9)))
    return Step(scene, [sample], gaussians, [render], [extra or {}], 0, 0.0, 2.0)


def images(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    return {
        "color": draw(H, W, 3),
        "image": draw(H, W, 3),
        "alpha": 0.3 + 0.6 * draw(H, W),
        "depth": 1 + draw(H, W),
        "prior": 1 + draw(H, W),
        "mask": (draw(H, W) > 0.6).double(),
        "channel": draw(H, W, 1),
    }


def sample_of(x: dict[str, Tensor], **changes: Tensor | None) -> Sample:
    base = Sample(0, 0, 0.0, camera(), x["image"], mask=x["mask"], mask_valid=torch.ones(H, W, dtype=torch.float64), depth=x["prior"])
    return Sample(**{**vars(base), **changes})  # type: ignore[arg-type]


LOSSES: list[tuple[str, Loss]] = [
    ("rgb", Photometric(ssim=0.2)),
    ("background", Photometric(ssim=0.2, where="background", erode=1)),
    ("opaque", OpaqueEverywhere()),
    ("alpha mask", AlphaMask()),
    ("mask", ForegroundMask(quantile=0.9)),
    ("depth", DepthDisparity(quantile=0.9)),
    ("mask, square", ForegroundMask(square=True)),
    ("depth, square", DepthDisparity(square=True)),
    ("depth gradient", DepthGradient(quantile=0.9)),
]


@pytest.mark.parametrize(("name", "loss"), LOSSES)
def test_gradient_is_that_of_finite_differences(name: str, loss: Loss) -> None:
    x = images()
    sample = sample_of(x)

    def value(color: Tensor, alpha: Tensor, depth: Tensor, channel: Tensor) -> Tensor:
        return loss(make_step(color, alpha, depth, sample, {"foreground": channel}))

    inputs = tuple(x[k].requires_grad_(True) for k in ("color", "alpha", "depth", "channel"))
    assert torch.autograd.gradcheck(value, inputs, eps=1e-7, atol=1e-6)


def test_photometric_l1_alone_is_the_mean_difference() -> None:
    x = images()
    loss = Photometric(ssim=0.0)(make_step(x["color"], x["alpha"], x["depth"], sample_of(x)))
    assert torch.allclose(loss, (x["color"] - x["image"]).abs().mean())
    same = Photometric()(make_step(x["image"], x["alpha"], x["depth"], sample_of(x)))
    assert abs(float(same)) < 1e-12


def test_background_region_ignores_movers_and_what_is_doubtful() -> None:
    x = images()
    mask, trusted = torch.zeros(H, W, dtype=torch.float64), torch.ones(H, W, dtype=torch.float64)
    mask[4, 5] = 1
    trusted[0, 11] = 0
    sample = sample_of(x, mask=mask, mask_valid=trusted)
    weight = region(sample, "background", 1)
    assert weight is not None
    assert weight[3:6, 4:7].sum() == 0 and weight[0:2, 10:12].sum() == 0
    assert weight.sum() == H * W - 9 - 4
    changed = x["color"].clone()
    changed[4, 5] = 7.0
    loss = Photometric(ssim=0.0, where="background", erode=1)
    assert loss(make_step(changed, x["alpha"], x["depth"], sample)) == loss(make_step(x["color"], x["alpha"], x["depth"], sample))
    inside = region(sample, "foreground")
    assert inside is not None and inside.sum() == 1


def test_depth_loss_has_a_closed_form_and_knows_no_unit() -> None:
    x = images()
    depth, prior = torch.full((H, W), 2.0, dtype=torch.float64), torch.full((H, W), 4.0, dtype=torch.float64)
    step = make_step(x["color"], x["alpha"], depth, sample_of(x, depth=prior))
    expected = 1 / (2.0 / 2 + 1e-5) - 1 / (4.0 / 2 + 1e-5)
    assert math.isclose(float(DepthDisparity()(step)), expected, rel_tol=1e-6)
    assert float(DepthGradient()(step)) == 0
    scaled = make_step(x["color"], x["alpha"], 10 * depth, sample_of(x, depth=10 * prior))
    scaled.extent = 20.0
    assert math.isclose(float(DepthDisparity()(scaled)), expected, rel_tol=1e-6)


def test_squares_are_mean_squares_of_all_pixels() -> None:
    x = images()
    prior = x["prior"].clone()
    prior[:, 6:] = 0
    step = make_step(x["color"], x["alpha"], x["depth"], sample_of(x, depth=prior), {"foreground": x["channel"]})
    gap = 2 / x["depth"][:, :6] - 2 / prior[:, :6]
    assert math.isclose(float(DepthDisparity(square=True)(step)), float(gap.square().mean()), rel_tol=1e-4)
    assert math.isclose(float(ForegroundMask(square=True)(step)), float((x["channel"][..., 0] - x["mask"]).square().mean()), rel_tol=1e-6)


def test_unknown_depth_neither_counts_nor_pulls() -> None:
    x = images()
    prior = x["prior"].clone()
    prior[:, 6:] = 0
    depth = x["depth"].clone().requires_grad_(True)
    loss = DepthDisparity(quantile=1.0)(make_step(x["color"], x["alpha"], depth, sample_of(x, depth=prior)))
    loss.backward()
    assert depth.grad is not None
    assert depth.grad[:, 6:].abs().sum() == 0 and depth.grad[:, :6].abs().min() > 0


def test_foreground_channel_is_the_indicator_of_the_chosen_layers() -> None:
    x = images()
    step = make_step(x["color"], x["alpha"], x["depth"], sample_of(x))
    assert ForegroundMask().channels(step, 0)["foreground"][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    chosen = ForegroundMask(layers="object")
    assert chosen.channels(step, 0)[chosen.channel][:, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]


def test_trimmed_mean_leaves_out_the_worst() -> None:
    error = torch.tensor([1.0, 2.0, 3.0, 100.0])
    assert float(trimmed_mean(error, None, 0.9)) == 2.0
    weight = torch.tensor([1.0, 0.0, 1.0, 1.0])
    assert math.isclose(float(trimmed_mean(error, weight, 0.9)), 2.0, rel_tol=1e-6)
    assert math.isclose(float(trimmed_mean(torch.full((5,), 4.0), None, 0.5)), 4.0)
    assert float(trimmed_mean(error, torch.zeros(4), 0.9)) == 0.0


def test_quantile_of_very_many_values_is_taken_from_a_subsample() -> None:
    values = torch.linspace(0, 1, 2**24 + 5)
    assert abs(float(trimmed_mean(values, None, 0.5)) - 0.25) < 1e-3


def test_regularizers_have_closed_forms() -> None:
    x = images()
    step = make_step(x["color"], x["alpha"], x["depth"], sample_of(x))
    scales = torch.cat([y.splats["log_scale"] for y in step.scene.layers])
    assert torch.allclose(ScaleVariance()(step), ((scales - scales.mean(1, keepdim=True)) ** 2).sum(1).div(2).mean())
    assert torch.allclose(LittleOpacity("free")(step), torch.sigmoid(step.scene.layer("free").splats["opacity_logit"]).mean())
    assert float(LittleOpacity("nobody")(step)) == 0
