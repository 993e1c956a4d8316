"""Triton's kernels of motion and losses in Triton's interpreter, against their plain twins in float64, and how many launches they take."""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import interpreted_triton
import pretended_kernels
from fourfold.geometry.dual_quaternions import dual_quat_from_parts
from fourfold.losses import robust
from fourfold.render.triton_backend import interpreted, missing
from fourfold.scene import blend, carriers, skinning
from pretended_gpu import WRITES_NOTHING

if missing() == "":
    from fourfold.kernels.triton_segments import sum_by_row

pytestmark = pytest.mark.skipif(missing() != "" or not interpreted(), reason="Triton's interpreter is not here")
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def fast_interpreter():
    interpreted_triton.hasten()


class Torch(TorchDispatchMode):
    """Counts torch's operations that write memory."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view and function not in WRITES_NOTHING
        return function(*args, **(kwargs or {}))


@pytest.fixture
def launches(monkeypatch):
    """Counts what a call launches: kernels, during which torch is not counted, and torch's operations."""
    from torch.utils._python_dispatch import _disable_current_modes
    from triton.runtime.interpreter import GridExecutor

    kernels, execute = [], GridExecutor.__call__

    def told(self, *args, **kwargs):
        kernels.append(self.fn.__name__)
        with _disable_current_modes():
            return execute(self, *args, **kwargs)

    monkeypatch.setattr(GridExecutor, "__call__", told)

    def counted(call):
        kernels.clear()
        with Torch() as mode:
            found = call()
        return found, len(kernels) + mode.count

    return counted


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compare(fused, twin, leaves, launches, expected, signs=()):
    """Values and gradients of `leaves`, of outputs number `signs` up to sign; and the launches of both passes."""
    found = []
    for call, dtype in ((fused, torch.float32), (twin, torch.float64)):
        mine = [leaf.to(dtype).clone().requires_grad_() for leaf in leaves]
        given, forward = launches(lambda call=call, mine=mine: call(*mine))
        given = given if isinstance(given, tuple) else (given,)
        given = [value * torch.where(value[..., :1] < 0, -1, 1).detach() if i in signs else value for i, value in enumerate(given)]
        weights = [normal(*value.shape, seed=i) if value.ndim else torch.tensor(1.0) for i, value in enumerate(given)]
        upstream = [value.grad_fn for value in given]
        total = sum((value * weight).sum() for value, weight in zip(given, weights, strict=True))
        gradients = torch.autograd.grad(total, mine)
        found.append([value.detach() for value in given] + list(gradients))
        if call is fused:
            assert all(upstream)
            assert forward <= expected[0]
            fresh = call(*mine)
            fresh = fresh if isinstance(fresh, tuple) else (fresh,)
            _, backward = launches(lambda fresh=fresh, mine=mine: torch.autograd.grad(fresh, mine, [torch.ones_like(v) for v in fresh]))
            assert backward - sum(True for _ in fresh) <= expected[1]  # less the ones
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= TOLERANCE * other.abs().max().clamp_min(1.0)


@pytest.mark.parametrize(("points", "bases", "turned"), [(21, 5, 2), (1, 1, 3), (70, 16, 0)])
def test_blended_motions(launches, points, bases, turned):
    leaves = [normal(points, bases), normal(points, 3, seed=1), normal(points, 4, seed=2), normal(3, bases, 9, seed=3)]
    pivot = normal(3, seed=4)
    used = leaves if turned else [leaves[0], leaves[1], leaves[3]]

    def call(function, *tensors):
        logits, means, *quat, motions = tensors
        quat = quat[0] if quat else leaves[2].to(means)
        moved, turns = function(logits, means, quat, motions, pivot.to(means))
        return (moved, turns) if turned else moved

    compare(
        lambda *t: call(partial(blend.blend_on_gpu, turned), *t),
        lambda *t: call(partial(blend.blend_reference, turned=turned), *t),
        used,
        launches,
        pretended_kernels.BLEND_LAUNCHES,
        signs=(1,),
    )


def test_half_turns_are_read_from_the_longest_row():
    axes = torch.nn.functional.normalize(torch.cat([torch.eye(3), normal(6, 3)]), dim=1)
    first = 2 * axes * axes[:, :1] - torch.tensor([1.0, 0, 0])
    second = 2 * axes * axes[:, 1:2] - torch.tensor([0, 1.0, 0])
    motions = torch.cat([first, second, torch.zeros(9, 3)], 1)[None]  # half turns about the axes
    logits = torch.full((9, 9), -1e4).fill_diagonal_(0)
    _, turns = blend.blend_on_gpu(1, logits, torch.zeros(9, 3), torch.tensor([[1.0, 0, 0, 0]]).repeat(9, 1), motions, torch.zeros(3))
    assert ((turns[0, :, 1:] * axes).sum(1).abs() - 1).abs().max() < 1e-6


