"""Movers put into the depth of a view: what they hide, and what moves beside them without a model."""

from __future__ import annotations

import numpy as np

from fourfold.priors.movers.stamped_depth import StampedDepth

TIMES, HEIGHT, WIDTH, WALL, BODY = 12, 40, 60, 5.0, 2.0
TORSO, HEAD, FAR = (slice(15, 40), slice(20, 40)), (slice(5, 15), slice(25, 35)), (slice(0, 8), slice(0, 6))


def wall() -> StampedDepth:
    return StampedDepth(np.full((TIMES, HEIGHT, WIDTH), WALL, np.float32), np.ones((TIMES, HEIGHT, WIDTH), np.float32))


def at(place: tuple[slice, slice], depth: float, times: int) -> np.ndarray:
    found = np.zeros((times, HEIGHT, WIDTH), np.float32)
    found[:, *place] = depth
    return found


def test_a_mover_owns_its_pixels_at_its_moments_alone() -> None:
    stamped = wall()
    stamped.stamp([2, 5], at(TORSO, BODY, 2), 0.5, None)
    for time in range(TIMES):
        inside = time in (2, 5)
        assert (stamped.depth[time][TORSO] == (BODY if inside else WALL)).all() and (stamped.depth[time][HEAD] == WALL).all()
        assert stamped.owned[time].sum() == (25 * 20 if inside else 0)
        assert (stamped.confidence[time][TORSO] == (0.5 if inside else 1.0)).all()


def test_a_mover_is_never_behind_what_it_hides() -> None:
    stamped = wall()
    behind = np.full((TIMES, HEIGHT, WIDTH), 3.0, np.float32)
    stamped.stamp([0], at(TORSO, 4.0, 1), 0.5, behind)
    stamped.stamp([1], at(TORSO, BODY, 1), 0.5, behind)
    assert (stamped.depth[0][TORSO] == 3.0).all() and (stamped.depth[1][TORSO] == BODY).all()


def test_what_moves_beside_a_mover_and_has_no_model_lies_as_deep_as_it() -> None:
    """The head of a body whose model lacks it in half of the images; a mover far away in the image keeps the depth that it had."""
    stamped = wall()
    stamped.stamp(range(TIMES), at(TORSO, BODY, TIMES), 0.5, None)
    stamped.stamp(range(0, TIMES, 2), at(HEAD, BODY, TIMES // 2), 0.5, None)
    moving = np.zeros((TIMES, HEIGHT, WIDTH), bool)
    for place in (TORSO, HEAD, FAR):
        moving[:, *place] = True
    stamped.draw_near(range(TIMES), moving, 0.02)
    for time in range(TIMES):
        np.testing.assert_allclose(stamped.depth[time][HEAD], BODY, rtol=1e-5)
        assert (stamped.depth[time][FAR] == WALL).all() and (stamped.depth[time][~moving[time]] == WALL).all()
