"""LPIPS (Zhang et al. 2018) between the rendered and the filmed image, where the network's weights are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

from fourfold.losses.base import Step, mean_of
from fourfold.notices import fallback
from fourfold.priors.foundation.lpips import SMALLEST, Lpips, lpips_here


@dataclass(frozen=True)
class Perceptual:
    """LPIPS of images reduced to `size` of their own, at least 64 pixels a side; 0, and said once, where the weights are not here.

    Attributes:
        network: "alex", "vgg" or "squeeze".
        size: share of the image's size (the released HiMoR compares at a quarter).
    """

    network: str = "alex"
    size: float = 1.0

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch."""
        network = network_here(self.network)
        if network is None:
            return step.renders[0].color.new_zeros(())
        pairs = zip(step.renders, step.samples, strict=True)
        return mean_of([network.loss(self._reduced(render.color), self._reduced(sample.image)) for render, sample in pairs], step.renders[0].color)

    def _reduced(self, image: Tensor) -> Tensor:
        height, width = image.shape[:2]
        share = max(self.size, SMALLEST / min(height, width))
        if share == 1:
            return image
        size = (round(height * share), round(width * share))
        return interpolate(image.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


def network_here(name: str) -> Lpips | None:
    """The network, or None, said once per job, where its weights or its linear heads are not here."""
    network, reason = lpips_here(name)
    if network is None:
        fallback(f"the recipe's LPIPS term is left out: {reason}")
    return network
