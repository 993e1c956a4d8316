"""Gains of generated films against the gains they were made with."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import capture_files as files
from fourfold.capture import prepare_capture
from fourfold.capture.exposure import Steadying

COUNT = 30


def _film(step: float = 2.0) -> list[NDArray[np.uint8]]:
    """A camera that travels over a ground of soft patches between the levels 40 and 150, and a mover."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(40, 150, (20, 40, 3), np.uint8), (640, 320), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    film = []
    for number in range(COUNT):
        image = cv2.warpAffine(ground, np.array([[1.0, 0, -10 - step * number], [0, 1.0, -20 - number]]), (192, 108))
        cv2.circle(image, (30 + 4 * number, 60), 14, (140, 60, 60), -1)
        film.append(image.clip(0, 255).astype(np.uint8))
    return film


def _times(film: list[NDArray[np.uint8]], gain: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    return [np.clip(np.round(f * g), 0, 255).astype(np.uint8) for f, g in zip(film, gain, strict=True)]


def _gains(film: list[NDArray[np.uint8]]) -> NDArray[np.float64] | None:
    steadying = Steadying()
    for image in film:
        steadying.add(image)
    return steadying.gains()


RAMP = np.linspace(0.6, 1.45, COUNT)[:, None].repeat(3, 1)
JUMP = np.where(np.arange(COUNT)[:, None] < 12, [[1.0, 1.0, 1.0]], [[1.25, 1.0, 0.75]])


@pytest.mark.parametrize("made", [RAMP, JUMP], ids=["ramp", "white balance"])
def test_gains_are_found(made: NDArray[np.float64]) -> None:
    found = _gains(_times(_film(), made))
    assert found is not None
    error = np.log(found * made)
    assert np.abs(error - np.median(error, axis=0)).max() < 0.04
    np.testing.assert_allclose(np.median(found, axis=0), 1, atol=1e-3)


def test_steady_films_stay(tmp_path: Path) -> None:
    cut = [*_film()[:15], *[255 - f for f in _film()[15:]]]
    pan = [(f * np.linspace(0.4, 1.6, 192)[None, :, None] * 0 + _lit(n)).astype(np.uint8) for n, f in enumerate(_film())]
    for film in (_film(), _film(8.0), cut, pan):
        assert _gains(film) is None


def _lit(number: int) -> NDArray[np.float32]:
    """A camera that pans from a dark corner to a bright window: the scene is brighter there, the exposure is not."""
    rng = np.random.default_rng(1)
    ground = cv2.resize(rng.integers(60, 110, (20, 60), np.uint8), (900, 108), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    ground *= np.linspace(0.4, 2.0, 900)[None]
    return ground[:, 20 * number : 20 * number + 192, None].repeat(3, 2)


def test_frames_on_disk_are_steady_and_it_is_said(tmp_path: Path) -> None:
    film = _film()
    path = files.write_video(tmp_path / "clip.mp4", _times(film, RAMP), options={"crf": "6"})
    capture = prepare_capture([path], tmp_path / "out", pixels=100_000)
    stored = np.stack([capture.image(0, t) for t in range(COUNT)]).astype(float)
    level = np.array([stored[t].mean() / film[t].mean() for t in range(COUNT)])
    assert np.ptp(np.log(level)) < 0.06 < np.ptp(np.log(RAMP))
    assert "the exposure changes by a factor of 2." in capture.facts["notes"][-1]
    files.write_images(tmp_path / "steady", film)
    assert not prepare_capture([tmp_path / "steady"], tmp_path / "out2", pixels=100_000).facts.get("notes")
