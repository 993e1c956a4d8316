"""What scanning apps of phones leave as images with a camera each: Record3D, Polycam and 3D Scanner App.

Source: the apps' own descriptions of their exports. All count in metres and give poses camera to world in ARKit's axes, which are OpenGL's
(x right, y up, z backward). Record3D: `metadata.json` with `poses` (qx, qy, qz, qw, x, y, z) and `K` column by column. Polycam:
`keyframes/corrected_cameras/STAMP.json` with `t_00` .. `t_23`. 3D Scanner App: `frame_NNNNN.json` with `cameraPoseARFrame` row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.frames import depth_map, image_size, images_in, load_depth
from fourfold.capture.lens import STRAIGHT
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.readers.posed_images import DepthLoader, PosedImage, seconds, view_sources
from fourfold.capture.source import CaptureOptions, Reader, Source, from_opengl, intrinsics, noted, scale_intrinsics
from fourfold.errors import FourfoldError
from fourfold.untrusted.exr import reads_exr
from fourfold.untrusted.files import is_file
from fourfold.untrusted.lzfse import load_lzfse, reads_lzfse
from fourfold.untrusted.records import Record, load_record, numbers

SHAPE = 0.02  # relative difference of side ratios up to which depth and images are of one picture
CLOCK_DIGITS = 9  # a name of as many digits is a time
DEPTH_SUFFIXES = (".png", ".npy", ".tif", ".tiff", ".exr", ".depth")
LARGEST_DEPTH = 1 << 24  # bytes of one depth map of a phone, unpacked; the largest has 960x720 numbers of four bytes


@dataclass(frozen=True)
class _Scan:
    """What was found: the app, its images, what is to be said, and what reads its depth."""

    app: str
    images: list[PosedImage]
    words: tuple[str, ...] = ()
    load: DepthLoader = partial(load_depth, scale=None)


def recognises(path: Path) -> bool:
    """A folder of one of the apps."""
    return path.is_dir() and _app(path) is not None


def _app(root: Path) -> Callable[[Path, CaptureOptions], _Scan] | None:
    if (recording := _recording(root)) is not None:
        return _record3d if '"poses"' in recording[0].read_text(errors="replace")[:10_000_000] else None
    if _polycam_folders(root) is not None:
        return _polycam
    return _scanner if is_file(root / "info.json") and any(root.glob("frame_*.json")) else None


def _recording(root: Path) -> tuple[Path, Path, Path] | None:
    """Record3D's metadata, its folder of images and that of depth: of an export (EXR + JPG), or of an unpacked `.r3d`."""
    for meta, images, depth in (("metadata.json", "rgb", "depth"), ("metadata", "rgbd", "rgbd")):
        if is_file(root / meta) and images_in(root / images):
            return root / meta, root / images, root / depth
    return None


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One moving view in metres."""
    root, app = paths[0], _app(paths[0])
    if app is None:
        raise FourfoldError(f"{root} holds no scan of a known app")
    scan = app(root, options)
    if not scan.images:
        raise FourfoldError(f"{root} holds none of the images that its {scan.app} files name: export it again")
    views, times = view_sources(scan.images, "valid", scan.load)
    source = Source(scan.app.lower().replace(" ", "-"), root, root.resolve().name, views, times, "given", True)
    return noted(source, f"poses of {scan.app}, in metres", *scan.words)


def _record3d(root: Path, options: CaptureOptions) -> _Scan:
    recording = _recording(root)
    if recording is None:
        raise FourfoldError(f"{root} holds no recording of Record3D")
    meta, images = load_record(recording[0]), images_in(recording[1])
    poses = meta.listed("poses")
    if len(poses) != len(images):
        raise FourfoldError(f"{meta.where} lists {len(poses)} poses for {len(images)} images in {recording[1]}: export the recording again")
    stated = (meta.positive("w"), meta.positive("h"))
    each = meta.listed("perFrameIntrinsicCoeffs") if meta.value.get("perFrameIntrinsicCoeffs") else []
    K = numbers(meta.listed("K"), (9,), f"{meta.where}: K").reshape(3, 3).T if meta.has("K") else None
    fps = options.fps or meta.positive("fps", DEFAULT_FPS)
    stamps = meta.listed("frameTimestamps") if meta.value.get("frameTimestamps") and options.fps is None else []
    times = [i / fps for i in range(len(images))]
    if stamps:
        times = seconds(numbers(stamps, (len(images),), f"{meta.where}: frameTimestamps").tolist())[0]
    found: list[PosedImage] = []
    depths, words = _depths(recording[2], images)
    for i, image in enumerate(images):
        where = f"{meta.where}: pose {i}"
        to_world = np.eye(4)
        pose = numbers(poses[i], (7,), where)
        to_world[:3, :3], to_world[:3, 3] = _turn(pose[:4], where), pose[4:]
        fx, fy, cx, cy = numbers(each[i], (4,), f"{where}: intrinsics") if len(each) == len(images) else _four(K, meta)
        own = scale_intrinsics(intrinsics(fx, fy, cx, cy), stated, image_size(image))
        found.append(PosedImage(image, image.name, own, from_opengl(to_world), STRAIGHT, times[i], None, "camera", depth=depths[i]))
    rate = "times as recorded" if stamps else f"{fps:g} frames per second" + (" as recorded" if meta.has("fps") and options.fps is None else "")
    return _Scan("Record3D", found, (rate, *words), partial(_load_depth, side=stated[0] / stated[1]))


def _load_depth(path: Path, side: float) -> NDArray[np.float32]:
    """A depth file of Record3D; those of its own format hold numbers of four bytes in metres, as wide over high (`side`) as the images."""
    if path.suffix != ".depth":
        return load_depth(path, None)
    data = load_lzfse(path, LARGEST_DEPTH)
    count = len(data) // 4
    height = max(1, round((count / side) ** 0.5))
    width = count // height
    if 4 * width * height != len(data) or abs(width / height / side - 1) > SHAPE:
        raise FourfoldError(f"{path} holds {count} numbers, which make no picture of the images' shape: export the recording again")
    return depth_map(np.frombuffer(data, "<f4").reshape(height, width), 1.0, path)


def _four(K: Any, meta: Record) -> tuple[float, float, float, float]:
    if K is None:
        raise FourfoldError(f"{meta.where} has no entry 'K': export the recording again")
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


def _turn(quat_xyzw: Any, where: str) -> Any:
    length = float(np.linalg.norm(quat_xyzw))
    if not 0.5 < length < 2.0:
        raise FourfoldError(f"{where} holds no rotation: export the recording again")
    return Rotation.from_quat(np.asarray(quat_xyzw) / length).as_matrix()


def _depths(folder: Path, images: Sequence[Path]) -> tuple[list[Path | None], tuple[str, ...]]:
    """The depth file of each image by its name, and what to say of files that are not read."""
    found = [next((p for s in DEPTH_SUFFIXES if is_file(p := folder / f"{i.stem}{s}")), None) for i in images]
    missing = {".exr": not reads_exr(), ".depth": not reads_lzfse()}
    unread = {p.suffix for p in found if p is not None and missing.get(p.suffix, False)}
    get = "pip install 'fourfold[record3d]', or convert it to 16-bit PNG in millimetres"
    words = (f"found depth as {', '.join(sorted(unread))}, not read: {get}",) if unread else ()
    return [None if p is None or p.suffix in unread else p for p in found], words


def _polycam_folders(root: Path) -> tuple[Path, Path] | None:
    """Folders of images and of cameras, corrected ones if there are any."""
    for top in (root / "keyframes", root):
        for kind in ("corrected_", ""):
            images, cameras = top / f"{kind}images", top / f"{kind}cameras"
            if cameras.is_dir() and images_in(images) and any(cameras.glob("*.json")):
                return images, cameras
    return None


def _polycam(root: Path, options: CaptureOptions) -> _Scan:
    folders = _polycam_folders(root)
    if folders is None:
        raise FourfoldError(f"{root} holds no keyframes of Polycam")
    images = [i for i in images_in(folders[0]) if is_file(folders[1] / f"{i.stem}.json")]
    depths, words = _depths(folders[0].parent / "depth", images)
    found: list[PosedImage] = []
    stamps: list[float] = []
    for image, depth in zip(images, depths, strict=True):
        camera = load_record(folders[1] / f"{image.stem}.json")
        to_world = np.eye(4)
        to_world[:3] = [[camera.number(f"t_{i}{j}") for j in range(4)] for i in range(3)]
        K = intrinsics(camera.positive("fx"), camera.positive("fy"), camera.number("cx"), camera.number("cy"))
        own = scale_intrinsics(K, (camera.positive("width"), camera.positive("height")), image_size(image))
        found.append(PosedImage(image, image.name, own, _posed(to_world, camera.where), STRAIGHT, None, None, "camera", depth=depth))
        clock = float(image.stem) if image.stem.isdigit() and len(image.stem) >= CLOCK_DIGITS else len(stamps) / DEFAULT_FPS
        stamps.append(camera.number("timestamp", clock))
    return _Scan("Polycam", _timed(found, stamps, options), words)


def _scanner(root: Path, options: CaptureOptions) -> _Scan:
    found: list[PosedImage] = []
    stamps: list[float] = []
    for image in images_in(root):
        if not is_file(image.with_suffix(".json")) or not image.stem.startswith("frame"):
            continue
        camera = load_record(image.with_suffix(".json"))
        to_world = camera.array("cameraPoseARFrame", (16,)).reshape(4, 4)
        K = camera.array("intrinsics", (9,)).reshape(3, 3)
        depth = next((p for p in (root / f"depth_{image.stem[6:]}.png",) if is_file(p)), None)
        own = intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        found.append(PosedImage(image, image.name, own, _posed(to_world, camera.where), STRAIGHT, None, None, "camera", depth=depth))
        stamps.append(camera.number("time", len(stamps) / DEFAULT_FPS))
    return _Scan("3D Scanner App", _timed(found, stamps, options))


def _posed(to_world: Any, where: str) -> Any:
    if not np.isfinite(to_world).all() or abs(np.linalg.det(to_world[:3, :3])) < 1e-6:
        raise FourfoldError(f"{where} holds no pose: export the scan again")
    return from_opengl(to_world)


def _timed(images: list[PosedImage], stamps: list[float], options: CaptureOptions) -> list[PosedImage]:
    """The images with times of their stamps, in whatever unit, or at the rate that was given."""
    if not images:
        return images
    times = seconds(stamps)[0] if options.fps is None else [i / options.fps for i in range(len(images))]
    return [replace(f, time=t) for f, t in zip(images, times, strict=True)]


READER = Reader("record3d, polycam, 3d-scanner-app", 25, recognises, read)
