"""Which tracks a moving body is solved from, and the shape it starts from."""

from __future__ import annotations

import numpy as np

from fourfold.priors.contracts import LongTracks, Provenance
from fourfold.priors.movers.mover_models import Mover, long_tracks_of
from fourfold.priors.movers.object_starts import bulging, longest, resting


def test_the_bulging_start_projects_to_its_tracks_and_is_nearest_in_the_middle() -> None:
    """Points all over the front of a ball of radius .1 at a distance of 1."""
    focal, line = 400.0, np.linspace(-0.1, 0.1, 81)
    disc = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    disc = disc[np.linalg.norm(disc, axis=1) < 0.1]
    K = np.array([[focal, 0, 50], [0, focal, 40], [0, 0, 1]])
    points = bulging(focal * disc + [50, 40], K)
    pixel = points @ K.T
    np.testing.assert_allclose(pixel[:, :2] / pixel[:, 2:], focal * disc + [50, 40], atol=1e-9)
    away = np.linalg.norm(disc, axis=1)
    wrong = np.abs(points[:, 2] - (1 - np.sqrt(0.01 - away**2)))
    assert wrong[away < 0.09].max() < 0.001 and wrong.max() < 0.01  # at the rim the ball is infinitely steep


def test_the_resting_start_keeps_the_body_on_its_mask_and_upright_in_the_world() -> None:
    K = np.tile(np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]]), (3, 1, 1))
    world_to_camera = np.tile(np.eye(4), (3, 1, 1))
    world_to_camera[1, :3, :3] = [[0, 0, -1], [0, 1, 0], [1, 0, 0]]
    masks = np.zeros((3, 60, 80), bool)
    masks[0, 20:30, 40:60] = True
    masks[1, 15:35, 20:60] = True
    poses = resting(masks, K, world_to_camera)
    np.testing.assert_allclose(poses[:2, :3, :3], world_to_camera[:2, :3, :3])
    pixel = np.einsum("fij,fj->fi", K[:2], poses[:2, :3, 3])
    np.testing.assert_allclose(pixel[:, :2] / pixel[:, 2:], [[50, 25], [40, 25]])
    assert poses[0, 2, 3] / poses[1, 2, 3] == 2  # half as wide and half as high: twice as far
    assert np.isnan(poses[2]).all()


def test_of_tracks_that_live_equally_long_all_parts_of_a_body_are_chosen() -> None:
    visible = np.ones((2000, 6), bool)
    visible[1500:, 4:] = False
    chosen = longest(visible, 600, evenly=True)
    assert len(np.unique(chosen)) == 600 and chosen.max() < 1500
    assert (np.histogram(chosen, bins=[0, 500, 1000, 1500])[0] > 150).all()
    assert (longest(visible, 600, evenly=False) == np.arange(600)).all()
    assert len(longest(np.eye(4, dtype=bool), 10, evenly=False)) == 0


def test_long_tracks_of_a_mover_are_those_of_its_view_in_its_mask_at_its_times() -> None:
    masks = np.zeros((3, 20, 30), bool)
    masks[:, 5:15, 5:15] = True
    mover = Mover(1, [0, 2, 5], masks, np.tile(np.eye(3), (3, 1, 1)), np.tile(np.eye(4), (3, 1, 1)))
    track = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 4])
    time = np.array([0, 1, 5, 2, 5, 0, 2, 2, 7, 9])
    xy = np.full((10, 2), 10.5, np.float32)
    xy[2] = 12.5, 6.5
    xy[3:5] = 25.5, 10.5  # track 1 lies beside the mask, 2 is another view's, 3 and 4 are not seen twice at the mover's times
    found = long_tracks_of(mover, LongTracks(Provenance("long"), xy, time.astype(np.int32), track.astype(np.int32), np.array([1, 1, 0, 1, 1])), 0.8)
    assert found.visible.tolist() == [[True, False, True]]
    np.testing.assert_allclose(found.xy[0, [0, 2]], [[10.5, 10.5], [12.5, 6.5]])
