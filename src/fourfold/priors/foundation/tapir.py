"""TAPIR and BootsTAPIR: 2D tracks with an occlusion and an uncertainty of their own.

Repository google-deepmind/tapnet, commit c2cbab8 (2026-07-22), its PyTorch network; code and weights Apache-2.0. The network looks both
ways by itself. With v = 1 - sigmoid(occlusion) and p = 1 - sigmoid(expected distance) `visibility` is v and `confidence` is p, so that
their product is the c = v p of spec priors_monocular.md section 4 and "surely hidden" stays (1 - v) p. Its raster coordinates are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Masks, Priors, Tracks2D
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.video import Array, QueryNumbers, device_here, resized, track_views
from fourfold.priors.foundation.weights import first_here, load_state, missing, require
from fourfold.priors.providers import Provider

NETWORKS = ("bootstapir", "tapir")
SIDE = 256
"""Height and width the networks were trained at, pixels."""


class Tapir:
    """A `PointTracker`. FourfoldError if its weights or package are not here.

    Args:
        most: points compared with the video at a time; lower it to save memory.
    """

    def __init__(self, name: str, most: int = 64) -> None:
        state = load_state(require(name))
        module: Any = research_module("tapnet.torch.tapir_model")
        if "torch_pips_mixer.linear.weight" not in state:
            raise FourfoldError(f"the weights {name} are not those of the PyTorch network of tapnet: get them with `fourfold weights get {name}`")
        columns = state["torch_pips_mixer.linear.weight"].shape[1]
        self.network = module.TAPIR(pyramid_level=(columns - 388) // 49 - 2, extra_convs=any(k.startswith("extra_convs") for k in state))
        self.network.load_state_dict(state)
        self.network.eval().to(device_here())
        self.most = most

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8], queries: NDArray[np.float32]) -> tuple[Array, Array, Array]:
        height, width = images.shape[1:3]
        video = resized(images, SIDE, SIDE, device_here()).permute(0, 2, 3, 1)[None] / 127.5 - 1
        factor = np.array([SIDE / width, SIDE / height], np.float32)
        start = np.concatenate([queries[:, :1], (queries[:, 1:] * factor)[:, ::-1]], axis=1)
        with torch.random.fork_rng(devices=[]):
            out = self.network(video, torch.from_numpy(start)[None].to(video), query_chunk_size=self.most)
        visibility, confidence = (1 - torch.sigmoid(out[key][0]).cpu().numpy() for key in ("occlusion", "expected_dist"))
        return out["tracks"][0].cpu().numpy() / factor, visibility, confidence


def track(capture: Capture, masks: Masks | None, name: str, queries: QueryNumbers = QueryNumbers()) -> Tracks2D:
    """2D tracks of every view by the network `name` of `NETWORKS`."""
    return track_views(capture, masks, Tapir(name), name, queries)


def _make(capture: Capture, priors: Priors) -> list[Tracks2D]:
    return [track(capture, priors.masks, first_here(*NETWORKS))]


def _from_every_frame(capture: Capture, priors: Priors) -> list[Tracks2D]:
    return [track(capture, priors.masks, first_here(*NETWORKS), QueryNumbers(frames=capture.times))]


PROVIDERS = (
    Provider("tapir", ("tracks2d",), ("masks",), 30, lambda _: missing(*NETWORKS), _make),
    # as the papers, for who insists (below `tapir`, which has the same weights): time and memory grow with the square of the clip
    Provider("tapir_every_frame", ("tracks2d",), ("masks",), 29, lambda _: missing(*NETWORKS), _from_every_frame),
)
