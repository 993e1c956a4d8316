"""Matching the patch of a query frame in any later frame: masked, under a known affine change, with sub-pixel steps and a pull to a prediction.

Inverse compositional alignment (Baker and Matthews 2004, section 3.2) over the translation alone; brightness and contrast are free. Pixels
of the patch beyond the object's mask do not count, so that thin limbs are not dragged along by what lies behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.tracking.track_step import Points, remapped

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class TemplateConfig:
    """Numbers of the template matching.

    Attributes:
        side: samples along each side of a patch, odd.
        fine_width: width of images, pixels, up to which samples are one pixel apart; they grow apart in proportion beyond.
        steps: Gauss-Newton steps.
        noise: grey levels by which patch and image differ at best.
        trust: pixels by which a predicted position is usually wrong; with `noise` this weighs prediction against patch.
        longest_step: longest single step, samples.
        border: weight of pixels along the mask's outline, where derivatives mix both sides.
        flat: deviation of grey levels below which a patch says nothing.
    """

    side: int = 9
    fine_width: int = 400
    steps: int = 6
    noise: float = 12.0
    trust: float = 1.0
    longest_step: float = 1.5
    border: float = 0.25
    flat: float = 2.0


@dataclass(frozen=True)
class Templates:
    """Patches of N points with k samples each.

    offset (k, 2) sample positions around the point, pixels; value (N, k) grey levels minus their weighted mean; weight (N, k) with sum 1;
    slope_x, slope_y (N, k) centred derivatives per pixel; deviation (N,) weighted standard deviation of the grey levels.
    """

    offset: Points
    value: Rows
    weight: Rows
    slope_x: Rows
    slope_y: Rows
    deviation: NDArray[np.float32]

    def rows(self, which: NDArray[np.intp]) -> Templates:
        """The templates of some points."""
        return Templates(self.offset, self.value[which], self.weight[which], self.slope_x[which], self.slope_y[which], self.deviation[which])


def sample_spacing(width: int, config: TemplateConfig) -> float:
    """Pixels between the samples of a patch in an image of this width."""
    return max(1.0, width / config.fine_width)


def smooth(grey: NDArray[np.uint8], config: TemplateConfig) -> NDArray[np.float32]:
    """Float image without what patches cannot sample."""
    spacing = sample_spacing(grey.shape[1], config)
    image = grey.astype(np.float32)
    return image if spacing <= 1 else cv2.GaussianBlur(image, (0, 0), 0.5 * spacing)


def make_templates(
    image: NDArray[np.float32], label: NDArray[np.uint8], points: Points, group: NDArray[np.int32], config: TemplateConfig
) -> Templates:
    """Templates of (N, 2) points of a smoothed image (H, W); samples count where `label` (H, W) equals the point's group (N,)."""
    offset = _offsets(image.shape[1], config)
    where = points[:, None] + offset
    u, v = (where[..., i] - np.float32(0.5) for i in (0, 1))
    value = remapped(image, u, v)
    reach = config.side // 2 * sample_spacing(image.shape[1], config)
    soft = np.exp(-0.5 * (offset**2).sum(axis=1) / (0.7 * reach) ** 2)
    height, width = label.shape
    column, row = np.clip(where[..., 0].astype(int), 0, width - 1), np.clip(where[..., 1].astype(int), 0, height - 1)
    inside = (where >= 0).all(axis=-1) & (where[..., 0] < width) & (where[..., 1] < height)
    mine = np.stack([_own_side(label, number, config.border) for number in (0, 1)])
    weight = soft * inside * mine[group[:, None], row, column]
    weight[:, len(offset) // 2] = np.maximum(weight[:, len(offset) // 2], 1e-3)
    weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    gx, gy = (cv2.Sobel(image, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=0.125) for dx in (1, 0))
    slope_x, slope_y = (_centred(remapped(g, u, v), weight) for g in (gx, gy))
    value = _centred(value, weight)
    return Templates(offset, value, weight, slope_x, slope_y, np.sqrt((weight * value**2).sum(axis=1)))


def _own_side(label: NDArray[np.uint8], group: int, border: float) -> NDArray[np.float32]:
    """(H, W) weight of pixels for templates of a group: 0 beyond its mask, `border` where the derivatives reach beyond it, 1 inside."""
    mask = (label == group).astype(np.uint8)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.where(inner > 0, 1, border * mask).astype(np.float32)


def align(
    image: NDArray[np.float32], templates: Templates, start: Points, shape: NDArray[np.float32], predicted: Points, config: TemplateConfig
) -> tuple[Points, NDArray[np.float32]]:
    """Find N templates in a smoothed image.

    Args:
        start: (N, 2) first positions.
        shape: (N, 2, 2) affine change from the template's frame to this one.
        predicted: (N, 2) positions towards which flat and one-directional patches are pulled.

    Returns:
        (N, 2) positions and (N,) weighted normalised correlation there; 0.5 where the patch is flat.
    """
    xy = start.astype(np.float32).copy()
    pull = (config.noise / config.trust) ** 2 / config.side**2
    weight = templates.weight
    wx, wy = weight * templates.slope_x, weight * templates.slope_y
    a, b, d = (wx * templates.slope_x).sum(1) + pull, (wx * templates.slope_y).sum(1), (wy * templates.slope_y).sum(1) + pull
    determinant = a * d - b * b
    inverse = np.linalg.inv(shape).astype(np.float32)
    longest = config.longest_step * float(np.abs(templates.offset[0] - templates.offset[1]).max())
    for _ in range(config.steps):
        error = _seen(image, templates, xy, shape)[0] - templates.value
        away = _turned(inverse, xy - predicted)
        ex, ey = (wx * error).sum(1) + pull * away[:, 0], (wy * error).sum(1) + pull * away[:, 1]
        step = np.stack([d * ex - b * ey, a * ey - b * ex], 1) / determinant[:, None]
        step *= np.minimum(1, longest / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-6))
        xy -= _turned(shape, step).astype(np.float32)
    return xy, _seen(image, templates, xy, shape)[1]


