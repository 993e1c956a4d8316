"""How a stored picture is turned or mirrored to stand upright: the display matrix of films, the EXIF flag of photos.

Sources: ISO/IEC 14496-12, 6.2.2 (matrix of the track header); Exif 2.32, tag 0x0112.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EXIF = {2: (False, True, False), 3: (False, True, True), 4: (False, False, True), 5: (True, False, False)}
_EXIF |= {6: (True, True, False), 7: (True, True, True), 8: (True, False, True)}


@dataclass(frozen=True)
class Orientation:
    """Rows and columns are exchanged first, then left and right, then top and bottom.

    Attributes:
        transposed: the pixel at (x, y) goes to (y, x).
        flip_x: then x runs the other way.
        flip_y: then y runs the other way.
    """

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @staticmethod
    def from_exif(flag: object) -> Orientation:
        """Of EXIF's flag 1..8; upright for anything else."""
        return Orientation(*_EXIF.get(flag, (False, False, False))) if isinstance(flag, int) else UPRIGHT

    @staticmethod
    def from_matrix(a: float, b: float, c: float, d: float) -> Orientation:
        """Of x' = a x + c y, y' = b x + d y, y downwards; angles between right ones go to the nearest."""
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return Orientation(False, a < 0, d < 0)
        return Orientation(True, c < 0, b < 0)

    @staticmethod
    def from_display_matrix(raw: bytes) -> Orientation:
        """Of nine 32-bit numbers in the machine's byte order, as FFmpeg passes them on; upright where there are fewer."""
        if len(raw) < 36:
            return UPRIGHT
        a, b, _, c, d = (float(n) for n in np.frombuffer(raw[:20], np.int32))
        return Orientation.from_matrix(a, b, c, d)

    @property
    def mirrored(self) -> bool:
        """Whether it is no turn alone."""
        return (self.transposed + self.flip_x + self.flip_y) % 2 == 1

    @property
    def degrees(self) -> int:
        """By how much the stored picture is turned clockwise, before it is mirrored left to right if it is."""
        flip_x = self.flip_x != self.mirrored
        return {(False, False): 0, (True, True): 90, (False, True): 180, (True, False): 270}[self.transposed, flip_x]

    @property
    def words(self) -> str:
        """What is done to the picture, "" if nothing."""
        turned = f"turned by {self.degrees} degrees clockwise" if self.degrees else ""
        return " and ".join(w for w in (turned, "mirrored" if self.mirrored else "") if w)

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (size[1], size[0]) if self.transposed else size

    def apply(self, image: NDArray[Any]) -> NDArray[Any]:
        """The upright picture of a stored one (H, W, ...)."""
        turned = np.swapaxes(image, 0, 1) if self.transposed else image
        return np.ascontiguousarray(turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])

    def camera(self, K: NDArray[np.float64], world_to_camera: NDArray[np.float64], size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
        """K (3, 3) and world_to_camera (4, 4) of the turned picture, from those of the stored one of `size`; not for mirrored ones.

        The turned camera is rolled about its optical axis, so that the same points keep their pixels.
        """
        if self.mirrored:
            raise ValueError("no camera sees a mirrored picture")
        turn = np.eye(3)
        if self.transposed:
            turn = turn[[1, 0, 2]]
        flips = np.diag([-1.0 if self.flip_x else 1.0, -1.0 if self.flip_y else 1.0, 1.0])
        turn = flips @ turn
        width, height = self.size(size)
        pixels = turn.copy()
        pixels[:2, 2] = width if self.flip_x else 0.0, height if self.flip_y else 0.0
        rolled = np.eye(4)
        rolled[:3, :3] = turn
        return pixels @ K @ turn.T, rolled @ world_to_camera


UPRIGHT = Orientation()


def tangential(orientation: Orientation, coefficients: Sequence[float]) -> tuple[float, ...]:
    """Brown-Conrady coefficients (k1, k2, p1, p2, ...) of the turned picture: p1 and p2 turn like a vector (y, x)."""
    k1, k2, p1, p2, *rest = (*coefficients, 0.0, 0.0, 0.0, 0.0)[: max(4, len(coefficients))]
    along_x, along_y = (p1, p2) if orientation.transposed else (p2, p1)
    return (k1, k2, -along_y if orientation.flip_y else along_y, -along_x if orientation.flip_x else along_x, *rest)
