"""Cameras from generated tracks: poses and focal lengths return, one score tells standing, turning and travelling apart, movers are outvoted."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from fourfold.priors.cameras import bundle_system, camera_search
from fourfold.priors.cameras.bundle_system import Sightings, Solved, residuals
from fourfold.priors.cameras.camera_score import ground_order, rank_correlation, score
from fourfold.priors.cameras.camera_search import SearchNumbers, find_cameras
from fourfold.priors.cameras.focal_deviation import focal_deviation
from fourfold.priors.cameras.spread_tracks import Film, SpreadNumbers, spread
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, bundle
from fourfold.priors.cameras.track_places import distance_deviation, parallax_degrees, placed, sure_points
from fourfold.priors.cameras.turned_start import relative_rotation, turned_start

WIDTH, HEIGHT, FOCAL = 640.0, 360.0, 520.0


def _path(turn: float, travel: float, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A pan by `turn` degrees and a curved way of about `travel` units: rotation (F, 3, 3) and translation (F, 3), the first the identity."""
    share = np.linspace(0, 1, frames)
    rotation = Rotation.from_euler("yxz", np.stack([turn * share, 0.4 * turn * share**2, 0.1 * turn * share], 1), degrees=True).as_matrix()
    centre = travel * np.stack([share, 0.15 * np.sin(3 * share), 0.3 * share**2], 1)
    return rotation, -np.einsum("fij,fj->fi", rotation, centre)


def _film(turn: float, travel: float, frames: int = 16, movers: float = 0.0, noise: float = 0.3) -> tuple[Film, np.ndarray, np.ndarray]:
    """Points in a room, a share of which moves on ways of its own, seen for a while each; with the true path."""
    rng = np.random.default_rng(5)
    rotation, translation = _path(turn, travel, frames)
    points = rng.uniform([-9, -3, 4], [9, 3, 14], (900, 3))
    speed = np.where(rng.random(900)[:, None] < movers, rng.normal(0, 0.12, (900, 3)), 0)
    xy, frame, lengths = [], [], []
    for point, velocity in zip(points, speed, strict=True):
        c = np.einsum("fij,fj->fi", rotation, point + velocity * np.arange(frames)[:, None]) + translation
        p = c[:, :2] / c[:, 2:] * FOCAL + [WIDTH / 2, HEIGHT / 2]
        seen = np.flatnonzero((c[:, 2] > 0.5) & (p > 0).all(1) & (p < [WIDTH, HEIGHT]).all(1))
        seen = seen[np.cumsum(np.diff(seen, prepend=seen[:1] - 1) > 1) == 0][rng.integers(0, 4) :]
        if len(seen) >= 5:
            xy.append(p[seen] + rng.normal(0, noise, (len(seen), 2)))
            frame.append(seen)
            lengths.append(len(seen))
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sizes = np.array([[WIDTH, HEIGHT]])
    seen = Sightings(np.concatenate(xy), np.concatenate(frame).astype(np.int32), first, np.zeros(frames, np.int32), sizes / 2)
    rows = np.stack([np.zeros(frames, np.int32), np.arange(frames, dtype=np.int32)], 1)
    return Film(seen, rows, sizes, np.ones((1, 2))), rotation, translation


def _turn_error(solved: Solved, rotation: np.ndarray) -> float:
    """Largest angle in degrees between two chains of rotations that both begin with the identity."""
    return float(np.degrees(Rotation.from_matrix(solved.rotation @ rotation.transpose(0, 2, 1)).magnitude().max()))


def _path_error(solved: Solved, rotation: np.ndarray, translation: np.ndarray) -> float:
    """Largest distance of a centre from its place over the extent of the path, after the best scale."""
    mine, true = (-np.einsum("fji,fj->fi", r, t) for r, t in ((solved.rotation, solved.translation), (rotation, translation)))
    scale = (mine * true).sum() / (mine**2).sum()
    return float(np.linalg.norm(scale * mine - true, axis=1).max() / np.linalg.norm(np.ptp(true, axis=0)))


def test_a_travelling_camera_returns_from_every_start_among_movers() -> None:
    film, rotation, translation = _film(12, 3.0, movers=0.3)
    found = find_cameras(film)
    assert found.best.kind == "estimated"
    assert found.best.solved.focal[0] == pytest.approx(FOCAL, rel=0.01)
    assert _turn_error(found.best.solved, rotation) < 0.1
    assert _path_error(found.best.solved, rotation, translation) < 0.01
    assert found.best.score.explained > 0.6 and found.others[0].score.value < found.best.score.value


def test_a_turning_camera_is_told_as_turned_with_its_focal_length() -> None:
    film, rotation, _ = _film(25, 0.0, movers=0.1)
    best = find_cameras(film).best
    assert best.kind == "rotation" and not best.solved.translation.any()
    assert best.solved.focal[0] == pytest.approx(FOCAL, rel=0.01)
    assert _turn_error(best.solved, rotation) < 0.1


