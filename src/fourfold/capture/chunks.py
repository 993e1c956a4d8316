"""A film too long to be held at once, cut into chunks of time that overlap, and thinned to keyframes for what all chunks share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture


@dataclass(frozen=True)
class ChunkNumbers:
    """How a film is cut.

    Attributes:
        longest: moments up to which a film is made in one piece.
        length: moments of a chunk that it alone shows, at most.
        overlap: moments by which a chunk reaches into its neighbours on both sides together, so that a hand-over lies within what both have seen.
        keyframes: training moments, at most, for what all chunks share.
    """

    longest: int = 300
    length: int = 152
    overlap: int = 48
    keyframes: int = 200


@dataclass(frozen=True)
class Chunk:
    """One chunk: its `number`, the time indices `first` to `last` - 1 that it is made of, and `begin` to `end` - 1, those it alone shows."""

    number: int
    first: int
    last: int
    begin: int
    end: int

    @property
    def moments(self) -> NDArray[np.intp]:
        """(K,) time indices that it is made of."""
        return np.arange(self.first, self.last)


def is_long(capture: Capture, numbers: ChunkNumbers = ChunkNumbers()) -> bool:
    """Whether a capture has more moments than are made in one piece."""
    return capture.times > numbers.longest


def chunks_of(times: int, numbers: ChunkNumbers = ChunkNumbers()) -> tuple[Chunk, ...]:
    """As few chunks as `times` moments need, of equal lengths up to one; every moment is shown by exactly one."""
    count = -(-times // numbers.length)
    ends = np.linspace(0, times, count + 1).round().astype(int)
    reach = numbers.overlap // 2
    return tuple(
        Chunk(number, max(0, int(begin) - reach), min(times, int(end) + reach), int(begin), int(end))
        for number, (begin, end) in enumerate(pairwise(ends))
    )


def keyframes(capture: Capture, numbers: ChunkNumbers = ChunkNumbers()) -> NDArray[np.intp]:
    """(K,) time indices of evenly spread moments with a training image, the first and the last of them included."""
    trained = np.flatnonzero(capture.train.any(axis=0))
    return trained[np.unique(np.linspace(0, len(trained) - 1, min(len(trained), numbers.keyframes)).round().astype(int))]
