"""Metrics by learned networks: LPIPS and CLIP. Where the weights are not here the answer is a reason, never a substitute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fourfold.evaluation.image_metrics.masked import masked_distance
from fourfold.evaluation.image_metrics.pixels import Image

LPIPS_NETWORKS = ("alex", "vgg", "squeeze")
Embed = Callable[[Image], NDArray[np.floating[Any]]]
"""(H, W, 3) in [0, 1] -> (C,) embedding."""


class Lpips(Protocol):
    """A backbone of LPIPS (Zhang et al. 2018) for images (H, W, 3) in [0, 1], which it scales to [-1, 1] itself."""

    def __call__(self, image: Image, other: Image) -> float:
        """The distance of two images."""
        ...

    def map(self, image: Image, other: Image) -> NDArray[np.floating[Any]]:
        """(H, W) distance around each pixel, the spatial form."""
        ...


@dataclass(frozen=True)
class Learned:
    """The networks that are here, and why the others are not.

    Attributes:
        lpips: network name -> backbone.
        clip: embeds an image, or None.
        reasons: "lpips:alex", "clip", ... -> why it is not here.
    """

    lpips: dict[str, Lpips]
    clip: Embed | None
    reasons: dict[str, str]


def lpips(network: Lpips, how: str, image: Image, truth: Image, mask: NDArray[Any] | None = None) -> float | None:
    """LPIPS in one of its reported forms.

    Args:
        how: "" scales images to [-1, 1] as its authors do; "raw" feeds [0, 1] unscaled, as some papers do by mistake (torchmetrics with
            normalize=False); "masked" is DyCheck's mean inside `mask` of the spatial form of masked images.

    Source: spec evaluation_and_datasets.md section 1.
    """
    if how == "masked" and mask is not None:
        return masked_distance(network.map, image, truth, mask)
    return network((image + 1) / 2, (truth + 1) / 2) if how == "raw" else network(image, truth)


def clip_similarity(embed: Embed, image: Image, other: Image) -> float:
    """Cosine of the CLIP embeddings of two (H, W, 3) images. CLIP-I: a render and its truth; CLIP-T: two renders of one camera."""
    a, b = np.asarray(embed(image), np.float64), np.asarray(embed(other), np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def clip_over_time(embed: Embed, images: Sequence[Image], lag: int = 5) -> float | None:
    """CLIP-T: mean cosine between one camera's renders `lag` entries apart, in temporal order; None where there are no such pairs.

    Source: the released code of HiMoR and 4DGS360, spec himor_4dgs360.md section 6; pairs never cross cameras.
    """
    pairs = list(zip(images[:-lag], images[lag:], strict=True)) if len(images) > lag else []
    return float(np.mean([clip_similarity(embed, a, b) for a, b in pairs])) if pairs else None
