"""Image metrics against scikit-image, OpenCV and closed forms."""

import cv2
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from fourfold.errors import FourfoldError
from fourfold.evaluation import metrics


def _images(seed: int, shape: tuple[int, int, int] = (40, 53, 3)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(random.random(shape), (0, 0), 2.0)
    return smooth, np.clip(smooth + 0.05 * random.standard_normal(shape), 0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_psnr_agrees_with_opencv(seed: int) -> None:
    a, b = _images(seed)
    assert metrics.psnr(a, b) == pytest.approx(cv2.PSNR(a, b, 1.0), abs=1e-9)


def test_masked_psnr_counts_only_the_mask() -> None:
    truth = np.zeros((6, 6, 3))
    image = truth.copy()
    image[:3] = 0.1
    image[3:] = 0.5
    mask = np.zeros((6, 6), bool)
    mask[:3] = True
    assert metrics.psnr(image, truth, mask) == pytest.approx(20.0)
    assert metrics.psnr(image, truth, np.zeros((6, 6), bool)) is None


def test_psnr_of_equal_images_is_not_a_number() -> None:
    assert metrics.psnr(np.ones((4, 4, 3)), np.ones((4, 4, 3))) is None


@pytest.mark.parametrize("seed", range(3))
def test_ssim_agrees_with_scikit_image(seed: int) -> None:
    a, b = _images(seed)
    theirs = structural_similarity(
        a, b, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, win_size=11, full=False
    )
    assert metrics.ssim(a, b) == pytest.approx(theirs, abs=1e-9)


def test_ssim_needs_a_window() -> None:
    with pytest.raises(FourfoldError, match="at least 11 x 11"):
        metrics.ssim(np.zeros((5, 5, 3)), np.zeros((5, 5, 3)))


def test_shapes_must_agree() -> None:
    with pytest.raises(FourfoldError, match=r"expected the same \(H, W, 3\)"):
        metrics.psnr(np.zeros((5, 5, 3)), np.zeros((5, 6, 3)))


def test_mask_iou() -> None:
    a, b = np.array([[1, 1, 0, 0]]), np.array([[0, 1, 1, 0]])
    assert metrics.mask_iou(a, b) == pytest.approx(1 / 3)
    assert metrics.mask_iou(a * 0, b * 0) is None
