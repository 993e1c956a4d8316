"""Depth Anything's disparity scaled and shifted onto another network's depth: two sources of MonoFusion's Table 2, for who names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Disparity, Masks, Priors
from fourfold.priors.depth_alignment.scaled_disparity import depth_of_disparity
from fourfold.priors.foundation import aligned_pairs, depth_anything_v2, dust3r, unidepth
from fourfold.priors.foundation.weights import first_here, missing
from fourfold.priors.providers import Provider


def on_unidepth(capture: Capture, priors: Priors) -> Depth:
    """UniDepth's depth, on the scale of the cameras."""
    return next(made for made in unidepth.estimate(capture, priors, first_here(*unidepth.NETWORKS)) if isinstance(made, Depth))


def on_dust3r(capture: Capture, _: Priors) -> Depth:
    """The depth on which pairs of all cameras of a moment agree."""
    return aligned_pairs.between_cameras(dust3r.load_network(first_here(*aligned_pairs.CHECKPOINTS)), capture)


def _provider(name: str, reference: Callable[[Capture, Priors], Depth], networks: tuple[str, ...]) -> Provider:
    def make(capture: Capture, priors: Priors) -> list[Depth]:
        onto = reference(capture, priors)
        made = depth_of_disparity(capture, priors.require(Disparity), priors.require(Masks), priors.cameras, onto=onto)
        return [replace(made, provenance=replace(made.provenance, provider=name))]

    def lacking(capture: Capture) -> str | None:
        reasons = [missing(*depth_anything_v2.RELATIVE), missing(*networks)]
        return next((reason for reason in reasons if reason is not None), None)

    return Provider(name, ("depth",), ("masks", "cameras", "disparity"), 0, lacking, make, named=True)


PROVIDERS = (_provider("dav2_on_unidepth", on_unidepth, unidepth.NETWORKS), _provider("dav2_on_dust3r", on_dust3r, aligned_pairs.CHECKPOINTS))
