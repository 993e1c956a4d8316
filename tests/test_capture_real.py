"""The readers on the real data sets: known numbers, and geometry checked by matching pixels across cameras."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import capture_files as files
from fourfold.capture import Capture, CaptureOptions, prepare_capture
from fourfold.capture.discover import open_source
from fourfold.capture.inspect import as_lines, inspect


def _essential_error(capture: Capture, first: tuple[int, int], second: tuple[int, int]) -> tuple[float, int]:
    """Median distance, pixels, of SIFT matches to their epipolar line by the capture's own cameras, among those under 5 pixels; and how many."""
    sift = cv2.SIFT_create(2000)
    points, descriptors = zip(*(sift.detectAndCompute(np.ascontiguousarray(capture.image(*f)), None) for f in (first, second)), strict=True)
    pairs = cv2.BFMatcher().knnMatch(*descriptors, k=2)
    good = [m for m, n in pairs if m.distance < 0.8 * n.distance]
    a, b = (np.array([p[getattr(m, k)].pt for m in good]) + 0.5 for p, k in zip(points, ("queryIdx", "trainIdx"), strict=True))
    poses = [capture.world_to_camera[f] for f in (first, second)]
    relative = poses[1] @ np.linalg.inv(poses[0])
    x, y, z = relative[:3, 3]
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ relative[:3, :3]
    fundamental = np.linalg.inv(capture.K[second]).T @ essential @ np.linalg.inv(capture.K[first])
    lines = np.c_[a, np.ones(len(a))] @ fundamental.T
    distance = np.abs((np.c_[b, np.ones(len(b))] * lines).sum(1)) / np.hypot(lines[:, 0], lines[:, 1])
    near = distance[distance < 5]
    return float(np.median(near)), len(near)


def _projections_agree(capture: Capture, first: tuple[int, int], second: tuple[int, int], limit: float, at_least: int) -> None:
    error, count = _essential_error(capture, first, second)
    assert count >= at_least
    assert error < limit


def test_balloon(tmp_path: Path) -> None:
    root = files.real("nvidia_balloon1")
    assert open_source([root], CaptureOptions()).views[0].K[0, 0, 0] == pytest.approx(920.68, abs=0.01)
    capture = prepare_capture([root], tmp_path / "out", pixels=480 * 270)
    assert (capture.views, capture.times, capture.cameras) == (2, 12, "given")
    assert capture.sizes.tolist() == [[480, 270], [480, 270]]
    np.testing.assert_allclose(capture.K[:, :, 0, 0], 920.68 / 2, atol=0.01)
    np.testing.assert_allclose(capture.world_to_camera[1], capture.world_to_camera[0, :1].repeat(12, 0))
    assert capture.train.all(axis=1).tolist() == [True, False]
    assert capture.heldout.all(axis=1).tolist() == [False, True]
    # The held-out image of the first moment is the first training image reduced: the published floor is 19.08 dB for all others.
    psnr = [10 * np.log10(255**2 / np.mean((capture.image(1, t).astype(float) - capture.image(0, 0)) ** 2)) for t in range(12)]
    assert psnr[0] > 32
    assert np.mean(psnr[1:]) == pytest.approx(19.08, abs=0.15)
    _projections_agree(capture, (0, 0), (0, 5), 1.0, 30)
    _projections_agree(capture, (0, 3), (0, 8), 1.0, 30)


def test_basketball(tmp_path: Path) -> None:
    capture = prepare_capture([files.real("panoptic_basketball")], tmp_path / "out", pixels=640 * 360, options=CaptureOptions(end=0.05))
    assert (capture.views, capture.times, capture.metric) == (31, 2, True)
    assert [capture.view_names[v] for v in capture.heldout.any(axis=1).nonzero()[0]] == ["0", "10", "15", "30"]
    assert capture.train.sum() == 27 * 2
    names = {name: v for v, name in enumerate(capture.view_names)}
    mask = capture.mask(names["1"], 0)
    assert mask is not None and 0.001 < (mask > 0).mean() < 0.3
    assert capture.mask(names["0"], 0) is None
    # The dome's cameras look at one place: the point nearest to all optical axes lies in front of every camera and in the middle of its image.
    centers = np.stack([np.linalg.inv(w)[:3, 3] for w in capture.world_to_camera[:, 0]])
    axes = capture.world_to_camera[:, 0, 2, :3]
    normal = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    middle = np.linalg.solve(normal.sum(0), (normal @ centers[:, :, None]).sum(0)[:, 0])
    seen = np.einsum("vij,j->vi", capture.world_to_camera[:, 0, :3, :3], middle) + capture.world_to_camera[:, 0, :3, 3]
    pixels = np.einsum("vij,vj->vi", capture.K[:, 0], seen)
    assert (seen[:, 2] > 0.5).all()
    assert (np.abs(pixels[:, :2] / pixels[:, 2:] - [320, 180]) < [200, 130]).all()
    distance = np.linalg.norm(centers[:, None] - centers[None], axis=2) + 99 * np.eye(len(centers))
    first, second = np.unravel_index(distance.argmin(), distance.shape)
    _projections_agree(capture, (int(first), 0), (int(second), 0), 1.0, 15)


def test_basketball_by_four_cameras(tmp_path: Path) -> None:
    options = CaptureOptions(end=0.1, views=("1", "8", "16", "25", "5"))
    capture = prepare_capture([files.real("panoptic_basketball")], tmp_path / "out", pixels=320 * 180, holdout="cameras:5", options=options)
    assert capture.view_names == ("1", "8", "16", "25", "5")
    assert capture.heldout.all(axis=1).tolist() == [False] * 4 + [True]
    assert capture.sizes.tolist() == [[320, 180]] * 5


