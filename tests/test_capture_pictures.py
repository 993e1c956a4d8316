"""Bars, text, marks and packed stereo found in generated films, and not found where there are none."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import capture_files as files
from fourfold.capture import CaptureOptions, prepare_capture
from fourfold.capture.discover import open_source
from fourfold.capture.source import Source
from fourfold.errors import FourfoldError
from fourfold.priors.tracking.long_tracks import long_tracks

WIDTH, HEIGHT, COUNT = 320, 180, 36
Film = list[NDArray[np.uint8]]


def _ground(seed: int = 0, scale: int = 4) -> NDArray[np.uint8]:
    """A texture of several scales, wider than a frame."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.integers(0, 255, (300 // s, 640 // s, 3), np.uint8), (640, 300), interpolation=cv2.INTER_CUBIC) for s in (scale, 16, 50)]
    return np.mean(layers, axis=0).astype(np.uint8)


def _travelling(step: float = 3.0, seed: int = 0, count: int = COUNT) -> Film:
    """A camera that moves sideways and a little up and down."""
    ground = _ground(seed).astype(np.float32)
    film = []
    for number in range(count):
        shift = np.array([[1.0, 0, -10 - step * number], [0, 1.0, -40 - 15 * np.sin(number / 6)]])
        film.append(cv2.warpAffine(ground, shift, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT).clip(0, 255).astype(np.uint8))
    return film


def _text(film: Film, words: str, at: tuple[int, int], scale: float = 0.6, begin: int = 0, end: int = COUNT) -> NDArray[np.bool_]:
    """Draw white text with a dark edge on the frames `begin` to `end`; returns where it is."""
    drawn = np.zeros((film[0].shape[0], film[0].shape[1]), np.uint8)
    cv2.putText(drawn, words, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 2)
    outline = cv2.dilate(drawn, np.ones((3, 3), np.uint8)) > 0
    for image in film[begin:end]:
        image[outline], image[drawn > 0] = 0, 255
    return outline


def _open(tmp_path: Path, film: Film) -> Source:
    return open_source([files.write_video(tmp_path / "clip.mp4", film, fps=24, options={"crf": "18", "g": "12"})], CaptureOptions())


def _valid(source: Source, view: int = 0) -> NDArray[np.uint8] | None:
    valid = source.views[view].valid
    return None if valid is None else next(iter(valid.decode([0])))


