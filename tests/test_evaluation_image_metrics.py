"""SSIM forms, MS-SSIM, masked metrics, FLIP, flicker, PCK-T and boxes against other implementations, closed forms and hand counts."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import structural_similarity

from fourfold.errors import FourfoldError
from fourfold.evaluation import metrics

DATA = Path(os.environ.get("FOURFOLD_DATA", Path(__file__).parents[2] / "shared" / "data"))


def _random(seed: int = 0, shape: tuple[int, int, int] = (190, 181, 3)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(random.random(shape), (0, 0), 2.0)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return smooth, np.clip(smooth + 0.05 * random.standard_normal(shape), 0, 1)


def _real() -> tuple[np.ndarray, np.ndarray]:
    files = sorted((DATA / "nvidia_balloon1" / "heldout").glob("*.png"))
    if not files:
        pytest.skip(f"{DATA}/nvidia_balloon1 is not there")
    a, b = (np.asarray(Image.open(f).convert("RGB"))[40:240, 150:350] / 255 for f in (files[0], files[3]))
    return a, b


@pytest.fixture(params=["random", "real"])
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    return _random() if request.param == "random" else _real()


def _torch(image: np.ndarray) -> torch.Tensor:
    return torch.tensor(image).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("form", "data_range"), [("ssim_1_mirror", 1.0), ("ssim_2", 2.0)])
def test_ssim_agrees_with_torchmetrics(pair, form, data_range):
    from torchmetrics.functional.image import structural_similarity_index_measure

    theirs = structural_similarity_index_measure(_torch(pair[0]), _torch(pair[1]), data_range=data_range)
    assert metrics.ssim(*pair, form) == pytest.approx(float(theirs), abs=1e-6)


def test_skimage7_is_scikit_images_default_for_floats(pair):
    theirs = structural_similarity(*pair, channel_axis=-1, data_range=2.0)
    assert metrics.ssim(*pair, "ssim_2_skimage7") == pytest.approx(theirs, abs=1e-9)


def test_zero_padded_ssim_is_the_one_trained_with(pair):
    from fourfold.losses.ssim import ssim_map_reference

    theirs = ssim_map_reference(torch.tensor(pair[0]), torch.tensor(pair[1])).mean()
    assert metrics.ssim(*pair, "ssim_1_zeros") == pytest.approx(float(theirs), abs=1e-9)


def test_the_forms_differ_and_the_larger_range_flatters(pair):
    values = {form: metrics.ssim(*pair, form) for form in metrics.FORMS}
    assert values["ssim_2"] > values["ssim_1"] + 1e-3
    assert len({round(v, 6) for v in values.values()}) == len(values)


def test_ms_ssim_agrees_with_its_formula(pair):
    from scipy.ndimage import gaussian_filter

    def blur(x):
        return gaussian_filter(x, 1.5, truncate=3.5, axes=(0, 1))[5:-5, 5:-5]

    x, y = pair
    value = np.ones(3)
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mx, my = blur(x), blur(y)
        cs = (2 * (blur(x * y) - mx * my) + 9e-4) / (blur(x * x) - mx**2 + blur(y * y) - my**2 + 9e-4)
        last = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4) if scale == 4 else 1
        value *= np.maximum((cs * last).mean((0, 1)), 0) ** weight
        x, y = (torch.nn.functional.avg_pool2d(_torch(i), 2)[0].permute(1, 2, 0).numpy() for i in (x, y))
    assert metrics.ms_ssim(*pair) == pytest.approx(value.mean(), abs=1e-9)


def test_forms_and_sizes_are_checked():
    with pytest.raises(FourfoldError, match="no SSIM form 'ssim_3'"):
        metrics.ssim(*_random(), "ssim_3")
    with pytest.raises(FourfoldError, match="at least 176 x 176"):
        metrics.ms_ssim(np.zeros((60, 200, 3)), np.zeros((60, 200, 3)))
    with pytest.raises(FourfoldError, match="the mask has shape"):
        metrics.masked_ssim(np.zeros((20, 20, 3)), np.zeros((20, 20, 3)), np.ones((20, 21)))


def _noise_under_a_small_mask() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    a, b = random.random((2, 240, 320, 3))
    mask = np.zeros((240, 320), bool)
    mask[100:123, 150:173] = True  # 529 of 76800 pixels: 0.69 %
    return a, b, mask


def test_dychecks_masked_ssim_praises_noise_and_the_mask_mean_does_not():
    a, b, mask = _noise_under_a_small_mask()
    assert metrics.masked_ssim(a, b, mask) == pytest.approx(0.989, abs=0.004)
    assert abs(metrics.masked_ssim(a, b, mask, "mask_mean")) < 0.05


def test_masked_ssim_under_a_full_mask_is_ssim(pair):
    full = np.ones(pair[0].shape[:2])
    for reduction in ("dycheck", "mask_mean"):
        assert metrics.masked_ssim(*pair, full, reduction) == pytest.approx(metrics.ssim(*pair), abs=1e-9)


def test_masked_ssim_agrees_with_loops():
    random = np.random.default_rng(4)
    a, b = random.random((2, 14, 13, 3))
    mask = random.random((14, 13)) < 0.15
    taps = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    taps /= taps.sum()

    def once(value, m):  # rows of a (H, W) plane
        out, reached = np.zeros((value.shape[0], value.shape[1] - 10)), np.zeros((value.shape[0], value.shape[1] - 10))
        for y in range(out.shape[0]):
            for x in range(out.shape[1]):
                n = m[y, x : x + 11].sum()
                if n > 0:
                    out[y, x], reached[y, x] = (value[y, x : x + 11] * m[y, x : x + 11] * taps).sum() * 11 / n, 1
        return out, reached

    def mean(value):
        across, reached = once(value, mask.astype(float))
        down, _ = once(across.T, reached.T)
        return down.T

    planes = []
    for c in range(3):
        x, y = a[..., c], b[..., c]
        mx, my = mean(x), mean(y)
        vx, vy, cov = np.maximum(mean(x * x) - mx**2, 0), np.maximum(mean(y * y) - my**2, 0), mean(x * y) - mx * my
        cov = np.clip(cov, -np.sqrt(vx * vy), np.sqrt(vx * vy))
        planes.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    assert metrics.masked_ssim_map(a, b, mask) == pytest.approx(np.stack(planes, -1), abs=1e-12)


def test_masked_metrics_do_not_see_outside_the_mask():
    a, b, mask = _noise_under_a_small_mask()
    elsewhere = np.where(mask[..., None], a, 1 - a)

    def l1(x, y):
        return np.abs(x - y).mean(-1)

    for score in (metrics.psnr, metrics.masked_ssim, lambda x, y, m: metrics.masked_distance(l1, x, y, m)):
        assert score(elsewhere, b, mask) == score(a, b, mask)
        assert score(a, b, np.zeros_like(mask)) is None
    assert metrics.masked_distance(l1, a, b, mask) == pytest.approx(np.abs(a - b)[mask].mean())


def test_flip_agrees_with_the_authors_package():
    """Values of flip-evaluator 1.7 (NVIDIA, BSD-3), `evaluate(truth, image, "LDR")`, on the same images; it computes in float32."""
    a, b = _random(0, (70, 91, 3))
    assert metrics.flip(a, b) == pytest.approx(0.1092115, abs=5e-6)
    assert metrics.flip(np.zeros((40, 40, 3)), np.ones((40, 40, 3))) == pytest.approx(0.9673794, abs=2e-5)
    files = sorted((DATA / "nvidia_balloon1" / "heldout").glob("*.png"))
    if files:
        x, y = (np.asarray(Image.open(f).convert("RGB")) / 255 for f in (files[0], files[3]))
        assert metrics.flip(x, y) == pytest.approx(0.2214997, abs=5e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(12, 40), st.integers(12, 40))
def test_flip_is_a_bounded_symmetric_difference(seed, height, width):
    random = np.random.default_rng(seed)
    a, b = random.random((2, height, width, 3))
    value = metrics.flip_map(a, b)
    assert value.shape == (height, width) and value.min() >= 0 and value.max() <= 1
    assert value == pytest.approx(metrics.flip_map(b, a), abs=1e-12)
    assert metrics.flip(a, a) == 0


def test_flicker_counts_only_what_stands_still():
    truth = [np.full((4, 6, 3), 0.5), np.full((4, 6, 3), 0.5)]
    truth[1][:, 3:] = 0.9  # moves
    steady = [truth[0] + 0.2, truth[1] + 0.2]
    assert metrics.flicker(steady, truth) == pytest.approx(0, abs=1e-12)  # wrong, but steady
    blinking = [truth[0], truth[1] + 0.1]
    assert metrics.flicker(blinking, truth) == pytest.approx(0.1)
    moved = [truth[0], np.where(np.arange(6)[None, :, None] >= 3, 0.0, truth[1])]
    assert metrics.flicker(moved, truth) == pytest.approx(0, abs=1e-12)
    assert metrics.flicker(truth[:1], truth[:1]) is None
    with pytest.raises(FourfoldError, match="one each"):
        metrics.flicker(truth, truth[:1])


def test_pck_t_counts_by_hand():
    truth = np.array([[10.0, 10.0], [50, 20], [90, 70], [5, 5]])
    off = np.array([[0.0, 0.0], [4.9, 0], [3, 4.1], [30, 0]])
    assert metrics.pck_t(truth + off, truth, (100, 80)) == 0.5  # within 5 pixels of 100
    assert metrics.pck_t(truth[:0], truth[:0], (100, 80)) is None


def test_boxes_grow_by_an_eighth_and_stay_inside():
    mask = np.zeros((80, 160), bool)
    mask[30:41, 5:61] = True
    assert metrics.mask_box(mask) == (20, 51, 0, 81)
    assert metrics.mask_box(np.zeros((8, 8), bool)) is None
    image = np.random.default_rng(0).random((80, 160, 3))
    assert (metrics.on_colour(image, mask)[~mask] == 1).all()
    assert metrics.crop(image, (20, 51, 0, 81)).shape == (31, 81, 3)


def test_rounding_is_that_of_the_kept_file(tmp_path):
    from fourfold.evaluation.heldout import save_png

    image = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32) * 1.2 - 0.1
    save_png(tmp_path / "a.png", image)
    assert (metrics.rounded(image) == np.asarray(Image.open(tmp_path / "a.png")) / 255).all()
