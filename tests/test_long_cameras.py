"""Cameras of a long film: keyframes first, the frames between them in chunks that need no joining."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.capture.chunks import ChunkNumbers, chunks_of, is_long, keyframes
from fourfold.priors.cameras.bundle_system import Solved
from fourfold.priors.cameras.camera_search import SearchNumbers
from fourfold.priors.cameras.estimated import CamerasNumbers
from fourfold.priors.cameras.frames_alone import frames_alone
from fourfold.priors.cameras.long_cameras import cameras_of_long_film
from fourfold.priors.cameras.track_places import placed
from fourfold.priors.contracts import FilmTracks, Provenance
from fourfold.priors.tracking.long_tracks import film_tracks, long_tracks
from test_film_cameras import _capture
from test_track_bundle import FOCAL, _film

FRAMES = 64
CUT = ChunkNumbers(longest=30, length=24, overlap=6, keyframes=16)
NUMBERS = CamerasNumbers(search=SearchNumbers(focals=(0.9,)))


def _filmed(turn: float, travel: float) -> tuple[Capture, FilmTracks, np.ndarray, np.ndarray]:
    """A capture of half the size of its exact tracks' film, the tracks in its pixels, moment after moment, and the true path."""
    film, rotation, translation = _film(turn, travel, FRAMES)
    seen = film.seen
    order = np.argsort(seen.frame, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(seen.frame, minlength=FRAMES))])
    own = (seen.xy / 2).astype(np.float32)[order], seen.track.astype(np.int32)[order], first
    return _capture(FRAMES), FilmTracks(Provenance("test"), *own), rotation, translation


