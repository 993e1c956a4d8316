"""Ego-Exo4D takes as downloaded: `frame_aligned_videos/camNN.mp4` and `trajectory/gopro_calibs.csv`.

Source: spec evaluation_and_datasets.md section 3. The calibration is a Kannala-Brandt fisheye with four coefficients, OpenCV's fisheye model, with
pixel centres at whole numbers; positions are metres, quaternions and translations camera to world.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fourfold.capture.lens import fisheye
from fourfold.capture.readers.video_files import common_times, start_offsets, video_facts, videos_in
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, intrinsics, scale_intrinsics, world_to_camera_of
from fourfold.capture.video import VideoFile, open_video
from fourfold.errors import FourfoldError
from fourfold.untrusted.files import read_text

CALIBRATION = "trajectory/gopro_calibs.csv"
VIDEOS = "frame_aligned_videos"
FIRST_FRAME = ("timestep.txt", f"{VIDEOS}/timestep.txt")


def recognises(path: Path) -> bool:
    """A folder with `trajectory/gopro_calibs.csv` and `frame_aligned_videos/`."""
    return (path / CALIBRATION).is_file() and (path / VIDEOS).is_dir()


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per calibrated static camera, from the frame that `timestep.txt` names."""
    root = paths[0]
    rows = _rows(root / CALIBRATION)
    files = {f.stem: f for f in videos_in(root / VIDEOS) if f.stem in rows}
    if not files:
        raise FourfoldError(f"{root / VIDEOS} holds none of the cameras {', '.join(rows)} of {CALIBRATION}: complete the download")
    videos = {name: open_video(file) for name, file in files.items()}
    offsets, _ = start_offsets(list(videos.values()), options)
    timestamps, chosen = common_times(list(videos.values()), offsets)
    first = _first_frame(root)
    if first >= len(timestamps):
        raise FourfoldError(f"{root} begins at frame {first}, as timestep.txt says, and its videos end before: correct it")
    views = [_view(name, rows[name], video, which, root) for (name, video), which in zip(videos.items(), chosen, strict=True)]
    cut = tuple(replace(v, frame_of_time=v.frame_of_time[first:], K=v.K[first:], world_to_camera=v.world_to_camera[first:]) for v in views)
    cut = tuple(replace(v, heldout=v.heldout[first:], unused=v.unused[first:]) for v in cut)
    facts = video_facts(list(videos.values())) | {"first_frame": first}
    return Source("egoexo4d", root, root.resolve().name, cut, timestamps[first:] - timestamps[first], "given", True, None, facts)


def _rows(path: Path) -> dict[str, dict[str, str]]:
    """Lines of the calibration file by camera name."""
    try:
        rows = {row["cam_uid"]: row for row in csv.DictReader(read_text(path).splitlines())}
    except (KeyError, csv.Error) as error:
        raise FourfoldError(f"{path} cannot be read as a calibration ({type(error).__name__}: {error}): download it again") from error
    if not rows:
        raise FourfoldError(f"{path} holds no camera: download it again")
    return rows


def _first_frame(root: Path) -> int:
    path = next((root / name for name in FIRST_FRAME if (root / name).is_file()), None)
    if path is None:
        return 0
    words = read_text(path).split()
    if not words or not words[0].isascii() or not words[0].isdigit() or len(words[0]) > 9:
        raise FourfoldError(f"{path} does not begin with the number of the first frame: correct or remove it")
    return int(words[0])


def _view(name: str, row: dict[str, str], video: VideoFile, which: np.ndarray, root: Path) -> ViewSource:
    try:
        size = float(row["image_width"]), float(row["image_height"])
        fx, fy, cx, cy, *bend = (float(row[f"intrinsics_{i}"]) for i in range(8))
        quat_xyzw = [float(row[f"q{axis}_world_cam"]) for axis in "xyzw"]
        centre = np.array([float(row[f"t{axis}_world_cam"]) for axis in "xyz"])
        rotation = Rotation.from_quat(quat_xyzw).as_matrix().T
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FourfoldError(f"{root / CALIBRATION}: camera {name} has no usable calibration ({type(error).__name__}: {error})") from error
    K = scale_intrinsics(intrinsics(fx, fy, cx + 0.5, cy + 0.5), size, video.size)
    pose = world_to_camera_of(rotation, -rotation @ centre)
    times = len(which)
    return ViewSource(name, video, which, np.repeat(K[None], times, 0), np.repeat(pose[None], times, 0), lenses=(fisheye(*bend),))


READER = Reader("egoexo4d", 10, recognises, read)
