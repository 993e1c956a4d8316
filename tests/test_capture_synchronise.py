"""Offsets of free-running videos whose true offset is known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

import capture_files as files
from fourfold.capture import CaptureOptions, prepare_capture
from fourfold.capture.synchronise import align, estimate_offsets
from fourfold.capture.video import open_video
from fourfold.errors import FourfoldError

WIDTH, HEIGHT = 96, 64


def _position(t: np.ndarray | float) -> np.ndarray:
    """A hand that moves in bursts, seconds -> 0..1."""
    steps = np.random.default_rng(3).uniform(0.1, 0.9, 40)
    at = np.asarray(t, dtype=float) * 4 + 2
    whole = np.floor(at).astype(int)
    ease = (at - whole) ** 2 * (3 - 2 * (at - whole))
    return steps[whole] * (1 - ease) + steps[whole + 1] * ease


def _film(begins: float, fps: int, seconds: float, flipped: bool) -> files.Images:
    """What a camera that starts at `begins` sees of the hand; the second camera sees it from another side, before another wall."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    wall = (120 + 40 * np.sin(columns / (5 if flipped else 9)) + 20 * np.cos(rows / 7)).astype(float)
    frames = []
    for i in range(round(fps * seconds)):
        p = float(_position(begins + i / fps))
        x, y = ((1 - p) * WIDTH, 0.4 * HEIGHT) if flipped else (0.5 * WIDTH, p * HEIGHT)
        blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 7.0**2))
        frames.append(np.repeat((wall * (1 - blob) + 240 * blob)[..., None], 3, 2).astype(np.uint8))
    return frames


def test_motion_finds_the_offset_within_a_quarter_frame(tmp_path: Path) -> None:
    first = files.write_video(tmp_path / "a.mp4", _film(0.0, 30, 6.0, False), fps=30)
    second = files.write_video(tmp_path / "b.mp4", _film(0.73, 25, 6.0, True), fps=25)
    found = estimate_offsets([open_video(first), open_video(second)])
    assert found[0].seconds == 0
    assert found[1].seconds == pytest.approx(0.73, abs=0.25 / 25)
    assert found[1].confidence > 0.25
    capture = prepare_capture([first, second], tmp_path / "out", pixels=10_000, options=CaptureOptions(synchronise="motion"))
    assert capture.facts["offsets_seconds"][1] == pytest.approx(0.73, abs=0.01)


def test_periodic_motion_is_not_trusted(tmp_path: Path) -> None:
    frames = [np.roll(files.quadrants(96, 64), round(10 * np.sin(2 * np.pi * i / 12)), axis=1) for i in range(120)]
    videos = [open_video(files.write_video(tmp_path / f"{n}.mp4", frames[s:], fps=12)) for n, s in (("a", 0), ("b", 5))]
    assert estimate_offsets(videos)[1].confidence < 0.25


@pytest.mark.parametrize("lag", [-37, 0, 12, 80])
def test_align_finds_a_shift_of_noise_either_way(lag: int) -> None:
    event = np.random.default_rng(1).normal(size=600)
    first, second = event[100:400], event[100 + lag : 350 + lag]
    found = align(first, second, rate=10.0)
    assert found.seconds == pytest.approx(lag / 10.0, abs=0.05)
    assert found.confidence > 0.5


def test_align_refines_below_a_sample() -> None:
    moments = np.arange(400.0)

    def curve(shift: float) -> np.ndarray:
        t = moments + shift
        return sum(np.exp(-((t - c) ** 2) / 18.0) for c in (60, 95, 170, 181, 260, 330)) - 0.1

    assert align(curve(0.0), curve(20.3), rate=1.0).seconds == pytest.approx(20.3, abs=0.1)


def test_what_chance_explains_is_not_sure() -> None:
    """Short smooth curves that have nothing to do with each other correlate highly at some lag; the same with a common part are told."""
    rng = np.random.default_rng(0)
    curves = [gaussian_filter1d(rng.normal(size=90), 3.0) for _ in range(40)]
    strangers = [align(a, b, rate=60.0) for a, b in zip(curves[::2], curves[1::2], strict=True)]
    assert np.mean([found.correlation for found in strangers]) > 0.5
    assert sum(found.confidence >= 0.25 for found in strangers) <= 1
    whole = gaussian_filter1d(rng.normal(size=420), 3.0)
    assert align(whole[:400], whole[20:], rate=60.0).confidence > 0.25