def test_mutant(tmp_path: Path) -> None:
    capture = prepare_capture([files.real("dnerf_mutant_400")], tmp_path / "out", pixels=400 * 400, options=CaptureOptions(every=10))
    assert capture.view_names[0] == "train" and capture.view_names[-1] == "test"
    assert capture.sizes.tolist() == [[400, 400]] * capture.views
    assert capture.K[0, 0, 0, 0] == pytest.approx(200 / np.tan(0.6911112070083618 / 2))
    alpha = capture.alpha(0, 0)
    assert alpha is not None
    assert (capture.image(0, 0)[alpha == 0] == 255).all()
    # Every camera looks at the origin, where the figure stands: it projects near the image's middle and is opaque somewhere there.
    for view, t in capture.train_frames():
        K, pose = capture.K[view, t], capture.world_to_camera[view, t]
        assert pose[2, 3] == pytest.approx(4.03, abs=0.05)
        np.testing.assert_allclose((K @ pose[:3, 3])[:2] / pose[2, 3], [200, 200], atol=1)


def test_mutant_split() -> None:
    found = inspect(files.real("dnerf_mutant_400"))
    assert (found["images"], found["train_images"], found["heldout_images"], found["times"]) == (190, 150, 20, 150)
    assert found["holdout"] == "the test split"


def test_windmill() -> None:
    source = open_source([files.real("dycheck_paper_windmill")], CaptureOptions())
    view = source.views[0]
    np.testing.assert_allclose(view.world_to_camera[0, :3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-9)
    np.testing.assert_allclose(source.timestamps, np.arange(8) * 34 / 30)
    assert view.K[0, 0, 0] == pytest.approx(719.947, abs=1e-3)
    assert (source.metric, view.frames.size) == (True, (720, 960))
    for pose in view.world_to_camera:
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)


def test_windmill_geometry(tmp_path: Path) -> None:
    capture = prepare_capture([files.real("dycheck_paper_windmill")], tmp_path / "out", pixels=360 * 480, holdout="none")
    _projections_agree(capture, (0, 4), (0, 5), 1.0, 30)


def test_pose2sim(tmp_path: Path) -> None:
    root = files.real("pose2sim_multiperson")
    found = inspect(root)
    assert (found["views"], found["times"], found["sizes"], found["lens_distortion"]) == (4, 100, [[1088, 1920]], ["pinhole"])
    assert found["fps"] == pytest.approx(60)
    capture = prepare_capture([root], tmp_path / "out", pixels=544 * 960, options=CaptureOptions(end=0.02), holdout="none")
    centers = np.stack([np.linalg.inv(w)[:3, 3] for w in capture.world_to_camera[:, 0]])
    np.testing.assert_allclose(centers[0], [1.4602323709, -1.9091590482, 1.8965058524], atol=1e-6)
    # z is up in the laboratory: every camera stands above the floor, the image's y axis points down.
    assert (centers[:, 2] > 1).all()
    assert (capture.world_to_camera[:, 0, 1, 2] < -0.5).all()
    # The walker's teal cap, about 40 pixels wide here, is one place: four lines of sight meet at the height of a head.
    rows, seen = [], []
    for v in range(4):
        hue, saturation, value = np.moveaxis(cv2.cvtColor(np.ascontiguousarray(capture.image(v, 0)), cv2.COLOR_RGB2HSV).astype(int), 2, 0)
        cap = ((np.abs(hue - 90) < 8) & (saturation > 120) & (value > 60)).astype(np.uint8)
        _, _, stats, middles = cv2.connectedComponentsWithStats(cap)
        seen.append(middles[1 + stats[1:, 4].argmax()] + 0.5)
        camera = capture.K[v, 0] @ capture.world_to_camera[v, 0, :3]
        rows += [seen[v][0] * camera[2] - camera[0], seen[v][1] * camera[2] - camera[1]]
    point = np.linalg.svd(np.array(rows))[2][-1]
    assert 1.5 < point[2] / point[3] < 1.9
    for v in range(4):
        pixel = capture.K[v, 0] @ capture.world_to_camera[v, 0, :3] @ point
        assert np.linalg.norm(pixel[:2] / pixel[2] - seen[v]) < 10


def test_teddy(tmp_path: Path) -> None:
    found = inspect(files.real("clips", "teddy.mp4"))
    assert (found["views"], found["cameras"], found["sizes"]) == (1, "unknown", [[368, 480]])
    # The container counts 142 samples and its edit list cuts the last one.
    assert found["times"] == 141
    assert found["fps"] == pytest.approx(20)
    assert "camera poses" in found["will_estimate"]
    capture = prepare_capture([files.real("clips", "teddy.mp4")], tmp_path / "out", pixels=184 * 240, options=CaptureOptions(end=1.0))
    assert (capture.times, capture.sizes.tolist()) == (20, [[184, 240]])


@pytest.mark.parametrize(("name", "count", "size"), [("duck", 50, (640, 360)), ("bedroom", 80, (640, 360)), ("camel", 90, (854, 480))])
def test_image_clips(name: str, count: int, size: tuple[int, int]) -> None:
    found = inspect(files.real("clips", name))
    assert (found["times"], found["sizes"], found["name"]) == (count, [list(size)], name)
    assert found["masks"] == (1 if name == "camel" else 0)
    assert as_lines(found)[0].endswith(": images")


def test_camel_masks(tmp_path: Path) -> None:
    capture = prepare_capture([files.real("clips", "camel")], tmp_path / "out", pixels=427 * 240, options=CaptureOptions(end=0.1, mask_border=2))
    mask = capture.mask(0, 0)
    assert mask is not None and mask.shape == (240, 427)
    assert 0.02 < (mask > 0).mean() < 0.5
    assert 0 < (mask == 0).mean() < 0.1
