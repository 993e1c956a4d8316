"""A prior in a few words and figures, for the output of commands."""

from __future__ import annotations

from typing import Any

import numpy as np

from fourfold.priors.contracts import Cameras, Depth, Disparity, Flow, Masks, Matches, PointMaps, Prior, Tracks2D, Tracks3D


def describe_prior(prior: Prior) -> dict[str, Any]:
    """Who made a prior and what is in it, JSON-able: `provider`, `needs_weights`, `arrays` (shapes and types), `known` and its own figures.

    `known` is the share of what it could say that it says: pixels with a value, poses, visible moments of tracks.
    """
    arrays: dict[str, Any] = {}
    for name, value in prior.arrays.items():
        parts = value if isinstance(value, tuple) else (value,)
        arrays[name] = ", ".join(dict.fromkeys(f"{'x'.join(str(n) for n in p.shape)} {p.dtype}" for p in parts))
        if len(parts) > 1:
            arrays[name] += f" ({len(parts)} views)"
    share = _known(prior)
    described = {"provider": prior.provenance.provider, "needs_weights": prior.provenance.needs_weights, "arrays": arrays}
    return described | ({} if share is None else {"known": round(share, 4)}) | prior.provenance.figures


def _known(prior: Prior) -> float | None:
    match prior:
        case Cameras():
            flags = [np.isfinite(prior.world_to_camera).all(axis=(2, 3))]
        case Masks():
            flags = [m != 0 for m in prior.mask]
        case Depth():
            flags = [d > 0 for d in prior.depth]
        case Disparity():
            flags = [d > 0 for d in prior.disparity]
        case PointMaps():
            flags = [np.isfinite(x[..., 0]) for x in prior.xyz]
        case Flow():
            flags = [c > 0.5 for c in prior.forward_confidence]
        case Tracks2D() | Tracks3D():
            flags = [prior.visibility > 0.5]
        case Matches():
            flags = [prior.confidence > 0.5]
        case _:
            return None
    total = sum(f.size for f in flags)
    return float(sum(int(f.sum()) for f in flags) / total) if total else None
