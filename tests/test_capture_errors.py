"""Bad input: one sentence that says what, where and what to do, and nothing half-written."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

import capture_files as files
from fourfold.capture import CaptureOptions, prepare_capture
from fourfold.capture.writer import FrameWriter
from fourfold.errors import FourfoldError


def _refused(paths: list[Path], tmp_path: Path, options: CaptureOptions | None = None) -> str:
    out = tmp_path / "result" / "capture"
    with pytest.raises(FourfoldError) as raised:
        prepare_capture(paths, out, pixels=10_000, options=options)
    assert not out.exists()
    assert not out.parent.exists() or not list(out.parent.iterdir())
    said = str(raised.value)
    assert "\n" not in said
    return said


def test_missing_path(tmp_path: Path) -> None:
    said = _refused([tmp_path / "no.mp4"], tmp_path)
    assert said == f"{tmp_path / 'no.mp4'} does not exist: give a video, several videos, a folder of images or a dataset folder"


def test_no_input(tmp_path: Path) -> None:
    assert _refused([], tmp_path).startswith("no input was given")


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    assert "is a folder without images, videos or a known dataset" in _refused([tmp_path / "empty"], tmp_path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "neither a video nor a folder" in _refused([tmp_path / "notes.txt"], tmp_path)


def test_text_named_mp4(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("this is not a video\n" * 50)
    assert _refused([tmp_path / "a.mp4"], tmp_path) == (
        f"{tmp_path / 'a.mp4'} is not a video that can be opened: it is damaged, incomplete or another kind of file"
    )


def test_empty_mp4(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    assert _refused([tmp_path / "a.mp4"], tmp_path) == f"{tmp_path / 'a.mp4'} is empty, of 0 bytes: copy the file again"


def test_truncated_mp4_with_its_index_in_front(tmp_path: Path) -> None:
    path = files.write_video(tmp_path / "a.mp4", files.noise(40, 128, 96))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    said = _refused([path], tmp_path)
    assert "of its 40 frames can be read" in said
    assert 0 < int(said.split(": ")[1].split(" of")[0]) < 40


def test_truncated_mp4_with_its_index_behind(tmp_path: Path) -> None:
    path = files.write_video(tmp_path / "a.mov", files.noise(40, 128, 96))
    path.write_bytes(path.read_bytes()[:-200])
    assert "is not a video that can be opened" in _refused([path], tmp_path)


def test_sound_without_pictures(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "has no pictures in it" in _refused([tmp_path / "a.mp4"], tmp_path)


def test_mask_folder_of_another_length(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip" / "images", files.noise(5))
    files.write_images(tmp_path / "clip" / "masks", [np.zeros((48, 64), np.uint8)] * 3)
    assert "holds 3 masks for 5 images" in _refused([tmp_path / "clip"], tmp_path)


def test_sizes_that_differ(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip", [*files.noise(3), *files.noise(1, 80, 48)])
    assert "is 80x48, the other images beside it are 64x48" in _refused([tmp_path / "clip"], tmp_path)


def test_an_unreadable_image(tmp_path: Path) -> None:
    paths = files.write_images(tmp_path / "clip", files.noise(4))
    paths[2].write_bytes(b"not an image")
    assert _refused([tmp_path / "clip"], tmp_path) == f"{paths[2]} cannot be read as an image: replace or remove it"


def test_a_cut_image(tmp_path: Path) -> None:
    paths = files.write_images(tmp_path / "clip", files.noise(4), "{:03d}.jpg")
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    assert "cannot be read as an image" in _refused([tmp_path / "clip"], tmp_path)


def test_cameras_with_nan(tmp_path: Path) -> None:
    files.write_images(tmp_path / "scene" / "images", files.noise(3))
    rows = np.zeros((3, 17))
    rows[:, :15] = np.tile(np.array([[0, 1, 0, 0, 48], [1, 0, 0, 0, 64], [0, 0, -1, 0, 50]], float).ravel(), (3, 1))
    rows[1, 3] = np.nan
    np.save(tmp_path / "scene" / "poses_bounds.npy", rows)
    assert "not finite in row 1" in _refused([tmp_path / "scene"], tmp_path)


def _transforms(root: Path, matrix: list[list[float]], **header: float) -> Path:
    files.write_images(root, files.noise(1))
    frames = [{"file_path": "00000.png", "time": 0.0, "transform_matrix": matrix}]
    (root / "transforms.json").write_text(json.dumps({"frames": frames, **header}))
    return root


def test_a_matrix_that_is_no_rotation(tmp_path: Path) -> None:
    root = _transforms(tmp_path / "scene", (np.diag([2.0, 1, 1, 1])).tolist(), fl_x=50.0)
    assert "has a rotation that is not one" in _refused([root], tmp_path)


def test_a_matrix_with_nan(tmp_path: Path) -> None:
    root = _transforms(tmp_path / "scene", (np.eye(4) * np.nan).tolist(), fl_x=50.0)
    assert "is not a pose" in _refused([root], tmp_path)


def test_no_focal_length(tmp_path: Path) -> None:
    root = _transforms(tmp_path / "scene", np.eye(4).tolist())
    assert "neither fl_x nor camera_angle_x" in _refused([root], tmp_path)


def test_negative_focal_length(tmp_path: Path) -> None:
    root = _transforms(tmp_path / "scene", np.eye(4).tolist(), fl_x=-50.0)
    assert "focal length of -50" in _refused([root], tmp_path)


def test_broken_json(tmp_path: Path) -> None:
    root = _transforms(tmp_path / "scene", np.eye(4).tolist(), fl_x=50.0)
    (root / "transforms.json").write_text('{"frames": [')
    assert "is not valid JSON" in _refused([root], tmp_path)


def test_inputs_that_do_not_go_together(tmp_path: Path) -> None:
    video = files.write_video(tmp_path / "a.mp4", files.grey_ramp(3))
    files.write_images(tmp_path / "clip", files.noise(3))
    assert "do not make one capture" in _refused([video, tmp_path / "clip"], tmp_path)


def test_offsets_of_another_number(tmp_path: Path) -> None:
    videos = [files.write_video(tmp_path / f"{n}.mp4", files.grey_ramp(3)) for n in "ab"]
    assert "got 3 time offsets for 2 videos" in _refused(videos, tmp_path, CaptureOptions(offsets=(0.0, 1.0, 2.0)))


def test_videos_that_do_not_overlap(tmp_path: Path) -> None:
    videos = [files.write_video(tmp_path / f"{n}.mp4", files.grey_ramp(5)) for n in "ab"]
    assert "do not overlap in time" in _refused(videos, tmp_path, CaptureOptions(offsets=(0.0, 60.0)))


def test_a_view_that_is_not_there_and_a_time_that_is_not(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip", files.noise(5))
    assert "has no view 'left'" in _refused([tmp_path / "clip"], tmp_path, CaptureOptions(views=("left",)))
    assert "has no frame from 9.0 s on" in _refused([tmp_path / "clip"], tmp_path, CaptureOptions(start=9.0))
    with pytest.raises(FourfoldError, match="expected 0 <= start < end"):
        CaptureOptions(every=0)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_images(tmp_path / "clip", files.noise(5))
    written: list[int] = []

    def write(self: FrameWriter, index: int, frame: np.ndarray) -> None:
        written.append(index)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FrameWriter, "write", write)
    assert "no space left on the disk while writing" in _refused([tmp_path / "clip"], tmp_path)


def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip", files.noise(5))
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "photo.txt").write_text("keep me")
    with pytest.raises(FourfoldError, match="exists and is not a prepared capture"):
        prepare_capture([tmp_path / "clip"], out, pixels=10_000)
    assert (out / "photo.txt").read_text() == "keep me"


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    paths = files.write_images(tmp_path / "clip", files.noise(5))
    before = prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=10_000).image(0, 0).copy()
    paths[4].write_bytes(b"broken")
    with pytest.raises(FourfoldError, match="cannot be read as an image"):
        prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=10_000)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "frames_000.npy")[0], before)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_single_frame_is_no_capture(tmp_path: Path) -> None:
    video = files.write_video(tmp_path / "one.mp4", files.grey_ramp(1))
    assert "holds a single image" in _refused([video], tmp_path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_images(tmp_path / "clip", files.noise(3))

    def refuse(self: FrameWriter, index: int, frame: np.ndarray) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere")

    monkeypatch.setattr(FrameWriter, "write", refuse)
    assert "/somewhere may not be read or written" in _refused([tmp_path / "clip"], tmp_path)


def test_a_film_of_one_colour_is_refused_and_one_with_a_spot_is_not(tmp_path: Path) -> None:
    frames = np.full((4, 48, 64, 3), 90, np.uint8)
    files.write_images(tmp_path / "dark", frames)
    assert "shows nothing: all of its images are of one and the same colour" in _refused([tmp_path / "dark"], tmp_path)
    frames[1, 20:24, 30:34] = 140
    files.write_images(tmp_path / "spot", frames)
    prepare_capture([tmp_path / "spot"], tmp_path / "kept", pixels=10_000)