@pytest.mark.parametrize(("points", "carried", "turned", "align"), [(21, 3, 1, True), (9, 1, 2, True), (66, 5, 0, False)])
def test_points_carried_by_nodes(launches, points, carried, turned, align):
    unit = torch.nn.functional.normalize(normal(2, 7, 4), dim=-1)
    leaves = [dual_quat_from_parts(unit, normal(2, 7, 3, seed=1)), normal(points, carried, seed=2).abs(), normal(points, 3, seed=3)]
    held = normal(points, 4, seed=4)
    leaves += [held] * (turned > 0)
    near = torch.stack([torch.randperm(7, generator=torch.Generator().manual_seed(row))[:carried] for row in range(points)])
    near[: points // 2, 0] = 3  # many follow one node

    def call(function, table, weights, means, quat=None):
        moved, turns = function(table, weights, means, held.to(means) if quat is None else quat)
        return (moved, turns) if turned else moved

    def twin(table, *rest):
        return skinning.skin_reference(table, near, *rest, turned, align)

    fused = partial(call, partial(skinning.skin_on_gpu, (turned, align, False), near))
    compare(fused, partial(call, twin), leaves, launches, pretended_kernels.SKIN_LAUNCHES)


def test_what_rests_gets_no_gradient():
    table = dual_quat_from_parts(torch.tensor([[[1.0, 0, 0, 0]] * 3]), normal(1, 3, 3)).requires_grad_()
    moved, _ = skinning.skin_on_gpu((0, True, True), torch.tensor([[0, 2], [1, 2]]), table, torch.full((2, 2), 0.5), normal(2, 3), normal(2, 4))
    moved.sum().backward()
    assert (table.grad[0, 2] == 0).all()
    assert (table.grad[0, :2] != 0).any(1).all()


def test_motions_between_times(launches):
    leaves = [normal(2, 6, 8), normal(3, 6, 8, seed=1)]
    compare(carriers.motion_table_on_gpu, carriers.motion_table_reference, leaves, launches, pretended_kernels.TABLE_LAUNCHES)


@pytest.mark.parametrize("pull", [True, False])
@pytest.mark.parametrize("reach", [0.1, 3.0])  # far from all nodes, and near many
def test_weights_of_a_scaffold(launches, pull, reach):
    random = torch.Generator().manual_seed(0)
    near = torch.stack([torch.randperm(6, generator=random)[:3] for _ in range(6)])
    valid = torch.rand(6, 3, generator=random) < 0.7
    valid[:, 0] = True
    node, anchor = torch.randint(6, (70,), generator=random), torch.randint(2, (70,), generator=random)

    fast, exact = (
        carriers.Followers(normal(70, 3).to(dtype), anchor, node, normal(2, 6, 3, seed=1).to(dtype), near, valid)
        for dtype in (torch.float32, torch.float64)
    )
    falling = -0.5 / (reach * (1 + torch.rand(6, generator=random))).square()
    rows, _ = carriers.carriers_on_gpu(fast, falling, pull)
    assert torch.equal(rows, carriers.carriers_reference(fast, falling, pull)[0])
    compare(
        lambda given: carriers.carriers_on_gpu(fast, given, pull)[1],
        lambda given: carriers.carriers_reference(exact, given, pull)[1],
        [falling],
        launches,
        pretended_kernels.CARRIERS_LAUNCHES,
    )


def test_sums_by_row_are_those_of_index_add():
    values, rows = normal(90, 19), torch.randint(7, (90,), generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(8, 19, dtype=torch.float64).index_add(0, rows, values.double())
    assert (sum_by_row(values, rows, 8) - expected).abs().max() < 1e-5  # the last has none


@pytest.mark.parametrize("level", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("weight", [None, normal(13, 11, seed=1).clamp(min=0), torch.zeros(13, 11)])
def test_trimmed_means(launches, monkeypatch, level, weight):
    monkeypatch.setattr(robust, "SAMPLE", 64)
    expected = pretended_kernels.TRIMMED_LAUNCHES if level < 1 else pretended_kernels.MEAN_LAUNCHES
    residual = normal(13, 11)

    def twin(error, axis, signed, before_masking):
        share = weight
        if axis is not None:
            error = error.diff(dim=axis)
            share = None if weight is None else weight.narrow(axis, 1, error.shape[axis]) * weight.narrow(axis, 0, error.shape[axis])
        error = error.abs() if signed else error
        if level < 1:
            kept = robust._kept_on_gpu(error.detach().float(), None if before_masking else share, level)
            share = kept if share is None else kept * share
        return error.mean() if share is None else (error * share).sum() / (share.sum() + 1e-8)

    for axis, signed, before_masking in ((None, True, False), (0, True, False), (1, True, False), (None, False, False), (None, False, True)):
        leaf = residual if signed else residual.abs()
        case = (axis, signed, before_masking)
        compare(lambda r, case=case: robust.trimmed_on_gpu(r, weight, level, *case), lambda r, case=case: twin(r, *case), [leaf], launches, expected)


def test_alike_errors_and_single_ones_are_kept():
    for error in (torch.full((5, 4), 2.0), torch.tensor([[3.0]])):
        assert robust.trimmed_on_gpu(error, None, 0.5) == error.mean()
