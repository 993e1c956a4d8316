"""LPIPS (Zhang et al. 2018, arXiv:1801.03924) on torchvision's backbone files; the linear heads are those that torchmetrics ships."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.priors.foundation import weights
from fourfold.priors.foundation.video import device_here

State = Mapping[str, Tensor]

NETWORKS = ("alex", "vgg", "squeeze")
SMALLEST = 64
"""Pixels of a side that the networks need."""
_VGG = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_SQUEEZE = ((3, 4), (6, 7), (9,), (10,), (11,), (12,))  # fire modules of each slice after the first; pooling opens the first three
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips:
    """LPIPS by one of `NETWORKS`; the weights are read once. FourfoldError if they are not here or belong to another network."""

    def __init__(self, network: str) -> None:
        path = weights.require(f"lpips-{network}")
        device = device_here()
        self.network = network
        self.state = {key: value.to(device) for key, value in weights.load_state(path).items() if key.startswith("features.")}
        if "features.0.weight" not in self.state:
            raise FourfoldError(f"the weights {path} are not those of {network}: get them with `fourfold weights get lpips-{network}`")
        self.heads = [head.to(device) for head in linear_heads(network)]

    def __call__(self, image: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
        """Distance of two images (H, W, 3) in [0, 1], at least 64 pixels wide and high."""
        return float(sum(float(level.mean()) for level in self._levels(image, other)))

    def map(self, image: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(H, W) distance per pixel: the sum of all levels, each enlarged to the image (the spatial form)."""
        parts = [F.interpolate(level, image.shape[:2], mode="bilinear", align_corners=False) for level in self._levels(image, other)]
        return torch.stack(parts).sum(0)[0, 0].double().cpu().numpy()

    def loss(self, image: Tensor, other: Tensor) -> Tensor:
        """The distance of two images (H, W, 3) in [0, 1] as a scalar that carries gradients to both."""
        return torch.stack([level.mean() for level in self._compared(torch.stack([image, other]))]).sum()

    @torch.no_grad()
    def _levels(self, image: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> list[Tensor]:
        return self._compared(torch.from_numpy(np.stack([image, other])))

    def _compared(self, images: Tensor) -> list[Tensor]:
        """The distance per place of every level, each (1, 1, h, w), of `images` (2, H, W, 3)."""
        like = self.state["features.0.weight"]
        pair = images.permute(0, 3, 1, 2).to(like)
        shift, scale = (torch.tensor(part).to(like)[:, None, None] for part in (_SHIFT, _SCALE))
        units = [a * (a.square().sum(1, keepdim=True) + 1e-8).rsqrt() for a in activations(self.state, self.network, (2 * pair - 1 - shift) / scale)]
        return [F.conv2d((unit[:1] - unit[1:]).square(), head) for unit, head in zip(units, self.heads, strict=True)]


@lru_cache(maxsize=len(NETWORKS))
def lpips_here(network: str) -> tuple[Lpips | None, str]:
    """The backbone `network`, read once per process, or None and why it is not here."""
    reason = weights.absent(f"lpips-{network}")
    if reason is not None:
        return None, reason
    try:
        return Lpips(network), ""
    except FourfoldError as error:
        return None, str(error)


def activations(state: State, network: str, x: Tensor) -> list[Tensor]:
    """The layers that LPIPS compares, of x (B, 3, H, W): five of AlexNet and VGG-16, seven of SqueezeNet 1.1. Keys as in torchvision."""

    def convolve(values: Tensor, key: int | str, stride: int = 1, padding: int | None = None) -> Tensor:
        weight = state[f"features.{key}.weight"]
        around = weight.shape[-1] // 2 if padding is None else padding
        return torch.relu(F.conv2d(values, weight, state[f"features.{key}.bias"], stride, around))

    if network == "alex":
        found = [convolve(x, 0, stride=4, padding=2)]
        for key in (3, 6, 8, 10):
            found.append(convolve(F.max_pool2d(found[-1], 3, 2) if key < 8 else found[-1], key))
        return found
    if network == "vgg":
        found = [x]
        for keys in _VGG:
            y = F.max_pool2d(found[-1], 2) if keys[0] else x
            for key in keys:
                y = convolve(y, key)
            found.append(y)
        return found[1:]
    found = [convolve(x, 0, stride=2, padding=0)]
    for keys in _SQUEEZE:
        y = F.max_pool2d(found[-1], 3, 2, ceil_mode=True) if keys[0] < 10 else found[-1]
        for key in keys:
            y = convolve(y, f"{key}.squeeze")
            y = torch.cat([convolve(y, f"{key}.expand1x1"), convolve(y, f"{key}.expand3x3")], 1)
        found.append(y)
    return found


def linear_heads(network: str) -> list[Tensor]:
    """The (1, C, 1, 1) weights of each level, from the installed torchmetrics. FourfoldError if it is not there or has none."""
    spec = importlib.util.find_spec("torchmetrics")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("torchmetrics")
    path = folder / "functional" / "image" / "lpips_models" / f"{network}.pth"
    if not path.is_file():
        raise FourfoldError(f"LPIPS needs the linear heads {path}: install torchmetrics 1.4 or newer")
    state = weights.load_state(path)
    return [state[key] for key in sorted(state) if key.endswith(".weight")]
