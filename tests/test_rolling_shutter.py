"""Rows that are read one after the other: found from the tracks of a film alone, and put where a camera would see them that reads all at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.capture.film_lens import FilmLens, turns_of
from fourfold.priors.cameras.bundle_system import Sightings
from fourfold.priors.cameras.camera_search import Answer, SearchNumbers, find_cameras
from fourfold.priors.cameras.film_cameras import film_figures
from fourfold.priors.cameras.rolling_shutter import read_at_once, rolling_shutter, track_speed
from fourfold.priors.cameras.spread_tracks import Film

WIDTH, HEIGHT, FOCAL, FRAMES = 640.0, 360.0, 520.0, 16
SIZE = np.array([WIDTH, HEIGHT])


def pose(moment: np.ndarray, turn: float, travel: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (P, 3, 3) and translations (P, 3) at moments (P,) in frames: a pan that swings, and a way to the side."""
    swing = np.sin(moment / FRAMES * 7) * turn
    rotation = Rotation.from_euler("yx", np.stack([swing, 0.4 * swing * np.cos(moment / 3)], 1), degrees=True).as_matrix()
    centre = travel * np.stack([moment / FRAMES, 0.1 * np.sin(moment / 4), np.zeros_like(moment)], 1)
    return rotation, -np.einsum("pij,pj->pi", rotation, centre)


def seen_at(points: np.ndarray, moment: np.ndarray, turn: float, travel: float) -> np.ndarray:
    rotation, translation = pose(moment, turn, travel)
    c = np.einsum("pij,pj->pi", rotation, points) + translation
    return c[:, :2] / c[:, 2:] * FOCAL + SIZE / 2


def film(share: float, axis: int, turn: float = 6.0, travel: float = 3.0) -> tuple[Film, np.ndarray]:
    """Points in a room by a camera that needs `share` of a frame's time to read an image, and where one would see them that reads all at once."""
    rng = np.random.default_rng(3)
    points = rng.uniform([-9, -4, 5], [9, 4, 14], (700, 3))
    xy, whole, frame = np.zeros((700, FRAMES, 2)), np.zeros((700, FRAMES, 2)), np.arange(FRAMES, dtype=float)
    for number in range(FRAMES):
        now = np.full(700, frame[number])
        whole[:, number] = seen_at(points, now, turn, travel)
        late = now
        for _ in range(8):
            xy[:, number] = seen_at(points, late, turn, travel)
            late = now + share * (xy[:, number, axis] / SIZE[axis] - 0.5)
    inside = ((xy > 5) & (xy < SIZE - 5)).all(2)
    keep = inside.sum(1) >= 6
    lengths = inside[keep].sum(1)
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.nonzero(inside[keep])[1].astype(np.int32)
    noisy = xy[keep][inside[keep]] + rng.normal(0, 0.05, (int(lengths.sum()), 2))
    seen = Sightings(noisy, places, first, np.zeros(FRAMES, np.int32), SIZE[None] / 2)
    rows = np.stack([np.zeros(FRAMES, np.int32), np.arange(FRAMES, dtype=np.int32)], 1)
    return Film(seen, rows, SIZE[None], np.ones((1, 2))), whole[keep][inside[keep]]


def answer(made: Film) -> Answer:
    return find_cameras(made, numbers=SearchNumbers(focals=(0.9,))).best


@pytest.mark.parametrize(("share", "axis", "travel"), [(0.6, 1, 3.0), (-0.4, 0, 3.0), (0.7, 1, 0.0)])
def test_the_readout_comes_back(share: float, axis: int, travel: float) -> None:
    made, _ = film(share, axis, travel=travel)
    rolling = rolling_shutter(made, answer(made))
    assert rolling is not None and rolling.axis == axis and rolling.share == pytest.approx(share, abs=0.1)


def test_a_camera_that_reads_all_at_once_and_one_that_stands_have_none() -> None:
    made, _ = film(0.0, 1)
    assert rolling_shutter(made, answer(made)) is None
    best = answer(made)
    assert rolling_shutter(made, replace(best, kind="fixed")) is None


