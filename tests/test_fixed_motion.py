"""Motion models for rigs against closed forms and float64 finite differences."""

import math

import pytest
import torch

from fourfold.geometry.four_dimensions import covariance4, from_four_dimensions, rotation4
from fourfold.scene.motion.deformation import Deformation
from fourfold.scene.motion.keyframes import Keyframes
from fourfold.scene.motion.lifespan import Lifespan, lifespan_visibility, motion_divisor
from fourfold.scene.motion.per_frame import PerFrame
from fourfold.scene.motion.polynomial import Polynomial
from fourfold.scene.scene import DYNAMIC, Layer

D = torch.float64


def base(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "means": torch.randn(count, 3, generator=g, dtype=D),
        "quat_wxyz": torch.nn.functional.normalize(torch.randn(count, 4, generator=g, dtype=D), dim=1),
        "log_scale": torch.randn(count, 3, generator=g, dtype=D) * 0.1 - 1,
        "opacity_logit": torch.randn(count, generator=g, dtype=D),
        "color_logit": torch.randn(count, 3, generator=g, dtype=D),
    }


def gradients_agree(layer: Layer, names: list[str], times: list[float], group: str = "splats") -> None:
    """Gradients of positions, rotations, sizes and visibility with respect to the named tensors, by finite differences."""
    tensors = getattr(layer, group)
    values = [tensors[name].clone().requires_grad_() for name in names]

    def outputs(*given):
        for name, value in zip(names, given, strict=True):
            tensors[name] = value
        moved = layer.motion.at(layer, torch.tensor(times, dtype=D))
        return torch.cat([torch.cat([m.means.flatten(), m.quat_wxyz.flatten(), m.log_scale.flatten(), m.opacity]) for m in moved])

    assert torch.autograd.gradcheck(outputs, values, eps=1e-6, atol=1e-6)


def lifespan_layer(count: int = 5, motion: Lifespan = Lifespan()) -> Layer:
    g = torch.Generator().manual_seed(1)
    extra = {
        "velocity": torch.randn(count, 3, generator=g, dtype=D),
        "time_center": torch.rand(count, generator=g, dtype=D),
        "log_duration": torch.linspace(-3, 1, count, dtype=D),
        "log_radius": torch.linspace(-2, 1.5, count, dtype=D),
    }
    return Layer("free", DYNAMIC, motion, base(count) | extra)


def test_lifespan_is_flat_within_its_radius_and_falls_beyond():
    sigma, radius = torch.tensor([0.3], dtype=D), torch.tensor([0.5], dtype=D)
    since = torch.linspace(-3, 3, 601, dtype=D)[:, None]
    seen = lifespan_visibility(since, sigma, radius)[:, 0]
    assert torch.equal(seen[since[:, 0].abs() <= 0.5], torch.ones(int((since.abs() <= 0.5).sum()), dtype=D))
    assert lifespan_visibility(torch.tensor([[0.5], [-0.5], [0.5 + 1e-9]], dtype=D), sigma, radius).flatten() == pytest.approx(1.0)
    later = seen[since[:, 0] >= 0.5]
    assert (later.diff() <= 0).all() and (seen[since[:, 0] <= -0.5].diff() >= 0).all()
    assert float(lifespan_visibility(torch.tensor([[0.8]], dtype=D), sigma, radius)) == pytest.approx(math.exp(-1))  # no one half


def test_radius_learns_only_from_outside_the_flat_top():
    radius = torch.tensor([0.5], dtype=D, requires_grad=True)
    sigma = torch.tensor([0.3], dtype=D)
    (inside,) = torch.autograd.grad(lifespan_visibility(torch.tensor([[0.2]], dtype=D), sigma, radius).sum(), radius)
    value = lifespan_visibility(torch.tensor([[0.9]], dtype=D), sigma, radius).sum()
    (outside,) = torch.autograd.grad(value, radius)
    assert float(inside) == 0
    assert float(outside) == pytest.approx(2 * 0.4 / 0.3**2 * float(value))


