"""`inspect`: what is told about an input, without decoding it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import capture_files as files
from fourfold.capture.inspect import as_lines, inspect


def test_a_video_is_described_in_lines(tmp_path: Path) -> None:
    path = files.write_video(tmp_path / "clip.mp4", files.grey_ramp(21), fps=10)
    found = inspect(path)
    json.dumps(found, allow_nan=False)
    assert as_lines(found) == [
        f"{path}: video",
        "  views     1",
        "  moments   21 at 10 per second, 2.00 s, 21 images",
        "  size      64 x 48 pixels",
        "  cameras   unknown",
        "  also      no masks, no depth",
        "  held out  every:8: 3 images, 18 to train on",
        "  estimated camera poses, focal length and lens distortion, masks of what moves, depth, point tracks",
    ]


def test_several_videos_and_a_rule(tmp_path: Path) -> None:
    paths = [files.write_video(tmp_path / f"{n}.mp4", files.grey_ramp(9), fps=10) for n in ("left", "right")]
    found = inspect(paths, holdout="cameras:right")
    assert (found["layout"], found["view_names"], found["heldout_images"], found["train_images"]) == ("videos", ["left", "right"], 9, 9)
    assert found["facts"]["offsets_from"] == "assumed to begin together"
    assert inspect(tmp_path)["view_names"] == ["left", "right"]


def test_given_cameras_and_masks_are_not_estimated(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    files.write_images(root / "images", files.noise(3))
    files.write_images(root / "masks", [np.zeros((48, 64), np.uint8)] * 3)
    rows = np.zeros((3, 17))
    rows[:, :15] = np.tile(np.array([[0, 1, 0, 0, 48], [1, 0, 0, 0, 64], [0, 0, -1, 0, 50]], float).ravel(), (3, 1))
    rows[2, 3] = 0.5  # the third camera stands elsewhere
    np.save(root / "poses_bounds.npy", rows)
    found = inspect(root)
    assert (found["layout"], found["cameras"], found["moving_cameras"], found["masks"]) == ("llff", "given", True, 1)
    assert found["will_estimate"] == ["depth", "point tracks"]


def test_masks_beside_a_folder_of_another_name_need_its_file_names(tmp_path: Path) -> None:
    files.write_images(tmp_path / "left", files.noise(3), "a{:02d}.jpg")
    files.write_images(tmp_path / "masks", [np.zeros((48, 64), np.uint8)] * 3, "b{:02d}.png")
    assert inspect(tmp_path / "left")["masks"] == 0
    files.write_images(tmp_path / "masks", [np.zeros((48, 64), np.uint8)] * 3, "a{:02d}.png")
    assert inspect(tmp_path / "left")["masks"] == 1


def test_what_is_done_to_a_films_pictures_is_told(tmp_path: Path) -> None:
    path = files.write_video(tmp_path / "left.mp4", files.grey_ramp(4))
    files.write_video(tmp_path / "right.mp4", files.grey_ramp(4))
    files.turn_clockwise(path, 48)
    assert inspect(path)["facts"]["notes"] == ["turned by 90 degrees clockwise"]
    assert inspect(tmp_path)["facts"]["notes"] == ["left: turned by 90 degrees clockwise"]
    assert "  note      turned by 90 degrees clockwise" in as_lines(inspect(path))


def test_the_film_is_found_among_other_streams_of_pictures(tmp_path: Path) -> None:
    path = tmp_path / "cover_first.mkv"
    _two_streams(path, (32, 24), 1)
    found = inspect(path)
    assert (found["times"], found["sizes"], found["facts"].get("notes")) == (6, [[64, 48]], None)
    _two_streams(path, (32, 24), 9)
    found = inspect(path)
    assert (found["times"], found["sizes"]) == (6, [[64, 48]])
    assert found["facts"]["notes"] == ["the film of 64x48 is taken, of others in the file (32x24) none"]


def _two_streams(path: Path, size: tuple[int, int], count: int) -> None:
    """A file whose first stream has `count` pictures of `size`, and whose second is a film of 6 pictures of 64 x 48."""
    import av

    with av.open(str(path), "w") as container:
        streams = [container.add_stream("ffv1", rate=10) for _ in range(2)]
        films = files.grey_ramp(count, *size), files.grey_ramp(6)
        for stream, film in zip(streams, films, strict=True):
            stream.height, stream.width = film[0].shape[:2]
            stream.pix_fmt = "yuv420p"
        for stream, film in zip(streams, films, strict=True):
            for image in film:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))


def _rig(root: Path, azimuths: tuple[float, ...]) -> Path:
    """Calibrated cameras around the origin, three metres away, with five frames each."""
    lines = []
    for number, azimuth in enumerate(np.radians(azimuths)):
        files.write_images(root / "images" / f"c{number}", files.noise(5))
        turn = [0.0, float(azimuth), 0.0]  # a camera that looks along z, turned about y; its centre is at distance 3 behind the origin
        lines += [f"[c{number}]", f'name = "c{number}"', "size = [64, 48]", "matrix = [[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]]"]
        lines += [f"rotation = {turn}", "translation = [0.0, 0.0, 3.0]", "distortions = [0, 0, 0, 0]", ""]
    (root / "Calib_scene.toml").write_text("\n".join(lines))
    return root


def test_one_of_four_calibrated_cameras_is_held_out_and_said(tmp_path: Path) -> None:
    rig = _rig(tmp_path / "rig", (0, 80, 200, 30, 300))  # c3 stands between c0 and c1
    found = inspect(rig)
    assert (found["holdout"], found["heldout_images"], found["train_images"]) == ("cameras:c3 (one of 5 calibrated)", 5, 20)
    assert "  held out  cameras:c3 (one of 5 calibrated): 5 images, 20 to train on" in as_lines(found)
    assert inspect(rig, holdout="every:4")["holdout"] == "every:4" and inspect(rig, holdout="none")["heldout_images"] == 0
    assert inspect(_rig(tmp_path / "three", (0, 90, 180)))["holdout"] == "every:8"