@pytest.mark.parametrize("subtitle", [False, True])
def test_letterbox_bars_are_left_out(tmp_path: Path, subtitle: bool) -> None:
    film = [np.pad(f, ((20, 20), (0, 0), (0, 0))) for f in _travelling()]
    if subtitle:
        _text(film, "A SUBTITLE HERE", (60, HEIGHT + 35))
    source = _open(tmp_path, film)
    valid = _valid(source)
    assert valid is not None
    assert not valid[:20].any() and not valid[-20:].any()
    assert (valid[24:-24] > 0).mean() > 0.98
    assert "black bars of 20 pixels at the top and 20 pixels at the bottom" in source.facts["notes"][0]
    capture = prepare_capture([tmp_path / "clip.mp4"], tmp_path / "out", pixels=100_000)
    alpha = capture.alpha(0, 3)
    assert alpha is not None and capture.facts["alpha_means"] == "valid"
    assert (alpha[10], alpha[HEIGHT // 2, 7]) is not None and not alpha[10].any() and alpha[HEIGHT // 2].any()


def test_pillarbox_bars(tmp_path: Path) -> None:
    source = _open(tmp_path, [np.pad(f[:, 60:260], ((0, 0), (40, 40), (0, 0))) for f in _travelling()])
    valid = _valid(source)
    assert valid is not None
    assert not valid[:, :40].any() and not valid[:, -40:].any() and (valid[:, 44:-44] > 0).mean() > 0.98


def test_subtitles_and_marks_are_left_out(tmp_path: Path) -> None:
    film = _travelling()
    mark = _text(film, "@user", (240, 30), 0.5)
    first = _text(film, "hello there", (90, 165), end=COUNT // 2)
    second = _text(film, "and good bye", (80, 165), begin=COUNT // 2)
    source = _open(tmp_path, film)
    valid = _valid(source)
    assert valid is not None
    for where in (mark, first | second):
        assert (valid[where] == 0).mean() > 0.9
    beyond = cv2.dilate((mark | first | second).astype(np.uint8), np.ones((25, 25), np.uint8)) == 0
    assert (valid[beyond] > 0).mean() > 0.99
    assert "burnt-in text or marks" in source.facts["notes"][0]


def _resting(film: Film) -> Film:
    """A standing camera with a ball that moves."""
    for number, image in enumerate(film):
        cv2.circle(image, (40 + 6 * number, 90), 20, (220, 40, 40), -1)
    return film


def _windy() -> Film:
    """A standing camera before leaves that the wind moves over most of the picture, with sharp and soft things at rest below them."""
    leaves, film = np.clip(2.5 * _ground(1, 3) - 190, 0, 255).astype(np.uint8), []
    for number in range(COUNT):
        image = leaves[10:, 6 + round(5 * np.sin(0.7 * number)) :][:HEIGHT, :WIDTH].copy()
        image[120:] = 75 + _ground(2, 3)[120:180, :WIDTH] // 2
        for left in (30, 130, 230):
            cv2.rectangle(image, (left, 132), (left + 40, 168), (200, 20, 40), -1)
        film.append(image)
    return film


@pytest.mark.parametrize(
    "film",
    [
        _travelling(),
        _travelling(0.4),
        _windy(),
        _resting([_travelling(count=1)[0].copy() for _ in range(COUNT)]),
        [(f * np.linspace(0, 1, HEIGHT)[:, None, None]).astype(np.uint8) for f in _travelling()],  # a night sky above
        [np.full((HEIGHT, WIDTH, 3), 5 + n, np.uint8) for n in range(COUNT)],  # a fade
    ],
    ids=["travelling", "slow", "wind", "standing", "night sky", "fade"],
)
def test_films_without_overlays_are_left_alone(tmp_path: Path, film: Film) -> None:
    source = _open(tmp_path, film)
    assert _valid(source) is None
    assert len(source.views) == 1


def test_a_person_that_the_camera_follows_is_no_overlay(tmp_path: Path) -> None:
    film = _travelling(4.0)
    body = _ground(5, 3)[60:150, 100:150]
    for number, image in enumerate(film):
        x, y = 130 + round(3 * np.sin(number / 5)), 60 + round(2 * np.cos(number / 3))
        image[y : y + 90, x : x + 50] = body
    assert _valid(_open(tmp_path, film)) is None


def _stereo(film: Film, axis: int) -> Film:
    """Two eyes of a scene whose lower half is nearer."""
    pairs = []
    for image in film:
        other = image.copy()
        other[: HEIGHT // 2], other[HEIGHT // 2 :] = np.roll(image[: HEIGHT // 2], -4, axis=1), np.roll(image[HEIGHT // 2 :], -9, axis=1)
        pairs.append(np.concatenate([image, other], axis=axis))
    return pairs


@pytest.mark.parametrize(("axis", "words"), [(1, "side by side"), (0, "one above the other")])
def test_packed_stereo_is_two_views(tmp_path: Path, axis: int, words: str) -> None:
    film = _travelling()
    source = _open(tmp_path, _stereo(film, axis))
    assert [v.name for v in source.views] == ["clip left", "clip right"]
    assert all(v.frames.size == (WIDTH, HEIGHT) for v in source.views)
    assert words in source.facts["notes"][0]
    left, right = (next(v.frames.decode([7])).astype(float) for v in source.views)
    # Coded with subsampled colours; another frame differs by 25 levels.
    assert np.abs(left.mean(axis=2) - film[7].mean(axis=2)).mean() < 4
    assert np.abs(right.mean(axis=2) - np.roll(film[7], -4, axis=1).mean(axis=2))[: HEIGHT // 2].mean() < 4


def test_squeezed_stereo_is_stretched_back(tmp_path: Path) -> None:
    film = [cv2.resize(f, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for f in _stereo(_travelling(), 1)]
    source = _open(tmp_path, film)
    assert [v.frames.size for v in source.views] == [(WIDTH, HEIGHT)] * 2
    capture = prepare_capture([tmp_path / "clip.mp4"], tmp_path / "out", pixels=100_000)
    assert (capture.views, capture.times, capture.sizes.tolist()) == (2, COUNT, [[WIDTH, HEIGHT]] * 2)


def test_images_are_looked_at_too(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip", _stereo(_travelling(count=8), 1))
    assert len(open_source([tmp_path / "clip"], CaptureOptions()).views) == 2


def test_repeated_patterns_are_no_stereo(tmp_path: Path) -> None:
    tile = _ground(3)[:30, :40]
    film = [np.roll(np.tile(tile, (6, 8, 1)), 3 * n, axis=1).copy() for n in range(COUNT)]
    assert len(_open(tmp_path, film).views) == 1


def _with_box(path: Path, box: bytes) -> None:
    """Put a box at the end of a film's index, which stands behind its pictures."""
    data = bytearray(path.read_bytes())
    at = data.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, size + len(box))
    path.write_bytes(data[: at + size] + box + data[at + size :])


def test_the_other_eye_of_a_spatial_video_is_named(tmp_path: Path) -> None:
    path = files.write_video(tmp_path / "IMG_1.mov", files.grey_ramp(4))
    _with_box(path, files.box(b"free", files.box(b"lhvC", bytes(8))))
    source = open_source([path], CaptureOptions())
    assert len(source.views) == 1 and source.facts["notes"][0].startswith("the picture of one eye is read of this spatial video")


@pytest.mark.parametrize(
    "mark", [b"free" + struct.pack(">I4s", 8, b"sv3d"), b"uuid" + bytes(16) + b"<GSpherical:Spherical>true</GSpherical:Spherical>"]
)
def test_films_all_around_are_refused(tmp_path: Path, mark: bytes) -> None:
    path = files.write_video(tmp_path / "vr.mov", files.grey_ramp(4))
    _with_box(path, struct.pack(">I", 4 + len(mark)) + mark)
    with pytest.raises(FourfoldError, match="all around"):
        open_source([path], CaptureOptions())


def test_transparent_images_keep_their_alpha(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for number, image in enumerate(_travelling(count=8)):
        alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
        alpha[:, :40] = 0
        Image.fromarray(np.dstack([image, alpha])).save(tmp_path / "clip" / f"{number}.png")
    capture = prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=100_000)
    given = capture.alpha(0, 2)
    assert given is not None and not given[:, :40].any() and given[:, 40:].all()


def test_no_track_holds_to_bars_or_marks(tmp_path: Path) -> None:
    film = [np.pad(f, ((20, 20), (0, 0), (0, 0))) for f in _travelling()]
    _text(film, "@user", (240, 60), 0.5)
    capture = prepare_capture(
        [files.write_video(tmp_path / "clip.mp4", film, fps=24, options={"crf": "18", "g": "12"})],
        tmp_path / "out",
        pixels=100_000,
    )
    tracks = long_tracks(capture)
    valid = np.stack([np.asarray(capture.alpha(0, t)) for t in range(COUNT)])
    column, row = tracks.xy.astype(int).T
    assert (valid[tracks.time, row, column] > 0).all()
    ends = np.flatnonzero(np.diff(tracks.track, append=-1))
    begins = np.concatenate([[0], ends[:-1] + 1])
    long = tracks.time[ends] - tracks.time[begins] >= 8
    assert long.sum() > 20
    assert (tracks.xy[begins, 0] - tracks.xy[ends, 0])[long].min() > 15  # the scene moves by 24 pixels or more to the left


def _round(image: NDArray[np.uint8], side: int = 180) -> NDArray[np.uint8]:
    """What a fisheye of a small circle leaves of it."""
    y, x = np.mgrid[:side, :side]
    circle = np.zeros((side, side, 3), np.uint8)
    inside = np.hypot(x - side / 2, y - side / 2) < 0.48 * side
    circle[inside] = cv2.resize(image, (side, side))[inside]
    return circle


def test_a_fisheyes_circle_is_valid_inside_only(tmp_path: Path) -> None:
    source = _open(tmp_path, [_round(image) for image in _travelling()])
    valid = _valid(source)
    assert valid is not None and any("circle of a fisheye" in n for n in source.facts["notes"])
    y, x = np.mgrid[:180, :180]
    far = np.hypot(x - 90, y - 90)
    assert valid[far < 80].all() and not valid[far > 88].any()


def test_two_circles_of_a_camera_that_sees_all_around_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FourfoldError, match="two circles of a camera that sees all around"):
        _open(tmp_path, [np.hstack([_round(image), _round(image[:, ::-1])]) for image in _travelling()])


def _panorama() -> NDArray[np.uint8]:
    """A texture that goes on over its left and right edge, 360 x 180."""
    rng = np.random.default_rng(4)
    layers = [cv2.resize(np.tile(rng.integers(0, 255, (180 // s, 360 // s, 3), np.uint8), (1, 3, 1)), (1080, 180)) for s in (6, 20, 60)]
    return np.mean(layers, axis=0).astype(np.uint8)[:, 360:720]


def test_an_unrolled_sphere_without_a_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FourfoldError, match="its right edge goes on at its left one"):
        _open(tmp_path, [np.roll(_panorama(), 3 * n, axis=1).copy() for n in range(COUNT)])


def test_films_twice_as_wide_as_high_are_no_spheres(tmp_path: Path) -> None:
    wide = [np.ascontiguousarray(image[:160]) for image in _travelling()]
    assert len(_open(tmp_path, wide).views) == 1
    barred = [np.pad(image[:, 10:-10], ((0, 0), (10, 10), (0, 0))) for image in wide]  # equal black edges
    assert len(_open(tmp_path, barred).views) == 1


def test_bars_of_large_films_are_found_on_small_pictures(tmp_path: Path) -> None:
    large = [cv2.copyMakeBorder(cv2.resize(image, (2400, 1350)), 125, 125, 0, 0, cv2.BORDER_CONSTANT) for image in _travelling(count=14)]
    options = {"crf": "18", "preset": "ultrafast", "g": "7"}
    source = open_source([files.write_video(tmp_path / "clip.mp4", large, fps=24, options=options)], CaptureOptions())
    valid = _valid(source)
    assert valid is not None and valid.shape == (1600, 2400)
    assert not valid[:124].any() and not valid[-124:].any() and valid[128:-128].all()


def test_opening_a_large_film_keeps_little(tmp_path: Path) -> None:
    import tracemalloc

    film = files.write_video(tmp_path / "clip.mp4", [np.full((2160, 3840, 3), 90 + n, np.uint8) for n in range(14)], options={"preset": "ultrafast"})
    tracemalloc.start()
    open_source([film], CaptureOptions())
    assert tracemalloc.get_traced_memory()[1] < 160e6  # one whole RGB frame takes 25 MB, all that are looked at 300
    tracemalloc.stop()
