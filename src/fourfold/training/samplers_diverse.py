"""Batches that see different cameras at different times: spec sparse_dynamic_cameras.md section 5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourfold.capture.capture import Capture


@dataclass(frozen=True)
class DiverseImages:
    """`batch` training images of different cameras and different, non-adjacent times.

    Attributes:
        batch: images; with fewer cameras than that, cameras repeat after each was taken once.
        views, times: "different" or "same": the paper's Table 5 keeps one of them the same.
        gap: share of T / batch that times lie apart at least, as far as the clip allows.
    """

    batch: int = 3
    views: str = "different"
    times: str = "different"
    gap: float = 0.25

    def __call__(self, capture: Capture, step: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """(view, time index) of each image of the batch of `step`; fewer than `batch` only where there are not so many different ones."""
        available = [int(v) for v in np.flatnonzero(capture.train.any(axis=1))]
        if self.times == "same":
            moments = np.flatnonzero(capture.train.any(axis=0))
            time = int(moments[random.integers(len(moments))])
            seeing = random.permutation(np.flatnonzero(capture.train[:, time]))[: self.batch]
            return [(int(view), time) for view in seeing]
        order = [int(v) for v in random.permutation(available)]
        cameras = [order[0]] * self.batch if self.views == "same" else [order[i % len(order)] for i in range(self.batch)]
        return self._apart(capture, cameras, random)

    def _apart(self, capture: Capture, cameras: list[int], random: np.random.Generator) -> list[tuple[int, int]]:
        """A time for each camera, at least the gap from those before where there is one, else as far as there is."""
        least = self.gap * capture.times / max(self.batch, 1)
        chosen: list[tuple[int, int]] = []
        for view in cameras:
            times = np.flatnonzero(capture.train[view])
            if chosen:
                away = np.abs(times[:, None] - np.array([t for _, t in chosen])[None]).min(axis=1)
                wide = times[away >= max(least, 1)]
                times = wide if len(wide) else times[away > 0]
            if len(times):
                chosen.append((view, int(times[random.integers(len(times))])))
        return chosen