def test_every_moment_is_shown_by_one_chunk_and_chunks_reach_into_each_other() -> None:
    for times in (301, 999, 2000):
        numbers = ChunkNumbers()
        chunks = chunks_of(times, numbers)
        assert np.array_equal(np.concatenate([np.arange(c.begin, c.end) for c in chunks]), np.arange(times))
        assert len(chunks) == -(-times // numbers.length) and max(len(c.moments) for c in chunks) <= numbers.length + numbers.overlap
        assert all(before.last - after.first == numbers.overlap for before, after in pairwise(chunks))
    assert [is_long(_capture(n)) for n in (300, 301)] == [False, True]


def test_keyframes_are_training_moments_from_the_first_to_the_last() -> None:
    capture = _capture(400)
    train = np.arange(400)[None] % 8 != 3
    chosen = keyframes(replace(capture, train=train), ChunkNumbers(keyframes=50))
    assert len(chosen) == 50 and train[0, chosen].all() and chosen[0] == 0 and chosen[-1] == 399
    assert np.diff(chosen).max() <= 10


def test_tracks_of_some_moments_keep_their_observations(tmp_path: Path) -> None:
    _, made, _, _ = _filmed(12, 3.0)
    made.save(tmp_path)
    tracks = FilmTracks.load(tmp_path)
    assert tracks.provenance == made.provenance and isinstance(tracks.xy, np.memmap)
    moments = np.array([3, 4, 9, 40])
    part = tracks.at(moments)
    part.check(_capture(4).sizes, 4)
    time = np.repeat(np.arange(FRAMES), np.diff(made.first))
    rows = np.flatnonzero(np.isin(time, moments))
    rows = rows[np.lexsort((time[rows], made.track[rows]))]
    assert np.array_equal(part.xy, made.xy[rows]) and np.array_equal(moments[part.time], time[rows])
    assert np.array_equal(np.diff(part.track) > 0, np.diff(made.track[rows]) > 0) and len(part.view) == len(np.unique(made.track[rows]))


def _one_view(capture: Capture) -> Capture:
    """The first of its views alone."""
    names = ("K", "world_to_camera", "sizes", "present", "train", "heldout", "focal_hint", "view_names")
    return replace(capture, **{name: getattr(capture, name)[:1] for name in names})


def test_tracks_of_a_film_are_its_long_tracks(casual_capture: Path) -> None:
    one = _one_view(Capture.load(casual_capture).moments(np.arange(6)))
    film, whole = film_tracks(one), long_tracks(one)
    part = film.at(np.arange(6))
    assert len(whole.xy) > 200 and all(np.array_equal(getattr(part, k), getattr(whole, k)) for k in ("xy", "time", "track", "view"))


def test_a_travelling_camera_is_found_at_every_frame() -> None:
    capture, tracks, rotation, translation = _filmed(12, 3.0)
    cameras = cameras_of_long_film(capture, tracks, NUMBERS, CUT)
    cameras.check(capture.sizes, capture.times)
    figures = cameras.provenance.figures
    assert (figures["source"], figures["keyframes"], figures["chunks"], figures["interpolated"]) == ("estimated", 16, 3, [])
    assert np.allclose(cameras.K[0, :, 0, 0], FOCAL / 2, rtol=0.01) and "16 keyframes" in cameras.provenance.notes[-1]
    found = cameras.world_to_camera[0]
    turned = found[:, :3, :3] @ found[0, :3, :3].T
    assert np.allclose(turned, rotation, atol=3e-3)
    centre, true = (-np.einsum("fji,fj->fi", r, t) for r, t in ((turned, found[:, :3, 3] - turned @ found[0, :3, 3]), (rotation, translation)))
    scale = (centre * true).sum() / (centre**2).sum()
    assert np.linalg.norm(scale * centre - true, axis=1).max() < 0.02 * np.linalg.norm(np.ptp(true, axis=0))


def _peak(work: Callable[[], object]) -> int:
    """Bytes that numpy holds at most during `work`, beyond what was there before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_tracks_of_a_longer_film_take_no_more_memory(casual_capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = _one_view(Capture.load(casual_capture))

    def followed(frames: Iterator[np.ndarray], _: object) -> Iterator[SimpleNamespace]:
        for frame in frames:
            yield SimpleNamespace(track=np.arange(30_000, dtype=np.int32), xy=np.full((30_000, 2), frame[0, 0], np.float32))

    monkeypatch.setattr("fourfold.priors.tracking.long_tracks.followed", followed)

    def of(count: int) -> int:
        to_and_fro = film.moments(np.resize(np.r_[0:14, 12:0:-1], count))
        return _peak(lambda: film_tracks(to_and_fro))

    of(4)  # what is loaded once
    assert of(56) < 1.1 * of(14)


def test_moments_of_a_film_are_read_without_the_rest(tmp_path: Path) -> None:
    times, each = 1000, 1000
    made = FilmTracks(
        Provenance("test"), np.ones((times * each, 2), np.float32), np.tile(np.arange(each, dtype=np.int32), times), np.arange(times + 1) * each
    )
    made.save(tmp_path)
    peak = _peak(lambda: FilmTracks.load(tmp_path).at(np.arange(10)))
    assert made.xy.nbytes + made.track.nbytes == 12_000_000 and peak < 3_000_000


@pytest.mark.parametrize(("turn", "source"), [(25, "rotation"), (0, "fixed")])
def test_turning_and_standing_cameras_stay_what_they_are(turn: float, source: str) -> None:
    capture, tracks, rotation, _ = _filmed(turn, 0.0)
    cameras = cameras_of_long_film(capture, tracks, NUMBERS, CUT)
    assert cameras.provenance.figures["source"] == source and not cameras.world_to_camera[0, :, :3, 3].any()
    assert np.allclose(cameras.world_to_camera[0, :, :3, :3] @ cameras.world_to_camera[0, 0, :3, :3].T, rotation, atol=3e-3)


@pytest.mark.parametrize("travels", [True, False])
def test_frames_are_placed_alone_among_movers_from_far(travels: bool) -> None:
    """Exact points with a third of wrong ones; the frames begin 4 degrees and .3 units off."""
    film, rotation, translation = _film(12, 3.0 if travels else 0.0, 12, noise=0.0)
    seen, random = film.seen, np.random.default_rng(3)
    exact = Solved(rotation, translation, np.tile([0, 0, 1.0], (seen.tracks, 1)), np.full(seen.tracks, 0.1), np.array([FOCAL]), np.zeros(1))
    exact = placed(seen, exact)
    wrong = np.where(random.random(seen.tracks)[:, None] < 0.3, random.normal(0, 0.1, (seen.tracks, 3)), 0)
    free = np.arange(12) % 4 != 0
    off = Rotation.from_rotvec(np.radians(4) * np.eye(3)[np.arange(12) % 3]).as_matrix() @ rotation
    start = replace(
        exact,
        rotation=np.where(free[:, None, None], off, rotation),
        translation=translation + 0.3 * free[:, None] * np.eye(3)[np.arange(12) % 3] * travels,
        direction=(exact.direction + wrong) / np.linalg.norm(exact.direction + wrong, axis=1, keepdims=True),
    )
    found = frames_alone(seen, start, free, travels)
    assert np.array_equal(found.rotation[~free], rotation[~free]) and np.array_equal(found.translation[~free], translation[~free])
    assert np.abs(found.rotation - rotation).max() < 1e-3 and np.abs(found.translation - translation).max() < 1e-2


def test_moments_of_a_capture_are_images_of_the_whole(casual_capture: Path) -> None:
    whole = Capture.load(casual_capture)
    part = whole.moments(np.array([2, 5, 11])).moments(np.array([1, 2]))
    assert part.times == 2 and np.array_equal(part.timestamps, whole.timestamps[[5, 11]])
    assert np.array_equal(part.image(0, 1), whole.image(0, 11)) and np.array_equal(part.depth(0, 0), whole.depth(0, 5))
    assert np.array_equal(part.world_to_camera, whole.world_to_camera[:, [5, 11]])
    before = np.array(part.image(0, 0))
    whole.release()
    assert np.array_equal(part.image(0, 0), before)
