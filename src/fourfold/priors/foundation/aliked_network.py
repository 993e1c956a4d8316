"""The ALIKED-n16 network (Zhao et al. 2023, arXiv:2304.03608) as functions of a dictionary of its tensors.

Four blocks at 1, 1/2, 1/8 and 1/32 resolution, the last two of deformable convolutions; a score per pixel; descriptors from 16 deformable
sample positions around each keypoint.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]

MULTIPLE = 32  # pixels: the coarsest block halves five times
WIDTH = 128  # channels of features and descriptors


def dense_maps(state: State, image: Tensor) -> tuple[Tensor, Tensor]:
    """Features (1, 128, H, W) of unit length and scores (1, 1, H, W) in [0, 1] of `image` (1, 3, H, W) in [0, 1]."""
    height, width = image.shape[-2:]
    down, right = -height % MULTIPLE, -width % MULTIPLE
    top, left = down // 2, right // 2
    padded = F.pad(image, [left, right - left, top, down - top], mode="replicate")
    one = F.selu(_norm(state, "block1.bn1", F.conv2d(padded, state["block1.conv1.weight"], padding=1)))
    one = F.selu(_norm(state, "block1.bn2", F.conv2d(one, state["block1.conv2.weight"], padding=1)))
    two = _residual(state, "block2", F.avg_pool2d(one, 2))
    three = _residual(state, "block3", F.avg_pool2d(two, 4))
    four = _residual(state, "block4", F.avg_pool2d(three, 4))
    levels = [F.selu(F.conv2d(x, state[f"conv{n}.weight"])) for n, x in enumerate((one, two, three, four), start=1)]
    joined = torch.cat([levels[0], *(F.interpolate(x, padded.shape[-2:], mode="bilinear", align_corners=True) for x in levels[1:])], 1)
    score = joined
    for number in (0, 2, 4, 6):
        weight = state[f"score_head.{number}.weight"]
        score = F.conv2d(F.selu(score) if number else score, weight, padding=weight.shape[-1] // 2)
    window = (..., slice(top, top + height), slice(left, left + width))
    return F.normalize(joined, dim=1)[window], torch.sigmoid(score)[window]


def descriptors_at(state: State, features: Tensor, xy: Tensor) -> Tensor:
    """(N, 128) descriptors of unit length at xy (N, 2), pixel indices (0 is the first centre), from features (1, 128, H, W)."""
    height, width = features.shape[-2:]
    corner = (xy.long() - 1).clamp(min=0)
    corner = torch.minimum(corner, torch.tensor([width - 4, height - 4], device=xy.device))
    near = torch.arange(3, device=xy.device)
    rows, columns = corner[:, 1, None, None] + near[:, None], corner[:, 0, None, None] + near
    patches = features[0][:, rows, columns].transpose(0, 1)
    offset = F.selu(F.conv2d(patches, state["desc_head.offset_conv.0.weight"], state["desc_head.offset_conv.0.bias"]))
    offset = F.conv2d(offset, state["desc_head.offset_conv.2.weight"], state["desc_head.offset_conv.2.bias"])[..., 0, 0]
    farthest = max(height, width) / 4.0
    offset = offset.clamp(-farthest, farthest).unflatten(1, (2, -1)).transpose(1, 2)  # (N, 16, 2)
    sampled = _read(features, xy[:, None] + offset)  # (1, 128, N, 16)
    mixed = F.selu(F.conv2d(sampled, state["desc_head.sf_conv.weight"]))[0]
    return F.normalize(torch.einsum("cnp,pcd->nd", mixed, state["desc_head.agg_weights"]), dim=1)


def deformable_convolution(x: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """3 x 3 convolution whose taps are displaced (Dai et al. 2017, arXiv:1703.06211), zero outside the image.

    Args:
        x: (1, C, H, W).
        offset: (1, 18, H, W) displacement (dy, dx) in pixels of the taps, row by row.
        weight: (D, C, 3, 3).
    """
    height, width = x.shape[-2:]
    y, column = torch.meshgrid(torch.arange(height).to(x), torch.arange(width).to(x), indexing="ij")
    result = x.new_zeros(1, weight.shape[0], height, width)
    for tap in range(9):
        row, col = divmod(tap, 3)
        place = torch.stack([column + (col - 1) + offset[0, 2 * tap + 1], y + (row - 1) + offset[0, 2 * tap]], -1)
        result = result + F.conv2d(_read(x, place), weight[:, :, row, col, None, None])
    return result


def _residual(state: State, name: str, x: Tensor) -> Tensor:
    def convolve(number: int, values: Tensor) -> Tensor:
        key = f"{name}.conv{number}"
        if f"{key}.weight" in state:
            return F.conv2d(values, state[f"{key}.weight"], padding=1)
        farthest = max(values.shape[-2:]) / 4.0
        offset = F.conv2d(values, state[f"{key}.offset_conv.weight"], state[f"{key}.offset_conv.bias"], padding=1)
        return deformable_convolution(values, offset.clamp(-farthest, farthest), state[f"{key}.regular_conv.weight"])

    y = F.selu(_norm(state, f"{name}.bn1", convolve(1, x)))
    y = _norm(state, f"{name}.bn2", convolve(2, y))
    return F.selu(y + F.conv2d(x, state[f"{name}.downsample.weight"], state[f"{name}.downsample.bias"]))


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, variance, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, variance, weight, bias)


def _read(x: Tensor, place: Tensor) -> Tensor:
    """(1, C, h, w) values of `x` (1, C, H, W) at `place` (h, w, 2), pixel indices (x, y), bilinear, zero outside."""
    last = torch.tensor([x.shape[-1] - 1, x.shape[-2] - 1]).to(x)
    return F.grid_sample(x, (2.0 * place / last - 1.0)[None], align_corners=True)
