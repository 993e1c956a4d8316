"""`prepare_capture`: sizes, intrinsics, masks, splits, atomicity, keys."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import capture_files as files
from fourfold.capture import Capture, CaptureOptions, capture_key, prepare_capture
from fourfold.capture.discover import open_source
from fourfold.capture.holdout import split
from fourfold.capture.ingest import grey_size, reduced_size, resized, split_alpha, with_border
from fourfold.capture.source import CaptureOptions as Options
from fourfold.capture.writer import FrameWriter
from fourfold.errors import FourfoldError


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(64, 2_000_000))
def test_the_reducing_factor_is_the_smallest_that_fits(width: int, height: int, pixels: int) -> None:
    (new_width, new_height), n = reduced_size((width, height), pixels)
    assert (width // n) * (height // n) <= pixels
    assert n == 1 or (width // (n - 1)) * (height // (n - 1)) > pixels
    assert (new_width, new_height) == (max(1, round(width / n)), max(1, round(height / n)))


def test_a_video_becomes_a_capture(tmp_path: Path) -> None:
    frames = files.grey_ramp(20, 96, 64)
    capture = prepare_capture([files.write_video(tmp_path / "clip.mp4", frames)], tmp_path / "out", pixels=48 * 32)
    assert (capture.views, capture.times, capture.sizes.tolist()) == (1, 20, [[48, 32]])
    assert capture.cameras == "unknown"
    assert np.isnan(capture.K).all()
    assert capture.timestamps[0] == 0
    assert capture.heldout[0].nonzero()[0].tolist() == [4, 12]
    assert not (capture.train & capture.heldout).any()
    for t in range(20):
        assert abs(float(capture.image(0, t).mean()) - float(frames[t].mean())) < 3
    assert capture.facts["reduced_by"] == 2
    assert json.loads((tmp_path / "out" / "capture.json").read_text())["name"] == "clip"


def test_reducing_averages_areas(tmp_path: Path) -> None:
    frames = files.noise(3, 60, 40)
    files.write_images(tmp_path / "clip", frames)
    capture = prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=20 * 14)
    expected = np.stack(frames)[:, :39].reshape(3, 13, 3, 20, 3, 3).mean((2, 4))
    assert capture.sizes.tolist() == [[20, 13]]
    # 40 rows become 13: areas of 40/13 rows, close to but not three rows each.
    assert np.abs(capture.image(0, 0).astype(float) - expected[0]).mean() < 6
    even = prepare_capture([tmp_path / "clip"], tmp_path / "even", pixels=30 * 20)
    exact = np.stack(frames).reshape(3, 20, 2, 30, 2, 3).astype(float).mean((2, 4))
    assert np.abs(even.image(0, 1).astype(float) - exact[1]).max() <= 0.5 + 1e-9


def test_finer_grey_images_are_kept_where_the_stored_ones_are_small(tmp_path: Path) -> None:
    frames = files.noise(3, 60, 40)
    files.write_images(tmp_path / "clip", frames)
    capture = prepare_capture([tmp_path / "clip"], tmp_path / "small", pixels=30 * 20)
    grey = capture.grey(0, 1)
    assert grey is not None
    # ITU-R BT.601 luminance of the images as filmed
    assert np.abs(grey - frames[1] @ np.array([0.299, 0.587, 0.114])).max() < 0.51
    assert prepare_capture([tmp_path / "clip"], tmp_path / "whole", pixels=60 * 40).grey(0, 1) is None
    assert grey_size((1920, 1080), (320, 180)) == (640, 360)
    assert grey_size((1080, 1920), (540, 960)) is None


def test_start_end_and_every_choose_moments(tmp_path: Path) -> None:
    path = files.write_video(tmp_path / "clip.mp4", files.grey_ramp(30), fps=10)
    capture = prepare_capture([path], tmp_path / "out", pixels=10_000, holdout="none", options=CaptureOptions(start=0.5, end=2.0, every=3))
    np.testing.assert_allclose(capture.timestamps, [0, 0.3, 0.6, 0.9, 1.2], atol=1e-6)
    true = [files.grey_ramp(30)[5 + 3 * i].mean() for i in range(5)]
    np.testing.assert_allclose([capture.image(0, i).mean() for i in range(5)], true, atol=3)
    assert not capture.heldout.any()


def test_a_short_clip_holds_out_its_middle(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip", files.noise(7))
    capture = prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=10_000)
    assert capture.heldout[0].nonzero()[0].tolist() == [3]


def test_hold_out_rules_over_views(tmp_path: Path) -> None:
    for name in ("cam1", "cam2", "cam10"):
        files.write_images(tmp_path / "rig" / name, files.noise(16))
    source = open_source([tmp_path / "rig"], Options())
    assert [v.name for v in source.views] == ["cam1", "cam2", "cam10"]
    train, heldout, rule = split(source, None)
    assert rule == "every:8"
    assert [row.nonzero()[0].tolist() for row in heldout] == [[4, 12], [3, 11], [2, 10]]  # no moment loses two views
    _, heldout, _ = split(source, "cameras:cam10,0")
    assert heldout.all(axis=1).tolist() == [True, False, True]
    train, heldout, _ = split(source, "none")
    assert train.all() and not heldout.any()
    for rule, said in [
        ("every:1", "2 or more"),
        ("cameras:9", "no view '9'"),
        ("cameras:0,1,2", "no frame to train on"),
        ("what", "expected every:N"),
    ]:
        with pytest.raises(FourfoldError, match=said):
            split(source, rule)


def test_some_cameras_may_be_left_out_of_training(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "test"):
        files.write_images(tmp_path / "rig" / name, files.noise(4))
    source = open_source([tmp_path / "rig"], Options())
    train, heldout, rule = split(source, "cameras:test/train:2")
    assert rule == "cameras:test/train:2" and train.all(axis=1).tolist() == [True, True, False, False]  # no poses: the first come first
    assert heldout.all(axis=1).tolist() == [False, False, False, True]
    turns = {"a": 1.2, "b": -0.3, "c": 0.5, "test": 0.0}
    posed = []
    for view in source.views:
        pose, angle = np.tile(np.eye(4), (4, 1, 1)), turns[view.name]
        pose[:, 0, 0] = pose[:, 2, 2] = np.cos(angle)
        pose[:, 2, 0], pose[:, 0, 2] = np.sin(angle), -np.sin(angle)
        posed.append(dataclasses.replace(view, world_to_camera=pose))
    looking = dataclasses.replace(source, views=tuple(posed))
    for count, chosen in ((1, [False, True, False, False]), (2, [False, True, True, False]), (3, [True, True, True, False])):
        train, heldout, _ = split(looking, f"cameras:test/train:{count}")
        assert train.all(axis=1).tolist() == chosen and heldout[3].all()
    train, heldout, rule = split(source, "/train:1")
    assert train.any(axis=1).sum() == 1 and heldout.sum() == split(source, None)[1].sum() and rule.endswith("/train:1")
    with pytest.raises(FourfoldError, match="N from 1 to 3"):
        split(source, "cameras:test/train:4")


def test_masks_follow_their_images(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip" / "images", files.noise(3), "{:03d}.jpg")
    masks = [np.zeros((48, 64), np.uint8) for _ in range(3)]
    for i, mask in enumerate(masks):
        mask[10:30, 8 * i : 8 * i + 20] = 255
    files.write_images(tmp_path / "clip" / "masks", masks, "{:03d}.png")
    capture = prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=32 * 24)
    for i in range(3):
        got = capture.mask(0, i)
        assert got is not None
        np.testing.assert_array_equal(got > 0, masks[i][1::2, 1::2] > 0)
        assert set(np.unique(got)) == {-1, 1}
    banded = prepare_capture([tmp_path / "clip"], tmp_path / "band", pixels=32 * 24, options=CaptureOptions(mask_border=2)).mask(0, 0)
    assert banded is not None
    assert set(np.unique(banded)) == {-1, 0, 1}


def test_the_border_band_is_as_wide_as_said_and_spares_the_image_border() -> None:
    mask = np.full((20, 20), -1, np.int8)
    mask[:, :10] = 1
    got = with_border(mask, 2)
    assert got[5].tolist() == [1] * 8 + [0] * 4 + [-1] * 8


def test_opacity_is_composited_on_white() -> None:
    image = np.array([[[100, 0, 200, 255], [100, 0, 200, 0], [100, 0, 200, 51]]], np.uint8)
    colour, alpha = split_alpha(image, "opacity")
    assert colour.tolist() == [[[100, 0, 200], [255, 255, 255], [224, 204, 244]]]
    assert alpha is not None and alpha.tolist() == [[255, 0, 51]]
    colour, alpha = split_alpha(image, "valid")
    assert colour.tolist() == image[..., :3].tolist()


def test_picking_takes_pixel_centres() -> None:
    image = np.arange(36).reshape(6, 6)
    assert resized(image, (2, 2), True).tolist() == [[7, 10], [25, 28]]


def test_the_same_input_is_prepared_once_and_another_replaces_it(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    paths = files.write_images(folder, files.noise(4))
    out = tmp_path / "out"
    first = prepare_capture([folder], out, pixels=10_000)
    before = first.image(0, 0).copy()
    stamp = (out / "frames_000.npy").stat().st_mtime_ns
    prepare_capture([folder], out, pixels=10_000)
    assert (out / "frames_000.npy").stat().st_mtime_ns == stamp
    key = capture_key([folder], pixels=10_000)
    assert json.loads((out / "stage.json").read_text())["key"] == key
    Image.fromarray(255 - np.asarray(Image.open(paths[0]))).save(paths[0])
    assert capture_key([folder], pixels=10_000) != key
    assert capture_key([folder], pixels=9_999) != capture_key([folder], pixels=10_000)
    again = prepare_capture([folder], out, pixels=10_000)
    np.testing.assert_array_equal(again.image(0, 0), 255 - before)  # not the old file through a cache
    np.testing.assert_array_equal(Capture.load(out).image(0, 0), 255 - before)


def test_a_prepared_capture_can_be_prepared_again_smaller(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip" / "images", files.noise(12))
    files.write_images(tmp_path / "clip" / "masks", [np.full((48, 64), 255, np.uint8)] * 12)
    first = prepare_capture([tmp_path / "clip"], tmp_path / "a", pixels=64 * 48)
    K = np.tile(np.array([[50.0, 0, 31], [0, 52, 25], [0, 0, 1]]), (1, 12, 1, 1))
    poses = np.tile(np.eye(4), (1, 12, 1, 1))
    first.with_cameras(K, poses, "estimated").save()
    second = prepare_capture([tmp_path / "a"], tmp_path / "b", pixels=32 * 24)
    assert (second.cameras, second.sizes.tolist(), second.has("masks")) == ("estimated", [[32, 24]], True)
    np.testing.assert_allclose(second.K[0, 0], [[25, 0, 15.5], [0, 26, 12.5], [0, 0, 1]])
    np.testing.assert_array_equal(second.heldout, first.heldout)


def test_several_videos_are_joined_by_nearest_moments(tmp_path: Path) -> None:
    fast = files.write_video(tmp_path / "a.mp4", files.grey_ramp(40), fps=20)
    slow = files.write_video(tmp_path / "b.mp4", files.grey_ramp(10), fps=10)
    capture = prepare_capture([fast, slow], tmp_path / "out", pixels=10_000, holdout="none", options=CaptureOptions(offsets=(0.0, 0.5)))
    # The slow video began half a second later: its frame i is the fast one's frame 10 + 2 i.
    assert (capture.views, capture.times) == (2, 10)
    ramp = files.grey_ramp(40)
    np.testing.assert_allclose([capture.image(0, t).mean() for t in range(10)], [ramp[10 + 2 * t].mean() for t in range(10)], atol=3)
    np.testing.assert_allclose([capture.image(1, t).mean() for t in range(10)], [f.mean() for f in files.grey_ramp(10)], atol=3)
    np.testing.assert_allclose(capture.timestamps, np.arange(10) / 10, atol=1e-6)


def test_the_writer_equals_numpy(tmp_path: Path) -> None:
    true = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    with FrameWriter(tmp_path / "a.npy", true.shape, "float32") as writer:
        for i in (3, 0, 4, 1):
            writer.write(i, true[i])
    got = np.load(tmp_path / "a.npy", allow_pickle=False)
    true[2] = 0
    np.testing.assert_array_equal(got, true)


def test_frames_never_lie_in_memory_together(tmp_path: Path) -> None:
    import tracemalloc

    files.write_video(tmp_path / "clip.mp4", files.grey_ramp(100, 320, 240))
    tracemalloc.start()
    prepare_capture([tmp_path / "clip.mp4"], tmp_path / "out", pixels=10**6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 320 * 240 * 3  # of a hundred frames: a dozen are looked at together for bars, text and stereo


def test_progress_counts_every_frame(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip", files.noise(5))
    said: list[tuple[int, int]] = []
    prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=10_000, progress=lambda done, total: said.append((done, total)))
    assert said == [(i + 1, 5) for i in range(5)]


def test_results_inside_the_input_do_not_change_its_key(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    files.write_images(folder, files.noise(4))
    key = capture_key([folder], pixels=10_000)
    prepare_capture([folder], folder / "run" / "capture", pixels=10_000)
    assert capture_key([folder], pixels=10_000) == key


def test_images_without_opacity_before_one_with_it_are_opaque(tmp_path: Path) -> None:
    clear = np.dstack([files.noise(1)[0], np.zeros((48, 64), np.uint8)])
    files.write_images(tmp_path / "clip", [*files.noise(2), clear])
    capture = prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=10_000)
    alphas = [capture.alpha(0, t) for t in range(3)]
    assert [int(a.mean()) for a in alphas if a is not None] == [255, 255, 0]


def test_frames_left_out_of_a_prepared_split_stay_out(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip", files.noise(12))
    first = prepare_capture([tmp_path / "clip"], tmp_path / "a", pixels=64 * 48)
    first.train[0, :3] = False
    first.save()
    second = prepare_capture([tmp_path / "a"], tmp_path / "b", pixels=64 * 48)
    np.testing.assert_array_equal(second.train, first.train)
    np.testing.assert_array_equal(second.heldout, first.heldout)
