"""Priors of a generated capture made of its exact truth: cameras, masks and depth as given, tracks and clouds as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.truth import Truth
from fourfold.priors.contracts import Features, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.priors.given import given_depth, given_masks
from fourfold.priors.rigs.depth_clouds import depth_clouds

FROM = Provenance("truth")


def exact(kind: str, root: Path, options: SyntheticOptions) -> tuple[Capture, Priors]:
    """A prepared capture of `kind` and everything that is known about it as priors; features are the pixels' colours."""
    generate(kind, root / "clip", seed=0, options=options)
    capture = prepare_capture([root / "clip"], root / "capture", pixels=1_000_000)
    truth = Truth.load(root / "clip")
    return capture, exact_priors(capture, truth)


def exact_priors(capture: Capture, truth: Truth) -> Priors:
    views = capture.views
    masks, depth = given_masks(capture), given_depth(capture)
    seen = truth.visibility[:views]
    query = seen.any((0, 2))
    priors = Priors(masks=masks, depth=depth)
    priors.tracks3d = Tracks3D(
        FROM,
        truth.xyz[query].astype(np.float32),
        seen.any(0)[query].astype(np.float16),
        np.ones(seen.any(0)[query].shape, np.float16),
        truth.color[query],
        np.full(int(query.sum()), 0.05, np.float32),
        truth.object_id[query] - 1,
        np.ones(int(query.sum()), np.uint8),
    )
    view, row = np.nonzero(seen.any(2))
    priors.tracks2d = Tracks2D(
        FROM,
        np.nan_to_num(truth.xy[view, row]).astype(np.float32),
        seen[view, row].astype(np.float16),
        np.ones(seen[view, row].shape, np.float16),
        view.astype(np.int32),
        seen[view, row].argmax(1).astype(np.int32),
    )
    priors.clouds = depth_clouds(capture, masks, depth)
    colors = tuple(np.stack([capture.image(v, t) for t in range(capture.times)])[:, ::4, ::4].astype(np.float16) / 255 for v in range(views))
    priors.features = Features(FROM, colors)
    return priors
