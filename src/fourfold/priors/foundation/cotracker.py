"""CoTracker3: 2D tracks of many points at once.

Repository facebookresearch/co-tracker, commit 82e02e8 (2025-01-21); code and weights CC-BY-NC-4.0, not for commercial use. The networks
themselves are called, not the predictors, which return booleans. `visibility` is the network's visibility, `confidence` its confidence;
their product is what its online predictor thresholds. Pixel centres of the network are whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Priors, Tracks2D
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.video import Array, Both, both_ways, device_here, from_network, resized, to_network, track_views
from fourfold.priors.foundation.weights import load_state, missing, require
from fourfold.priors.providers import Provider

NETWORKS = {"cotracker3-offline": 60, "cotracker3-online": 16}
"""Window lengths, frames. The online network slides over the video; the offline one sees all of it."""


@dataclass(frozen=True)
class CoTrackerNumbers:
    """iterations: updates per window. support: points per side of a grid that is tracked along, as the predictors do. most: points at a time."""

    iterations: int = 6
    support: int = 6
    most: int = 1000


class CoTracker:
    """A `PointTracker` of one of `NETWORKS`. FourfoldError if its weights or package are not here."""

    def __init__(self, name: str, numbers: CoTrackerNumbers = CoTrackerNumbers()) -> None:
        build: Any = research_module("cotracker.models.build_cotracker")
        state = load_state(require(name))
        self.network = build.build_cotracker(checkpoint=None, offline=name == "cotracker3-offline", window_len=NETWORKS[name])
        self.network.load_state_dict(state.get("model", state))
        self.network.eval().to(device_here())
        self.shortest = 1 if name == "cotracker3-offline" else NETWORKS[name]
        self.numbers = numbers

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8], queries: NDArray[np.float32]) -> tuple[Array, Array, Array]:
        size, inner = images.shape[1:3], tuple(self.network.model_resolution)
        video = resized(images, inner[0], inner[1], device_here())
        start = torch.from_numpy(queries).to(video)
        start = torch.cat([start[:, :1], to_network(start[:, 1:], size, inner)], dim=1)
        parts = [both_ways(self._ahead, video, chunk) for chunk in start.split(self.numbers.most)]
        xy, visibility, confidence = (torch.cat([p[i] for p in parts], dim=1).transpose(0, 1) for i in range(3))
        return from_network(xy, size, inner).cpu().numpy(), visibility.cpu().numpy(), confidence.cpu().numpy()

    def _ahead(self, video: Tensor, queries: Tensor) -> Both:
        times, side = len(video), self.numbers.support
        padded = torch.cat([video, video[-1:].expand(max(self.shortest - times, 0), -1, -1, -1)])
        y, x = ((torch.arange(side, device=video.device) + 0.5) / side * extent for extent in video.shape[-2:])
        support = torch.stack([torch.zeros(side * side, device=video.device), x.repeat(side), y.repeat_interleave(side)], dim=1)
        xy, visibility, confidence, _ = self.network(video=padded[None], queries=torch.cat([queries, support])[None], iters=self.numbers.iterations)
        count = len(queries)
        return xy[0, :times, :count], visibility[0, :times, :count], confidence[0, :times, :count]


def track(capture: Capture, masks: Masks | None, name: str) -> Tracks2D:
    """2D tracks of every view by the network `name` of `NETWORKS`."""
    return track_views(capture, masks, CoTracker(name), name)


def _provider(name: str, rank: int) -> Provider:
    def make(capture: Capture, priors: Priors) -> list[Tracks2D]:
        return [track(capture, priors.masks, name)]

    return Provider(name, ("tracks2d",), ("masks",), rank, lambda _: missing(name), make)


PROVIDERS = (_provider("cotracker3-offline", 32), _provider("cotracker3-online", 31))
