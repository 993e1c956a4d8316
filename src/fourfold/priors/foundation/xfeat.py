"""Keypoints and descriptors by XFeat (Potje et al. 2024, arXiv:2404.19174), its network run by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.priors.foundation import weights
from fourfold.priors.tracking.matching import PointFeatures

CELL, MULTIPLE = 8, 32


@dataclass(frozen=True)
class XFeatConfig:
    """Numbers of the detection.

    Attributes:
        least: probability under which no pixel of a cell is a keypoint (the authors' 0.05).
        points: keypoints per image at most, the best ones.
        radius: pixels within which only the best keypoint stays.
    """

    least: float = 0.05
    points: int = 4096
    radius: int = 2


class XFeat:
    """`priors.tracking.matching.DetectAndDescribe` by XFeat; the network is read once. FourfoldError if its file or onnxruntime is not here."""

    def __init__(self, config: XFeatConfig = XFeatConfig()) -> None:
        path = weights.require("xfeat")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, made at run time
            raise FourfoldError(f"the network {path} cannot be read by onnxruntime: delete the file and get it again") from error
        self.config = config

    def __call__(self, image: NDArray[np.uint8]) -> PointFeatures:
        """See `DetectAndDescribe`."""
        height, width = image.shape[:2]
        size = [max(MULTIPLE, n // MULTIPLE * MULTIPLE) for n in (height, width)]
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255.0
        pixels = F.interpolate(pixels, size, mode="bilinear")
        described, logits, reliable = (torch.from_numpy(out) for out in self.session.run(None, {self.session.get_inputs()[0].name: pixels.numpy()}))
        heat = F.pixel_shuffle(logits.softmax(1)[:, :-1], CELL)[0, 0]
        xy = _peaks(heat, self.config)
        score = heat[xy[:, 1], xy[:, 0]] * _read(reliable, xy, size, "bilinear")[:, 0]
        order = score.argsort(descending=True)[: self.config.points]
        xy, score = xy[order], score[order]
        descriptor = F.normalize(_read(F.normalize(described, dim=1), xy, size, "bicubic"), dim=1)
        scale = torch.tensor([width / size[1], height / size[0]])
        return PointFeatures(((xy + 0.5 + _inside_pixel(heat, xy)) * scale).numpy(), descriptor.numpy(), score.numpy())


def _peaks(heat: Tensor, config: XFeatConfig) -> Tensor:
    peak = heat == F.max_pool2d(heat[None], 2 * config.radius + 1, 1, config.radius)[0]
    return torch.nonzero(peak & (heat > config.least)).flip(1)


def _inside_pixel(heat: Tensor, xy: Tensor) -> Tensor:
    """(N, 2) shift to the centre of mass of the 3 x 3 pixels of `heat` around xy; the authors stop at whole pixels, which costs accuracy."""
    reach = torch.arange(3)
    around = F.pad(heat, [1, 1, 1, 1])[xy[:, 1, None, None] + reach[:, None], xy[:, 0, None, None] + reach]
    around = around / around.sum((1, 2), keepdim=True)
    return torch.stack([(around.sum(1) * (reach - 1)).sum(1), (around.sum(2) * (reach - 1)).sum(1)], 1)


def _read(values: Tensor, xy: Tensor, size: list[int], mode: str) -> Tensor:
    """(N, C) of `values` (1, C, h, w), which cover an image of `size` (H, W), at the pixels xy (N, 2)."""
    place = 2.0 * (xy + 0.5) / torch.tensor([size[1], size[0]]) - 1.0
    return F.grid_sample(values, place[None, None], mode=mode, align_corners=False)[0, :, 0].T
