"""Which of the metrics' networks are on this machine."""

from __future__ import annotations

from fourfold.evaluation.image_metrics.learned import LPIPS_NETWORKS, Learned
from fourfold.priors.foundation import weights

CLIP = "clip-base-32"


def networks_here() -> Learned:
    """The LPIPS backbones and the CLIP model whose weights are here, and for each of the others why it is not."""
    names = {f"lpips:{network}": f"lpips-{network}" for network in LPIPS_NETWORKS} | {"clip": CLIP}
    reasons = {key: _reason(name) for key, name in names.items()}
    return Learned({}, None, reasons)


def _reason(name: str) -> str:
    if weights.locate(name) is None:
        return f"the weights {name} are not here: get them with `fourfold weights get {name}`"
    return f"the weights {name} are here, but nothing reads them yet"