def test_motion_divisor_follows_the_paper():
    f = motion_divisor(torch.tensor([0.1, 0.5, 1.0]), torch.tensor([0.2, 0.5, 2.0]))
    assert f.tolist() == pytest.approx([2.0, 2.0, 10.0])
    assert motion_divisor(torch.tensor([1.0]), torch.tensor([2.0]), "unit").item() == pytest.approx(9.0)
    assert motion_divisor(torch.tensor([0.1]), torch.tensor([0.0]), "smooth").item() == pytest.approx(1.01)
    assert motion_divisor(torch.tensor([0.5]), torch.tensor([1.0]), unit=0.5).item() == pytest.approx(10.0)


def test_lifespan_moves_with_the_slowed_velocity_and_rests_at_its_moment():
    layer = lifespan_layer()
    s = layer.splats
    for i in range(5):
        at_rest, later = layer.motion.at(layer, torch.stack([s["time_center"][i], s["time_center"][i] + 0.7]))
        torch.testing.assert_close(at_rest.means[i], s["means"][i])
        f = 1 + max(1.0, float(s["log_duration"][i].exp() + s["log_radius"][i].exp()) ** 2)
        torch.testing.assert_close(later.means[i], s["means"][i] + s["velocity"][i] * 0.7 / f)


def test_longer_lives_drift_less_within_them():
    """The largest displacement inside the flat top, |v| r / f, falls as 1 / r: what lives long stands still."""
    radius = torch.tensor([2.0, 4.0, 8.0, 16.0])
    drift = radius / motion_divisor(torch.full((4,), 0.1), radius)
    assert (drift.diff() < 0).all() and float(drift[-1]) < 0.07


def test_without_a_radius_the_flat_top_is_gone():
    layer = lifespan_layer(motion=Lifespan(flat=False))
    seen = layer.motion.at(layer, layer.splats["time_center"][:1] + 1e-3)[0].visibility
    assert float(seen[0]) < 1


@pytest.mark.parametrize("slowed", ["seed", "unit", "smooth", "nothing"])
def test_lifespan_gradients(slowed):
    gradients_agree(lifespan_layer(motion=Lifespan(slowed=slowed)), ["means", "velocity", "time_center", "log_duration", "log_radius"], [0.13, 1.4])


def polynomial_layer(count: int = 4) -> Layer:
    g = torch.Generator().manual_seed(2)
    extra = {
        "curve": torch.randn(count, 3, 3, generator=g, dtype=D),
        "turn": torch.randn(count, 4, generator=g, dtype=D),
        "time_center": torch.rand(count, generator=g, dtype=D),
        "log_duration": torch.randn(count, generator=g, dtype=D) * 0.2,
    }
    return Layer("free", DYNAMIC, Polynomial(), base(count) | extra)


def test_polynomial_motion_is_a_cubic():
    layer = polynomial_layer()
    s = layer.splats
    moved = layer.motion.at(layer, torch.tensor([1.7], dtype=D))[0]
    for i in range(4):
        d = 1.7 - float(s["time_center"][i])
        expected = s["means"][i] + s["curve"][i, 0] * d + s["curve"][i, 1] * d**2 + s["curve"][i, 2] * d**3
        torch.testing.assert_close(moved.means[i], expected)
        torch.testing.assert_close(moved.quat_wxyz[i], s["quat_wxyz"][i] + s["turn"][i] * d)
        assert float(moved.visibility[i]) == pytest.approx(math.exp(-((d / math.exp(float(s["log_duration"][i]))) ** 2)))
    at_rest = layer.motion.at(layer, s["time_center"][:1])[0]
    torch.testing.assert_close(at_rest.means[0], s["means"][0])


