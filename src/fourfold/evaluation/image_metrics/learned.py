"""Metrics by learned networks: LPIPS and CLIP. Where the weights are not here the answer is a reason, never a substitute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.evaluation.image_metrics.masked import DistanceMap
from fourfold.evaluation.image_metrics.pixels import Image

LPIPS_NETWORKS = ("alex", "vgg", "squeeze")
Embed = Callable[[Image], NDArray[np.floating[Any]]]
"""(H, W, 3) in [0, 1] -> (C,) embedding."""


@dataclass(frozen=True)
class Learned:
    """The networks that are here, and why the others are not.

    Attributes:
        lpips: network name -> spatial distance of two images in [0, 1] (which it scales to [-1, 1] itself).
        clip: embeds an image, or None.
        reasons: "lpips:alex", "clip", ... -> why it is not here.
    """

    lpips: dict[str, DistanceMap]
    clip: Embed | None
    reasons: dict[str, str]


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
