"""Descriptor matching against brute force; ALIKED's deformable convolution against loops; ALIKED and XFeat against the geometry of real cameras."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fourfold.capture.ingest import CaptureOptions, prepare_capture
from fourfold.errors import FourfoldError
from fourfold.geometry.epipolar import fundamental_matrix, sampson_error
from fourfold.priors.foundation.aliked import Aliked, keypoints
from fourfold.priors.foundation.aliked_network import deformable_convolution
from fourfold.priors.foundation.xfeat import XFeat
from fourfold.priors.tracking.matching import MatchConfig, PointFeatures, match


def _features(rng, n, channels=7):
    return PointFeatures(np.zeros((n, 2), np.float32), rng.normal(size=(n, channels)).astype(np.float32), np.ones(n, np.float32))


@pytest.mark.parametrize("rows", [3, 2048])
def test_match_is_mutual_and_passes_the_ratio_test(rows):
    rng = np.random.default_rng(0)
    a, b = _features(rng, 40), _features(rng, 50)
    b.descriptors[:10] = a.descriptors[5:15] + 0.01
    pairs, confidence = match(a, b, MatchConfig(ratio=0.7, rows=rows))
    distance = np.linalg.norm(a.descriptors[:, None].astype(float) - b.descriptors[None], axis=2)
    expected = []
    for i, row in enumerate(distance):
        first, second = np.sort(row)[:2]
        if distance[:, row.argmin()].argmin() == i and first <= 0.7 * second:
            expected.append((i, int(row.argmin()), 1 - first / second))
    assert pairs.tolist() == [list(e[:2]) for e in expected] and len(pairs) >= 10
    np.testing.assert_allclose(confidence, [e[2] for e in expected], atol=2e-3)


def test_match_of_nothing_and_of_one():
    rng = np.random.default_rng(0)
    assert match(_features(rng, 0), _features(rng, 3))[0].shape == (0, 2)
    assert match(_features(rng, 3), _features(rng, 1))[0].shape == (1, 2)  # nothing to compare the one descriptor with


def test_deformable_convolution_is_the_sum_of_displaced_taps():
    torch.manual_seed(0)
    x, weight = torch.randn(1, 2, 5, 6, dtype=torch.float64), torch.randn(3, 2, 3, 3, dtype=torch.float64)
    offset = 1.5 * torch.randn(1, 18, 5, 6, dtype=torch.float64)
    expected = torch.zeros(3, 5, 6, dtype=torch.float64)
    for row in range(5):
        for column in range(6):
            for tap in range(9):
                y = row + tap // 3 - 1 + float(offset[0, 2 * tap, row, column])
                z = column + tap % 3 - 1 + float(offset[0, 2 * tap + 1, row, column])
                for i in (int(np.floor(y)), int(np.floor(y)) + 1):
                    for j in (int(np.floor(z)), int(np.floor(z)) + 1):
                        if 0 <= i < 5 and 0 <= j < 6:
                            share = (1 - abs(y - i)) * (1 - abs(z - j))
                            expected[:, row, column] += share * weight[:, :, tap // 3, tap % 3] @ x[0, :, i, j]
    torch.testing.assert_close(deformable_convolution(x, offset, weight)[0], expected)
    torch.testing.assert_close(deformable_convolution(x, torch.zeros_like(offset), weight), F.conv2d(x, weight, padding=1))


def test_keypoints_lie_between_pixels_and_apart():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    true = torch.tensor([[12.3, 20.0], [30.0, 9.6], [1.0, 30.0]])  # the last one is too near the border
    score = sum(torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 4) * s for (a, b), s in zip(true, (0.9, 0.8, 0.9), strict=True))
    xy, best = keypoints(score)
    assert xy.shape == (2, 2) and best[0] > best[1]
    assert (xy - true[:2]).abs().max() < 0.25


def _median_sampson(capture, pairs, detector):
    errors, cache = [], {}
    for pair in pairs:
        for frame in pair:
            cache.setdefault(frame, detector(np.asarray(capture.image(*frame))))
        a, b = (cache[frame] for frame in pair)
        rows, _ = match(a, b)
        cameras = [torch.tensor(part[frame]) for frame in pair for part in (capture.K, capture.world_to_camera)]
        xy_a, xy_b = a.xy[rows[:, 0]], b.xy[rows[:, 1]]
        # cleaned without the cameras, as matches of unknown cameras are; the median is against the known ones
        _, good = cv2.findFundamentalMat(xy_a, xy_b, cv2.USAC_MAGSAC, 1.0, 0.999, 5000)
        keep = good[:, 0] > 0
        errors.append(sampson_error(fundamental_matrix(*cameras), torch.tensor(xy_a[keep]), torch.tensor(xy_b[keep])).numpy())
    return float(np.median(np.concatenate(errors))), min(map(len, errors))


DETECTORS = pytest.mark.parametrize("detector", [Aliked, XFeat])


def _loaded(detector, real_data, monkeypatch):
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(real_data("weights")))
    if detector is XFeat:
        pytest.importorskip("onnxruntime")
    return detector()


@DETECTORS
def test_real_matches_obey_known_cameras_of_balloon1(detector, real_data, monkeypatch, tmp_path):
    find = _loaded(detector, real_data, monkeypatch)
    capture = prepare_capture([real_data("nvidia_balloon1")], tmp_path / "out", pixels=640 * 360)
    error, count = _median_sampson(capture, [((0, 0), (0, 1)), ((0, 0), (0, 4))], find)
    assert count >= 200 and error < 0.5


@DETECTORS
def test_real_matches_obey_known_cameras_of_basketball(detector, real_data, monkeypatch, tmp_path):
    find = _loaded(detector, real_data, monkeypatch)
    capture = prepare_capture([real_data("panoptic_basketball")], tmp_path / "out", pixels=640 * 360, options=CaptureOptions(end=0.02))
    centres = np.linalg.inv(capture.world_to_camera[:, 0])[:, :3, 3]
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=2) + np.diag(np.full(len(centres), np.inf))
    a, b = np.unravel_index(int(distance.argmin()), distance.shape)
    error, count = _median_sampson(capture, [((int(a), 0), (int(b), 0))], find)
    assert count >= 20 and error < 1.0


def test_foreign_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(tmp_path))
    torch.save({"a": torch.zeros(1)}, tmp_path / "aliked-n16.pth")
    with pytest.raises(FourfoldError, match="not those of ALIKED"):
        Aliked()
    pytest.importorskip("onnxruntime")
    (tmp_path / "xfeat.onnx").write_bytes(b"nonsense")
    with pytest.raises(FourfoldError, match="cannot be read by onnxruntime"):
        XFeat()