def test_polynomial_gradients():
    layer = polynomial_layer()
    gradients_agree(layer, ["means", "quat_wxyz", "curve", "turn", "log_duration"], [0.1, 1.2])
    layer.splats["time_center"].requires_grad_()
    moved = layer.motion.at(layer, torch.tensor([1.2], dtype=D))[0]
    assert torch.autograd.grad(moved.means.sum(), layer.splats["time_center"], allow_unused=True)[0] is None
    assert torch.autograd.grad(moved.visibility.sum(), layer.splats["time_center"])[0].abs().min() > 0


def deformation_layer(count: int = 4) -> Layer:
    motion = Deformation(depth=3, width=6, waves=2, time_waves=2)
    shared = {k: v.to(D) for k, v in motion.fresh(torch.Generator().manual_seed(0)).items()}
    fixed = {"box": torch.tensor([[-2.0] * 3, [4.0] * 3], dtype=D), "span": torch.tensor([0.0, 2.0], dtype=D)}
    return Layer("free", DYNAMIC, motion, base(count), shared, fixed)


def test_deformation_starts_with_none():
    layer = deformation_layer()
    moved = layer.motion.at(layer, torch.tensor([0.0, 1.3], dtype=D))
    for g in moved:
        torch.testing.assert_close(g.means, layer.splats["means"])
        torch.testing.assert_close(g.quat_wxyz, layer.splats["quat_wxyz"])
        torch.testing.assert_close(g.log_scale, layer.splats["log_scale"])


def test_deformation_gradients_and_its_detached_input():
    layer = deformation_layer()
    g = torch.Generator().manual_seed(5)
    for name in ("weight_3", "bias_3"):
        layer.shared[name] = torch.randn(layer.shared[name].shape, generator=g, dtype=D) * 0.02
    gradients_agree(layer, ["weight_0", "bias_1", "weight_2", "weight_3", "bias_3"], [0.3, 1.1], "shared")
    layer.splats["means"].requires_grad_()
    moved = layer.motion.at(layer, torch.tensor([0.3], dtype=D))[0]
    (slope,) = torch.autograd.grad(moved.means.sum(), layer.splats["means"])
    torch.testing.assert_close(slope, torch.ones_like(slope))


def per_frame_layer(count: int = 3, moments: int = 5) -> Layer:
    g = torch.Generator().manual_seed(3)
    splats = base(count)
    for k in range(1, moments):
        splats[f"bend_{k:03d}"] = torch.zeros(count, 3, dtype=D)
        splats[f"twist_{k:03d}"] = torch.zeros(count, 4, dtype=D)
    splats["bend_001"] = torch.randn(count, 3, generator=g, dtype=D)
    splats["twist_001"] = torch.randn(count, 4, generator=g, dtype=D) * 0.1
    return Layer("free", DYNAMIC, PerFrame(), splats, {}, {"moments": torch.arange(moments, dtype=D) / 10})


def test_per_frame_goes_on_as_before_until_told_otherwise():
    layer = per_frame_layer()
    step = layer.splats["bend_001"]
    for k, moved in enumerate(layer.motion.at(layer, torch.arange(5, dtype=D) / 10)):
        torch.testing.assert_close(moved.means, layer.splats["means"] + k * step)
    layer.splats["bend_003"] = -step
    torch.testing.assert_close(layer.motion.at(layer, torch.tensor([0.4], dtype=D))[0].means, layer.splats["means"] + 2 * step)
    between = layer.motion.at(layer, torch.tensor([0.05], dtype=D))[0].means
    torch.testing.assert_close(between, layer.splats["means"] + 0.5 * step)


def test_per_frame_trains_only_the_newest_moment():
    layer = per_frame_layer()
    for value in layer.splats.values():
        value.requires_grad_()
    layer.motion.at(layer, torch.tensor([0.3], dtype=D))[0].means.sum().backward()
    touched = {name for name, value in layer.splats.items() if value.grad is not None and float(value.grad.abs().sum()) > 0}
    assert touched == {"bend_003"}
    layer = per_frame_layer()
    gradients_agree(layer, ["bend_002", "twist_002"], [0.2])


