"""Phone recordings of a video beside a log of poses: Stray Scanner and ios_logger (ARKit).

Source: the programs' descriptions. Stray Scanner: `rgb.mp4`, `odometry.csv` (timestamp, frame, x, y, z, qx, qy, qz, qw, camera to world in
OpenCV's axes), `camera_matrix.csv`, `depth/NNNNNN.png` or `.npy` in millimetres. ios_logger: `Frames.m4v`, `ARposes.txt` (timestamp, x, y, z, qw,
qx, qy, qz, camera to world in ARKit's axes), `Frames.txt` (timestamp, number, fx, fy, cx, cy). Metres.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.frames import depth_files, load_depth
from fourfold.capture.readers.posed_images import seconds
from fourfold.capture.readers.video_files import nearest, video_facts
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, from_opengl, intrinsics, noted
from fourfold.capture.video import VideoFile, open_video
from fourfold.errors import FourfoldError
from fourfold.untrusted.files import is_file, read_text
from fourfold.untrusted.records import number

Matrix = NDArray[np.float64]


def recognises(path: Path) -> bool:
    """A folder with the files of one of them."""
    return path.is_dir() and (_is_stray(path) or _is_logger(path))


def _is_stray(root: Path) -> bool:
    return is_file(root / "rgb.mp4") and is_file(root / "odometry.csv") and is_file(root / "camera_matrix.csv")


def _is_logger(root: Path) -> bool:
    return is_file(root / "ARposes.txt") and is_file(root / "Frames.txt") and _film(root) is not None


def _film(root: Path) -> Path | None:
    return next((p for name in ("Frames.m4v", "Frames.mov", "Frames.mp4") if is_file(p := root / name)), None)


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One moving view in metres, with the log's times."""
    return _stray(paths[0]) if _is_stray(paths[0]) else _logger(paths[0])


def _stray(root: Path) -> Source:
    rows = _table(root / "odometry.csv", 9)
    K = np.array([row[:3] for row in _table(root / "camera_matrix.csv", 3)][:3])
    if K.shape != (3, 3):
        raise FourfoldError(f"{root / 'camera_matrix.csv'} has {len(K)} rows of numbers, expected 3: export the recording again")
    video = open_video(root / "rgb.mp4")
    count = min(len(rows), len(video))
    poses = np.stack([np.linalg.inv(_to_world(row[2:5], row[5:9], root / "odometry.csv")) for row in rows[:count]])
    paths = [next((p for s in (".png", ".npy") if is_file(p := root / "depth" / f"{i:06d}{s}")), None) for i in range(len(video))]
    depth = depth_files(paths, video.size, partial(load_depth, scale=None)) if any(paths) else None
    intrinsic = np.repeat(intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2])[None], count, 0)
    times = np.array(seconds([row[0] for row in rows[:count]])[0])
    view = ViewSource("camera", video, np.arange(count), intrinsic, poses, depth=depth)
    return _source("stray-scanner", "Stray Scanner", root, view, times, video)


def _logger(root: Path) -> Source:
    film = _film(root)
    if film is None:
        raise FourfoldError(f"{root} has no Frames.m4v")
    video, logged, frames = open_video(film), _table(root / "ARposes.txt", 8), _table(root / "Frames.txt", 6)
    count = min(len(frames), len(video))
    clock = np.array([row[0] for row in logged])
    if not (np.diff(clock) > 0).all():
        raise FourfoldError(f"{root / 'ARposes.txt'} has times that do not increase: record it again")
    which = nearest(clock, np.array([row[0] for row in frames[:count]]))
    turned = [(*row[5:8], row[4]) for row in logged]
    poses = np.stack([from_opengl(_to_world(logged[i][1:4], turned[i], root / "ARposes.txt")) for i in which])
    K = np.stack([intrinsics(*row[2:6]) for row in frames[:count]])
    times = np.array(seconds([row[0] for row in frames[:count]])[0])
    return _source("ios-logger", "ios_logger", root, ViewSource("camera", video, np.arange(count), K, poses), times, video)


def _source(layout: str, program: str, root: Path, view: ViewSource, times: Matrix, video: VideoFile) -> Source:
    if not (np.diff(times) > 0).all() or len(times) < 2:
        raise FourfoldError(f"{root} has a log whose times do not increase: record it again")
    source = Source(layout, root, root.resolve().name, (view,), times, "given", True, None, video_facts([video]))
    left = len(video) - len(times)
    return noted(source, f"poses of {program}, in metres", *([f"{left} frames at the end have no pose and are left out"] if left > 0 else []))


def _to_world(position: Sequence[float], quat_xyzw: Sequence[float], path: Path) -> Matrix:
    length = float(np.linalg.norm(quat_xyzw))
    if not 0.5 < length < 2.0:
        raise FourfoldError(f"{path} holds a rotation of length {length:.3g}: record it again")
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = Rotation.from_quat(np.array(quat_xyzw) / length).as_matrix(), position
    return result


def _table(path: Path, least: int) -> list[list[float]]:
    """The rows of numbers of a text file with commas; lines that begin with something else are headings. FourfoldError if there is none."""
    rows: list[list[float]] = []
    try:
        for words in csv.reader(read_text(path).splitlines()):
            if words and words[0].strip()[:1] in "-+.0123456789":
                rows.append([number(w.strip(), f"{path}: line {len(rows) + 1}") for w in words if w.strip()])
    except csv.Error as error:
        raise FourfoldError(f"{path} is not a table ({error}): export it again") from error
    if not rows or min(map(len, rows)) < least:
        raise FourfoldError(f"{path} holds no rows of {least} numbers: export it again")
    return rows


READER = Reader("stray-scanner, ios-logger", 25, recognises, read)
