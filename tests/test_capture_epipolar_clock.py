"""When calibrated cameras began, from films of balls on known paths: whole and broken frames, other rates, nothing to see."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import capture_files as files
from fourfold.capture.discover import open_source
from fourfold.capture.epipolar_clock import FixedCamera, PairScores, choose_together, fixed_camera, refined, small_size
from fourfold.capture.lens import STRAIGHT
from fourfold.capture.synchronise import epipolar_offsets, find_offsets
from fourfold.errors import FourfoldError
from fourfold.options import Options

SIZE = (128, 72)
K = np.array([[90.0, 0, SIZE[0] / 2], [0, 90.0, SIZE[1] / 2], [0, 0, 1.0]])


def _camera(azimuth: float, height: float) -> np.ndarray:
    """(4, 4) world to camera, three metres from the origin, looking at it; y is down."""
    eye = np.array([3 * np.sin(azimuth), -height, -3 * np.cos(azimuth)])
    z = -eye / np.linalg.norm(eye)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z])
    pose[:3, 3] = -pose[:3, :3] @ eye
    return pose


def _balls(seconds: float) -> np.ndarray:
    """(3, 3) places of three balls that wander without a period."""
    phases = np.array([[0.0, 1.0, 2.0], [2.5, 0.4, 4.0], [5.0, 3.0, 1.0]])
    speeds = np.array([[2.1, 3.3, 1.7], [2.9, 1.9, 3.7], [1.3, 4.1, 2.3]])
    return np.stack([0.7, 0.5, 0.7] * (np.sin(speeds * seconds + phases) + 0.4 * np.sin(2.7 * speeds * seconds)), 0)


@dataclass
class _Film:
    """What stands for a video: a camera's grey images of the balls, from `begins` on."""

    pose: np.ndarray
    begins: float
    fps: float = 25.0
    seconds: float = 3.0
    moves: bool = True
    path: Path = Path("film.mp4")
    has_audio: bool = False

    @property
    def times(self) -> np.ndarray:
        return np.arange(round(self.fps * self.seconds)) / self.fps

    def __len__(self) -> int:
        return len(self.times)

    def small_grey(self, size: tuple[int, int]):
        assert size == SIZE
        x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
        wall = 90 + 30 * np.sin(x / 7) * np.cos(y / 5)
        for t in self.times:
            image = wall.copy()
            local = _balls(self.begins + t if self.moves else 0.0) @ self.pose[:3, :3].T + self.pose[:3, 3]
            for point in local:
                u, v = (K @ point)[:2] / point[2]
                cover = np.clip(8 - np.hypot(x - u, y - v) + 0.5, 0, 1)
                image = image * (1 - cover) + 220 * cover
            yield image.astype(np.uint8)


POSES = [_camera(a, h) for a, h in ((0.0, 0.4), (1.4, 0.9), (2.8, 0.2), (4.3, 1.2))]
RIG = [fixed_camera(K, pose, STRAIGHT, SIZE) for pose in POSES]


def _found(begins: list[float], **changes: object) -> list:
    return epipolar_offsets([_Film(pose, b, **changes) for pose, b in zip(POSES, begins, strict=True)], RIG)  # type: ignore[arg-type]


def test_rays_go_through_their_pixels() -> None:
    assert small_size(SIZE) == SIZE
    point = np.array([0.2, -0.1, 0.3])
    for camera, pose in zip(RIG, POSES, strict=True):
        assert np.allclose(pose[:3, :3] @ camera.centre + pose[:3, 3], 0)
        u, v = (K @ (pose[:3, :3] @ point + pose[:3, 3]))[:2] / (pose[2, :3] @ point + pose[2, 3])
        ray = camera.directions[int(v), int(u)]
        away = (point - camera.centre) / np.linalg.norm(point - camera.centre)
        assert np.degrees(np.arccos(ray @ away / np.linalg.norm(ray))) < np.degrees(0.8 / 90)


@pytest.mark.parametrize("begins", [[0.0, 0.24, 0.12, 0.44], [0.0, 0.133, -0.207, 0.31]])
def test_whole_and_broken_frames_come_back_within_half_a_frame(begins: list[float]) -> None:
    for offset, true in zip(_found(begins), begins, strict=True):
        assert abs(offset.seconds - true) < 0.5 / 25
        assert abs(offset.seconds - true) < 4 * max(offset.error, 0.05 / 25)
        assert offset.confidence > 0.25
    assert np.isfinite(_found(begins)[1].rival)


def test_films_of_other_rates() -> None:
    films = [_Film(POSES[0], 0.0, fps=25), _Film(POSES[1], 0.21, fps=30), _Film(POSES[2], 0.4, fps=24)]
    found = epipolar_offsets(films, RIG[:3])  # type: ignore[arg-type]
    assert [o.seconds for o in found] == pytest.approx([0, 0.21, 0.4], abs=0.5 / 24)