def test_a_standing_camera_is_told_as_standing() -> None:
    film, _, _ = _film(0, 0.0, movers=0.2)
    best = find_cameras(film).best
    assert best.kind == "fixed" and (best.solved.rotation == np.eye(3)).all()


def test_every_third_frame_holds_what_its_images_hold() -> None:
    film, _, _ = _film(12, 3.0)
    thin = film.thinned(3)
    assert thin.seen.frames == len(thin.frames) == 6 and (thin.frames[:, 1] == np.arange(0, 16, 3)).all() and thin.seen.lengths.min() >= 2
    there = film.seen.frame % 3 == 0
    kept = np.flatnonzero(np.bincount(film.seen.track[there], minlength=film.seen.tracks) > 1)
    for new, old in enumerate(kept):
        mine, theirs = thin.seen.track == new, there & (film.seen.track == old)
        np.testing.assert_array_equal(thin.seen.xy[mine], film.seen.xy[theirs])
        np.testing.assert_array_equal(thin.seen.frame[mine] * 3, film.seen.frame[theirs])


@pytest.mark.parametrize(("turn", "travel", "kind"), [(0, 0.0, "fixed"), (25, 0.0, "rotation"), (12, 3.0, "estimated")])
def test_a_long_film_is_searched_for_travel_only_where_few_of_its_frames_speak_for_it(
    monkeypatch: pytest.MonkeyPatch, turn: float, travel: float, kind: str
) -> None:
    film, rotation, _ = _film(turn, travel, frames=36, movers=0.2)
    searched: list[int] = []
    starts = camera_search.travelled_starts
    monkeypatch.setattr(camera_search, "travelled_starts", lambda seen, *rest: searched.append(seen.frames) or starts(seen, *rest))
    best = find_cameras(film, numbers=SearchNumbers(trial=12)).best
    assert best.kind == kind and len(best.solved.rotation) == 36
    assert _turn_error(best.solved, rotation) < 0.1
    assert searched == ([12, 36] if kind == "estimated" else [12])


def test_exact_projections_are_a_fixed_point_and_come_back_from_a_disturbance() -> None:
    film, rotation, translation = _film(12, 3.0, noise=0.0)
    seen = film.seen
    start = turned_start(seen, np.array([FOCAL]))
    truth = placed(seen, replace(start, rotation=rotation, translation=translation / 8, inverse=np.ones(seen.tracks)))
    assert np.abs(residuals(seen, truth)).max() < 1e-3
    rng = np.random.default_rng(0)
    spoilt = replace(truth, rotation=Rotation.from_rotvec(rng.normal(0, 0.005, (16, 3))).as_matrix() @ rotation, focal=truth.focal * 1.1)
    spoilt.rotation[0] = np.eye(3)
    back = bundle(seen, spoilt, Freedom(), BundleNumbers(iterations=100, tolerance=1e-9))
    assert back.solved.focal[0] == pytest.approx(FOCAL, rel=1e-3) and _turn_error(back.solved, rotation) < 0.02


def test_the_answer_does_not_depend_on_the_frame_of_the_world() -> None:
    film, _, _ = _film(12, 3.0)
    seen, turn = film.seen, Rotation.from_rotvec([0.2, -0.4, 0.1]).as_matrix()
    start = turned_start(seen, np.array([FOCAL]))
    start = replace(start, inverse=np.exp(0.3 * np.random.default_rng(0).normal(size=seen.tracks)))
    other = replace(start, rotation=start.rotation @ turn.T, direction=start.direction @ turn.T)
    a, b = (bundle(seen, s, Freedom(), BundleNumbers(iterations=150, tolerance=1e-9)).solved for s in (start, other))
    assert np.allclose(a.rotation, b.rotation @ turn, atol=1e-4) and np.allclose(a.translation, b.translation, atol=1e-2)
    assert a.focal[0] == pytest.approx(b.focal[0], rel=1e-4)


def test_one_term_of_distortion_comes_back() -> None:
    film, _, _ = _film(12, 3.0, noise=0.1)
    p = (film.seen.xy - film.seen.centre) / FOCAL
    bent = replace(film.seen, xy=film.seen.centre + FOCAL * p * (1 - 0.12 * (p**2).sum(1, keepdims=True)))
    inverse = np.exp(0.3 * np.random.default_rng(0).normal(size=bent.tracks))
    start = bundle(bent, replace(turned_start(bent, np.array([500.0])), inverse=inverse), Freedom(), BundleNumbers(lenient=4.0)).solved
    solved = bundle(bent, start, Freedom(bend=True), BundleNumbers(iterations=100)).solved
    assert solved.bend[0] == pytest.approx(-0.12, abs=0.02) and solved.focal[0] == pytest.approx(FOCAL, rel=0.01)


