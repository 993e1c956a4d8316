"""Calibrated synchronised cameras: `Calib*.toml` (Pose2Sim, OpenCV), `*.qca.txt` (Qualisys) or `intri.yml` + `extri.yml` (EasyVolcap)
with one video or one image folder per camera.

Source: spec evaluation_and_datasets.md section 3 and the data's own notes. OpenCV's calibrations have pixel centres at whole numbers: half a
pixel is added.
"""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.epipolar_clock import fixed_camera
from fourfold.capture.frames import FrameFiles, FrameList, image_files, images_in, mask_files, natural
from fourfold.capture.lens import Lens, fisheye, pinhole
from fourfold.capture.mask_names import MASK_FOLDERS, masks_in, matched_masks
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.readers.video_files import common_times, in_words, start_offsets, video_facts, videos_in
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, intrinsics, scale_intrinsics, world_to_camera_of
from fourfold.capture.video import open_video
from fourfold.errors import FourfoldError

VIDEO_FOLDERS = ("videos", "video", "")
IMAGE_FOLDERS = ("images", "frames", "ims", "")
NO_CAMERA = frozenset({"metadata", "capture_volume", "charuco", "checkerboard"})
QUALISYS_SUBPIXEL = 64.0


@dataclass(frozen=True)
class CalibratedCamera:
    """One camera of a calibration file: K with pixel centres at +0.5 for images of `size` (width, height; None: of the images themselves)."""

    name: str
    size: tuple[int, int] | None
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    lens: Lens


def recognises(path: Path) -> bool:
    """A folder with a calibration file (in it or in `calibration/`) and videos or images per camera."""
    return path.is_dir() and calibration_file(path) is not None and bool(_videos(path) or _image_folders(path))


