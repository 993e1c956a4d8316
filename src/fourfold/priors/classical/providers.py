"""Which classical estimates of cameras and flow serve which capture."""

from __future__ import annotations

from fourfold.capture.capture import Capture
from fourfold.priors.classical.cameras import estimate_cameras
from fourfold.priors.classical.flow import estimate_flow
from fourfold.priors.classical.photo_cameras import photo_cameras
from fourfold.priors.contracts import Cameras, LongTracks, Priors
from fourfold.priors.providers import Provider


def _always(_: Capture) -> str | None:
    return None


def _without_cameras(capture: Capture) -> str | None:
    return "" if capture.cameras in ("given", "estimated", "rotation", "fixed") else None


def _filmed(capture: Capture) -> str | None:
    """Photos are left to structure from motion alone."""
    return _without_cameras(capture) if capture.present.sum(axis=1).max() >= 2 else ""


def _film_cameras(capture: Capture, priors: Priors) -> list[Cameras]:
    return [estimate_cameras(capture, priors.require(LongTracks))]


PROVIDERS = (
    Provider("dis", ("flow",), (), 10, _always, lambda capture, priors: [estimate_flow(capture, kept=priors.kept)]),
    Provider("bundle", ("cameras",), ("longtracks",), 20, _filmed, _film_cameras),
    Provider("structure_from_motion", ("cameras",), (), 10, _without_cameras, lambda capture, _: [photo_cameras(capture)], version=2),
)