def test_turning_alone_neither_moves_cameras_nor_changes_distances() -> None:
    film, _, _ = _film(12, 3.0)
    start = turned_start(film.seen, np.array([FOCAL]))
    solved = bundle(film.seen, start, Freedom(travel=False, focal=False)).solved
    assert not solved.translation.any() and (solved.inverse == 1).all() and solved.focal[0] == FOCAL


def test_the_focal_length_of_the_file_holds_where_the_images_do_not_tell() -> None:
    free, hinted, wide = Freedom(travel=False), Freedom(travel=False, expected=(700.0, 0.01)), _film(25, 0.0)[0].seen
    seen = _film(0.05, 0.0)[0].seen
    start = turned_start(seen, np.array([700.0]))
    solved = bundle(seen, start, hinted).solved
    assert solved.focal[0] == pytest.approx(700, rel=0.01)
    told = bundle(wide, turned_start(wide, np.array([700.0])), hinted).solved
    assert told.focal[0] == pytest.approx(FOCAL, rel=0.02)
    assert focal_deviation(wide, told, free)[0] < 0.01 < 0.05 < focal_deviation(seen, solved, free)[0]


def test_distances_are_told_with_their_deviation() -> None:
    film, rotation, translation = _film(12, 3.0, noise=1.0)
    seen = film.seen
    rays = replace(turned_start(seen, np.array([FOCAL])), rotation=rotation, translation=translation, inverse=np.full(seen.tracks, 0.1))
    at = placed(seen, rays)
    exact, _, _ = _film(12, 3.0, noise=0.0)
    true = placed(exact.seen, rays)
    relative, deviation = (at.inverse - true.inverse) / true.inverse, distance_deviation(seen, at)
    sure = deviation < 0.1
    assert sure.sum() > 200
    assert 0.7 < np.sqrt(np.mean((relative[sure] / deviation[sure]) ** 2)) < 1.4
    good, errors = sure_points(seen, at)
    assert good.mean() > 0.5 and np.median(errors) == pytest.approx(np.sqrt(2), rel=0.3) and parallax_degrees(seen, at) > 3


def test_tracks_are_taken_evenly_and_long_ones_first() -> None:
    film, _, _ = _film(12, 3.0)
    crowd = np.repeat(np.arange(film.seen.tracks), np.where(film.seen.xy[film.seen.first[:-1], 0] < 100, 5, 1))
    rows = np.concatenate([np.arange(film.seen.first[n], film.seen.first[n + 1]) for n in crowd])
    first = np.concatenate([[0], np.cumsum(film.seen.lengths[crowd])])
    crowded = replace(film, seen=replace(film.seen, xy=film.seen.xy[rows], frame=film.seen.frame[rows], first=first))
    few, many = (spread(crowded, crowded.seen, SpreadNumbers(per=n)) for n in (1, 4))
    assert few.sum() < many.sum() < crowded.seen.tracks
    left = crowded.seen.xy[crowded.seen.first[:-1], 0] < 100
    assert few[left].mean() < 0.5 * few[~left].mean()
    assert crowded.seen.lengths[few].mean() > crowded.seen.lengths.mean()


def test_an_implausible_lens_and_an_inverted_scene_lose() -> None:
    film, rotation, translation = _film(12, 3.0, noise=0.0)
    start = replace(turned_start(film.seen, np.array([FOCAL])), rotation=rotation, translation=translation, inverse=np.full(film.seen.tracks, 0.1))
    good = placed(film.seen, start)
    told = score(film, film.seen, good)
    assert told.value > 0.99 and told.explained == 1 and told.focal == pytest.approx(FOCAL / WIDTH)
    long = replace(good, focal=np.array([4 * WIDTH]))
    assert score(film, film.seen, long, known_lens=True).value == pytest.approx(2 * score(film, film.seen, long).value)


def test_ground_behind_its_walls_is_told() -> None:
    rng = np.random.default_rng(0)
    floor = np.stack([rng.uniform(-4, 4, 200), np.full(200, 1.5), rng.uniform(4, 10, 200)], 1)
    wall = np.stack([rng.uniform(-5, 5, 200), rng.uniform(-3, 1.5, 200), np.full(200, 10.0)], 1)
    points, frames = np.concatenate([floor, wall]), 3
    rotation, translation = _path(0, 0.5, frames)
    c = np.einsum("fij,nj->nfi", rotation, points) + translation
    seen = Sightings(
        (c[..., :2] / c[..., 2:] * FOCAL + [WIDTH / 2, HEIGHT / 2]).reshape(-1, 2),
        np.tile(np.arange(frames, dtype=np.int32), len(points)),
        np.arange(len(points) + 1) * frames,
        np.zeros(frames, np.int32),
        np.array([[WIDTH / 2, HEIGHT / 2]]),
    )
    distance = np.linalg.norm(points, axis=1)
    at = Solved(rotation, translation, points / distance[:, None], 1 / distance, np.array([FOCAL]), np.zeros(1))
    assert ground_order(seen, at) > 0.3
    assert ground_order(seen, replace(at, inverse=distance / 50)) < -0.3
    assert ground_order(seen, replace(at, translation=0 * translation)) == 0