def calibration_file(root: Path) -> Path | None:
    """The first calibration file in the folder or in `calibration/`, `calib/`."""
    for folder in (root, root / "calibration", root / "calib"):
        if folder.is_dir():
            for pattern in ("Calib*.toml", "*.qca.txt", "intri.yml"):
                if found := sorted(folder.glob(pattern)):
                    return found[0]
    return None


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per camera that has both a calibration and frames."""
    root = paths[0]
    path = calibration_file(root)
    if path is None:
        raise FourfoldError(f"{root} has no calibration file")
    cameras = load_cameras(path)
    if files := _videos(root):
        named = {f.stem: f for f in files}
        chosen = _paired(cameras, list(named), path)
        videos = [open_video(named[name]) for _, name in chosen]
        rig = [
            fixed_camera(scale_intrinsics(c.K, c.size or v.size, v.size), c.world_to_camera, c.lens, v.size)
            for (c, _), v in zip(chosen, videos, strict=True)
        ]
        offsets, known = start_offsets(videos, options, rig=rig)
        timestamps, which = common_times(videos, offsets)
        frames: list[FrameList] = list(videos)
        facts = video_facts(videos)
        if known["offsets_from"] != "assumed to begin together":
            facts |= {"offsets_seconds": offsets, **known, "synchronisation": in_words([name for _, name in chosen], offsets, known)}
    else:
        folders = _image_folders(root)
        chosen = _paired(cameras, list(folders), path)
        frames = [image_files(folders[name]) for _, name in chosen]
        fps = options.fps or DEFAULT_FPS
        times = max(len(f) for f in frames)
        timestamps, number = np.arange(times) / fps, np.arange(times)
        which = [np.where(number < len(f), number, -1).astype(np.int64) for f in frames]
        facts = {"fps": fps, "fps_from": "given" if options.fps else "assumed"}
    views = tuple(_view(camera, f, w, _masks(root, name, f)) for (camera, name), f, w in zip(chosen, frames, which, strict=True))
    facts["calibration"] = path.name
    return Source("calibrated cameras", root, root.resolve().name, views, timestamps, "given", True, None, facts)


def load_cameras(path: Path) -> list[CalibratedCamera]:
    """The cameras of a calibration file, in natural order of their names. FourfoldError if it is broken or empty."""
    try:
        load = _from_qualisys if path.name.endswith(".qca.txt") else _from_opencv_yaml if path.suffix == ".yml" else _from_toml
        cameras = load(path)
    except (ElementTree.ParseError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError, SystemError, cv2.error) as error:
        raise FourfoldError(f"{path} cannot be read as a calibration ({type(error).__name__}: {error}): check or remove it") from error
    if not cameras:
        raise FourfoldError(f"{path} holds no camera: check or remove it")
    return sorted(cameras, key=lambda c: natural(c.name))


def _from_qualisys(path: Path) -> list[CalibratedCamera]:
    """`X_camera = diag(1, -1, -1) R (X - C)`, R row-major r11..r33, C in millimetres, intrinsics in 1/64 pixel."""
    cameras = []
    for node in ElementTree.fromstring(path.read_bytes()).iter("camera"):
        pose, lens, window = _attributes(node, "transform"), _attributes(node, "intrinsic"), _attributes(node, "fov_video")
        rotation = np.diag([1.0, -1.0, -1.0]) @ np.array([[pose[f"r{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)])
        center = np.array([pose["x"], pose["y"], pose["z"]]) / 1000.0
        focal = lens["focalLengthU"] / QUALISYS_SUBPIXEL, lens["focalLengthV"] / QUALISYS_SUBPIXEL
        middle = lens["centerPointU"] / QUALISYS_SUBPIXEL - window["left"], lens["centerPointV"] / QUALISYS_SUBPIXEL - window["top"]
        bend = (lens["radialDistortion1"], lens["radialDistortion2"], lens["tangentalDistortion1"], lens["tangentalDistortion2"])
        size = round(window["right"] - window["left"]) + 1, round(window["bottom"] - window["top"]) + 1
        K, pose44 = intrinsics(*focal, *middle), world_to_camera_of(rotation, -rotation @ center)
        cameras.append(CalibratedCamera(node.attrib["serial"], size, K, pose44, pinhole(*bend)))
    return cameras


def _attributes(node: ElementTree.Element, name: str) -> dict[str, float]:
    child = node.find(name)
    if child is None:
        raise KeyError(name)
    return {key: float(value) for key, value in child.attrib.items()}


def _from_toml(path: Path) -> list[CalibratedCamera]:
    cameras = []
    for key, table in tomllib.loads(path.read_text()).items():
        if key in NO_CAMERA or not isinstance(table, dict) or "matrix" not in table:
            continue
        K = np.array(table["matrix"], dtype=np.float64).reshape(3, 3)
        K[:2, 2] += 0.5
        bend = [float(v) for v in table.get("distortions", ())]
        lens = fisheye(*bend[:4]) if table.get("fisheye") else pinhole(*bend[:5])
        size = round(float(table["size"][0])), round(float(table["size"][1]))
        pose = world_to_camera_of(_rodrigues(table["rotation"]), np.array(table["translation"], dtype=np.float64).reshape(3))
        cameras.append(CalibratedCamera(str(table.get("name", key)), size, K, pose, lens))
    return cameras


def _from_opencv_yaml(path: Path) -> list[CalibratedCamera]:
    inner = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    outer_path = path.with_name("extri.yml")
    if not outer_path.is_file():
        raise FourfoldError(f"{outer_path} is missing: intri.yml needs it")
    outer = cv2.FileStorage(str(outer_path), cv2.FILE_STORAGE_READ)
    listed = inner.getNode("names")
    cameras = []
    for name in (listed.at(i).string() for i in range(listed.size())):
        K = np.array(inner.getNode(f"K_{name}").mat(), dtype=np.float64).reshape(3, 3)
        K[:2, 2] += 0.5
        node = inner.getNode(f"D_{name}").mat()
        bend = [float(v) for v in np.ravel(node)] if node is not None else []
        width, height = inner.getNode(f"W_{name}").real(), inner.getNode(f"H_{name}").real()
        rotation = outer.getNode(f"Rot_{name}").mat()
        matrix = np.array(rotation, dtype=np.float64) if rotation is not None else _rodrigues(outer.getNode(f"R_{name}").mat())
        pose = world_to_camera_of(matrix.reshape(3, 3), np.ravel(outer.getNode(f"T_{name}").mat()).astype(np.float64))
        size = (round(width), round(height)) if width and height else None
        cameras.append(CalibratedCamera(name, size, K, pose, pinhole(*bend[:5])))
    return cameras


def _rodrigues(vector: object) -> NDArray[np.float64]:
    return np.asarray(cv2.Rodrigues(np.array(vector, dtype=np.float64).reshape(3))[0], dtype=np.float64)


def _paired(cameras: Sequence[CalibratedCamera], names: list[str], path: Path) -> list[tuple[CalibratedCamera, str]]:
    """Cameras with the name of their frames: by equal name, else by one name within the other, else by order if there are as many."""
    pairs = [(c, next((n for n in names if n == c.name), None)) for c in cameras]
    if not any(name for _, name in pairs):
        pairs = [(c, next((n for n in names if c.name in n or n in c.name), None)) for c in cameras]
    matched = [(c, name) for c, name in pairs if name is not None]
    if len({name for _, name in matched}) == len(matched) > 0:
        return matched
    if len(names) != len(cameras):
        raise FourfoldError(f"{path} names cameras {', '.join(c.name for c in cameras)}, the frames are named {', '.join(names)}: name them alike")
    return list(zip(cameras, sorted(names, key=natural), strict=True))


def _view(camera: CalibratedCamera, frames: FrameList, which: NDArray[np.int64], masks: FrameList | None) -> ViewSource:
    K = np.repeat(scale_intrinsics(camera.K, camera.size or frames.size, frames.size)[None], len(which), 0)
    return ViewSource(camera.name, frames, which, K, np.repeat(camera.world_to_camera[None], len(which), 0), lenses=(camera.lens,), masks=masks)


def _masks(root: Path, name: str, frames: FrameList) -> FrameList | None:
    """Object masks of one camera's frames, paired by name for image files and by order for videos."""
    found = next((masks for folder in MASK_FOLDERS if (masks := masks_in(root / folder / name))), [])
    images = frames.paths if isinstance(frames, FrameFiles) else ()
    if images and found:
        return matched_masks([p for p in images if p], found, frames.size)
    return mask_files(found, frames.size) if len(found) == len(frames) > 0 else None


def _videos(root: Path) -> list[Path]:
    return next((found for name in VIDEO_FOLDERS if (found := videos_in(root / name))), [])


def _image_folders(root: Path) -> dict[str, list[Path]]:
    for name in IMAGE_FOLDERS:
        folder = root / name
        found = {p.name: images for p in sorted(folder.iterdir()) if p.is_dir() and (images := images_in(p))} if folder.is_dir() else {}
        if found:
            return found
    return {}


READER = Reader("calibrated cameras", 20, recognises, read)
