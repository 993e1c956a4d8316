"""A camera that goes once round a room: no track lasts, so the film is grown from its middle."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.counting import telling
from fourfold.priors.cameras.bundle_system import Sightings, Solved
from fourfold.priors.cameras.camera_search import SearchNumbers, find_cameras
from fourfold.priors.cameras.grown_start import grown_start, lasting_window, within
from fourfold.priors.cameras.spread_tracks import Film
from fourfold.priors.cameras.track_bundle import Freedom
from fourfold.priors.cameras.track_places import placed
from fourfold.priors.cameras.weak_frames import mended, weak_frames

WIDTH, HEIGHT, FOCAL = 640.0, 360.0, 500.0


def _round(frames: int = 40, noise: float = 0.2) -> tuple[Film, np.ndarray]:
    """Once round a ball with a wall behind, each point seen for a quarter of the way at most; with the true world_to_camera (F, 4, 4)."""
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, frames, endpoint=False)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for i, a in enumerate(angle):
        poses[i, :3, :3] = Rotation.from_euler("xy", [0.15, a]).as_matrix()
        poses[i, :3, 3] = [0, 0, 6]
    ball, wall = rng.normal(size=(700, 3)), rng.uniform(-np.pi, np.pi, 900)
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    points = np.concatenate([1.8 * ball, np.stack([9 * np.sin(wall), rng.uniform(-3, 2, 900), 9 * np.cos(wall)], 1)])
    outward = np.concatenate([ball, np.zeros((900, 3))])
    centre = -np.einsum("fji,fj->fi", poses[:, :3, :3], poses[:, :3, 3])
    xy, frame, lengths = [], [], []
    for point, normal in zip(points, outward, strict=True):
        c = poses[:, :3, :3] @ point + poses[:, :3, 3]
        p = c[:, :2] / c[:, 2:] * FOCAL + [WIDTH / 2, HEIGHT / 2]
        good = ((centre - point) @ normal >= 0) & (c[:, 2] > 1) & (p > 0).all(1) & (p < [WIDTH, HEIGHT]).all(1)
        for part in np.split(np.arange(frames), np.flatnonzero(np.diff(good.astype(int))) + 1):
            part = part[: frames // 4]
            if good[part[0]] and len(part) >= 5:
                xy.append(p[part] + rng.normal(0, noise, (len(part), 2)))
                frame.append(part)
                lengths.append(len(part))
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sizes = np.array([[WIDTH, HEIGHT]])
    seen = Sightings(np.concatenate(xy), np.concatenate(frame).astype(np.int32), first, np.zeros(frames, np.int32), sizes / 2)
    rows = np.stack([np.zeros(frames, np.int32), np.arange(frames, dtype=np.int32)], 1)
    return Film(seen, rows, sizes, np.ones((1, 2))), poses


def _largest_turn_error(rotation: np.ndarray, poses: np.ndarray) -> float:
    """Degrees between two chains of rotations after the best common turn."""
    relative = Rotation.from_matrix(poses[:, :3, :3].transpose(0, 2, 1) @ rotation)
    return float(np.degrees((relative * relative.mean().inv()).magnitude().max()))


def test_a_full_circle_grows_from_its_middle() -> None:
    film, poses = _round()
    begin, end = lasting_window(film.seen, 0.4, 8)
    assert begin < 20 < end and end - begin < 20
    told: list[tuple[str, int, int | None]] = []
    with telling(lambda *one: told.append(one), "cameras"):
        at = grown_start(film, film.seen, [400.0, 600.0], Freedom())
    growth = [one for one in told if one[0] == "cameras: growing from the middle"]
    assert growth[0][1] < 20 and growth[-1][1:] == (40, 40)
    assert at.focal[0] == pytest.approx(FOCAL, rel=0.01)
    assert _largest_turn_error(at.rotation, poses) < 0.5


def test_the_search_grows_where_no_track_lasts() -> None:
    film, poses = _round()
    best = find_cameras(film, numbers=SearchNumbers(focals=(0.8,))).best
    assert best.kind == "estimated" and best.found == "grown from the middle"
    assert best.solved.focal[0] == pytest.approx(FOCAL, rel=0.005) and _largest_turn_error(best.solved.rotation, poses) < 0.2


def test_what_is_seen_within_some_frames() -> None:
    film, _ = _round()
    chosen = np.arange(40) < 10
    part, kept = within(film.seen, chosen, 4)
    assert part.tracks == len(kept) and part.lengths.min() >= 4 and part.frame.max() < 10
    for n, track in list(enumerate(kept))[:20]:
        own = slice(film.seen.first[track], film.seen.first[track + 1])
        inside = film.seen.frame[own] < 10
        assert np.array_equal(part.xy[part.first[n] : part.first[n + 1]], film.seen.xy[own][inside])


def test_frames_that_were_given_up_are_placed_anew() -> None:
    film, poses = _round(20)
    part, _ = within(film.seen, np.arange(20) < 12, 4)
    distance = Solved(poses[:, :3, :3], poses[:, :3, 3] / 6, np.zeros((1, 3)), np.ones(1), np.array([FOCAL]), np.zeros(1))
    truth = placed(part, distance)
    spoilt = replace(truth, translation=truth.translation.copy())
    spoilt.translation[0] += [0.3, 0, 0.2]
    assert np.array_equal(np.flatnonzero(weak_frames(part, spoilt)[:12]), [0])
    back, free = mended(part, spoilt)
    assert np.abs(back.translation[:12] - truth.translation[:12]).max() < 5e-3 and free.sum() == 19
    assert mended(part, truth)[0] is truth
