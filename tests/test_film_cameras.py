"""The prior that is made of an answer: lens and poses in the capture's pixels, points, sentences and figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.priors.cameras.camera_search import SearchNumbers, find_cameras
from fourfold.priors.cameras.film_cameras import cameras_of
from fourfold.priors.cameras.spread_tracks import film_of
from fourfold.priors.contracts import Cameras, LongTracks, Provenance
from test_track_bundle import FOCAL, HEIGHT, WIDTH, _film

FRAMES = 16


def _capture(count: int) -> Capture:
    shape = (1, count)
    return Capture(
        root=Path("unused"),
        K=np.full((*shape, 3, 3), np.nan),
        world_to_camera=np.full((*shape, 4, 4), np.nan),
        timestamps=np.arange(count) / 10,
        sizes=np.array([[WIDTH // 2, HEIGHT // 2]]),
        present=np.ones(shape, bool),
        train=np.ones(shape, bool),
        heldout=np.zeros(shape, bool),
        cameras="unknown",
        metric=False,
        name="test",
        view_names=("a",),
    )


def _prior(turn: float, travel: float) -> tuple[Cameras, np.ndarray, np.ndarray]:
    """Cameras from long tracks in the pixels of a capture of half the size, and the true path."""
    film, rotation, translation = _film(turn, travel, FRAMES)
    seen = film.seen
    capture = _capture(FRAMES)
    assert tuple(capture.sizes[0]) == (WIDTH / 2, HEIGHT / 2)
    tracks = LongTracks(
        Provenance("test"), (seen.xy / 2).astype(np.float32), seen.frame, seen.track.astype(np.int32), np.zeros(seen.tracks, np.int32)
    )
    tracks.check(capture.sizes, capture.times)
    film = film_of(capture, tracks)
    assert np.allclose(film.seen.xy, seen.xy, atol=1e-4) and np.array_equal(film.seen.first, seen.first)
    cameras = cameras_of(capture, film, find_cameras(film, numbers=SearchNumbers(focals=(0.9,))))
    cameras.check(capture.sizes, capture.times)
    return cameras, rotation, translation


def test_a_travelling_camera_becomes_a_prior_with_points() -> None:
    cameras, rotation, translation = _prior(12, 3.0)
    figures = cameras.provenance.figures
    assert figures["source"] == "estimated" and figures["focal_px_at_640"] == pytest.approx(FOCAL, rel=0.01)
    assert np.allclose(cameras.K[0], cameras.K[0, 0]) and cameras.K[0, 0, 0, 0] == pytest.approx(FOCAL / 2, rel=0.01)
    assert np.allclose(cameras.world_to_camera[0, :, :3, :3], rotation, atol=3e-3)
    mine = cameras.world_to_camera[0, :, :3, 3]
    scale = (mine * translation).sum() / (mine**2).sum()
    assert np.linalg.norm(scale * mine - translation, axis=1).max() < 0.05
    assert len(cameras.points) > 200 and np.median(np.linalg.norm(cameras.points, axis=1)) == pytest.approx(10, rel=0.01)
    assert np.median(cameras.points_error) < 0.5 and cameras.points_length.min() >= 4
    assert figures["runner_up"]["score"] < figures["score"] and abs(figures["lens_bend"]) < 0.03
    assert "travelled" in cameras.provenance.notes[0] and "next best" in cameras.provenance.notes[0] and "+-" in cameras.provenance.notes[0]


def test_turning_and_standing_cameras_say_that_depth_is_unknown() -> None:
    turned, rotation, _ = _prior(25, 0.0)
    assert turned.provenance.figures["source"] == "rotation" and len(turned.points) == 0
    assert np.allclose(turned.world_to_camera[0, :, :3, :3], rotation, atol=3e-3) and not turned.world_to_camera[0, :, :3, 3].any()
    assert "depth cannot be known" in turned.provenance.notes[0]
    stood, _, _ = _prior(0, 0.0)
    assert stood.provenance.figures["source"] == "fixed" and (stood.world_to_camera[0] == np.eye(4)).all()
    assert stood.K[0, 0, 0, 0] == WIDTH / 2 and "stood still" in stood.provenance.notes[0]


def test_what_the_file_says_of_the_lens_is_kept_in_pixels_at_640() -> None:
    from fourfold.priors.cameras.film_cameras import hinted_focal

    film, _, _ = _film(12, 3.0, FRAMES)
    film = replace(film, unit=np.full((1, 2), 2.0))
    assert hinted_focal(replace(_capture(FRAMES), focal_hint=np.array([260.0])), film) == 520
    assert hinted_focal(_capture(FRAMES), film) is None