def test_one_turn_between_two_bundles_of_rays() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal([0, 0, 2], 0.4, (100, 3))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    turn = Rotation.from_rotvec([0.05, -0.1, 0.02]).as_matrix()
    b = a @ turn.T
    b[:30] = a[:30]  # a third that moves otherwise
    assert np.degrees(Rotation.from_matrix(relative_rotation(a, b, 500.0) @ turn.T).magnitude()) < 0.05


def test_neither_threads_nor_their_number_change_a_bit() -> None:
    library = bundle_system._library()
    if library is None:
        pytest.skip("no compiled kernels here")
    film, _, _ = _film(12, 3.0, movers=0.2)
    before, found = library.ff_get_threads(), []
    try:
        for threads in (1, 2, 7):
            library.ff_set_threads(threads)
            found.append(find_cameras(film, numbers=SearchNumbers(focals=(0.8,))).best.solved)
    finally:
        library.ff_set_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(getattr(found[0], name), getattr(other, name)) for name in ("rotation", "translation", "inverse", "focal"))


def test_the_error_bar_of_the_focal_length_holds_the_truth() -> None:
    """Within two bars in most of twelve clips, also where errors of two pixels are alike among neighbours, as those of real tracks are."""
    for alike, most in ((0.0, 10), (1.5, 8)):
        off, bars = [], []
        for seed in range(12):
            film, rotation, translation = _film(12, 3.0, noise=0.3)
            seen, rng = film.seen, np.random.default_rng(seed)
            x, y = (seen.xy / seen.centre - 1).T
            since = (seen.frame - seen.frame[seen.first[seen.track]])[:, None] / seen.frames
            waves = np.stack([np.sin(a * x + b * y + c) for a, b, c in rng.uniform([2, 2, 0], [5, 5, 6], (4, 3))], axis=1)
            errors = alike * since * (waves @ rng.normal(0, 0.5, (4, 2))) + rng.normal(0, 0.3, seen.xy.shape)
            seen = replace(seen, xy=seen.xy + errors)
            start = placed(
                seen, replace(turned_start(seen, np.array([FOCAL])), rotation=rotation, translation=translation, inverse=np.full(seen.tracks, 0.1))
            )
            solved = bundle(seen, start, Freedom()).solved
            off.append(abs(np.log(solved.focal[0] / FOCAL)))
            bars.append(focal_deviation(seen, solved, Freedom())[0])
        assert (np.array(off) < 2 * np.array(bars)).sum() >= most
        assert np.median(bars) < 3 * np.sqrt(np.mean(np.square(off))), "nor is the bar lavish"


def test_a_lens_that_changes_over_the_film_has_a_wide_bar() -> None:
    film, rotation, translation = _film(25, 3.0)
    seen = film.seen
    zoom = 1 + 0.05 * np.sin(2 * np.pi * np.linspace(0, 1, seen.frames))
    breathing = replace(seen, xy=(seen.xy - seen.centre[0]) * zoom[seen.frame, None] + seen.centre[0])
    bars = []
    for one in (seen, breathing):
        start = replace(turned_start(one, np.array([FOCAL])), rotation=rotation, translation=translation, inverse=np.full(one.tracks, 0.1))
        bars.append(focal_deviation(one, bundle(one, start, Freedom()).solved, Freedom())[0])
    assert bars[0] < 0.005 and bars[1] > 0.05, "in every part of the image all moments of the film are mixed: .014 by those alone"


def test_the_correlation_of_ranks_is_that_of_scipy():
    rng = np.random.default_rng(5)
    for size, digits in ((4, 1), (30, 0), (200, 3)):
        one = rng.normal(size=size).round(digits)
        other = one + rng.normal(size=size)
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))


def test_nothing_to_adjust_is_no_error() -> None:
    film, _, _ = _film(5, 1.0, 8)
    none = film.seen.of(np.zeros(film.seen.tracks, bool))
    start = Solved(np.tile(np.eye(3), (8, 1, 1)), np.zeros((8, 3)), np.zeros((0, 3)), np.zeros(0), np.array([500.0]), np.zeros(1))
    found = bundle(none, start)
    assert found.solved is start and found.cost == 0
