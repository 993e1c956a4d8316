"""Places matched between few images far apart: a painted wall at rest, and a painted board that moves before it, both drawn exactly."""

from pathlib import Path

import cv2
import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras, LongTracks, Provenance
from fourfold.priors.masks.matched_places import MatchedNumbers, matched_places
from fourfold.priors.masks.track_evidence import TrackEvidenceNumbers, judge_tracks, view_suspicion

WIDTH, HEIGHT, TIMES, FOCAL = 240, 160, 6, 200.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])
WALL, BOARD = 6.0, 4.0  # depths; the camera steps by .3 to the right, parallel to both
SIDE = 1.6  # of the board


def _paint(seed: int) -> np.ndarray:
    """Blobs of every size, without repetition."""
    random = np.random.default_rng(seed)
    layers = [cv2.resize(random.uniform(0, 255, (n, n, 3)), (512, 512), interpolation=cv2.INTER_CUBIC) for n in (12, 30, 70)]
    return np.clip(np.mean(layers, 0) * 1.6 - 80, 0, 255).astype(np.uint8)


def _seen(paint: np.ndarray, x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    """Paint over (-width/2, width/2) squared at the plane coordinates (x, y)."""
    column, row = (((axis / width + 0.5) * paint.shape[0]).astype(np.float32) for axis in (x, y))
    return cv2.remap(paint, column, row, cv2.INTER_LINEAR)


def _film(root: Path) -> tuple[Capture, Cameras, np.ndarray]:
    """The capture, its cameras and where the board is, (T, H, W)."""
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5 - WIDTH / 2, np.arange(HEIGHT) + 0.5 - HEIGHT / 2)
    poses, images, boards = np.tile(np.eye(4), (TIMES, 1, 1)), [], []
    for t in range(TIMES):
        eye = 0.3 * (t - 2.5)
        poses[t, 0, 3] = -eye
        image = _seen(_paint(0), u * WALL / FOCAL + eye, v * WALL / FOCAL, 12.0)
        x, y = u * BOARD / FOCAL + eye - 0.2 * t, v * BOARD / FOCAL - 0.35 * np.sin(1.7 * t)
        board = np.maximum(np.abs(x), np.abs(y)) < SIDE / 2
        image[board] = _seen(_paint(1), x, y, SIDE)[board]
        images.append(image)
        boards.append(board)
    np.save(root / "frames_000.npy", np.stack(images))
    every = np.ones((1, TIMES), bool)
    capture = Capture(
        root, np.broadcast_to(K, (1, TIMES, 3, 3)), poses[None], np.arange(TIMES) / 10, np.array([[WIDTH, HEIGHT]]), every, every, ~every,
        "given", False, "test", ("a",),
    )  # fmt: skip
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    return capture, Cameras(Provenance("test"), capture.K, capture.world_to_camera, *none), np.stack(boards)


def test_the_wall_rests_and_the_board_moves(tmp_path: Path) -> None:
    capture, cameras, boards = _film(tmp_path)
    found = matched_places(capture, cameras, 0, 0.3)
    assert found is not None
    column, row = found.xy.astype(int).T
    inside = cv2.erode(boards.astype(np.uint8).transpose(1, 2, 0), np.ones((9, 9))).transpose(2, 0, 1) > 0
    beside = cv2.dilate(boards.astype(np.uint8).transpose(1, 2, 0), np.ones((9, 9))).transpose(2, 0, 1) == 0
    on, off = inside[found.time, row, column], beside[found.time, row, column]
    assert on.sum() > 30 and off.sum() > 300
    assert (found.suspicion[off] == 0).mean() > 0.97
    assert (found.suspicion[on] == 1).mean() > 0.9


def test_what_no_training_image_shows_again_says_nothing(tmp_path: Path) -> None:
    capture, cameras, _ = _film(tmp_path)
    capture.train[:] = False
    capture.train[:, :2] = True  # two of them agree with anything, and are none
    found = matched_places(capture, cameras, 0, 0.3)
    assert found is not None
    assert not np.isin(found.time, [0, 1]).any()


def test_many_images_are_not_matched(tmp_path: Path) -> None:
    capture, cameras, _ = _film(tmp_path)
    assert matched_places(capture, cameras, 0, 0.3, MatchedNumbers(images=TIMES - 1)) is None


def test_they_speak_where_tracks_are_lost(tmp_path: Path) -> None:
    capture, cameras, boards = _film(tmp_path)
    random = np.random.default_rng(0)
    xy = random.uniform([20, 20], [WIDTH - 20, HEIGHT - 20], (300, 2)).astype(np.float32)
    time = random.integers(0, TIMES - 1, 300).astype(np.int32)
    alone = LongTracks(Provenance("test"), xy, time, np.arange(300, dtype=np.int32), np.zeros(300, np.int32))
    suspicion = [
        view_suspicion(capture, 0, judge_tracks(capture, alone, cameras, 0, TrackEvidenceNumbers(matched=numbers)))
        for numbers in (MatchedNumbers(), MatchedNumbers(images=0))
    ]
    assert suspicion[0][~boards].mean() < 0.1 < suspicion[1][~boards].mean()
    assert suspicion[0][boards].mean() > 0.5
