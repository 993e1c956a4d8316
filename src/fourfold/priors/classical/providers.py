"""Which classical estimates of cameras, masks and flow serve which capture."""

from __future__ import annotations

from fourfold.capture.capture import Capture
from fourfold.priors.classical.cameras import cameras_and_masks
from fourfold.priors.classical.flow import estimate_flow
from fourfold.priors.classical.motion_masks import motion_masks
from fourfold.priors.contracts import Cameras, Masks, Priors
from fourfold.priors.providers import Provider


def _always(_: Capture) -> str | None:
    return None


def _without_cameras(capture: Capture) -> str | None:
    return "" if capture.cameras in ("given", "estimated", "rotation", "fixed") else None


def _cameras(capture: Capture, _: Priors) -> list[Cameras | Masks]:
    return list(cameras_and_masks(capture))


PROVIDERS = (
    Provider("dis", ("flow",), (), 10, _always, lambda capture, priors: [estimate_flow(capture, kept=priors.kept)]),
    Provider("structure_from_motion", ("cameras", "masks"), (), 10, _without_cameras, _cameras),
    Provider("motion", ("masks",), ("cameras",), 5, _always, lambda capture, _: [motion_masks(capture)]),
)
