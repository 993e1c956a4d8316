"""A relative disparity comes back as depth: the affine map of each image is undone, movers and outliers do not pull, and who is not known is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fourfold import notices
from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.priors.contracts import Disparity, Masks, Priors, Provenance
from fourfold.priors.depth_alignment.scaled_disparity import depth_of_disparity
from fourfold.priors.foundation import aligned_pairs, disparity_on_networks, dust3r
from fourfold.priors.given import given_depth, given_masks
from fourfold.priors.providers import choose
from fourfold.recipes import find_recipe


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return generate(
        "casual", tmp_path_factory.mktemp("clip") / "clip", options=SyntheticOptions(frames=5, width=64, height=36, supersample=1, tracks=20)
    )


def disparity_of(capture: Capture, masks: Masks) -> Disparity:
    """Exact disparity under another scale and shift in every image, with movers twice as near and a twentieth of the pixels wrong."""
    random, stacks = np.random.default_rng(0), []
    for view in range(capture.views):
        stack = np.zeros((capture.times, 36, 64), np.float32)
        for time in np.flatnonzero(capture.train[view]):
            exact = 1 / np.asarray(capture.depth(view, int(time)), np.float64)
            spoilt = np.where(masks.mask[view][time] > 0, 2 * exact, exact)
            spoilt = np.where(random.random(exact.shape) < 0.05, 3.0, spoilt)
            stack[time] = (spoilt - random.uniform(-0.05, 0.02)) / random.uniform(0.2, 5.0)
        stacks.append(stack)
    return Disparity(Provenance("network"), tuple(stacks), tuple((s > 0).astype(np.float16) for s in stacks))


def test_scale_and_shift_of_each_image_are_undone(capture: Capture) -> None:
    masks = given_masks(capture)
    found = depth_of_disparity(capture, disparity_of(capture, masks), masks, None)
    for time in np.flatnonzero(capture.train[0]):
        exact, still = np.asarray(capture.depth(0, int(time))), masks.mask[0][time] <= 0
        error = np.abs(found.depth[0][time] / exact - 1)
        assert np.median(error[still]) < 2e-3
        assert np.median(np.abs(2 * found.depth[0][time] / exact - 1)[~still]) < 0.02  # what moves was told twice as near, and stays so
    assert not found.depth[0][~capture.train[0]].any()


def test_without_a_reference_it_is_said(capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_outside", notices.Notices())
    masks = given_masks(capture)
    everything = Masks(masks.provenance, tuple(np.ones_like(m) for m in masks.mask))
    depth = depth_of_disparity(capture, disparity_of(capture, masks), everything, None)
    assert any("nothing tells the scale of the disparity" in text for text in notices.fallbacks())
    assert np.isfinite(depth.depth[0]).all()


def test_it_serves_who_insists_and_shape_of_motion_as_published_does(capture: Capture) -> None:
    without = replace(capture, root=capture.root)
    assert choose("depth", without).name == "given-depth"
    asked = next(prior for prior in find_recipe("shape_of_motion/as_published").priors if prior.startswith("depth:"))
    assert "scaled_disparity" in asked and choose(asked, without).name == "given-depth"


def test_another_depth_may_tell_scale_and_shift(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """MonoFusion's sources that begin with Depth Anything: what is aligned has the scale of the network that it is aligned onto."""
    masks, given = given_masks(capture), given_depth(capture)
    tripled = replace(given, depth=tuple(3 * depth for depth in given.depth))
    found = depth_of_disparity(capture, disparity_of(capture, masks), masks, None, onto=tripled)
    time = int(np.flatnonzero(capture.train[0])[0])
    still = masks.mask[0][time] <= 0
    assert np.median(np.abs(found.depth[0][time] / (3 * np.asarray(capture.depth(0, time))) - 1)[still]) < 2e-3
    monkeypatch.setattr(aligned_pairs, "between_cameras", lambda network, capture: tripled)
    monkeypatch.setattr(dust3r, "load_network", lambda name: None)
    monkeypatch.setattr(disparity_on_networks, "first_here", lambda *names: names[0])
    provider = next(p for p in disparity_on_networks.PROVIDERS if p.name == "dav2_on_dust3r")
    assert provider.named and provider.missing(capture) is not None, "its weights are not here"
    (made,) = provider.make(capture, Priors(masks=masks, disparity=disparity_of(capture, masks)))
    assert made.provenance.provider == "dav2_on_dust3r" and np.array_equal(made.depth[0], found.depth[0])
