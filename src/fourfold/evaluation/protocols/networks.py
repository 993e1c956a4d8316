"""Which of the metrics' networks are on this machine."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.evaluation.image_metrics.learned import LPIPS_NETWORKS, Embed, Learned, Lpips
from fourfold.evaluation.image_metrics.pixels import Image
from fourfold.priors.foundation import clip, weights
from fourfold.priors.foundation.lpips import lpips_here

BOX_PIXELS = 512  # boxes are resized to this square before CLIP's own preparation: spec himor_4dgs360.md section 6


@lru_cache(maxsize=1)
def networks_here() -> Learned:
    """The LPIPS backbones and the CLIP model whose weights are here, and for each of the others why it is not."""
    here = {network: lpips_here(network) for network in LPIPS_NETWORKS}
    found: dict[str, Lpips] = {network: backbone for network, (backbone, _) in here.items() if backbone is not None}
    reasons = {f"lpips:{network}": reason for network, (backbone, reason) in here.items() if backbone is None}
    embed: Embed | None = None
    reason = weights.absent(clip.NAME)
    try:
        embed = _embedder() if reason is None else None
    except FourfoldError as error:
        reason = str(error)
    if reason is not None:
        reasons["clip"] = reason
    return Learned(found, embed, reasons)


def _embedder() -> Embed:
    import cv2

    model = clip.Clip()

    def embed(image: Image) -> NDArray[np.floating[Any]]:
        square = cv2.resize(np.ascontiguousarray(image, np.float32), (BOX_PIXELS, BOX_PIXELS), interpolation=cv2.INTER_LINEAR)
        return model.image(np.clip(square, 0, 1))

    return embed