def _with_sound(path: Path, begins: float, seconds: float) -> Path:
    """A video of nothing with claps at fixed moments of the room's clock."""
    import av

    rate = 16000
    time = begins + np.arange(round(rate * seconds)) / rate
    rng = np.random.default_rng(5)
    sound = 0.01 * np.random.default_rng(int(begins * 1000)).normal(size=len(time))
    for clap in (1.1, 1.63, 2.9, 3.35, 4.8):
        since = time - clap
        sound += np.where(since >= 0, np.exp(-since.clip(0) * 60), 0) * np.sin(2 * np.pi * rng.uniform(400, 900) * since)
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=10), container.add_stream("pcm_s16le", rate=rate, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for image in files.grey_ramp(round(10 * seconds)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray((sound.clip(-1, 1) * 32000).astype(np.int16)[None], format="s16", layout="mono")
        frame.rate = rate
        frame.pts = 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def test_claps_give_the_offset_to_milliseconds(tmp_path: Path) -> None:
    videos = [open_video(_with_sound(tmp_path / "a.mkv", 0.0, 5.0)), open_video(_with_sound(tmp_path / "b.mkv", 0.417, 5.0))]
    found = estimate_offsets(videos, "audio")
    assert found[1].seconds == pytest.approx(0.417, abs=0.005)
    assert found[1].confidence > 0.25


def test_no_sound_is_said(tmp_path: Path) -> None:
    videos = [open_video(files.write_video(tmp_path / f"{n}.mp4", files.grey_ramp(5))) for n in "ab"]
    with pytest.raises(FourfoldError, match="has no sound: synchronise by motion"):
        estimate_offsets(videos, "audio")
    with pytest.raises(FourfoldError, match="too few to synchronise by motion"):
        estimate_offsets([videos[0], open_video(files.write_video(tmp_path / "one.mp4", files.grey_ramp(1)))])


def test_auto_takes_what_is_sure_and_says_its_confidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claps = [_with_sound(tmp_path / "a.mkv", 0.0, 5.0), _with_sound(tmp_path / "b.mkv", 0.417, 5.0)]
    capture = prepare_capture(claps, tmp_path / "claps", pixels=10_000, options=CaptureOptions(synchronise="auto"))
    assert capture.facts["offsets_from"] == "estimated from audio" and min(capture.facts["offsets_confidence"]) > 0.25
    assert capture.facts["offsets_seconds"][1] == pytest.approx(0.417, abs=0.005)
    assert re.fullmatch(r"estimated from audio: b.mkv \+0\.4[12]\d \+- 0\.\d{3} s \(confidence 0\.\d\d\)", capture.facts["synchronisation"])
    assert capture.facts["largest_time_difference_seconds"] == pytest.approx(0.017, abs=0.005)
    silent = [
        files.write_video(tmp_path / f"{n}.mp4", _film(begins, 25, 5.0, bool(i)), fps=25) for i, (n, begins) in enumerate((("c", 0.0), ("d", 0.31)))
    ]
    capture = prepare_capture(silent, tmp_path / "silent", pixels=10_000, options=CaptureOptions(synchronise="auto"))
    assert capture.facts["offsets_from"] == "estimated from motion" and capture.facts["offsets_seconds"][1] == pytest.approx(0.31, abs=0.01)
    still = [files.write_video(tmp_path / f"{n}.mp4", [files.quadrants(96, 64)] * 40, fps=25) for n in "ef"]
    capture = prepare_capture(still, tmp_path / "still", pixels=10_000, options=CaptureOptions(synchronise="auto"))
    assert capture.facts["offsets_seconds"] == [0.0, 0.0] and capture.facts["offsets_from"] == "assumed to begin together"
    assert "when the 2 videos began could not be told" in capsys.readouterr().err


def test_prepare_synchronises_several_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from fourfold.options import Clock, Options, silent
    from fourfold.pipeline import prepare

    videos = [files.write_video(tmp_path / f"{n}.mp4", _film(b, 25, 5.0, bool(b)), fps=25) for n, b in (("c", 0.0), ("d", 0.31))]
    found = prepare(videos, tmp_path / "run", Options(quality="draft"), silent, Clock())
    assert found.facts["offsets_seconds"][1] == pytest.approx(0.31, abs=0.01) and found.facts["offsets_confidence"][1] > 0.25
    given = prepare(videos, tmp_path / "told", Options(quality="draft", offsets="0,0.2"), silent, Clock())
    assert given.facts["offsets_seconds"] == [0.0, 0.2] and json.dumps(given.facts)
    with pytest.raises(FourfoldError, match="expected seconds separated by commas"):
        prepare(videos, tmp_path / "no", Options(quality="draft", offsets="soon"), silent, Clock())
