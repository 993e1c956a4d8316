"""A protocol on a run's folder: its masks and depth are found there, and what was compared is left there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.evaluation.protocols.catalogue import find_protocol
from fourfold.evaluation.protocols.networks import networks_here
from fourfold.evaluation.protocols.regions import Evidence, regions_of
from fourfold.evaluation.protocols.score import Outcome, score_protocol
from fourfold.files import replacing
from fourfold.priors.contracts import Depth, Masks
from fourfold.scene.scene import Scene


def score_run(name: str, scene: Scene, capture: Capture, root: Path) -> Outcome:
    """Figures of the protocol `name`; renders, truth and masks go to `root/renders/protocol_NAME`.

    FourfoldError if there is no such protocol.
    """
    protocol = find_protocol(name)
    regions = regions_of(protocol, capture, evidence_of(capture, root / "priors"))
    with replacing(root / "renders" / f"protocol_{name}") as keep:
        keep.mkdir()
        return score_protocol(protocol, scene, capture, regions, networks_here(), keep)


def evidence_of(capture: Capture, priors: Path) -> Evidence:
    """What a run's folder knows of masks and depth: its own estimates, and for depth first what the capture brought."""
    found = sorted(priors.glob("*/masks.safetensors"))
    masks = {v: m for v, m in enumerate(Masks.load(found[0].parent).mask) if m.any()} if found else {}
    estimated = sorted(priors.glob("*/depth.safetensors"))
    depth = Depth.load(estimated[0].parent).depth if estimated else None

    def depth_of(view: int, index: int) -> np.ndarray | None:
        given = capture.depth(view, index)
        if given is not None:
            return np.asarray(given)
        return None if depth is None else np.asarray(depth[view][index], np.float32)

    return Evidence(masks, depth_of)
