"""Keypoints and descriptors by ALIKED-n16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.priors.foundation import weights
from fourfold.priors.foundation.aliked_network import dense_maps, descriptors_at
from fourfold.priors.foundation.video import device_here
from fourfold.priors.tracking.matching import PointFeatures


@dataclass(frozen=True)
class AlikedConfig:
    """Numbers of the detection.

    Attributes:
        least: score under which nothing is a keypoint (the authors' 0.2); lower finds more points on smooth surfaces.
        points: keypoints per image at most, the best ones.
        radius: pixels within which only the best keypoint stays.
        sharpness: temperature of the soft position inside that radius.
    """

    least: float = 0.2
    points: int = 4000
    radius: int = 2
    sharpness: float = 0.1


class Aliked:
    """`priors.tracking.matching.DetectAndDescribe` by ALIKED; the weights are read once. FourfoldError if they are not here."""

    def __init__(self, config: AlikedConfig = AlikedConfig()) -> None:
        path = weights.require("aliked")
        self.config = config
        self.state = {key: value.to(device_here()) for key, value in weights.load_state(path).items()}
        if self.state.get("desc_head.agg_weights", torch.empty(0)).shape != (16, 128, 128):
            raise FourfoldError(f"the weights {path} are not those of ALIKED-n16: get them with `fourfold weights get aliked`")

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> PointFeatures:
        """See `DetectAndDescribe`."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(self.state["conv1.weight"]) / 255.0
        features, score = dense_maps(self.state, pixels)
        xy, best = keypoints(score[0, 0], self.config)
        described = descriptors_at(self.state, features, xy)
        return PointFeatures((xy + 0.5).cpu().numpy(), described.cpu().numpy(), best.cpu().numpy())


def keypoints(score: Tensor, config: AlikedConfig = AlikedConfig()) -> tuple[Tensor, Tensor]:
    """Local maxima of `score` (H, W): xy (N, 2) pixel indices to a fraction of a pixel, and scores (N,), the best ones first."""
    peak = local_maxima(score, config.radius)
    inside = torch.zeros_like(peak)
    inside[config.radius : -config.radius, config.radius : -config.radius] = True
    rows, columns = torch.nonzero(peak & inside & (score > config.least), as_tuple=True)
    order = score[rows, columns].argsort(descending=True)[: config.points]
    rows, columns = rows[order], columns[order]
    reach = torch.arange(-config.radius, config.radius + 1, device=score.device)
    around = score[rows[:, None, None] + reach[:, None], columns[:, None, None] + reach]
    share = torch.softmax(around.flatten(1) / config.sharpness, 1).unflatten(1, around.shape[1:])
    shift = torch.stack([(share.sum(1) * reach).sum(1), (share.sum(2) * reach).sum(1)], 1)
    return torch.stack([columns, rows], 1) + shift, score[rows, columns]


def local_maxima(score: Tensor, radius: int, rounds: int = 2) -> Tensor:
    """(H, W) bool: the largest within `radius` pixels; in each further round also the largest of what no maximum suppresses."""

    def largest(values: Tensor) -> Tensor:
        return F.max_pool2d(values[None], 2 * radius + 1, 1, radius)[0]

    peak = score == largest(score)
    for _ in range(rounds):
        hidden = largest(peak.to(score)) > 0
        rest = torch.where(hidden, torch.zeros_like(score), score)
        peak = peak | ((rest == largest(rest)) & ~hidden)
    return peak
