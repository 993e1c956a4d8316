"""Track and smoothness losses: closed forms, float64 finite differences, and invariance to the unit of length."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.losses.base import Loss, Sample, Step, TrackTargets
from fourfold.losses.smoothness import BasesAcceleration, BasesDeparture, RayVelocity, TrackAcceleration
from fourfold.losses.tracks import PARITY, TRACKS, TrackDepth, TrackNumbers, TrackReprojection
from fourfold.render.api import Render, ScreenStatistics
from fourfold.render.points import read_points
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import DYNAMIC, Layer, Scene

H, W, P, K = 8, 10, 5, 2
F64 = torch.float64


def camera(shift: float = 0.0) -> Camera:
    pose = torch.eye(4, dtype=F64)
    pose[0, 3] = shift
    return Camera(torch.tensor([[9.0, 0, W / 2], [0, 9.0, H / 2], [0, 0, 1]], dtype=F64), pose, W, H)


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def targets() -> TrackTargets:
    return TrackTargets(
        pixels=random(1, P, 2) * torch.tensor([W - 2.0, H - 2.0], dtype=F64) + 1,
        times=torch.tensor([0.25, 1.0], dtype=F64),
        cameras=(camera(), camera(0.1)),
        xy=random(2, P, K, 2) * 8,
        depth=1 + random(3, P, K),
        visible=torch.ones(P, K, dtype=F64),
        weight=0.5 + 0.5 * random(4, P, K),
    )


def mover(knots: int = 6, count: int = 7, bases: int = 3, scale: float = 1.0) -> Layer:
    splats = {"means": scale * (random(5, count, 3) + torch.tensor([0, 0, 3.0], dtype=F64)), "motion_logits": random(6, count, bases)}
    splats |= {
        "quat_wxyz": random(7, count, 4) + 0.1,
        "log_scale": random(8, count, 3),
        "opacity_logit": random(9, count),
        "color_logit": random(10, count, 3),
    }
    rotation = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=F64) + 0.1 * random(11, bases, knots, 6)
    shared = {"rotation6d": rotation, "translation": scale * random(12, bases, knots, 3)}
    fixed = {"knots": torch.linspace(0, 1, knots, dtype=F64), "pivot": torch.zeros(3, dtype=F64)}
    return Layer("object", DYNAMIC, SE3Bases(), splats, shared, fixed)


def make_step(
    layer: Layer, tracks: TrackTargets | None = None, channels: Tensor | None = None, alpha: Tensor | None = None, extent: float = 2.0
) -> Step:
    scene = Scene([layer], (0.0, 1.0))
    sample = Sample(0, 0, 0.4, camera(), torch.zeros(H, W, 3, dtype=F64), tracks=tracks)
    shown = torch.ones(H, W, dtype=F64) if alpha is None else alpha
    render = Render(sample.image, shown, shown, None, screen=ScreenStatistics(torch.zeros(len(layer))))
    extra = {} if channels is None or tracks is None else {TRACKS: read_points(channels, shown, tracks.pixels)}
    return Step(scene, [sample], scene.at_times([0.4]), [render], [extra], 0, 0.0, extent)


def test_channels_are_positions_at_the_target_times() -> None:
    step = make_step(mover(), targets())
    asked = TrackReprojection().channels(step, 0)[TRACKS]
    moved = step.scene.at_times([0.25, 1.0])
    assert torch.equal(asked.pixels, step.samples[0].tracks.pixels)
    assert torch.allclose(asked.values, torch.stack([gaussians.means for gaussians in moved]))


def test_perfect_tracks_cost_nothing_and_a_shift_costs_its_size() -> None:
    known = targets()
    point = torch.tensor([0.2, -0.1, 2.0], dtype=F64)
    xy = torch.stack([torch.tensor([9 * 0.2 / 2 + W / 2, 9 * -0.1 / 2 + H / 2], dtype=F64)] * K)
    exact = replace(known, xy=xy.expand(P, K, 2).clone(), depth=torch.full((P, K), 2.0, dtype=F64))
    alpha = 0.3 + 0.7 * random(13, H, W)
    constant = torch.full((H, W), 0.8, dtype=F64)
    shift = torch.tensor([0.1, 0, 0], dtype=F64)  # of the second target camera: the same pixel in both means another place in the world
    channels = torch.cat([point, point - shift]).expand(H, W, 6)
    for shown in (constant, torch.ones(H, W, dtype=F64)):
        step = make_step(mover(), exact, channels * shown[..., None], shown)
        assert float(TrackReprojection()(step)) < 1e-9
        assert float(TrackDepth()(step)) < 1e-9
    moved = make_step(mover(), replace(exact, xy=exact.xy + 3.0), channels * constant[..., None], constant)
    assert math.isclose(float(TrackReprojection(TrackNumbers(quantile=1.0))(moved)), 3.0 / W, rel_tol=1e-6)
    released = make_step(mover(), exact, channels * constant[..., None], constant)
    assert float(TrackDepth(PARITY)(released)) > 0.1  # not divided by alpha: leans towards the camera
    assert alpha.min() > 0.05


def test_what_lies_behind_a_camera_has_no_place_in_its_image() -> None:
    """Queries that are blended to a point behind the cameras neither count nor pull; the others cost what they cost alone."""
    point, known = torch.tensor([0.2, -0.1, 2.0], dtype=F64), targets()
    xy = torch.tensor([9 * 0.2 / 2 + W / 2, 9 * -0.1 / 2 + H / 2], dtype=F64).expand(P, K, 2) + 3.0
    known = replace(known, xy=xy.clone(), cameras=(camera(), camera()))
    channels = torch.cat([point, point]).expand(H, W, 6).clone()
    numbers = TrackNumbers(quantile=1.0)
    row, column = (known.pixels[:2, axis].long() for axis in (1, 0))
    for y, x in zip(row.tolist(), column.tolist(), strict=True):
        channels[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2, 2::3] = -1.0
    shown = channels.requires_grad_(True)
    loss = TrackReprojection(numbers)(make_step(mover(), known, shown, torch.ones(H, W, dtype=F64)))
    assert math.isclose(float(loss), 3.0 / W, rel_tol=1e-6)
    (slope,) = torch.autograd.grad(loss, shown)
    assert not slope[channels[..., 2] < 0].any() and slope.any()


def test_time_intervals_weigh_targets_unless_parity_is_asked() -> None:
    known = targets()
    channels = torch.cat([random(14, H, W, 6) + 1.0], dim=2)
    sound, released = TrackNumbers(quantile=1.0), TrackNumbers(quantile=1.0, interval_weight=False)
    step = make_step(mover(), known, channels)
    assert float(TrackReprojection(sound)(step)) != float(TrackReprojection(released)(step))
    one = replace(known, times=torch.tensor([0.1, 0.7], dtype=F64))  # both 0.3 s away: the factor cancels
    assert math.isclose(float(TrackReprojection(sound)(make_step(mover(), one, channels))), float(TrackReprojection(released)(step)), rel_tol=1e-6)


def test_track_gradients_are_those_of_finite_differences() -> None:
    channels = (random(15, H, W, 6) + torch.tensor([0, 0, 1.0] * 2, dtype=F64)).requires_grad_(True)
    alpha = (0.5 + 0.5 * random(16, H, W)).requires_grad_(True)
    losses: list[Loss] = [TrackReprojection(), TrackDepth(), TrackReprojection(PARITY)]
    for loss in losses:

        def value(c: Tensor, a: Tensor, loss: Loss = loss) -> Tensor:
            return loss(make_step(mover(), targets(), c, a))

        assert torch.autograd.gradcheck(value, (channels, alpha), eps=1e-7, atol=1e-6)


SMOOTH: list[Loss] = [BasesAcceleration(), BasesDeparture(), TrackAcceleration(), RayVelocity()]


def test_smoothness_gradients_are_those_of_finite_differences() -> None:
    layer = mover()
    names = ("rotation6d", "translation")
    inputs = (*(layer.shared[n].requires_grad_(True) for n in names), layer.splats["means"].requires_grad_(True))
    for loss in SMOOTH:

        def value(rotation: Tensor, translation: Tensor, means: Tensor, loss: Loss = loss) -> Tensor:
            changed = replace(layer, splats=layer.splats | {"means": means}, shared={"rotation6d": rotation, "translation": translation})
            return loss(make_step(changed))

        assert torch.autograd.gradcheck(value, inputs, eps=1e-7, atol=1e-6)


def test_smoothness_knows_no_unit_of_length() -> None:
    for loss in SMOOTH:
        small, large = loss(make_step(mover(), extent=2.0)), loss(make_step(mover(scale=100.0), extent=200.0))
        assert math.isclose(float(small), float(large), rel_tol=1e-9)


def test_uniform_motion_has_no_acceleration() -> None:
    layer = mover()
    layer.shared["rotation6d"] = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=F64).expand(3, 6, 6).clone()
    velocity = torch.tensor([0.3, 0.0, 0.0], dtype=F64)
    layer.shared["translation"] = (torch.arange(6, dtype=F64)[:, None] * velocity).expand(3, 6, 3).clone()
    assert float(BasesAcceleration()(make_step(layer))) < 1e-12
    assert float(TrackAcceleration()(make_step(layer))) < 1e-12
    assert float(BasesDeparture()(make_step(layer))) < 1e-20
    assert float(RayVelocity()(make_step(layer))) > 0


def test_ray_velocity_sees_only_motion_along_the_ray() -> None:
    layer = mover(count=1)
    layer.splats["means"] = torch.tensor([[0.0, 0, 5.0]], dtype=F64)
    layer.shared["rotation6d"] = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=F64).expand(3, 6, 6).clone()
    steps = torch.arange(6, dtype=F64)[:, None] - 2  # the knot nearest to 0.4 s is the third
    layer.shared["translation"] = (steps * torch.tensor([0, 0, 0.1], dtype=F64)).expand(3, 6, 3).clone()
    assert math.isclose(float(RayVelocity()(make_step(layer, extent=2.0))), 2 * (0.1 / 2) ** 2, rel_tol=1e-9)
    layer.shared["translation"] = (steps * torch.tensor([0.1, 0, 0], dtype=F64)).expand(3, 6, 3).clone()
    assert float(RayVelocity()(make_step(layer))) < 1e-9
