"""The plate: what a camera without parallax sees where nothing moves, fitted to all its images at once, and by how much each pixel differs.

Every pixel of the plate has a residual scale of its own, so that texture, noise and flicker do not count as motion. Who is suspected by
the tracks weighs less, (1 - 1.4 S)^2, and so does what the plate does not explain; what never changes is still whatever the tracks say. The fit
begins at the colour that most trusted images share: things that are put down here and there would else be mixed with what they cover. Images that
show what is always seen around a pixel count more: that is what lies behind such things.
Source: spec front_end.md section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.masks.plate_fill import FillNumbers, surroundings
from fourfold.priors.masks.plate_frames import Image, PlateFrame


@dataclass(frozen=True)
class PlateNumbers:
    """Numbers of the plate; colours lie in [0, 1].

    Attributes:
        most: images that the plate is fitted to, spread evenly over the clip.
        doubt: a suspicion S leaves the weight (1 - doubt S)^2.
        calm: mean colour change (90th percentile over time) of what never changes; more is trusted less, as exp(-(change / calm)^2).
        tried, alike: images, evenly over the clip, one of which is where a pixel's fit begins, and the mean colour difference within which others
            agree with it.
        surrounded: by how much an image counts more whose colour is that of what never changes around a pixel.
        rounds: of the robust fit.
        outlier: residual over its scale at which a pixel's weight is a half.
        texture: share of the local gradient, per pixel, that counts as residual scale: edges are never met exactly.
        least: smallest residual scale, of colour.
        blur: deviation in pixels over which residuals are averaged.
        known: summed trust at which the plate is fully known at a pixel.
        fill: of what surrounds a pixel.
    """

    most: int = 120
    doubt: float = 1.4
    calm: float = 0.02
    tried: int = 24
    alike: float = 0.04
    surrounded: float = 3.0
    rounds: int = 6
    outlier: float = 2.5
    texture: float = 0.6
    least: float = 0.012
    blur: float = 1.5
    known: float = 1.5
    fill: FillNumbers = field(default_factory=FillNumbers)


@dataclass(frozen=True)
class Plate:
    """Colour (H, W, 3), residual scale (H, W) of the mean colour difference, and how well it is known (H, W) in [0, 1]."""

    color: Image
    scale: Image
    known: Image


def fit_plate(
    images: Sequence[Image], suspicion: Sequence[Image], frame: PlateFrame, used: NDArray[np.intp], numbers: PlateNumbers = PlateNumbers()
) -> Plate:
    """The plate of images (h, w, 3) RGB in [0, 1] whose pixels the tracks suspect by `suspicion` (h, w) in [0, 1]; `used` numbers those that
    it may be fitted to."""
    chosen = used[np.unique(np.linspace(0, len(used) - 1, min(len(used), numbers.most)).round().astype(int))]
    gathered = np.stack([frame.gather(int(t), images[t]) for t in chosen])
    seen = np.stack([frame.reached(int(t)) for t in chosen]).astype(np.float32)
    trust = np.stack([frame.gather(int(t), suspicion[t]) for t in chosen])
    trust = np.square(np.clip(1 - numbers.doubt * trust, 0, 1))
    middle, calm = _calm(gathered, seen, numbers)
    trust = np.maximum(trust, calm) * seen
    weight = np.maximum(trust, 1e-3 * seen)
    around, spread = surroundings(middle, calm, numbers.fill)
    behind = 1 + numbers.surrounded * np.exp(-np.square(_away(gathered, around) / spread))
    # kept in all rounds: where texture makes the scale large, the fit would come back to a mixture
    base = weight = weight / (1 + (_away(gathered, _shared(gathered, weight * behind, numbers)) / numbers.alike) ** 4)
    color, scale = np.zeros(gathered.shape[1:], np.float32), np.zeros(gathered.shape[1:3], np.float32)
    for _ in range(numbers.rounds):
        total = weight.sum(0) + np.float32(1e-6)
        color = np.einsum("thw,thwc->hwc", weight, gathered) / total[..., None]
        error = _away(gathered, color)
        scale = _scale(np.sqrt(np.einsum("thw,thw->hw", weight, np.square(error)) / total), color, numbers)
        over = np.stack([cv2.GaussianBlur(e / scale, (0, 0), numbers.blur) for e in error])
        weight = base / (1 + (over / numbers.outlier) ** 4)
    return Plate(color, scale, np.clip(trust.sum(0) / numbers.known, 0, 1).astype(np.float32))


def unexplained(image: Image, plate: Plate, numbers: PlateNumbers = PlateNumbers()) -> Image:
    """(h, w) residual over its scale, averaged over neighbours, of an image against the plate as its camera sees it."""
    return cv2.GaussianBlur(np.abs(image - plate.color).mean(-1) / plate.scale, (0, 0), numbers.blur)


def filled_plate(plate: Plate, numbers: FillNumbers = FillNumbers()) -> Plate:
    """A plate of the colours known around each pixel and, as its scale, how much they differ among each other."""
    return Plate(*surroundings(plate.color, plate.known, numbers), plate.known)


def seen_plate(plate: Plate, frame: PlateFrame, t: int) -> Plate:
    """The plate as the camera sees it in its image number `t`."""
    return Plate(*(frame.show(t, part) for part in (plate.color, plate.scale, plate.known)))


def _calm(gathered: Image, seen: Image, numbers: PlateNumbers) -> tuple[Image, Image]:
    """(H, W, 3) median colours, and (H, W) trust in what never changes over time, in [0, 1]; 0 where the images reach less than twice."""
    count = (seen > 0).sum(0)
    middle = _order(np.where(seen[..., None] > 0, gathered, np.float32(np.inf)), count[..., None], 0.5)
    change = np.where(seen > 0, _away(gathered, middle), np.float32(np.inf))
    high = np.where(count > 1, _order(change, count, 0.9), np.float32(1))
    return middle, np.exp(-np.square(cv2.GaussianBlur(high.astype(np.float32), (0, 0), 1.0) / numbers.calm))


def _away(images: Image, color: Image) -> Image:
    """(T, H, W) mean difference of each of the images (T, H, W, 3) from one; image by image, since all together may take gigabytes."""
    return np.stack([np.abs(image - color).mean(-1) for image in images])


def _shared(gathered: Image, weight: Image, numbers: PlateNumbers) -> Image:
    """(H, W, 3) of the images (T, H, W, 3) tried, the colour that most of the `weight` (T, H, W) agrees with."""
    best, color = np.zeros(gathered.shape[1:3], np.float32), gathered[0].copy()
    for n in np.unique(np.linspace(0, len(gathered) - 1, min(len(gathered), numbers.tried)).round().astype(int)):
        agrees = np.einsum("thw,thw->hw", weight, _away(gathered, gathered[n]) <= numbers.alike) * (weight[n] > 0)
        color[agrees > best] = gathered[n][agrees > best]
        best = np.maximum(best, agrees)
    return color


def _order(values: Image, count: NDArray[np.intp], share: float) -> Image:
    """The value below which `share` of the first `count` values lie, along the first axis; what does not count is infinite. 0 where none does."""
    rank = np.clip(np.ceil(share * count) - 1, 0, None).astype(np.intp)
    found = np.take_along_axis(np.sort(values, axis=0), np.broadcast_to(rank, values.shape[1:])[None], 0)[0]
    return np.where(count > 0, found, np.float32(0))


def _scale(spread: Image, color: Image, numbers: PlateNumbers) -> Image:
    """(H, W) residual scale from the spread over time and the plate's own edges."""
    slopes = [cv2.Sobel(color[..., c], cv2.CV_32F, 1 - axis, axis, ksize=3) for c in range(3) for axis in (0, 1)]
    gradient = np.sqrt(np.square(np.stack(slopes)).sum(0) / 3) / 8
    return (np.maximum(cv2.GaussianBlur(spread.astype(np.float32), (0, 0), 1.0), numbers.least) + numbers.texture * gradient).astype(np.float32)
