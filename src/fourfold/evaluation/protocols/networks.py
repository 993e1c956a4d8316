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
from fourfold.priors.foundation import lpips as backbones

BOX_PIXELS = 512  # boxes are resized to this square before CLIP's own preparation: spec himor_4dgs360.md section 6


@lru_cache(maxsize=len(LPIPS_NETWORKS))
def lpips_here(network: str) -> tuple[Lpips | None, str]:
    """The LPIPS backbone `network`, or None and why it is not here."""
    reason = _absent(f"lpips-{network}")
    if reason is not None:
        return None, reason
    try:
        return backbones.Lpips(network), ""
    except FourfoldError as error:
        return None, str(error)


@lru_cache(maxsize=1)
def networks_here() -> Learned:
    """The LPIPS backbones and the CLIP model whose weights are here, and for each of the others why it is not."""
    here = {network: lpips_here(network) for network in LPIPS_NETWORKS}
    found = {network: backbone for network, (backbone, _) in here.items() if backbone is not None}
    reasons = {f"lpips:{network}": reason for network, (backbone, reason) in here.items() if backbone is None}
    embed: Embed | None = None
    reason = _absent(clip.NAME)
    try:
        embed = _embedder() if reason is None else None
    except FourfoldError as error:
        reason = str(error)
    if reason is not None:
        reasons["clip"] = reason
    return Learned(found, embed, reasons)


def _absent(name: str) -> str | None:
    return None if weights.locate(name) else f"the weights {name} are not here: get them with `fourfold weights get {name}`"


def _embedder() -> Embed:
    import cv2

    model = clip.Clip()

    def embed(image: Image) -> NDArray[np.floating[Any]]:
        square = cv2.resize(np.ascontiguousarray(image, np.float32), (BOX_PIXELS, BOX_PIXELS), interpolation=cv2.INTER_LINEAR)
        return model.image(np.clip(square, 0, 1))

    return embed
