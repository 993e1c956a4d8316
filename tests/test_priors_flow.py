"""Dense flow against a texture moved by a known amount."""

import cv2
import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.priors.tracking.flow import estimate_flow, flow_between, homography_flow, round_trip_confidence


def _texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 1.5) + 2 * cv2.GaussianBlur(noise, (0, 0), 5)
    return np.uint8(np.clip(128 + 220 * blurred, 0, 255))


def _crop(texture: np.ndarray, dx: int, dy: int, size: tuple[int, int] = (90, 140)) -> np.ndarray:
    return np.ascontiguousarray(texture[60 + dy : 60 + dy + size[0], 60 + dx : 60 + dx + size[1]])


@pytest.mark.parametrize("shift", [(3, -2), (-1, 5), (30, 12)])
def test_flow_between_finds_a_shift(shift: tuple[int, int]) -> None:
    texture = _texture(230, 270)
    ahead, back, confidence, _ = flow_between(_crop(texture, 0, 0), _crop(texture, *shift))
    inner = (slice(35, -35), slice(35, -35))
    assert np.abs(ahead[inner] + np.array(shift)).max() < 0.5
    assert np.abs(back[inner] - np.array(shift)).max() < 0.5
    assert (confidence[inner] > 0.5).mean() > 0.95


def test_what_leaves_the_image_has_no_confidence() -> None:
    ahead = np.full((20, 30, 2), 0, np.float32)
    ahead[..., 0] = 10
    confidence = round_trip_confidence(ahead, -ahead)
    assert (confidence[:, 20:] == 0).all() and (confidence[:, :20] == 1).all()


def test_homography_flow_uses_pixel_centres_at_half() -> None:
    zoom = np.diag([2.0, 2.0, 1.0])
    flow = homography_flow(zoom, 4, 6)
    assert np.allclose(flow[0, 0], 0.5) and np.allclose(flow[3, 5], [5.5, 3.5])


def test_estimate_flow_skips_heldout_frames(tmp_path) -> None:
    texture = _texture(230, 270)
    frames = np.stack([_crop(texture, 2 * t, 0, (60, 80)) for t in range(5)])
    frames[2] = 0
    np.save(tmp_path / "frames_000.npy", frames)
    held = np.zeros((1, 5), bool)
    held[0, 2] = True
    unknown = {"K": np.full((1, 5, 3, 3), np.nan), "world_to_camera": np.full((1, 5, 4, 4), np.nan)}
    capture = Capture(
        root=tmp_path,
        **unknown,
        timestamps=np.arange(5) / 10,
        sizes=np.array([[80, 60]]),
        present=np.ones((1, 5), bool),
        train=~held,
        heldout=held,
        cameras="unknown",
        metric=False,
        name="shift",
        view_names=("a",),
    )
    flow = estimate_flow(capture)
    assert (flow.forward[0][2] == 0).all() and (flow.forward_confidence[0][2] == 0).all()
    inner = flow.forward[0][1][15:-15, 15:-15].astype(np.float32)
    assert np.abs(inner - [-4, 0]).max() < 0.5
    assert (flow.forward[0][4] == 0).all()
    assert np.abs(flow.backward[0][3][15:-15, 15:-15].astype(np.float32) - [4, 0]).max() < 0.5
    assert flow.save(tmp_path).exists()
