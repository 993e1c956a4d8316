"""Cuts, repeated and empty frames, on films made of moving windows over painted canvases, whose truth is how they were put together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

import capture_files as files
from fourfold.capture.capture import Capture
from fourfold.capture.cuts import survey
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.inspect import as_lines, inspect
from fourfold.capture.shots import long_enough
from fourfold.capture.source import CaptureOptions
from fourfold.capture.video import open_video
from fourfold.errors import FourfoldError
from fourfold.priors.supplied.places import filmed

HEIGHT, WIDTH = 96, 160


def canvas(seed: int) -> np.ndarray:
    """(700, 1600, 3) paint with detail of several sizes."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((700 // s, 1600 // s, 3)).astype(np.float32), (1600, 700), interpolation=cv2.INTER_CUBIC) for s in (6, 20, 80)]
    return np.clip(sum(layers) / 3 * 300 - 25, 0, 255).astype(np.uint8)


def pan(seed: int, starts: Sequence[float], smear: int = 1) -> files.Images:
    """Windows over a canvas whose left edges are `starts`, pixels; `smear` windows along the way are averaged, as a shutter does."""
    paint, frames = canvas(seed), []
    steps = np.gradient(np.asarray(starts, float)) if len(starts) > 1 else [0.0]
    for start, step in zip(starts, steps, strict=True):
        rows = [paint[100 : 100 + HEIGHT, round(x) : round(x) + WIDTH] for x in start + np.linspace(-0.25, 0.25, smear) * step]
        frames.append(np.mean(rows, axis=0).astype(np.uint8))
    return frames


def walk(seed: int, count: int, speed: float = 4.0) -> files.Images:
    return pan(seed, list(100 + speed * np.arange(count)))


def faded(image: np.ndarray, light: float) -> np.ndarray:
    return np.clip(image * (1 - light) + 255 * light, 0, 255).astype(np.uint8)


def test_a_cut_is_found_at_its_frame_and_nowhere_else() -> None:
    assert survey(walk(0, 14) + walk(1, 20) + walk(2, 9)).cuts == (14, 34)


def test_a_cut_between_places_that_look_alike_is_found() -> None:
    """Far apart on one canvas, the colours are the same; only what is where differs."""
    assert survey(pan(0, list(range(100, 160, 5))) + pan(0, list(range(900, 960, 5)))).cuts == (12,)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("a whip pan", pan(3, np.cumsum([100, *[4] * 9, 20, 60, 110, 150, 110, 60, 20, *[4] * 9]).tolist(), smear=9)),
        ("a hasty pan", pan(3, np.arange(100, 1400, 45).tolist(), smear=5)),
        ("single photos", [frame for n in range(14) for frame in walk(n, 1)]),
        ("a clip at two frames a second", pan(3, np.arange(100, 1400, 90).tolist())),
        ("a flash of two frames", [faded(f, {9: 0.85, 10: 0.6}.get(i, 0.0)) for i, f in enumerate(walk(4, 22))]),
        ("a lamp goes on", [np.clip(f.astype(float) * (0.45 if i < 11 else 1.0), 0, 255).astype(np.uint8) for i, f in enumerate(walk(4, 22))]),
        ("a hand before the lens", [f // 12 + np.uint8(40) if i in (9, 10, 11) else f for i, f in enumerate(walk(4, 22))]),
        ("a camera that stands still", walk(4, 1) * 20),
    ],
)
def test_what_is_no_cut(name: str, frames: files.Images) -> None:
    assert survey(frames).cuts == ()


def test_repeated_frames_are_found_and_their_originals_kept() -> None:
    frames = walk(5, 20)
    film = [f for i, f in enumerate(frames) for f in [f] * (2 if i % 5 == 4 else 1)]
    found = survey(film)
    assert np.flatnonzero(found.repeated).tolist() == [5, 11, 17, 23]
    assert [list(shot) for shot in found.shots] == [[n for n in range(24) if n not in (5, 11, 17, 23)]]


def test_black_frames_are_left_out_and_a_cut_through_black_is_one() -> None:
    black = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)]
    found = survey(black * 3 + walk(6, 12) + black * 2 + walk(7, 12))
    assert found.cuts == (17,) and np.flatnonzero(found.dark).tolist() == [0, 1, 2, 15, 16]
    assert [(s[0], s[-1]) for s in found.shots] == [(3, 14), (17, 28)]
    assert survey(walk(6, 12)[:6] + black * 2 + walk(6, 12)[6:]).cuts == ()


