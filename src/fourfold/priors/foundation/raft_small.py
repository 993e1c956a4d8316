"""Optical flow by RAFT-small, with the forward-backward confidence of the classical flow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Flow, Priors, Provenance
from fourfold.priors.foundation import weights
from fourfold.priors.foundation.raft_network import SMALLEST, STEP, both_ways, renamed
from fourfold.priors.foundation.video import device_here
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.flow import Field, FlowConfig, Image, flow_of_pairs, round_trip_confidence


@dataclass(frozen=True)
class RaftConfig:
    """Numbers of the flow by RAFT.

    Attributes:
        iterations: updates of the recurrent unit; time grows with it, the error hardly falls after the 12 it was trained with.
        pixels: largest image it sees; a larger one is shrunk, since memory grows with the square (550,000 pixels need about 1 GB).
        check: numbers of the forward-backward check.
    """

    iterations: int = 12
    pixels: int = 550_000
    check: FlowConfig = FlowConfig()


def load_raft() -> dict[str, Tensor]:
    """The tensors of RAFT-small under the authors' names, on the accelerator if any. FourfoldError if the file is not here or is another network."""
    path = weights.require("raft-small")
    state = renamed(weights.load_state(path))
    if "update_block.gru.convz.weight" not in state or state["fnet.conv2.weight"].shape[0] != 128:
        raise FourfoldError(f"the weights {path} are not those of RAFT-small: get them with `fourfold weights get raft-small`")
    return {key: value.to(device_here()) for key, value in state.items()}


@torch.no_grad()
def flow_between(image_a: Image, image_b: Image, state: dict[str, Tensor], config: RaftConfig = RaftConfig()) -> tuple[Field, Field, Field, Field]:
    """As the classical `flow_between`: flow a to b, b to a (H, W, 2) float32 pixels, and their confidences (H, W)."""
    like = state["fnet.conv1.weight"]
    height, width = image_a.shape[:2]
    shrink = min(1.0, math.sqrt(config.pixels / (height * width)))
    scale = max(shrink, SMALLEST / min(height, width))
    size = [max(SMALLEST, round(n * scale / STEP) * STEP) for n in (height, width)]
    pair = torch.stack([torch.from_numpy(np.array(image)) for image in (image_a, image_b)]).permute(0, 3, 1, 2).to(like) / 255.0
    small = F.interpolate(pair, size, mode="bilinear", antialias=True)
    flows = torch.stack(both_ways(state, small[0], small[1], config.iterations))
    pixels = torch.tensor([width / size[1], height / size[0]]).to(like)
    full = F.interpolate(flows, (height, width), mode="bilinear").permute(0, 2, 3, 1) * pixels
    ahead, back = (f.float().cpu().numpy() for f in full)
    return ahead, back, round_trip_confidence(ahead, back, config.check), round_trip_confidence(back, ahead, config.check)


def raft_flow(capture: Capture, priors: Priors, config: RaftConfig = RaftConfig()) -> Flow:
    """Flow of all neighbouring training frames, see `priors.tracking.flow.estimate_flow`."""
    between = partial(flow_between, state=load_raft(), config=config)
    return flow_of_pairs(capture, between, Provenance("raft-small", needs_weights=True), priors.kept)


PROVIDERS = (Provider("raft-small", ("flow",), (), 9, lambda _: weights.missing("raft-small"), lambda c, p: [raft_flow(c, p)]),)
