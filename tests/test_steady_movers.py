"""Depths of movers before a camera that stays in place: an average over neighbouring pixels and moments, against its closed form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fourfold.initialize.steady_movers import steady_movers
from fourfold.priors.contracts import Depth, Masks, Priors, Provenance
from fourfold.priors.movers.near_movers import NearNumbers
from test_recipes_auto import film

PV = Provenance("made")
TIMES, HEIGHT, WIDTH = 24, 60, 80
NEAR, FAR = (slice(10, 30), slice(5, 20)), (slice(30, 55), slice(55, 75))  # two bodies, far apart in the image


def world(near: np.ndarray, confidence: np.ndarray | float = 1.0) -> tuple[Any, Priors]:
    """A film of two still bodies: one at the depths `near` (T,), one at 3, before a wall at 5."""
    moving, depth = np.full((TIMES, HEIGHT, WIDTH), -1, np.int8), np.full((TIMES, HEIGHT, WIDTH), 5, np.float32)
    moving[:, *NEAR], moving[:, *FAR] = 1, 1
    depth[:, *NEAR], depth[:, *FAR] = np.asarray(near, np.float32)[:, None, None], 3
    sure = np.broadcast_to(np.asarray(confidence, np.float16).reshape(-1, 1, 1), depth.shape)
    return replace(film((0.0,), 0.0), train=np.ones((1, TIMES), bool)), Priors(masks=Masks(PV, (moving,)), depth=Depth(PV, (depth,), (sure,)))


def test_what_is_steady_stays_as_it_is() -> None:
    capture, priors = world(np.full(TIMES, 2.0))
    steady = steady_movers(capture, priors).depth
    assert steady is not None and priors.depth is not None
    np.testing.assert_allclose(steady.depth[0], priors.depth.depth[0], rtol=1e-3)


def test_a_depth_that_comes_and_goes_becomes_its_geometric_mean_and_the_rest_is_untouched() -> None:
    capture, priors = world(np.where(np.arange(TIMES) % 2, 1.0, 4.0))
    steady = steady_movers(capture, priors).depth
    assert steady is not None and priors.depth is not None and priors.masks is not None
    np.testing.assert_allclose(steady.depth[0][:, *NEAR], 2.0, rtol=0.1)
    np.testing.assert_allclose(steady.depth[0][:, *FAR], 3.0, rtol=1e-3)
    still = priors.masks.mask[0] < 0
    np.testing.assert_array_equal(steady.depth[0][still], priors.depth.depth[0][still])


def test_a_body_that_comes_nearer_comes_nearer() -> None:
    near = np.geomspace(4.0, 2.0, TIMES)
    capture, priors = world(near)
    steady = steady_movers(capture, priors, NearNumbers(images=2.0)).depth
    assert steady is not None
    middle = steady.depth[0][6:-6, 20, 12]  # away from the ends a line in the logarithm is its own average
    np.testing.assert_allclose(middle, near[6:-6], rtol=2e-3)


def test_a_guess_counts_little_beside_what_is_sure() -> None:
    near, sure = np.full(TIMES, 2.0), np.ones(TIMES)
    near[8:11], sure[8:11] = 4.5, 0.0
    capture, priors = world(near, sure)
    steady = steady_movers(capture, priors).depth
    assert steady is not None
    np.testing.assert_allclose(steady.depth[0][:, 20, 12], 2.0, rtol=0.02)


@pytest.mark.parametrize("missing", ["masks", "depth"])
def test_without_masks_or_depth_nothing_changes(missing: str) -> None:
    capture, priors = world(np.full(TIMES, 2.0))
    bare = replace(priors, **{missing: None})
    assert steady_movers(capture, bare) is bare
