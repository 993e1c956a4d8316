"""Depth of several cameras: from point maps where a network made some, from hulls and a fitted room otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Flow, Masks, PointMaps, Priors
from fourfold.priors.depth.rig import stage_of
from fourfold.priors.depth_alignment.space_time import depth_from_pointmaps, each_camera_alone, space_time_depth, view_consistent_depth
from fourfold.priors.providers import Provider, all_providers

MOST = 8
"""Cameras; more of them see each place from near enough to be matched, and each moment well enough without neighbours in time."""


def _missing(capture: Capture) -> str | None:
    views = int(capture.train.any(axis=1).sum())
    if not 2 <= views <= MOST or stage_of(capture) is None:
        return ""
    return "" if any(capture.has("alpha", int(v)) for v in np.flatnonzero(capture.train.any(axis=1))) else None


def _no_pointmaps(capture: Capture) -> str | None:
    if _missing(capture) is not None or not any("pointmaps" in p.makes and p.missing(capture) is None for p in all_providers()):
        return ""
    return None


def _make(capture: Capture, priors: Priors) -> list[Depth]:
    return [space_time_depth(capture, priors.require(Masks), priors.cameras, priors.require(Flow))]


def _from_pointmaps(capture: Capture, priors: Priors) -> list[Depth]:
    return [depth_from_pointmaps(capture, priors.require(PointMaps), priors.require(Masks), priors.cameras, priors.require(Flow))]


def _view_only(capture: Capture, priors: Priors) -> list[Depth]:
    made = view_consistent_depth(capture, priors.require(Masks), priors.cameras)
    return [replace(made, provenance=replace(made.provenance, provider="view_consistent"))]


def _time_only(capture: Capture, priors: Priors) -> list[Depth]:
    return [each_camera_alone(capture, priors.require(Masks), priors.cameras, priors.require(Flow))]


PROVIDERS = (
    Provider("aligned_pointmaps", ("depth",), ("masks", "cameras", "flow", "pointmaps"), 40, _no_pointmaps, _from_pointmaps, version=2),
    Provider("space_time", ("depth",), ("masks", "cameras", "flow"), 35, _missing, _make, version=2),
    Provider("view_consistent", ("depth",), ("masks", "cameras"), 0, _missing, _view_only, version=2, named=True),  # for comparison only
    Provider("time_consistent", ("depth",), ("masks", "cameras", "flow"), 0, _missing, _time_only, version=2, named=True),
)
