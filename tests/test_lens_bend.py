"""A lens that bends straight lines: found from the tracks of a film alone, and taken out of its images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourfold import pipeline
from fourfold.capture.capture import Capture
from fourfold.capture.film_lens import FilmLens
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.lens import pinhole, straightened
from fourfold.capture.source import CaptureOptions
from fourfold.options import Clock, Options, silent
from fourfold.priors.cameras.camera_search import SearchNumbers, find_cameras
from fourfold.priors.cameras.lens_bend import BendNumbers, lens_bend
from fourfold.priors.cameras.spread_tracks import Film
from fourfold.priors.contracts import Cameras, Priors, Provenance
from fourfold.priors.providers import Preparation
from fourfold.run_config import read_config
from test_track_bundle import FOCAL, HEIGHT, WIDTH, _film

FRAMES = 16


def filmed(k: float, turn: float, travel: float) -> Film:
    """A film through a lens that moves a point from p to p (1 + k |p|^2)."""
    film, _, _ = _film(turn, travel, FRAMES, noise=0.1)
    centre = np.array([WIDTH, HEIGHT]) / 2
    p = (film.seen.xy - centre) / FOCAL
    xy = centre + FOCAL * p * (1 + k * (p**2).sum(1, keepdims=True))
    return replace(film, seen=replace(film.seen, xy=xy))


@pytest.mark.parametrize(("k", "turn", "travel"), [(-0.12, 12, 3.0), (0.15, 12, 3.0), (-0.12, 25, 0.0)])
def test_the_bend_and_the_focal_length_come_back(k: float, turn: float, travel: float) -> None:
    film = filmed(k, turn, travel)
    bend = lens_bend(film, find_cameras(film, numbers=SearchNumbers(focals=(0.9,))).best)
    assert bend is not None and bend.pays
    assert bend.k == pytest.approx(k, abs=0.01) and bend.focal * WIDTH == pytest.approx(FOCAL, rel=0.01)


@pytest.mark.parametrize(("turn", "travel"), [(12, 3.0), (25, 0.0)])
def test_a_straight_lens_is_left_alone(turn: float, travel: float) -> None:
    film = filmed(0.0, turn, travel)
    bend = lens_bend(film, find_cameras(film, numbers=SearchNumbers(focals=(0.9,))).best)
    assert bend is not None and bend.gain < BendNumbers().pays / 2


def _bent_images(folder: Path, focal: float, k: float, size: tuple[int, int]) -> None:
    """Images of a black vertical line left of the middle of a white world, as a lens of `focal` image widths bends it."""
    width, height = size
    rows, columns = np.mgrid[:height, :width] + 0.5
    p = np.stack([columns - width / 2, rows - height / 2], -1) / (focal * width)
    straight = cv2.undistortPoints(p.reshape(-1, 1, 2), np.eye(3), np.array([k, 0, 0, 0.0])).reshape(height, width, 2)
    line = np.clip(np.abs(straight[..., 0] + 0.25) * focal * width - 1.5, 0, 1)
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.repeat((255 * line).astype(np.uint8)[..., None], 3, 2))


def test_what_is_bent_is_straight_afterwards(tmp_path: Path) -> None:
    size, focal, k = (240, 160), 0.8, -0.25
    _bent_images(tmp_path / "film", focal, k, size)

    def place_of_the_line(options: CaptureOptions, out: str) -> np.ndarray:
        image = 255.0 - np.asarray(prepare_capture([tmp_path / "film"], tmp_path / out, pixels=100_000, options=options).image(0, 0), float)[..., 0]
        return (image * (np.arange(size[0]) + 0.5)).sum(1) / image.sum(1)

    bent, straight = place_of_the_line(CaptureOptions(), "bent"), place_of_the_line(CaptureOptions(film=FilmLens(focal, k)), "straight")
    assert np.ptp(bent) > 2 and np.ptp(straight) < 0.2
    K = np.array([[focal * size[0], 0, size[0] / 2], [0, focal * size[0], size[1] / 2], [0, 0, 1]])
    expected = straightened(pinhole(k), K, size)
    assert straight.mean() == pytest.approx(expected[0, 2] - 0.25 * expected[0, 0], abs=0.1)


def test_a_run_is_prepared_once_more_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras that say the lens bends make the images straight; the same command again finds that done."""
    _bent_images(tmp_path / "film", 0.8, -0.25, (96, 64))
    asked: list[bool] = []

    def estimated(capture: Capture, *_: object) -> Preparation:
        asked.append(bool(capture.facts["undistorted"]))
        figures = {"straighten": {"focal": 0.8, "bend": -0.25}}
        points = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
        return Preparation(capture, Priors(cameras=Cameras(Provenance("made", figures=figures), capture.K, capture.world_to_camera, *points)))

    monkeypatch.setattr(pipeline, "estimate", estimated)
    where = ([tmp_path / "film"], tmp_path / "run", Options(quality="draft"), silent, Clock())
    first = pipeline.straight(pipeline.prepare(*where), *where)
    assert first.facts["undistorted"] and any("the lens bends" in note for note in first.facts["notes"]) and asked == [False]
    assert read_config(tmp_path / "run")["film"] == {"focal": 0.8, "bend": -0.25, "turns": []}
    again = pipeline.straight(pipeline.prepare(*where), *where)
    np.testing.assert_array_equal(np.asarray(again.image(0, 0)), np.asarray(first.image(0, 0)))
    assert asked == [False]