def test_auto_uses_only_what_surely_differs(capsys: pytest.CaptureFixture[str]) -> None:
    films = [_Film(pose, b) for pose, b in zip(POSES, (0.0, 0.2, 0.0, 0.0), strict=True)]
    found, how = find_offsets(films, "auto", RIG)  # type: ignore[arg-type]
    assert how == "estimated from motion before calibrated cameras" and found[1].seconds == pytest.approx(0.2, abs=0.02)
    assert "did not begin together" in capsys.readouterr().err
    same = [_Film(pose, 0.0) for pose in POSES]
    still = [_Film(pose, 0.3 * i, moves=False) for i, pose in enumerate(POSES)]
    for films in (same, still):
        found, how = find_offsets(films, "auto", RIG)  # type: ignore[arg-type]
        assert how == "assumed to begin together" and all(o.seconds == 0 for o in found)


def test_too_short_is_said() -> None:
    with pytest.raises(FourfoldError, match="too few to synchronise by what moves"):
        _found([0.0] * 4, seconds=0.2)


def _parabola(top: float, height: float, reach: int = 30) -> PairScores:
    lags = np.arange(-reach, reach + 1)
    score = np.maximum(height - 0.01 * (lags - top) ** 2, -0.5)
    return PairScores(lags, score, score)


def test_all_cameras_are_chosen_together() -> None:
    """A pair that is led astray is outvoted by the triangle, and tops between samples are met exactly."""
    true = [0.0, 4.3, -7.6]
    wrong = _parabola(true[2] - true[1], 0.3)
    wrong.score[45] = 0.35
    scores = {(0, 1): _parabola(true[1], 0.6), (0, 2): _parabola(true[2], 0.5), (1, 2): wrong}
    lags = choose_together(scores, 3)
    assert lags.tolist() == [0, 4, -8]
    assert refined(scores, lags) == pytest.approx(true, abs=1e-6)


def test_cameras_at_one_place_have_no_planes() -> None:
    twice = [FixedCamera(RIG[0].directions, RIG[0].centre)] * 2
    found = epipolar_offsets([_Film(POSES[0], 0.0), _Film(POSES[0], 0.0)], twice)  # type: ignore[arg-type]
    assert found[1].confidence == 0 and found[1].seconds == 0


@dataclass
class _Cut:
    """Basketball from one camera, whose first frames are missing."""

    folder: Path
    missing: int
    fps: float = 30.0
    path: Path = Path("basketball.mp4")

    @property
    def times(self) -> np.ndarray:
        return np.arange(len(self)) / self.fps

    def __len__(self) -> int:
        return 46

    def small_grey(self, size: tuple[int, int]):
        for t in range(self.missing, self.missing + len(self)):
            yield cv2.resize(cv2.imread(str(self.folder / f"{t:06d}.jpg"), cv2.IMREAD_GRAYSCALE), size, interpolation=cv2.INTER_AREA)


def test_real_cameras_that_began_apart() -> None:
    """Four of basketball's cameras at 30 frames per second, cut to begin at 0, .233, .133 and .433 s, overlapping for a second."""
    root = files.real("panoptic_basketball")
    meta = json.loads((root / "train_meta.json").read_text())
    rows = [meta["cam_id"][0].index(camera) for camera in (3, 20, 23, 29)]
    rig = [fixed_camera(np.array(meta["k"][0][r]), np.array(meta["w2c"][0][r]), STRAIGHT, (640, 360)) for r in rows]
    missing = (0, 7, 4, 13)
    films = [_Cut(root / "ims" / Path(meta["fn"][0][r]).parent, n) for r, n in zip(rows, missing, strict=True)]
    found = epipolar_offsets(films, rig)  # type: ignore[arg-type]
    for offset, frames in zip(found, missing, strict=True):
        assert abs(offset.seconds - frames / 30) < 0.5 / 30
        assert offset.confidence > 0.25


def test_folders_of_images_are_films_too(tmp_path: Path) -> None:
    """As a user has them: a folder of images per camera beside a calibration, cut to begin at other times."""
    begins = (0.0, 0.24, 0.12, 0.44)
    inner, outer = (cv2.FileStorage(str(tmp_path / name), cv2.FILE_STORAGE_WRITE) for name in ("intri.yml", "extri.yml"))
    for number, (pose, begun) in enumerate(zip(POSES, begins, strict=True)):
        folder = tmp_path / f"cam{number}"
        folder.mkdir()
        for t, image in enumerate(_Film(pose, begun).small_grey(SIZE)):
            cv2.imwrite(str(folder / f"{t:03d}.png"), image)
        inner.write(f"K_cam{number}", K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]))
        inner.write(f"dist_cam{number}", np.zeros((1, 5)))
        outer.write(f"Rot_cam{number}", np.ascontiguousarray(pose[:3, :3]))
        outer.write(f"T_cam{number}", np.ascontiguousarray(pose[:3, 3:]))
    inner.release()
    outer.release()
    source = open_source([tmp_path], Options(fps=25.0).capture_options([tmp_path]))
    assert source.facts["offsets_from"] == "estimated from motion before calibrated cameras"
    assert source.facts["offsets_seconds"] == pytest.approx(begins, abs=0.5 / 25)
    clocks = [view.frame_of_time / 25 + begun for view, begun in zip(source.views, begins, strict=True)]
    assert np.ptp(clocks, axis=0).max() < 1.01 / 25