def keyframe_layer(count: int = 3) -> Layer:
    g = torch.Generator().manual_seed(4)
    keys = torch.randn(count, 4, 4, generator=g, dtype=D)
    extra = {
        "shift_keys": torch.randn(count, 4, 3, generator=g, dtype=D),
        "quat_keys": torch.nn.functional.normalize(keys, dim=2),
        "time_on": torch.full((count,), 0.4, dtype=D),
        "time_off": torch.full((count,), 1.1, dtype=D),
        "log_fade": torch.tensor([[-2.0, -1.0]], dtype=D).repeat(count, 1),
    }
    return Layer("free", DYNAMIC, Keyframes(), base(count) | extra, {}, {"knots": torch.linspace(0, 1.5, 4, dtype=D)})


def test_keyframes_pass_through_their_knots_and_follow_lines():
    layer = keyframe_layer()
    for k, moved in enumerate(layer.motion.at(layer, layer.fixed["knots"])):
        torch.testing.assert_close(moved.means, layer.splats["means"] + layer.splats["shift_keys"][:, k])
        cosine = (moved.quat_wxyz * layer.splats["quat_keys"][:, k]).sum(1).abs()
        torch.testing.assert_close(cosine, torch.ones(3, dtype=D))
    direction = torch.randn(3, 3, dtype=D)
    layer.splats["shift_keys"] = direction[:, None] * layer.fixed["knots"][None, :, None]
    torch.testing.assert_close(layer.motion.at(layer, torch.tensor([0.77], dtype=D))[0].means, layer.splats["means"] + direction * 0.77)


def test_keyframe_lifetime_and_gradients():
    layer = keyframe_layer()
    early, there, late = (float(g.visibility[0]) for g in layer.motion.at(layer, torch.tensor([0.3, 0.8, 1.3], dtype=D)))
    assert there == 1
    assert early == pytest.approx(math.exp(-0.5 * (0.1 / math.exp(-2)) ** 2))
    assert late == pytest.approx(math.exp(-0.5 * (0.2 / math.exp(-1)) ** 2))
    gradients_agree(layer, ["means", "shift_keys", "quat_keys", "time_on", "time_off", "log_fade"], [0.21, 1.27])


def test_slices_of_a_4d_gaussian():
    g = torch.Generator().manual_seed(6)
    scale = torch.rand(4, 4, generator=g, dtype=D) + 0.2
    left, right = (torch.randn(4, 4, generator=g, dtype=D) for _ in range(2))
    turn = rotation4(left, right)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(4, dtype=D).expand(4, 4, 4))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(4, dtype=D))
    covariance = covariance4(scale, left, right)
    velocity, shape, life = from_four_dimensions(covariance)
    precision = torch.linalg.inv(covariance)  # of the joint density; a slice's is its upper left block, whatever the time
    torch.testing.assert_close(torch.linalg.inv(shape), precision[:, :3, :3])
    offset = torch.randn(4, 3, generator=g, dtype=D)
    for time in (-0.4, 0.9):
        point = torch.cat([offset, torch.full((4, 1), time, dtype=D)], 1)
        whole = torch.einsum("ni,nij,nj->n", point, precision, point)
        rest = offset - velocity * time
        sliced = torch.einsum("ni,nij,nj->n", rest, torch.linalg.inv(shape), rest) + time**2 / life
        torch.testing.assert_close(whole, sliced)


def test_an_unturned_4d_gaussian_stands_still():
    one = torch.tensor([[1.0, 0, 0, 0]], dtype=D)
    velocity, shape, life = from_four_dimensions(covariance4(torch.tensor([[0.1, 0.2, 0.3, 0.5]], dtype=D), one, one))
    assert float(velocity.abs().max()) < 1e-12
    torch.testing.assert_close(shape[0], torch.diag(torch.tensor([0.01, 0.04, 0.09], dtype=D)))
    assert float(life) == pytest.approx(0.25)
