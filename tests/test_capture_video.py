"""Video decoding: timestamps, rotation, pixel formats, sizes, one pass."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import capture_files as files
from fourfold.capture.orientation import UPRIGHT
from fourfold.capture.video import open_video
from fourfold.errors import FourfoldError


def _decode(path: Path) -> list[np.ndarray]:
    video = open_video(path)
    return list(video.decode(range(len(video))))


def test_frames_and_times_of_a_plain_video(tmp_path: Path) -> None:
    frames = files.grey_ramp(12)
    video = open_video(files.write_video(tmp_path / "a.mp4", frames, fps=10))
    assert (len(video), video.size, video.orientation, video.variable_rate) == (12, (64, 48), UPRIGHT, False)
    np.testing.assert_allclose(video.times, np.arange(12) / 10, atol=1e-6)
    decoded = list(video.decode(range(12)))
    for got, true in zip(decoded, frames, strict=True):
        assert got.shape == (48, 64, 3)
        assert abs(float(got.mean()) - float(true.mean())) < 3


def test_chosen_frames_are_those_asked_for(tmp_path: Path) -> None:
    frames = files.grey_ramp(20)
    video = open_video(files.write_video(tmp_path / "a.mp4", frames))
    chosen = list(video.decode([3, 7, 19]))
    for got, number in zip(chosen, [3, 7, 19], strict=True):
        assert abs(float(got.mean()) - float(frames[number].mean())) < 3


def test_true_times_of_a_variable_frame_rate(tmp_path: Path) -> None:
    moments = [0, 100, 130, 400, 450, 1000, 1040]
    video = open_video(files.write_video(tmp_path / "v.mp4", files.grey_ramp(7), milliseconds=moments))
    assert video.variable_rate
    np.testing.assert_allclose(video.times, np.array(moments) / 1000, atol=1.5e-3)


def test_times_start_at_zero_when_the_clock_does_not(tmp_path: Path) -> None:
    video = open_video(files.write_video(tmp_path / "v.mkv", files.grey_ramp(4), milliseconds=[5000, 5100, 5200, 5300]))
    np.testing.assert_allclose(video.times, [0, 0.1, 0.2, 0.3], atol=1.5e-3)
    assert video.begins == pytest.approx(5.0, abs=2e-3)


def test_rotation_flag_turns_the_picture_upright(tmp_path: Path) -> None:
    upright = files.quadrants(48, 64)
    path = files.write_video(tmp_path / "phone.mp4", [np.ascontiguousarray(np.rot90(upright, 1))] * 3)
    files.turn_clockwise(path, 48)
    video = open_video(path)
    assert video.size == (48, 64)
    got = next(video.decode([0]))
    # Chroma is subsampled: compare the middles of the quarters.
    for row in (16, 48):
        for column in (12, 36):
            np.testing.assert_allclose(got[row, column].astype(int), upright[row, column].astype(int), atol=12)


@pytest.mark.parametrize(
    ("codec", "pixel_format", "suffix"),
    [
        ("libx264", "yuv420p10le", ".mp4"),
        ("libx264", "yuvj420p", ".mp4"),
        ("libx264", "yuv444p", ".mp4"),
        ("ffv1", "gray", ".mkv"),
        ("mjpeg", "yuvj422p", ".avi"),
        ("qtrle", "argb", ".mov"),
        ("png", "rgba", ".mov"),
        ("rawvideo", "rgb24", ".avi"),
        ("ffv1", "gray16le", ".mkv"),
    ],
)
def test_odd_pixel_formats_keep_their_levels(tmp_path: Path, codec: str, pixel_format: str, suffix: str) -> None:
    frames = files.grey_ramp(4)
    got = _decode(files.write_video(tmp_path / f"a{suffix}", frames, codec=codec, pixel_format=pixel_format))
    assert len(got) == 4
    for image, true in zip(got, frames, strict=True):
        assert image.dtype == np.uint8
        assert np.abs(image.astype(int) - true.astype(int)).max() <= 4


def test_colours_follow_the_matrix_the_file_names(tmp_path: Path) -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[...] = (200, 40, 60)
    import av

    path = tmp_path / "709.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5", "x264-params": "colormatrix=bt709:colorprim=bt709:transfer=bt709"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv444p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(format="yuv444p", dst_colorspace="ITU709")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    got = _decode(path)[1]
    assert np.abs(got.astype(int) - red.astype(int)).max() <= 4


def test_odd_sizes_survive(tmp_path: Path) -> None:
    got = _decode(files.write_video(tmp_path / "a.mkv", files.noise(3, 53, 37), codec="ffv1", pixel_format="yuv444p"))
    assert got[0].shape == (37, 53, 3)


def test_wide_pixels_are_made_square(tmp_path: Path) -> None:
    import av

    path = tmp_path / "dv.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 60, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for image in files.noise(3, 60, 48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    video = open_video(path)
    assert video.size == (80, 48)
    assert next(video.decode([0])).shape == (48, 80, 3)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    video = open_video(files.write_video(tmp_path / "one.mp4", files.grey_ramp(1)))
    assert len(video) == 1
    assert video.fps == 0.0
    assert len(_decode(tmp_path / "one.mp4")) == 1


def test_a_file_cut_before_its_first_key_picture_is_counted_by_decoding(tmp_path: Path) -> None:
    import av

    whole = files.write_video(tmp_path / "whole.mkv", files.noise(30), options={"g": "10", "bf": "2"})
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.ts"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if number >= 4 and packet.size:
                packet.stream = stream
                target.mux(packet)
    video = open_video(tmp_path / "cut.ts")
    assert 20 <= len(video) <= 26
    assert len(list(video.decode(range(len(video))))) == len(video)
    assert (np.diff(video.times) > 0).all()


def test_a_stray_video_beside_images_does_not_hide_them(tmp_path: Path) -> None:
    from fourfold.capture.discover import find_reader

    files.write_images(tmp_path, files.grey_ramp(3))
    files.write_video(tmp_path / "preview.mp4", files.grey_ramp(3))
    assert find_reader(tmp_path).layout == "images"


def test_pictures_of_an_unknown_codec_are_refused_in_a_sentence(tmp_path: Path) -> None:
    """The tag that names the codec is damaged: the container opens, and nothing can decode its stream."""
    path = files.write_video(tmp_path / "a.mp4", files.grey_ramp(4))
    whole = path.read_bytes()
    assert whole.count(b"avc1") >= 1
    path.write_bytes(whole.replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    with pytest.raises(FourfoldError, match="codec that is not known here: convert it to MP4"):
        open_video(path)
