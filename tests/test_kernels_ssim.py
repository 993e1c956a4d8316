"""The fused structural similarity against scikit-image, finite differences in float64, its plain twin, and itself with other threads."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

import interpreted_triton
from fourfold.errors import FourfoldError
from fourfold.kernels.library import load
from fourfold.losses.ssim import ssim, ssim_map_reference, ssim_on_gpu
from fourfold.render.triton_backend import interpreted, missing


def _pair(height, width, channels, seed=0):
    """A smooth image with noise, and a changed copy."""
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    base = 0.5 + 0.3 * np.sin(x / 7.0)[..., None] * np.cos(y / 5.0)[..., None] * np.ones(channels) + 0.1 * random.random((height, width, channels))
    other = np.clip(base + 0.15 * random.standard_normal(base.shape) + 0.1 * (x > width / 2)[..., None], 0, 1)
    return torch.from_numpy(np.clip(base, 0, 1)), torch.from_numpy(other)


def test_agrees_with_scikit_image_away_from_the_border():
    a, b = _pair(48, 61, 3)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": 2, "full": True}
    truth = structural_similarity(a.numpy(), b.numpy(), **options)[1][5:-5, 5:-5]
    np.testing.assert_allclose(ssim_map_reference(a, b)[5:-5, 5:-5].numpy(), truth, atol=1e-12)
    inside = torch.zeros(48, 61)
    inside[5:-5, 5:-5] = 1
    assert float(ssim(a.float(), b.float(), inside)) == pytest.approx(truth.mean(), abs=2e-6)


@pytest.mark.parametrize("size", [(37, 53, 3), (1, 1, 1), (5, 200, 3), (33, 4, 1), (16, 16, 4), (3, 7, 2), (64, 43, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradient_follow_the_twin_in_float64(size, weighted, each_isa):
    a, b = _pair(*size)
    weight = torch.rand(size[:2], generator=torch.Generator().manual_seed(1)) if weighted else None
    exact = a.clone().requires_grad_()
    truth = ssim(exact, b, None if weight is None else weight.double())
    truth.backward()
    fast = a.float().requires_grad_()
    value = ssim(fast, b.float(), weight)
    (value * 3.0).backward()
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(float(truth.detach()), abs=5e-6)
    scale = float(exact.grad.abs().max())
    torch.testing.assert_close(fast.grad.double() / 3.0, exact.grad, rtol=0, atol=1e-4 * scale)


def test_gradient_is_the_slope_by_finite_differences():
    a, b = _pair(14, 17, 3)
    weight = torch.rand((14, 17), generator=torch.Generator().manual_seed(1))
    fast = a.float().requires_grad_()
    ssim(fast, b.float(), weight).backward()
    step = 1e-5
    for y, x, c in [(0, 0, 0), (13, 16, 2), (7, 8, 1), (3, 15, 0), (12, 2, 2)]:
        up, down = a.clone(), a.clone()
        up[y, x, c] += step
        down[y, x, c] -= step
        slope = float(ssim(up, b, weight.double()) - ssim(down, b, weight.double())) / (2 * step)
        assert float(fast.grad[y, x, c]) == pytest.approx(slope, abs=1e-4 * float(fast.grad.abs().max()))


def test_equal_images_are_alike_and_the_slope_is_level():
    a = _pair(30, 40, 3)[0].float().requires_grad_()
    value = ssim(a, a.detach())
    value.backward()
    assert float(value.detach()) == pytest.approx(1.0, abs=1e-6)
    assert float(a.grad.abs().max()) < 1e-6


def test_a_weight_that_leaves_a_pixel_out_leaves_only_its_window():
    a, b = _pair(40, 40, 3)
    weight = torch.zeros(40, 40)
    weight[20, 20] = 1
    fast = a.float().requires_grad_()
    ssim(fast, b.float(), weight).backward()
    touched = fast.grad.abs().sum(2) > 0
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[15:26, 15:26] = True
    assert torch.equal(touched, expected)


def test_no_weight_anywhere_means_nothing_differs():
    a, b = _pair(12, 12, 3)
    for dtype in (torch.float32, torch.float64):
        image = a.to(dtype).requires_grad_()
        value = ssim(image, b.to(dtype), torch.zeros(12, 12, dtype=dtype))
        value.backward()
        assert float(value.detach()) == 1.0
        assert float(image.grad.abs().max()) == 0.0


def test_same_bits_for_any_number_of_threads():
    library = load()
    if library is None:
        pytest.skip("no compiled kernel here")
    before = library.ff_get_threads()
    a, b = _pair(97, 131, 3)
    results = []
    for threads in (1, 2, 5):
        library.ff_set_threads(threads)
        image = a.float().requires_grad_()
        value = ssim(image, b.float())
        value.backward()
        results.append((value.detach(), image.grad))
    library.ff_set_threads(before)
    assert all(torch.equal(value, results[0][0]) and torch.equal(grad, results[0][1]) for value, grad in results)


def test_a_target_that_wants_a_gradient_gets_one():
    a, b = _pair(20, 20, 3)
    first, second = a.float().requires_grad_(), b.float().requires_grad_()
    ssim(first, second).backward()
    swapped = b.float().requires_grad_()
    ssim(swapped, a.float()).backward()
    torch.testing.assert_close(second.grad, swapped.grad, rtol=1e-3, atol=1e-7)


def test_strided_images_are_taken_as_they_are():
    a, b = (image.float() for image in _pair(30, 30, 3))
    planes = a.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not planes.is_contiguous()
    assert torch.equal(ssim(planes, b), ssim(a, b))


def test_says_what_does_not_fit():
    with pytest.raises(FourfoldError, match=r"ssim got images of shape \(4, 5, 3\) and \(4, 5, 1\): both must be the same \(H, W, C\)"):
        ssim(torch.zeros(4, 5, 3), torch.zeros(4, 5, 1))
    with pytest.raises(FourfoldError, match=r"ssim got a weight of shape \(5, 4\) for images of shape \(4, 5, 3\): it must be \(4, 5\)"):
        ssim(torch.zeros(4, 5, 3), torch.zeros(4, 5, 3), torch.zeros(5, 4))


@pytest.mark.skipif(missing() != "" or not interpreted(), reason="Triton's interpreter is not here")
@pytest.mark.parametrize("size", [(21, 26, 3), (1, 1, 1), (5, 40, 3), (33, 4, 1)])
@pytest.mark.parametrize("kind", ["none", "some", "nothing"])
def test_the_kernels_of_gpus_in_the_interpreter(size, kind):
    interpreted_triton.hasten()
    a, b = _pair(*size)
    share = torch.rand(size[:2], generator=torch.Generator().manual_seed(1))
    weight = None if kind == "none" else share if kind == "some" else torch.zeros_like(share)
    exact, fast = a.clone().requires_grad_(), a.float().requires_grad_()
    truth, value = ssim(exact, b, None if weight is None else weight.double()), ssim_on_gpu(fast, b.float(), weight)
    truth.backward()
    (value * 3.0).backward()
    assert float(value.detach()) == pytest.approx(float(truth.detach()), abs=5e-6)
    torch.testing.assert_close(fast.grad.double() / 3.0, exact.grad, rtol=0, atol=1e-4 * float(exact.grad.abs().max()))
