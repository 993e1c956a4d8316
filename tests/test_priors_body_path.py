"""Bodies are moved along their rays to paths that are as steady as they are seen to be across them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fourfold.priors.movers.body_path import second_differences, steady_depths, steady_factors
from fourfold.priors.movers.mover_models import ImageTracks, Mover, MoverModel

NOTHING = ImageTracks(np.zeros((0, 48, 2), np.float32), np.zeros((0, 48), bool), np.zeros((0, 48), bool))


def _walk(turned: float, frames: int = 48) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds, centres and true places of a camera that goes by `turned` radians round a walker who bobs 2 cm twice a second and stays upright."""
    seconds = np.arange(frames) / 24
    angle = turned * np.linspace(0, 1, frames)
    eyes = np.stack([2.75 * np.sin(angle), 0 * angle - 1.3, -2.75 * np.cos(angle)], axis=1)
    places = np.stack([0.3 * seconds, -0.9 + 0.02 * np.sin(4 * np.pi * seconds), 0.4 * np.sin(0.8 * seconds)], axis=1)
    return seconds, eyes, places


def _rays(eyes: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rays per unit of depth for cameras that look at the origin's axis, and depths."""
    forward = -eyes * [1, 0, 1] / np.linalg.norm(eyes[:, [0, 2]], axis=1, keepdims=True)
    depth = ((places - eyes) * forward).sum(1)
    return (places - eyes) / depth[:, None], depth


@pytest.mark.parametrize("turned", [2 * np.pi, 0.6])
def test_a_step_that_changes_the_apparent_size_is_no_step_in_depth(turned: float) -> None:
    seconds, eyes, places = _walk(turned)
    rays, depth = _rays(eyes, places)
    swinging = depth * (1 + 0.03 * np.sin(2 * np.pi * 2 * seconds + 1))
    found = steady_depths(seconds, eyes, rays, swinging)
    before, after = (np.abs(one / depth - 1) for one in (swinging, found))
    assert np.sqrt((after**2).mean()) < 0.45 * np.sqrt((before**2).mean())
    assert (found / swinging).mean() == pytest.approx(1, abs=1e-9)


def test_what_hurries_to_and_fro_across_the_rays_may_do_so_along_them() -> None:
    """Shaken by a tenth of the distance in all directions: that is believed."""
    seconds, eyes, _ = _walk(0.3)
    shake = 0.25 * np.stack([np.sin(19 * seconds), np.sin(23 * seconds), np.cos(17 * seconds)], axis=1)
    rays, depth = _rays(eyes, shake)
    found = steady_depths(seconds, eyes, rays, depth)
    assert np.abs(found / depth - 1).max() < 0.02


def test_second_differences_are_accelerations_at_uneven_moments() -> None:
    seconds = np.array([0.0, 0.1, 0.3, 0.35, 0.9])
    np.testing.assert_allclose(second_differences(seconds) @ (3 * seconds**2 - seconds + 2), 6, rtol=1e-9)


def test_a_model_is_steadied_where_it_is_known() -> None:
    seconds, eyes, places = _walk(2 * np.pi)
    frames = len(seconds)
    forward = -eyes * [1, 0, 1] / np.linalg.norm(eyes[:, [0, 2]], axis=1, keepdims=True)
    right = np.cross([0, 1.0, 0], forward)
    world_to_camera = np.tile(np.eye(4), (frames, 1, 1))
    world_to_camera[:, :3, :3] = np.stack([right, np.tile([0, 1.0, 0], (frames, 1)), forward], axis=1)
    world_to_camera[:, :3, 3] = -np.einsum("fij,fj->fi", world_to_camera[:, :3, :3], eyes)
    centers = np.einsum("fij,fj->fi", world_to_camera[:, :3, :3], places - eyes) / 2.5
    centers *= (1 + 0.03 * np.sin(12 * seconds))[:, None]
    centers[7] = np.nan
    depth = np.tile(centers[:, 2, None, None], (1, 4, 4)).astype(np.float32)
    depth[:, 0] = 0
    depth[7] = 0
    mover = Mover(0, list(range(frames)), depth > 0, np.tile(np.eye(3), (frames, 1, 1)), world_to_camera)
    factors = steady_factors(mover, MoverModel("flat", centers, depth, None, None, NOTHING, {}), 2.5, seconds)
    true = np.einsum("fij,fj->fi", world_to_camera[:, :3, :3], places - eyes)[:, 2] / 2.5
    seen = np.arange(frames) != 7
    assert factors[7] == 1
    assert np.std((factors * centers[:, 2] / true)[seen]) < 0.45 * np.std((centers[:, 2] / true)[seen])
    few = np.where(np.arange(frames)[:, None] < 4, centers, np.nan)
    assert (steady_factors(mover, MoverModel("flat", few, depth, None, None, NOTHING, {}), 2.5, seconds) == 1).all()
    still = np.tile(np.eye(4), (frames, 1, 1))
    still[:, :3, 3] = [0, 0, 5]
    assert (
        steady_factors(replace(mover, world_to_camera=still), MoverModel("flat", centers, depth, None, None, NOTHING, {}), 2.5, seconds) == 1
    ).all()
