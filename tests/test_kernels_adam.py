"""The fused Adam step against torch's own optimiser, its plain twin, and itself with other numbers of threads."""

import pytest
import torch

import interpreted_triton
from fourfold.errors import FourfoldError
from fourfold.kernels.adam import AdamNumbers, AdamTensor, adam_step, adam_step_on_gpu, adam_step_reference, adam_steps, all_finite
from fourfold.kernels.library import load
from fourfold.render.triton_backend import interpreted, missing


def _problem(shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    param = torch.randn(shape, generator=generator, dtype=dtype)
    grads = [torch.randn(shape, generator=generator, dtype=dtype) * 10.0 ** (-i) for i in range(5)]
    return param, grads


@pytest.mark.parametrize("shape", [(1000, 3), (7, 16, 3), (100_003,), (), (0, 3), (5, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_follows_torch_adam(shape, dtype, each_isa):
    param, grads = _problem(shape, dtype=dtype)
    truth = param.clone().requires_grad_()
    optimiser = torch.optim.Adam([truth], lr=0.01, eps=1e-15)
    first, second = torch.zeros_like(param), torch.zeros_like(param)
    for step, grad in enumerate(grads, start=1):
        truth.grad = grad.clone()
        optimiser.step()
        adam_step(param, grad, first, second, step, 0.01)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(param, truth.detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("as_numbers", [False, True])
@pytest.mark.parametrize("width", [1, 3, 48])
def test_unseen_rows_keep_value_and_moments(width, as_numbers):
    param, grads = _problem((5000, width))
    mask = torch.rand(5000, generator=torch.Generator().manual_seed(1)) < 0.4
    rows = mask.nonzero()[:, 0].flip(0) if as_numbers else mask
    mine = [param.clone(), torch.zeros_like(param), torch.full_like(param, 0.5)]
    twin = [tensor.clone() for tensor in mine]
    for step, grad in enumerate(grads, start=1):
        adam_step(mine[0], grad, mine[1], mine[2], step, 0.1, rows=rows)
        adam_step_reference(twin[0], grad, twin[1], twin[2], step, 0.1, rows=mask)
    for got, expected in zip(mine, twin, strict=True):
        torch.testing.assert_close(got, expected, rtol=2e-6, atol=2e-6)
    assert torch.equal(mine[0][~mask], param[~mask])
    assert torch.equal(mine[1][~mask], torch.zeros_like(param)[~mask])


@pytest.mark.skipif(missing() != "" or not interpreted(), reason="Triton's interpreter is not here")
@pytest.mark.parametrize("shape", [(300, 3), (1500,), (1, 1), (7, 16, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_kernel_of_gpus_in_the_interpreter(shape, masked):
    interpreted_triton.hasten()
    param, grads = _problem(shape)
    mask = torch.rand(shape[0], generator=torch.Generator().manual_seed(1)) < 0.4 if masked else None
    mine = [param.clone(), torch.full_like(param, torch.nan), torch.full_like(param, torch.nan)]  # not asked at the first step
    twin = [param.clone(), torch.zeros_like(param), torch.zeros_like(param)]
    for step, grad in enumerate(grads, start=1):
        adam_step_on_gpu(mine[0], grad, mine[1], mine[2], step, 0.1, rows=mask)
        adam_step_reference(twin[0], grad, twin[1], twin[2], step, 0.1, rows=mask)
    for got, expected in zip(mine, twin, strict=True):
        torch.testing.assert_close(got, expected, rtol=2e-6, atol=2e-6)
    if mask is not None:
        assert torch.equal(mine[0][~mask], param[~mask])


def test_same_bits_for_any_number_of_threads():
    library = load()
    if library is None:
        pytest.skip("no compiled kernel here")
    before = library.ff_get_threads()
    results = []
    for threads in (1, 2, 5):
        library.ff_set_threads(threads)
        param, grads = _problem((70_001, 3))
        first, second = torch.zeros_like(param), torch.zeros_like(param)
        rows = torch.rand(70_001, generator=torch.Generator().manual_seed(2)) < 0.7
        for step, grad in enumerate(grads, start=1):
            adam_step(param, grad, first, second, step, 0.01, rows=rows)
        results.append(torch.cat([param, first, second]))
    library.ff_set_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


def test_several_tensors_at_once_are_as_each_alone(each_isa):
    shapes, numbers = [(40_001, 3), (3, 5, 7), (), (0, 4), (70_000,)], AdamNumbers()
    alone, together = [], []
    for seed, shape in enumerate(shapes):
        param, grads = _problem(shape, seed)
        rows = torch.rand(shape[0], generator=torch.Generator().manual_seed(seed)) < 0.5 if shape and shape[0] > 10 else None
        state = (param, grads[0], torch.rand_like(param), torch.rand_like(param))
        alone.append([tensor.clone() for tensor in state])
        together.append(AdamTensor(*state, step=seed + 1, rate=0.1, rows=rows))
        adam_step(*alone[-1], seed + 1, 0.1, rows=rows)
    adam_steps(together, numbers)
    assert all(torch.equal(mine, one) for several, single in zip(together, alone, strict=True) for mine, one in zip(several[:4], single, strict=True))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_one_bad_number_is_found_wherever_it_is(bad, each_isa):
    tensors = [torch.full((50_001, 3), -3e38), torch.zeros(3), torch.zeros(0, 2), torch.tensor(1e-45)]
    assert all_finite(tensors)
    assert all_finite([])
    for number, place in ((0, 0), (0, 150_002), (1, 2), (3, 0)):
        hurt = [tensor.clone() for tensor in tensors]
        hurt[number].view(-1)[place] = bad
        assert not all_finite(hurt)
        assert not all_finite([tensor.double() for tensor in hurt])


def test_views_and_strided_gradients_are_taken_as_they_are():
    param, grads = _problem((64, 6))
    strided = param[:, ::2]
    expected = strided.clone()
    moments = [torch.zeros(64, 3) for _ in range(4)]
    adam_step(strided, grads[0][:, ::2], moments[0], moments[1], 1, 0.1)
    adam_step(expected, grads[0][:, ::2], moments[2], moments[3], 1, 0.1)
    torch.testing.assert_close(strided, expected)
    assert not torch.equal(param[:, ::2], _problem((64, 6))[0][:, ::2])


def test_numbers_matter():
    param, grads = _problem((8, 2))
    other = param.clone()
    adam_step(param, grads[0], torch.zeros(8, 2), torch.zeros(8, 2), 1, 0.1, AdamNumbers(epsilon=1.0))
    adam_step(other, grads[0], torch.zeros(8, 2), torch.zeros(8, 2), 1, 0.1)
    assert not torch.equal(param, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grad": torch.zeros(3, 2)}, r"adam_step got grad of shape \(3, 2\) for a parameter of shape \(4, 2\): they must be equal"),
        ({"step": 0}, "adam_step got step 0: steps count from 1"),
        ({"rows": torch.ones(3, dtype=torch.bool)}, r"adam_step got a row mask of shape \(3,\) for 4 rows: it must be \(4,\)"),
        ({"rows": torch.tensor([4])}, r"adam_step got row numbers from 4 to 4 for 4 rows: they must lie in \[0, 4\)"),
    ],
)
def test_says_what_does_not_fit(change, message):
    arguments = {name: torch.zeros(4, 2) for name in ("param", "grad", "first", "second")} | {"step": 1, "rate": 0.1} | change
    with pytest.raises(FourfoldError, match=message):
        adam_step(**arguments)
