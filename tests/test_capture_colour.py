"""Colours of films against the closed forms of the standards: HLG, PQ, wide gamuts, untagged matrices, interlacing, mirrored flags."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

import capture_files as files
from fourfold.capture.colour import between, encoded, light_of, to_standard
from fourfold.capture.lens import Lens
from fourfold.capture.orientation import Orientation, tangential
from fourfold.capture.video import open_video

PATCHES = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128), (200, 150, 120), (40, 80, 160), (20, 20, 20)], np.uint8)
SIDE = 16
# ITU-R BT.2087-0, table 1: linear BT.709 to linear BT.2020.
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def _linear(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    signal = rgb / 255.0
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _hlg(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """BT.2100's OETF; white lies at 75 % of the signal, which is 0.26496 of the scene's light."""
    scene = 0.26496 * light
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073)


def _pq(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084's inverse EOTF with white at 203 nits."""
    power = (203 * light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def _quantised(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """10-bit limited-range Y, Cb, Cr (N, 3) of a BT.2020 R'G'B' signal (N, 3)."""
    y = signal @ [0.2627, 0.6780, 0.0593]
    return np.round(np.stack([64 + 876 * y, 512 + 896 * (signal[:, 2] - y) / 1.8814, 512 + 896 * (signal[:, 0] - y) / 1.4746], axis=1))


def _seen(signal: NDArray[np.float64], eotf: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    """8-bit sRGB (N, 3) of what a film holds of a signal, in double precision."""
    y, blue, red = ((_quantised(signal) - [64, 512, 512]) / [876, 896, 896]).T
    red, blue = y + 1.4746 * red, y + 1.8814 * blue
    wide = np.stack([red, (y - 0.2627 * red - 0.0593 * blue) / 0.6780, blue], axis=1)
    light = np.clip(eotf(np.clip(wide, 0, 1)) @ np.linalg.inv(TO_2020).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def _ten_bit_film(path: Path, signal: NDArray[np.float64], transfer: int) -> Path:
    """Patches of a BT.2020 R'G'B' signal (8, 3) in one row, as a lossless limited-range 10-bit film of three frames."""
    import av

    sides = SIDE, SIDE // 2, SIDE // 2
    planes = [np.repeat(np.repeat(p[None], n, 0), n, 1) for p, n in zip(_quantised(signal).T, sides, strict=True)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 8 * SIDE, SIDE, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, 9, 9, 1
        for _ in range(3):
            frame = av.VideoFrame(8 * SIDE, SIDE, "yuv420p10le")
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
                rows[:, : plane.width] = values
                plane.update(rows.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _patches(path: Path) -> NDArray[np.int64]:
    video = open_video(path)
    image = next(video.decode([1]))
    return image[SIDE // 2, SIDE // 2 :: SIDE].astype(np.int64)


@pytest.mark.parametrize(("oetf", "transfer", "name"), [(_hlg, 18, "hlg"), (_pq, 16, "pq")])
def test_high_dynamic_range_of_bt2020_becomes_the_colours_it_was_made_from(tmp_path: Path, oetf, transfer: int, name: Literal["hlg", "pq"]) -> None:
    signal = oetf(_linear(PATCHES) @ TO_2020.T)
    path = _ten_bit_film(tmp_path / "hdr.mkv", signal, transfer)
    got = _patches(path)
    assert np.abs(got[3:] - PATCHES[3:]).max() <= 2  # white, greys, mixed colours
    # The weak channels of saturated colours are differences of large 10-bit numbers: what the film holds of them, not what it was made from.
    assert np.abs(got - _seen(signal, lambda s: light_of(s, name))).max() <= 3
    assert open_video(path).treatment[0].startswith(f"{name.upper()} BT.2020 brought to BT.709")


def test_light_above_the_reference_white_clips(tmp_path: Path) -> None:
    grey = _patches(_ten_bit_film(tmp_path / "sky.mkv", _pq(np.linspace(0.5, 20, 8)[:, None].repeat(3, 1)), 16))
    assert abs(grey[0, 0] - round(255 * (1.055 * 0.5 ** (1 / 2.4) - 0.055))) <= 1
    assert (grey[1:] == 255).all()


def test_curves_are_those_of_the_standards() -> None:
    assert light_of(np.array(0.75), "hlg") == pytest.approx(1.0)
    assert light_of(np.array(1.0), "pq") == pytest.approx(10000 / 203)
    assert light_of(np.array(0.5806888), "pq") == pytest.approx(1.0, rel=1e-4)  # BT.2408: 203 nits are 58 % of PQ
    steps = np.arange(256) / 255
    np.testing.assert_allclose(encoded(light_of(steps, "sdr")), steps, atol=1e-6)
    np.testing.assert_allclose(between("bt709", "bt2020"), TO_2020, atol=2e-4)
    np.testing.assert_allclose(between("p3", "bt709") @ np.ones(3), 1, atol=1e-12)
    sixteen = (steps[:, None].repeat(3, 1)[None] * 65535).round().astype(np.uint16)
    np.testing.assert_array_equal(to_standard(sixteen, "sdr", "bt709")[0, :, 0], np.arange(256))


@pytest.mark.parametrize(("width", "height", "colorspace"), [(1280, 64, "ITU709"), (64, 720, "ITU709"), (64, 576, "ITU601"), (320, 180, "ITU601")])
def test_a_film_without_a_matrix_is_taken_as_players_take_it(tmp_path: Path, width: int, height: int, colorspace: str) -> None:
    import av

    colour = np.array((200, 40, 60), np.uint8)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        frame = av.VideoFrame.from_ndarray(np.broadcast_to(colour, (height, width, 3)).copy(), format="rgb24")
        frame = frame.reformat(format="yuv444p", dst_colorspace=colorspace)
        frame.colorspace = 2
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = open_video(path)
    image = next(video.decode([0]))
    assert np.abs(image[height // 2, width // 2].astype(int) - colour).max() <= 2
    assert any("taken as BT.709" in words for words in video.treatment) == (colorspace == "ITU709")


def _comb(image: NDArray[np.uint8]) -> float:
    """Differences of neighbouring lines over those of lines two apart: above 1 where fields of different moments are woven."""
    grey = image.astype(float).mean(axis=2)
    return float(np.abs(np.diff(grey, axis=0)).mean() / np.abs(grey[2:] - grey[:-2]).mean())


def test_interlaced_frames_are_taken_apart(tmp_path: Path) -> None:
    import av
    import cv2

    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 255, (12, 32), np.uint8), (256, 96), interpolation=cv2.INTER_CUBIC)
    fields = [np.roll(texture, 4 * i, axis=1)[..., None].repeat(3, 2) for i in range(24)]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8", "x264-params": "tff=1", "flags": "+ilme+ildct"})
        stream.width, stream.height, stream.pix_fmt = 256, 96, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(_woven(fields, number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(_flagged(frame, "tff")))
        container.mux(stream.encode(None))
    video = open_video(path)
    images = list(video.decode(range(len(video))))
    assert len(images) == len(video) == 12
    for number in (3, 8):
        assert _comb(images[number]) < 0.7 < 1.2 < _comb(_woven(fields, number))
        error = np.abs(images[number].astype(float) - fields[2 * number]).mean()
        assert error < 0.35 * np.abs(_woven(fields, number).astype(float) - fields[2 * number]).mean()
    assert video.interlaced and any("interlaced" in words for words in video.treatment)
    assert [int(i.sum()) for i in video.decode([3, 8])] == [int(images[3].sum()), int(images[8].sum())]


def _flagged(frame, order: str):
    """The frame marked as interlaced, `tff` or `bff`."""
    import av.filter

    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def _woven(fields: list[NDArray[np.uint8]], number: int) -> NDArray[np.uint8]:
    woven = fields[2 * number].copy()
    woven[1::2] = fields[2 * number + 1][1::2]
    return woven


@pytest.mark.parametrize("flag", range(1, 9))
def test_exif_flags_are_those_of_pillow(flag: int) -> None:
    image = Image.fromarray(files.quadrants(6, 4))
    image.getexif()[0x0112] = flag
    orientation = Orientation.from_exif(flag)
    upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(orientation.apply(np.asarray(image)), upright)
    assert orientation.size((6, 4)) == (upright.shape[1], upright.shape[0])
    turned = np.rot90(np.asarray(image), -orientation.degrees // 90)
    np.testing.assert_array_equal(turned[:, ::-1] if orientation.mirrored else turned, upright)


@pytest.mark.parametrize(
    "matrix", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0), (0, -1, -1, 0)]
)
def test_the_whole_display_matrix_is_followed(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    stored = files.quadrants(64, 48)
    path = files.write_video(tmp_path / "a.mp4", [stored] * 3, options={"crf": "4"}, pixel_format="yuv444p")
    data = bytearray(path.read_bytes())
    at, (a, b, c, d) = data.index(b"tkhd") + 44, (n << 16 for n in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    # The definition: the pixel at (x, y) is shown at (a x + c y, b x + d y), moved into view.
    a, b, c, d = matrix
    y, x = np.mgrid[:48, :64]
    shown_x, shown_y = a * x + c * y, b * x + d * y
    shown_x, shown_y = shown_x - shown_x.min(), shown_y - shown_y.min()
    expected = np.zeros((shown_y.max() + 1, shown_x.max() + 1, 3), np.uint8)
    expected[shown_y, shown_x] = stored
    video = open_video(path)
    got = next(video.decode([0]))
    assert got.shape == expected.shape == (video.size[1], video.size[0], 3)
    assert np.abs(got.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("flag", [1, 3, 6, 8])
def test_a_turned_picture_turns_its_camera(flag: int) -> None:
    """Points project to the pixels that the picture's turn moves them to, with and without distortion."""
    import cv2

    width, height, orientation = 640, 400, Orientation.from_exif(flag)
    K = np.array([[500.0, 0, 300], [0, 480, 210], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))[0], (0.1, 0.2, 3)
    bend = (-0.2, 0.05, 0.01, -0.02)
    points = np.random.default_rng(0).normal(size=(20, 3)) * 0.4

    def project(K: NDArray[np.float64], pose: NDArray[np.float64], bend: tuple[float, ...]) -> NDArray[np.float64]:
        return cv2.projectPoints(points, cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3], K, np.array(bend))[0][:, 0]

    x, y = project(K, pose, bend).T
    shown = np.stack([y, x] if orientation.transposed else [x, y], axis=1)
    wide, high = orientation.size((width, height))
    shown[:, 0] = wide - shown[:, 0] if orientation.flip_x else shown[:, 0]
    shown[:, 1] = high - shown[:, 1] if orientation.flip_y else shown[:, 1]
    turned_K, turned_pose = orientation.camera(K, pose, (width, height))
    np.testing.assert_allclose(project(turned_K, turned_pose, tangential(orientation, bend)), shown, atol=1e-6)
    assert turned_K[0, 0] > 0 and turned_K[1, 1] > 0 and np.linalg.det(turned_pose) == pytest.approx(1)
    assert Lens("pinhole", tangential(orientation, bend)).bends
