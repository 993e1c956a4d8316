"""What synchronisation reads of a camera: its moments and small grey images, from a video or from a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import FrameFiles
from fourfold.errors import FourfoldError


class Film(Protocol):
    """One camera's recording."""

    @property
    def path(self) -> Path:
        """The file or folder, for messages."""
        ...

    @property
    def fps(self) -> float:
        """Usual rate, frames per second."""
        ...

    @property
    def times(self) -> NDArray[np.float64]:
        """(N,) increasing times of the frames, seconds."""
        ...

    @property
    def has_audio(self) -> bool:
        """Whether there is sound."""
        ...

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def small_grey(self, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
        """Every frame as uint8 (h, w) grey of `size` (width, height)."""
        ...

    def sound(self, rate: int) -> NDArray[np.float64]:
        """(S,) mono samples at `rate` per second. FourfoldError if there is none."""
        ...


@dataclass(frozen=True)
class FolderFilm:
    """A folder of images, `fps` a second, as a film without sound."""

    path: Path
    frames: FrameFiles
    fps: float
    has_audio: bool = False

    @property
    def times(self) -> NDArray[np.float64]:
        """(N,) seconds."""
        return np.arange(len(self.frames)) / self.fps

    def __len__(self) -> int:
        return len(self.frames)

    def small_grey(self, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
        """Every image, reduced."""
        for image in self.frames.decode(range(len(self.frames))):
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            yield cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.uint8)

    def sound(self, rate: int) -> NDArray[np.float64]:
        """FourfoldError."""
        raise FourfoldError(f"{self.path} holds images without sound: synchronise by motion or give the time offsets")
