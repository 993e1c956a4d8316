"""Cameras of photos that EXIF turns: structure from motion works on the stored pixels, the photo is shown upright, and the camera turns with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import image_orientation, image_size
from fourfold.capture.lens import Lens
from fourfold.capture.orientation import Orientation, tangential
from fourfold.capture.readers.posed_images import PosedImage
from fourfold.capture.source import scale_intrinsics
from fourfold.errors import FourfoldError

SHAPE = 0.02  # relative difference of side ratios up to which two sizes are of one picture
Size = tuple[float, float]


def upright(posed: PosedImage, size: Size | None) -> PosedImage:
    """`posed`, whose K is for a picture of `size` (width, height; None: not told), with the camera of its upright image.

    A size turned by 90 degrees against the upright image is of the stored pixels, and so is one that fits both ways, or one that is not told where
    the principal point fits. FourfoldError for a photo that EXIF mirrors: no camera sees it.
    """
    shown, turn = image_size(posed.image), image_orientation(posed.image)
    stored = turn.size(shown)
    if not of_stored(posed.K, size, stored, shown, turn):
        return replace(posed, K=scale_intrinsics(posed.K, size or shown, shown))
    if turn.mirrored:
        raise FourfoldError(f"{posed.image} is mirrored by its EXIF flag and comes with a camera: remove the flag or mirror the camera")
    K, pose = turn.camera(scale_intrinsics(posed.K, size or stored, stored), posed.world_to_camera, stored)
    return replace(posed, K=K, world_to_camera=pose, lens=turned_lens(posed.lens, turn))


def of_stored(K: NDArray[np.float64], size: Size | None, stored: tuple[int, int], shown: tuple[int, int], turn: Orientation) -> bool:
    """Whether a camera for a picture of `size` is of the stored pixels and not of the upright ones."""
    if turn == Orientation():
        return False
    if size is not None and turn.transposed:
        fits = [abs(size[0] * s[1] / (size[1] * s[0]) - 1) < SHAPE for s in (stored, shown)]
        if fits[0] != fits[1]:
            return fits[0]
    if size is None and turn.transposed:
        off = [float(np.abs(2 * K[:2, 2] / np.array(s) - 1).max()) for s in (stored, shown)]
        return off[0] <= off[1]
    return True


def turned_lens(lens: Lens, turn: Orientation) -> Lens:
    """The distortion seen in the turned picture: radial terms stay, tangential ones turn."""
    return replace(lens, coefficients=tangential(turn, lens.coefficients)) if lens.model == "pinhole" else lens
