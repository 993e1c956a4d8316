"""Blender / D-NeRF and nerfstudio: `transforms*.json` with camera-to-world matrices in OpenGL axes.

Source: spec evaluation_and_datasets.md section 3. Frames belong to views by `camera_id`, or by the split file they are listed in; a single list
whose frames carry no time is taken as a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import IMAGE_SUFFIXES, depth_files, image_files, image_size, natural, valid_mask_files
from fourfold.capture.lens import Lens, fisheye, pinhole
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.readers.json_file import entry, load, numbers
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, from_opengl, intrinsics, scale_intrinsics, unknown_cameras
from fourfold.errors import FourfoldError

SPLITS = ("train", "val", "test")
DEPTH_UNIT = 1e-3  # nerfstudio stores depth in millimetres
SAME_TIME = 1e-6  # times of different files that differ by less are one moment


@dataclass(frozen=True)
class Frame:
    """One entry of a `frames` list; `time` is None if it has none."""

    image: Path
    time: float | None
    view: str
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    lens: Lens
    mask: Path | None
    depth: Path | None


def recognises(path: Path) -> bool:
    """A folder with `transforms.json` or `transforms_train.json`, or such a file itself."""
    if path.suffix == ".json" and path.name.startswith("transforms") and path.is_file():
        return True
    return (path / "transforms.json").is_file() or (path / "transforms_train.json").is_file()


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """Views `train`, `val`, `test` over the union of their times, or one view per `camera_id`. The test split is held out."""
    root = paths[0].parent if paths[0].is_file() else paths[0]
    if paths[0].is_file() or not (root / "transforms_train.json").is_file():
        return _single(root, paths[0] if paths[0].is_file() else root / "transforms.json", options)
    listed = {s: frames_of(root / f"transforms_{s}.json", s) for s in SPLITS if (root / f"transforms_{s}.json").is_file()}
    fps = options.fps or DEFAULT_FPS
    frames = [f for s in listed for f in _with_times(listed[s], fps)]
    heldout = "test" if "test" in listed else "val" if "val" in listed else None
    timed = all(f.time is not None for fs in listed.values() for f in fs)
    facts = {"time": "as given, 0 to 1 taken as seconds"} if timed else {"fps": fps, "fps_from": "given" if options.fps else "assumed"}
    if heldout == "test" and "val" in listed:
        facts["validation"] = "the val split is neither trained on nor held out, as the published figures are of the test split"
    return _source(root, frames, heldout, f"the {heldout} split" if heldout else None, facts, "opacity")


def _single(root: Path, path: Path, options: CaptureOptions) -> Source:
    frames = frames_of(path, "camera")
    timed = all(f.time is not None for f in frames)
    fps = options.fps or DEFAULT_FPS
    facts: dict[str, object] = {} if timed else {"fps": fps, "fps_from": "given" if options.fps else "assumed"}
    header = load(path)
    names = header.get("test_filenames") or []
    held = {Path(n).as_posix() for n in names}
    source = _source(root, _with_times(_told_apart(frames), fps), None, None, facts, "valid" if "fl_x" in header else "opacity")
    if not held:
        return source
    for view in source.views:
        used = [view.frames.paths[i] for i in view.frame_of_time[view.present]]  # type: ignore[attr-defined]
        view.heldout[view.present] = [p.relative_to(root).as_posix() in held for p in used]
    return Source(source.layout, root, source.name, source.views, source.timestamps, "given", False, "test_filenames", source.facts)


def frames_of(path: Path, view: str) -> list[Frame]:
    """The frames that a file lists and whose images exist, in natural order of their names.

    FourfoldError if the file is broken, gives no focal length, or none of its images exists.
    """
    header = load(path)
    listed = entry(header, "frames", path)
    found = []
    for number, record in enumerate(listed):
        where = f"{path}: frame {number}"
        image = _existing(path.parent, str(entry(record, "file_path", where)))
        if image is None:
            continue
        pose = from_opengl(_pose(record, where))
        values = header | record
        lens_model: Literal["fisheye", "pinhole"] = "fisheye" if "FISHEYE" in str(values.get("camera_model", "")) else "pinhole"
        time = float(record["time"]) if record.get("time") is not None else None
        name = str(record.get("camera_id", record.get("camera_label", view)))
        mask, depth = (_optional(path.parent, record.get(key)) for key in ("mask_path", "depth_file_path"))
        found.append(Frame(image, time, name, _intrinsics(values, image, where), pose, _lens(values, lens_model), mask, depth))
    if not found:
        raise FourfoldError(f"{path} lists {len(listed)} frames and none of their images exists: check file_path")
    return sorted(found, key=lambda f: natural(f.image.as_posix()))


def _pose(record: dict[str, Any], where: str) -> NDArray[np.float64]:
    matrix = np.asarray(entry(record, "transform_matrix", where), dtype=np.float64)
    matrix = np.vstack([matrix, [0, 0, 0, 1]]) if matrix.shape == (3, 4) else numbers(matrix, (4, 4), f"{where}: transform_matrix")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise FourfoldError(f"{where}: transform_matrix is not a pose (a number is not finite or the rotation is empty): correct it")
    return matrix


def _intrinsics(values: dict[str, Any], image: Path, where: str) -> NDArray[np.float64]:
    """K for the image as it is on disk. A file of another size than `w`, `h` says scales it."""
    width, height = image_size(image)
    w, h = float(values.get("w", width)), float(values.get("h", height))
    if "fl_x" in values or "fl_y" in values:
        fx = float(values.get("fl_x", values.get("fl_y", 0)))
        fy = float(values.get("fl_y", fx))
    elif "camera_angle_x" in values:
        fx = w / (2 * np.tan(float(values["camera_angle_x"]) / 2))
        fy = h / (2 * np.tan(float(values["camera_angle_y"]) / 2)) if "camera_angle_y" in values else fx
    else:
        raise FourfoldError(f"{where} has neither fl_x nor camera_angle_x: the focal length is not known")
    K = intrinsics(fx, fy, float(values.get("cx", w / 2)), float(values.get("cy", h / 2)))
    return scale_intrinsics(K, (w, h), (width, height))


def _lens(values: dict[str, Any], model: Literal["fisheye", "pinhole"]) -> Lens:
    k = {name: float(values.get(name, 0.0)) for name in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")}
    if model == "fisheye":
        return fisheye(k["k1"], k["k2"], k["k3"], k["k4"])
    rational = (k["k4"], k["k5"], k["k6"])
    return pinhole(k["k1"], k["k2"], k["p1"], k["p2"], k["k3"], rational=rational if any(rational) else ())


def _existing(root: Path, name: str) -> Path | None:
    """`file_path` as it stands, or with an image suffix appended as Blender leaves it out."""
    path = root / name
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return path
    return next((p for suffix in (".png", ".jpg", ".jpeg", ".webp") if (p := path.with_name(path.name + suffix)).is_file()), None)


def _optional(root: Path, name: object) -> Path | None:
    return path if isinstance(name, str) and (path := root / name).is_file() else None


def _told_apart(frames: list[Frame]) -> list[Frame]:
    """Frames of one view that share a time come from different cameras: by order within the time, they become views."""
    seen: dict[tuple[str, float], int] = {}
    apart = []
    for frame in frames:
        if frame.time is None:
            apart.append(frame)
            continue
        count = seen.get((frame.view, frame.time), 0)
        seen[frame.view, frame.time] = count + 1
        apart.append(replace(frame, view=frame.view if count == 0 else f"{frame.view} {count + 1}"))
    return apart


def _with_times(frames: list[Frame], fps: float) -> list[Frame]:
    """Frames with their times, or with their number within their view over `fps` where any of them has none."""
    if all(f.time is not None for f in frames):
        return frames
    count: dict[str, int] = {}
    timed = []
    for frame in frames:
        number = count.get(frame.view, 0)
        count[frame.view] = number + 1
        timed.append(replace(frame, time=number / fps))
    return timed


def _source(
    root: Path, frames: list[Frame], heldout: str | None, protocol: str | None, facts: dict[str, Any], alpha: Literal["opacity", "valid"]
) -> Source:
    every = np.sort(np.array([f.time for f in frames], dtype=np.float64))
    times = every[np.concatenate([[True], np.diff(every) > SAME_TIME])]
    names = sorted({f.view for f in frames}, key=lambda n: (SPLITS.index(n) if n in SPLITS else 0, natural(n)))
    views = []
    for name in names:
        own = sorted((f for f in frames if f.view == name), key=lambda f: f.time or 0.0)
        view = _view(name, own, times, alpha, name == heldout)
        views.append(replace(view, unused=np.full(len(times), heldout == "test" and name == "val")))
    return Source("transforms", root, root.resolve().name, tuple(views), times, "given", False, protocol, facts)


def _view(name: str, own: list[Frame], times: NDArray[np.float64], alpha: Literal["opacity", "valid"], heldout: bool) -> ViewSource:
    images = image_files([f.image for f in own])
    which = np.full(len(times), -1, np.int64)
    K, poses = unknown_cameras(len(times))
    lenses = [own[0].lens] * len(times)
    for number, frame in enumerate(own):
        moment = int(np.abs(times - (frame.time or 0.0)).argmin())
        which[moment], K[moment], poses[moment], lenses[moment] = number, frame.K, frame.world_to_camera, frame.lens
    masks, depths = [f.mask for f in own], [f.depth for f in own]
    return ViewSource(
        name,
        images,
        which,
        K,
        poses,
        lenses=tuple(lenses) if len(set(lenses)) > 1 else (lenses[0],),
        heldout=np.full(len(times), heldout),
        alpha=alpha,
        valid=valid_mask_files(masks, images.size) if any(masks) else None,
        depth=depth_files(depths, images.size, DEPTH_UNIT) if any(depths) else None,
    )


READER = Reader("transforms", 30, recognises, read)
