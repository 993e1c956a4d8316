"""Structural similarity in the forms the field reports, each with a name: forms are never compared with one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.evaluation.image_metrics.pixels import Image, check_pair

SIGMA = 1.5
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik 2003, section 3.2


@dataclass(frozen=True)
class SsimForm:
    """One way to compute SSIM.

    Attributes:
        data_range: L in C1 = (0.01 L)^2, C2 = (0.03 L)^2.
        window: "gaussian" 11 x 11 of sigma 1.5, or "uniform" 7 x 7 with the unbiased covariance.
        border: "crop" keeps windows that fit; "mirror" and "zeros" pad both images and keep every pixel.
    """

    data_range: float = 1.0
    window: Literal["gaussian", "uniform"] = "gaussian"
    border: Literal["crop", "mirror", "zeros"] = "crop"

    @property
    def width(self) -> int:
        """Pixels of the window's side."""
        return 11 if self.window == "gaussian" else 7


FORMS: Mapping[str, SsimForm] = {
    "ssim_1": SsimForm(),
    "ssim_1_mirror": SsimForm(border="mirror"),
    "ssim_1_zeros": SsimForm(border="zeros"),
    "ssim_2": SsimForm(data_range=2.0, border="mirror"),
    "ssim_2_skimage7": SsimForm(data_range=2.0, window="uniform"),
}
"""Form name -> form. `ssim_1`: Wang et al. 2004 as scikit-image computes it for images in [0, 1]; `ssim_1_mirror`: the same as torchmetrics
1.9 computes it, which averages the mirrored border too; `ssim_1_zeros`: the 3D Gaussian splatting code's zero padding; `ssim_2`: torchmetrics
with data_range=2 (FreeTimeGS, SharpTimeGS); `ssim_2_skimage7`: scikit-image's old default for float images, a uniform 7 x 7 window and the
range of (-1, 1) (HyperReel, Spacetime Gaussians). Source: spec evaluation_and_datasets.md section 1."""


def ssim_map(image: Image, truth: Image, form: str = "ssim_1") -> NDArray[np.float64]:
    """Structural similarity around each pixel: (H - w + 1, W - w + 1, 3) where the window of side w must fit, (H, W, 3) with padding.

    (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2)), Wang et al. 2004, equation 13.
    FourfoldError for images smaller than the window and for a form that does not exist.
    """
    luminance, structure = _parts(image, truth, form)
    return luminance * structure


def ssim(image: Image, truth: Image, form: str = "ssim_1") -> float:
    """Mean of `ssim_map` over pixels and channels."""
    return float(ssim_map(image, truth, form).mean())


def ms_ssim(image: Image, truth: Image) -> float:
    """Multi-scale SSIM of images in [0, 1] of at least 176 x 176 pixels.

    prod_{j<5} mean(cs_j)^w_j * mean(ssim_5)^w_5 per channel over five scales, each half the last by 2 x 2 means, weights `MS_WEIGHTS`;
    negative means count as 0; then the mean over channels. Source: Wang, Simoncelli and Bovik 2003, equation 7.
    """
    check_pair(image, truth)
    least = (FORMS["ssim_1"].width) * 2 ** (len(MS_WEIGHTS) - 1)
    if min(image.shape[:2]) < least:
        raise FourfoldError(f"MS-SSIM needs images of at least {least} x {least} pixels, got {image.shape[1]} x {image.shape[0]}")
    a, b = image.astype(np.float64), truth.astype(np.float64)
    product = np.ones(3)
    for scale, weight in enumerate(MS_WEIGHTS):
        luminance, structure = _parts(a, b, "ssim_1")
        value = structure if scale < len(MS_WEIGHTS) - 1 else luminance * structure
        product *= np.maximum(value.mean(axis=(0, 1)), 0) ** weight
        a, b = _halved(a), _halved(b)
    return float(product.mean())


def _parts(image: Image, truth: Image, form: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The luminance term and the contrast-and-structure term around each pixel."""
    check_pair(image, truth)
    if form not in FORMS:
        raise FourfoldError(f"there is no SSIM form {form!r}: choose one of {', '.join(FORMS)}")
    chosen = FORMS[form]
    width = chosen.width
    if min(image.shape[:2]) < width:
        raise FourfoldError(f"SSIM needs images of at least {width} x {width} pixels, got {image.shape[1]} x {image.shape[0]}")
    a, b = image.astype(np.float64), truth.astype(np.float64)

    def blur(value: NDArray[np.float64]) -> NDArray[np.float64]:
        if chosen.window == "uniform":
            return cv2.blur(value, (width, width))  # type: ignore[return-value]
        border = cv2.BORDER_CONSTANT if chosen.border == "zeros" else cv2.BORDER_DEFAULT
        return cv2.GaussianBlur(value, (width, width), SIGMA, borderType=border)  # type: ignore[return-value]

    mean_a, mean_b = blur(a), blur(b)
    unbiased = width**2 / (width**2 - 1) if chosen.window == "uniform" else 1.0
    variances = unbiased * (blur(a * a) + blur(b * b) - mean_a**2 - mean_b**2)
    covariance = unbiased * (blur(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * chosen.data_range) ** 2, (0.03 * chosen.data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    if chosen.border != "crop":
        return luminance, structure
    crop = slice(width // 2, -(width // 2))
    return luminance[crop, crop], structure[crop, crop]


def _halved(image: NDArray[Any]) -> NDArray[np.float64]:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).mean(axis=(1, 3))