def test_observations_are_put_where_they_would_have_been_seen_at_once() -> None:
    made, whole = film(0.6, 1)
    moved = read_at_once(made.seen, made, 0.6, 1).xy
    inner = (np.diff(made.seen.track, prepend=-1) == 0) & (np.diff(made.seen.track, append=-1) == 0)
    before, after = (np.linalg.norm(xy - whole, axis=1)[inner] for xy in (made.seen.xy, moved))
    assert np.median(before) > 2 and np.median(after) < 0.15 * np.median(before)


def test_speed_is_the_mean_of_the_steps_beside_an_observation() -> None:
    xy = np.array([[0.0, 0], [1, 0], [4, 0], [9, 9], [5, 5], [5, 7]])
    frame, first = np.array([0, 1, 2, 4, 3, 4], np.int32), np.array([0, 4, 6])
    speed = track_speed(Sightings(xy, frame, first, np.zeros(5, np.int32), np.zeros((1, 2))))
    np.testing.assert_allclose(speed, [[1, 0], [2, 0], [3, 0], [0, 0], [0, 2], [0, 2]])


def test_a_rolling_film_is_not_taken_for_a_bent_one() -> None:
    """Figures of a film that rolls tell what to take out, without a bend."""
    made, _ = film(0.6, 1)
    out = film_figures(made, answer(made))["straighten"]
    assert (
        out["bend"] == 0
        and out["axis"] == 1
        and out["rolling"] == pytest.approx(0.6, abs=0.1)
        and out["focal"] == pytest.approx(FOCAL / WIDTH, rel=0.05)
    )


@pytest.mark.parametrize(("axis", "bend"), [(1, 0.0), (0, 0.0), (1, -0.15)])
def test_an_image_that_was_read_slowly_becomes_one_that_was_read_at_once(axis: int, bend: float) -> None:
    """A far world whose colour is a smooth function of the direction, filmed by a camera that turns, against the same function."""
    size, turn, rolling, focal = (120, 80), np.array([0.03, -0.05, 0.02]), 0.8, 0.9
    lens = FilmLens(focal, bend, rolling, axis, ((0.0, 0.0, 0.0), (float(turn[0]), float(turn[1]), float(turn[2]))))
    K, straight = lens.filmed(size), lens.straight(size)

    def colour(rays: np.ndarray) -> np.ndarray:
        p = rays[..., :2] / rays[..., 2:]
        return 127 + 60 * np.sin(9 * p[..., 0]) + 60 * np.cos(11 * p[..., 1] + 3 * p[..., 0])

    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    pixels = np.stack([columns, rows], -1)
    p = (pixels - K[:2, 2]) / np.diag(K)[:2]
    flat = p.copy()
    for _ in range(30):
        flat = p / (1 + bend * (flat**2).sum(-1, keepdims=True))
    late = rolling * (pixels[..., axis] / size[axis] - 0.5)
    rays = np.concatenate([flat, np.ones((*flat.shape[:2], 1))], -1)  # what is seen at t + late, in the axes of then
    back = Rotation.from_rotvec((-late[..., None] * turn).reshape(-1, 3)).apply(rays.reshape(-1, 3)).reshape(rays.shape)
    filmed = np.repeat(colour(back)[..., None], 3, 2).astype(np.float32)
    made = lens.undo(filmed, 1, straight, nearest=False)
    q = np.concatenate([(pixels - straight[:2, 2]) / np.diag(straight)[:2], np.ones((*pixels.shape[:2], 1))], -1)
    error, moved = (np.abs(image[..., 0] - colour(q)) for image in (made, filmed))
    assert np.median(moved) > 5 * np.median(error) and np.percentile(error, 99) < 1.5
    assert ((inner := lens.sources(pixels.reshape(-1, 2), 1, straight, size)) > -0.1).all() and (inner < np.array(size) + 0.1).all()


def test_turns_are_those_of_the_camera_between_neighbouring_moments() -> None:
    step = np.array([0.02, -0.01, 0.03])
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.arange(6)[:, None] * step).as_matrix()
    poses[3] = np.nan
    turns = turns_of(poses)
    np.testing.assert_allclose(turns[[0, 1, 2, 4, 5]], np.tile(step, (5, 1)), atol=1e-12)
    assert not turns[3].any()
