"""Any video's colours as 8-bit RGB of BT.709 primaries with sRGB's curve, which is what images are everywhere else.

Sources: ITU-R BT.2100-2 tables 4 and 5 (PQ, HLG), BT.2408-7 section 2 (reference white: 203 nits, 75 % of HLG), BT.2020 and BT.709
(chromaticities), IEC 61966-2-1 (sRGB), SMPTE EG 432-1 (P3-D65). HLG is taken as light of the scene, without the display's gamma of 1.2, as cameras of
standard range film it too (BT.2408, scene-referred mapping). Light above the reference white clips, as in such cameras.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Transfer = Literal["sdr", "hlg", "pq"]
Primaries = Literal["bt709", "bt2020", "p3"]

LIMITED, FULL = 1, 2  # FFmpeg's AVCOL_RANGE_MPEG and AVCOL_RANGE_JPEG
FULL_RANGE_FORMATS = ("gray", "ya", "yuvj", "rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal", "mono")
TRANSFERS: dict[int, Transfer] = {16: "pq", 18: "hlg"}  # FFmpeg's AVCOL_TRC_*
PRIMARIES: dict[int, Primaries] = {9: "bt2020", 12: "p3"}  # AVCOL_PRI_*
BT709_MATRIX, BT601_MATRIX, UNTOLD = 1, 5, 2  # AVCOL_SPC_*
HD_WIDTH, HD_HEIGHT = 1280, 576  # at or above this width, or above this height, players take a film without a matrix as BT.709
REFERENCE_WHITE_NITS, REFERENCE_WHITE_HLG = 203.0, 0.75
LEVELS = 1 << 16
SWSCALE_WHITE = 255 << 8  # what FFmpeg's scaler makes of white in 16 bits when it comes from YUV

_CHROMATICITIES = {
    "bt709": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)


@dataclass(frozen=True)
class Colour:
    """What the numbers of a decoded picture mean.

    Attributes:
        matrix: of luma and chroma, FFmpeg's number.
        full: whether all levels are used, not 16 to 235.
        transfer: from light to numbers.
        primaries: which red, green and blue.
        matrix_told: whether the file names the matrix.
    """

    matrix: int
    full: bool
    transfer: Transfer
    primaries: Primaries
    matrix_told: bool = True

    @property
    def standard(self) -> bool:
        """Whether 8-bit RGB needs the matrix alone."""
        return self.transfer == "sdr" and self.primaries == "bt709"

    @property
    def words(self) -> str:
        """What is done to the colours beyond the usual, "" if nothing."""
        if not self.standard:
            names = {"sdr": "", "hlg": "HLG ", "pq": "PQ ", "bt709": "BT.709", "bt2020": "BT.2020", "p3": "P3"}
            white = "" if self.transfer == "sdr" else ", light above the reference white of 203 nits clipped"
            return f"{names[self.transfer]}{names[self.primaries]} brought to BT.709{white}"
        return "no colour matrix is named: taken as BT.709" if not self.matrix_told and self.matrix == BT709_MATRIX else ""


def colour_of(frame: Any) -> Colour:
    """What a decoded PyAV frame says of its colours, and what players assume where it does not."""
    name = frame.format.name
    # Without a range in the file, grey and RGB pictures use all levels and YUV ones 16 to 235, as FFmpeg itself assumes.
    full = frame.color_range == FULL or (frame.color_range != LIMITED and name.startswith(FULL_RANGE_FORMATS))
    matrix, told = int(frame.colorspace), int(frame.colorspace) != UNTOLD or name.startswith(FULL_RANGE_FORMATS)
    if not told:
        matrix = BT709_MATRIX if frame.width >= HD_WIDTH or frame.height > HD_HEIGHT else BT601_MATRIX
    return Colour(matrix, full, TRANSFERS.get(int(frame.color_trc), "sdr"), PRIMARIES.get(int(frame.color_primaries), "bt709"), told)


def to_rgb(frame: Any, colour: Colour, width: int) -> NDArray[np.uint8]:
    """(H, width, 3) RGB of a decoded PyAV frame, not turned."""
    how = {"width": width, "height": frame.height, "src_color_range": FULL if colour.full else LIMITED, "dst_color_range": FULL}
    if colour.matrix not in (0, UNTOLD):
        how["src_colorspace"] = colour.matrix
    if colour.standard:
        return frame.to_ndarray(format="rgb24", **how)
    wide = frame.to_ndarray(format="rgb48le", **how)
    return to_standard(np.minimum(wide, SWSCALE_WHITE), colour.transfer, colour.primaries, SWSCALE_WHITE)


def to_standard(signal: NDArray[np.uint16], transfer: Transfer, primaries: Primaries, white: int = LEVELS - 1) -> NDArray[np.uint8]:
    """8-bit sRGB of a signal (H, W, 3) in 0..`white`."""
    light = _light(transfer, white)[signal]
    if primaries != "bt709":
        light = cv2.transform(light, between(primaries, "bt709").astype(np.float32))
    root = cv2.sqrt(np.clip(light, 0.0, 1.0))
    return _display()[np.round(root * (LEVELS - 1)).astype(np.uint16)]


def light_of(signal: NDArray[np.float64], transfer: Transfer) -> NDArray[np.float64]:
    """Light relative to the reference white of a signal in 0..1."""
    if transfer == "sdr":
        return np.where(signal <= 0.04045, signal / 12.92, ((np.maximum(signal, 0.04045) + 0.055) / 1.055) ** 2.4)
    if transfer == "hlg":
        return _hlg(signal) / _hlg(np.array(REFERENCE_WHITE_HLG))
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** (1 / m2)
    return 10000.0 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) / REFERENCE_WHITE_NITS


def _hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB signal of light in 0..1."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def between(source: Primaries, target: Primaries) -> NDArray[np.float64]:
    """(3, 3) from linear RGB of `source` to that of `target`."""
    return np.linalg.solve(_to_xyz(target), _to_xyz(source))


def _to_xyz(primaries: Primaries) -> NDArray[np.float64]:
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in _CHROMATICITIES[primaries]]).T
    white = np.array([_D65[0] / _D65[1], 1.0, (1 - sum(_D65)) / _D65[1]])
    return columns * np.linalg.solve(columns, white)


@lru_cache(maxsize=4)
def _light(transfer: Transfer, white: int) -> NDArray[np.float32]:
    return light_of(np.arange(white + 1) / white, transfer).astype(np.float32)


@lru_cache(maxsize=1)
def _display() -> NDArray[np.uint8]:
    """8-bit levels by the root of light, whose equal steps are fine enough near black."""
    return np.round(255 * encoded((np.arange(LEVELS) / (LEVELS - 1)) ** 2)).astype(np.uint8)