def alike(image: NDArray[np.float32], templates: Templates, xy: Points, shape: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) weighted normalised correlation of templates with the image at (N, 2) positions under (N, 2, 2) affine changes."""
    return _seen(image, templates, xy, shape)[1]


def _seen(image: NDArray[np.float32], templates: Templates, xy: Points, shape: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
    """What the image shows at the templates' samples, in their brightness and contrast (at most doubled or halved), and the correlation."""
    u, v = (xy[:, i : i + 1] + shape[:, i] @ templates.offset.T for i in (0, 1))
    value = _centred(remapped(image, u - np.float32(0.5), v - np.float32(0.5)), templates.weight)
    deviation = np.sqrt((templates.weight * value**2).sum(1))
    product = (templates.weight * value * templates.value).sum(1)
    correlation = np.where(templates.deviation > 0, product / np.maximum(deviation * templates.deviation, 1e-6), 0)
    gain = np.clip(templates.deviation / np.maximum(deviation, 1e-6), 0.5, 2)
    return value * gain[:, None], correlation.astype(np.float32)


def _centred(value: Rows, weight: Rows) -> Rows:
    return value - (weight * value).sum(axis=1, keepdims=True)


def _offsets(width: int, config: TemplateConfig) -> Points:
    along = (np.arange(config.side, dtype=np.float32) - config.side // 2) * np.float32(sample_spacing(width, config))
    x, y = np.meshgrid(along, along)
    return np.stack([x.ravel(), y.ravel()], 1)


def _turned(matrix: NDArray[np.float32], vector: Points) -> Points:
    """(N, 2) products of (N, 2, 2) with (N, 2)."""
    return matrix[:, :, 0] * vector[:, :1] + matrix[:, :, 1] * vector[:, 1:]