def test_real_clips_have_no_cut_and_two_of_them_one_after_the_other_have_one() -> None:
    videos = [open_video(files.real("clips", name)) for name in ("teddy.mp4", "backpack.mp4")]
    clips = [list(video.decode(range(12))) for video in videos]
    assert [survey(clip).cuts for clip in clips] == [(), ()]
    size = clips[0][0].shape[1::-1]
    assert survey(clips[0] + [cv2.resize(f, size) for f in clips[1]]).cuts == (12,)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 frames a second: black for .2 s, a shot of 1 s, one of 1.5 s in which frame 20 is shown twice."""
    shot = walk(9, 14)
    frames = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2 + walk(8, 10) + shot[:9] + shot[8:]
    return files.write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames)


def test_the_longest_shot_is_taken_and_every_step_is_told(film: Path, tmp_path: Path) -> None:
    capture = prepare_capture([film], tmp_path / "run", pixels=HEIGHT * WIDTH)
    assert capture.times == 14 and capture.facts["shot"] == 2
    assert np.allclose(capture.timestamps, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.1, 1.2, 1.3, 1.4], atol=1e-6)
    assert capture.facts["notes"] == [
        "The film cuts at 1.20 s: shot 2 of 2, 1.20 to 2.60 s, 14 frames, the longest, is used; --shot N takes another, --all-shots each on its own.",
        "2 frames of the film (0.00 to 0.10 s) are black and left out.",
        "1 frame (2.10 s) repeats the one before and is left out.",
    ]
    assert filmed(capture).names[0][:2] == ("00012", "00013") and filmed(capture).names[0][9] == "00022"
    assert next(line.strip() for line in as_lines(inspect(film)) if line.startswith("  note ")).startswith("note      The film cuts at 1.20 s")


def test_another_shot_is_taken_when_asked_for(film: Path, tmp_path: Path) -> None:
    capture = prepare_capture([film], tmp_path / "run", pixels=HEIGHT * WIDTH, options=CaptureOptions(shot=1))
    assert (
        capture.times == 10 and np.abs(capture.image(0, 0).astype(float) - walk(8, 1)[0]).mean() < 10
    )  # H.264 of fine paint; the other shot is 50 away
    assert "shot 1 of 2, 0.20 to 1.10 s, 10 frames, is used as asked" in capture.facts["notes"][0]
    with pytest.raises(FourfoldError, match=r"film.mp4 has 2 shots: --shot got 3, choose 1 to 2"):
        inspect(film, CaptureOptions(shot=3))


def test_cameras_that_are_given_may_jump(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    files.write_images(folder, walk(10, 9) + walk(11, 9))
    assert "shots" in inspect(folder)["facts"]
    files.write_images(tmp_path / "two" / "a", walk(10, 9) + walk(11, 9))
    files.write_images(tmp_path / "two" / "b", walk(12, 18))
    assert "shots" not in inspect(tmp_path / "two")["facts"]
    with pytest.raises(FourfoldError, match="--shot takes a shot of a video"):
        inspect(tmp_path / "two", CaptureOptions(shot=1))


def test_images_without_names_keep_their_places(tmp_path: Path) -> None:
    """Supplied files are found by the names of the frames that were taken, not of the first ones."""
    files.write_images(tmp_path / "images", walk(10, 9) + walk(11, 10))
    capture = prepare_capture([tmp_path / "images"], tmp_path / "run", pixels=HEIGHT * WIDTH)
    names = sorted(p.stem for p in (tmp_path / "images").iterdir())
    assert isinstance(capture, Capture) and list(filmed(capture).names[0]) == names[9:]
    assert all(a < b for a, b in pairwise(names))


def test_frames_are_thinned_out_after_the_cut_was_found(film: Path) -> None:
    found = inspect(film, CaptureOptions(every=4))
    assert found["facts"]["shot"] == 2 and found["times"] == 4
    assert found["facts"]["notes"][-1] == "4 of 27 moments are taken, from 1.20 s to 2.50 s"
    assert long_enough([film], CaptureOptions(every=4)) == ([1, 2], [])
    numbers, short = long_enough([film], CaptureOptions(end=1.7))
    assert numbers == [1]
    assert short == ["shot 2 (1.20 to 1.60 s) has 5 frames and is left out: a moving scene needs 8"]
