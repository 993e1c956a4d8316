"""Losses through the compiled kernels against their plain twins in float64, for values and gradients, with every built instruction set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.losses.base import Loss, Sample, Step, TrackTargets
from fourfold.losses.depth import DepthDisparity, DepthGradient
from fourfold.losses.masks import square_from
from fourfold.losses.normalised_depth import NormalisedDepth
from fourfold.losses.ordinal_depth import OrdinalDepth, ordinal_loss
from fourfold.losses.photometric import photometric
from fourfold.losses.regularizers import spread_of_three
from fourfold.losses.robust import trimmed_l1
from fourfold.losses.scaffold import unrest
from fourfold.losses.smoothness import mean_bend, ray_motion
from fourfold.losses.tracks import PARITY, TRACKS, TrackDepth, TrackNumbers, TrackReprojection
from fourfold.losses.tree_rigidity import rigidity_of_pairs
from fourfold.render.api import Render, ScreenStatistics
from fourfold.scene.leaf_weights import leaf_weights
from fourfold.scene.motion.static import Static
from fourfold.scene.pose_duals import pose_duals
from fourfold.scene.scene import STATIC, Layer, Scene
from fourfold.scene.tree_levels import NodeMotions

TOLERANCE = 1e-5


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def agree(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """`function` of float32 `inputs` goes the compiled way, of float64 the plain one."""
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [t.to(dtype).requires_grad_() for t in inputs]
        value = function(*leaves)
        (2.5 * value).backward()
        results.append((value.detach().double(), [leaf.grad.double() for leaf in leaves]))
    (value, gradients), (wanted, expected) = results
    assert abs(float(value - wanted)) <= TOLERANCE * abs(float(wanted)) + 1e-9
    for gradient, other in zip(gradients, expected, strict=True):
        assert float(other.norm()) > 0
        assert float((gradient - other).norm()) <= TOLERANCE * float(other.norm())


@pytest.mark.parametrize("size", [(5, 7, 3), (37, 52, 3), (16, 16, 1)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_photometric(each_isa, size, weighted, share):
    image, target = drawn(1, *size), drawn(2, *size)
    weight = drawn(3, *size[:2]) * (drawn(4, *size[:2]) > 0.4)
    agree(lambda x: photometric(x, target.to(x), weight.to(x) if weighted else None, share), image)


def test_photometric_without_any_weight_is_nothing():
    image = torch.rand(6, 5, 3).requires_grad_()
    value = photometric(image, torch.rand(6, 5, 3), torch.zeros(6, 5), 0.2)
    value.backward()
    assert float(value.detach()) == 0
    assert not image.grad.any()


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("level", [0.95, 0.5])
@pytest.mark.parametrize("shape", [(120, 131), (3, 5), (1, 9)])
def test_trimmed_means_of_many_values_have_the_exact_quantile(each_isa, axis, level, shape):
    if axis is not None and shape[axis] < 3:
        return
    residual = (drawn(5, *shape) - 0.5) ** 3  # crowded about zero
    residual[: shape[0] // 2, : shape[1] // 3] += 3.0  # the worst lie together
    weight = drawn(6, *shape) * (drawn(7, *shape) > 0.3)
    agree(lambda x: trimmed_l1(x, weight.to(x), level, axis), residual.float().double())


def depth_step(depth: Tensor) -> Step:
    """A step whose depth is known in part, whose image covers some pixels little, on a camera of 40 x 30."""
    h, w = depth.shape
    layer = Layer("static", STATIC, Static(), {name: torch.zeros(2, k) for name, k in (("means", 3), ("quat_wxyz", 4), ("log_scale", 3))})
    layer.splats |= {"opacity_logit": torch.zeros(2), "color_logit": torch.zeros(2, 3)}
    prior = (1 + drawn(8, h, w)) * (drawn(9, h, w) > 0.2)
    K = torch.tensor([[30.0, 0, w / 2], [0, 30.0, h / 2], [0, 0, 1]])
    sample = Sample(0, 0, 0.0, Camera(K, torch.eye(4), w, h), torch.zeros(h, w, 3), depth=prior.to(depth))
    sample = replace(sample, depth_confidence=drawn(10, h, w).to(depth), valid=(drawn(11, h, w) > 0.1).to(depth))
    sample = replace(sample, mask=(drawn(12, h, w) > 0.5).to(depth))
    render = Render(sample.image.to(depth), (0.05 + drawn(13, h, w)).clamp_max(1).to(depth), depth, None, screen=ScreenStatistics(torch.zeros(2)))
    scene = Scene([layer], (0.0, 1.0))
    return Step(scene, [sample], scene.at_times([0.0]), [render], [{}], 0, 0.0, 2.5)


@pytest.mark.parametrize("loss", [DepthDisparity(), DepthDisparity(foreground_only=True), DepthDisparity(square=True), DepthGradient()])
def test_depth(each_isa, loss: Loss):
    agree(lambda depth: loss(depth_step(depth)), (0.8 + drawn(14, 30, 40)).float().double())


@pytest.mark.parametrize("valid", [True, False])
def test_normalised_depth(each_isa, valid):
    def loss(depth: Tensor) -> Tensor:
        step = depth_step(depth)
        step.samples = [sample if valid else replace(sample, valid=None) for sample in step.samples]
        return NormalisedDepth()(step)

    agree(loss, (0.8 + drawn(14, 30, 40)).float().double())


@pytest.mark.parametrize(("sharpness", "level"), [(2.0, 0.1), (100.0, 0.3), (0.5, 0.0)])
def test_ordinal_depth(each_isa, sharpness, level):
    prior = (1 + drawn(40, 900)).float().double()
    prior[::3] = prior[0]  # equal ones have equal ranks
    pairs = tuple(torch.randint(900, (501,), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    numbers = OrdinalDepth(sharpness=sharpness, level=level)
    agree(lambda depth: ordinal_loss(depth, prior.to(depth), pairs, numbers), (0.8 + drawn(41, 900)).float().double())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_depths_that_are_no_numbers_are_told_and_nothing_breaks(bad):
    depth = (0.8 + drawn(42, 30, 40)).float()
    depth[7:9] = bad
    assert not math.isfinite(float(NormalisedDepth()(depth_step(depth))))
    pairs = tuple(torch.randint(1200, (400,), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert math.isnan(float(ordinal_loss(depth.flatten(), drawn(43, 1200).float(), pairs, OrdinalDepth())))


def test_unrest_of_nodes(each_isa):
    def loss(places: Tensor, quats: Tensor) -> Tensor:
        return unrest(places, torch.nn.functional.normalize(quats, dim=-1), (1.0, 0.7, 0.4, 1.3))

    agree(loss, drawn(30, 7, 20, 3), drawn(31, 7, 20, 4) - 0.3)


@pytest.mark.parametrize("weights", [(1.0, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_rigidity_of_pairs_of_nodes(each_isa, weights):
    means, pairs = drawn(35, 12, 3), (torch.arange(40) % 12, torch.arange(40) * 5 % 11)

    def loss(quats: Tensor, shifts: Tensor) -> Tensor:
        motion = NodeMotions(torch.nn.functional.normalize(quats, dim=-1), shifts)
        return rigidity_of_pairs(motion, means.to(quats), pairs, weights)

    agree(loss, drawn(36, 4, 12, 4) - 0.4, drawn(37, 4, 12, 3))


@pytest.mark.parametrize("count", [1, 3, 5])
def test_weights_of_leaves(each_isa, count):
    points, near = drawn(38, 50, 3), torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(seed))[:count] for seed in range(50)])
    factors = drawn(39, 50, count)

    def weighed(nodes: Tensor, log_radius: Tensor) -> Tensor:
        return (leaf_weights(points.to(nodes), nodes, log_radius, near) * factors.to(nodes)).sum()

    if count > 1:
        agree(weighed, drawn(40, 9, 3), drawn(41, 9) - 1.0)
    else:  # a single one is followed wholly, whatever it is
        assert torch.equal(leaf_weights(points.float(), drawn(40, 9, 3).float(), drawn(41, 9).float(), near), torch.ones(50, 1))


@pytest.mark.parametrize("shape", [(37, 51), (3,), (1024, 2)])
def test_squares_from_a_number(each_isa, shape):
    agree(lambda x: square_from(x, 1.0), drawn(44, *shape))


def test_poses_as_dual_quaternions(each_isa):
    factors = drawn(32, 3, 15, 8)
    agree(lambda quats, shifts: (pose_duals(quats, shifts) * factors.to(quats)).sum(), drawn(33, 3, 15, 4) - 0.4, drawn(34, 3, 15, 3))


@pytest.mark.parametrize("typical", [math.inf, 0.02])
def test_bends(each_isa, typical):
    agree(lambda x: mean_bend(x, 0, 1.7, typical), drawn(15, 3, 50, 3))
    agree(lambda x: mean_bend(x, 1, 0.6, typical), drawn(16, 4, 9, 6))
    agree(lambda x: mean_bend(x, 2, 0.6, typical), drawn(17, 2, 3, 5, 3))
    agree(lambda x: mean_bend(x, 1, 0.6, typical), drawn(18, 3, 3, 4))
    agree(lambda x: mean_bend(x, 1, 0.6, typical), drawn(19, 2, 70, 3))


def test_paths_that_do_not_bend_have_no_slope():
    still = torch.ones(3, 4, 3).requires_grad_()
    mean_bend(still, 0, 1.0).backward()
    assert not still.grad.any()


def test_motion_along_the_ray(each_isa):
    center = torch.tensor([0.1, -0.4, -2.0])
    agree(lambda x: ray_motion(x, center, 1.7), drawn(18, 3, 60, 3))


def test_uneven_scales(each_isa):
    agree(lambda *rows: spread_of_three(rows), drawn(19, 300, 3), drawn(20, 7, 3))


@pytest.mark.parametrize("loss", [TrackReprojection(), TrackDepth(), TrackReprojection(PARITY), TrackDepth(TrackNumbers(quantile=1.0))])
def test_tracks(each_isa, loss: Loss):
    P, K, W, H = 90, 2, 40, 30
    intrinsics = torch.tensor([[30.0, 0.5, W / 2], [0, 28.0, H / 2], [0, 0, 1]], dtype=torch.float64)
    cameras = []
    for k in range(K):
        turn = 0.2 * (k + 1)
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 0] = pose[2, 2] = math.cos(turn)
        pose[0, 2], pose[2, 0] = math.sin(turn), -math.sin(turn)
        pose[:3, 3] = torch.tensor([0.1, -0.2, 0.3 * k])
        cameras.append(Camera(intrinsics, pose, W, H, near=0.05))
    opacity = drawn(21, P, 1)  # some below what counts
    places = (drawn(22, P, 3 * K) + torch.tensor([-0.5, -0.5, 1.0] * K)) * opacity
    places[::7] *= -1  # behind the cameras
    targets = TrackTargets(
        pixels=drawn(23, P, 2),
        times=torch.tensor([0.25, 1.0]),
        cameras=tuple(cameras),
        xy=drawn(24, P, K, 2) * 30,
        depth=(0.5 + drawn(25, P, K)) * (drawn(26, P, K) > 0.2),
        visible=(drawn(27, P, K) > 0.3).double(),
        weight=drawn(28, P, K),
    )

    def value(read: Tensor) -> Tensor:
        step = depth_step(torch.ones(H, W).to(read))
        told = {name: getattr(targets, name).to(read) for name in ("pixels", "times", "xy", "depth", "visible", "weight")}
        sample = replace(step.samples[0], time=0.4, camera=cameras[0], tracks=replace(targets, **told))
        return loss(replace(step, samples=[sample], extra=[{TRACKS: read}]))

    agree(value, torch.cat([places, opacity], dim=1).float().double())
