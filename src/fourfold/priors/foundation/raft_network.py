"""The small RAFT network (Teed and Deng 2020, arXiv:2003.12039) as functions of a dictionary of its tensors, which may be differentiable.

Encoders of bottleneck blocks at 1/8 resolution (instance norm for the features, none for the context), all-pairs correlation pooled to four
levels and read in a 7 x 7 window, a convolutional GRU with 96 hidden and 64 context channels, bilinear upsampling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]

HIDDEN, LEVELS, RADIUS, STEP = 96, 4, 3, 8
SMALLEST = STEP * 2**LEVELS  # pixels: the coarsest correlation level keeps two cells

# torchvision's layer names -> those of the authors' checkpoints
_NAMES = (
    (r"^module\.", ""),
    (r"^feature_encoder\.", "fnet."),
    (r"^context_encoder\.", "cnet."),
    (r"^(.net)\.convnormrelu\.0\.", r"\1.conv1."),
    (r"^(.net)\.conv\.", r"\1.conv2."),
    (r"\.convnormrelu(\d)\.0\.", r".conv\1."),
    (r"\.motion_encoder\.convcorr(\d)\.0\.", r".encoder.convc\1."),
    (r"\.motion_encoder\.convflow(\d)\.0\.", r".encoder.convf\1."),
    (r"\.motion_encoder\.conv\.0\.", ".encoder.conv."),
    (r"\.recurrent_block\.convgru1\.", ".gru."),
)


def renamed(state: State) -> dict[str, Tensor]:
    """`state` with the layer names of the authors' checkpoints, whichever of the two public namings it has."""
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, other in _NAMES:
            key = re.sub(pattern, other, key)
        result[key] = value
    return result


def both_ways(state: State, image_a: Tensor, image_b: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Flow a to b and b to a, each (2, H, W) pixels (dx, dy), of images (3, H, W) in [0, 1]; H and W are multiples of 8, at least 128.

    Args:
        state: tensors under the names of `renamed`.
        iterations: updates of the recurrent unit; the authors train with 12.
    """
    pair = 2.0 * torch.stack([image_a, image_b]) - 1.0
    features = _encode(state, "fnet", pair, norm=True).flatten(2)
    contexts = _encode(state, "cnet", pair, norm=False)
    correlation = features[0].T @ features[1] / features.shape[1] ** 0.5  # cells of a x cells of b
    ahead = _iterate(state, correlation, contexts[:1], iterations)
    return ahead, _iterate(state, correlation.T.contiguous(), contexts[1:], iterations)


def _iterate(state: State, correlation: Tensor, context: Tensor, iterations: int) -> Tensor:
    height, width = context.shape[-2:]
    pyramid = [correlation.reshape(-1, 1, height, width)]
    while len(pyramid) < LEVELS:
        pyramid.append(F.avg_pool2d(pyramid[-1], 2))
    hidden, inputs = torch.tanh(context[:, :HIDDEN]), torch.relu(context[:, HIDDEN:])
    y, x = torch.meshgrid(torch.arange(height).to(context), torch.arange(width).to(context), indexing="ij")
    start = torch.stack([x, y])[None]
    flow = torch.zeros_like(start)
    for _ in range(iterations):
        motion = _motion(state, flow, _window(pyramid, start + flow))
        hidden = _gru(state, hidden, torch.cat([inputs, motion], 1))
        step = torch.relu(_convolve(state, "update_block.flow_head.conv1", hidden))
        flow = flow + _convolve(state, "update_block.flow_head.conv2", step)
    size = (height * STEP, width * STEP)
    return STEP * F.interpolate(flow, size, mode="bilinear", align_corners=True)[0]


def _window(pyramid: list[Tensor], arrival: Tensor) -> Tensor:
    """(1, LEVELS 49, h, w) correlations around `arrival` (1, 2, h, w) at every level; within a level the x offset varies slowest."""
    height, width = arrival.shape[-2:]
    reach = torch.arange(-RADIUS, RADIUS + 1).to(arrival)
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="ij"), -1)
    centre = arrival[0].permute(1, 2, 0).reshape(-1, 1, 1, 2)
    read: list[Tensor] = []
    for level, volume in enumerate(pyramid):
        last = torch.tensor([volume.shape[-1] - 1, volume.shape[-2] - 1]).to(arrival)
        grid = 2.0 * (centre / 2**level + offsets) / last - 1.0
        read.append(F.grid_sample(volume, grid, align_corners=True).reshape(height, width, -1))
    return torch.cat(read, -1).permute(2, 0, 1)[None]


def _motion(state: State, flow: Tensor, correlation: Tensor) -> Tensor:
    seen = torch.relu(_convolve(state, "update_block.encoder.convc1", correlation))
    moved = torch.relu(_convolve(state, "update_block.encoder.convf1", flow))
    moved = torch.relu(_convolve(state, "update_block.encoder.convf2", moved))
    both = torch.relu(_convolve(state, "update_block.encoder.conv", torch.cat([seen, moved], 1)))
    return torch.cat([both, flow], 1)


def _gru(state: State, hidden: Tensor, inputs: Tensor) -> Tensor:
    together = torch.cat([hidden, inputs], 1)
    update = torch.sigmoid(_convolve(state, "update_block.gru.convz", together))
    reset = torch.sigmoid(_convolve(state, "update_block.gru.convr", together))
    proposal = torch.tanh(_convolve(state, "update_block.gru.convq", torch.cat([reset * hidden, inputs], 1)))
    return (1.0 - update) * hidden + update * proposal


def _encode(state: State, name: str, images: Tensor, norm: bool) -> Tensor:
    def layer(key: str, x: Tensor, stride: int = 1) -> Tensor:
        x = _convolve(state, f"{name}.{key}", x, stride)
        return F.instance_norm(x) if norm else x

    x = torch.relu(layer("conv1", images, stride=2))
    for number in (1, 2, 3):
        for block in (0, 1):
            key, stride = f"layer{number}.{block}", 2 if number > 1 and block == 0 else 1
            y = torch.relu(layer(f"{key}.conv1", x))
            y = torch.relu(layer(f"{key}.conv2", y, stride))
            y = torch.relu(layer(f"{key}.conv3", y))
            x = torch.relu(y + (layer(f"{key}.downsample.0", x, stride) if stride == 2 else x))
    return _convolve(state, f"{name}.conv2", x)


def _convolve(state: State, key: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{key}.weight"]
    return F.conv2d(x, weight, state[f"{key}.bias"], stride, padding=weight.shape[-1] // 2)
