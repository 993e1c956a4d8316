"""Blender / D-NeRF and nerfstudio: `transforms*.json` with camera-to-world matrices in OpenGL axes.

Source: spec evaluation_and_datasets.md section 3; NeRFCapture's and instant-ngp's entries from their documentation. Frames belong to views by the
split file they are listed in, by an entry that names the camera, or as names and poses tell (`posed_images`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import IMAGE_SUFFIXES, FrameFiles, image_size, load_depth, natural
from fourfold.capture.lens import Lens, fisheye, pinhole
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.readers.posed_images import PosedImage, in_views, seconds, view_sources
from fourfold.capture.readers.stored_pixels import upright
from fourfold.capture.source import CaptureOptions, Reader, Source, from_opengl, intrinsics
from fourfold.errors import FourfoldError
from fourfold.untrusted.files import below, is_file
from fourfold.untrusted.records import Record, load_record, numbers, short, whole_or_none

SPLITS = ("train", "val", "test")
DEPTH_UNIT = 1e-3  # nerfstudio stores depth in millimetres
CAMERA_KEYS = ("camera_id", "camera_label", "camera_index", "camera_name", "cam_id", "cam_idx", "sensor_id", "view_id", "camera")
STAMP_KEYS = ("timestamp", "time_stamp", "capture_time")
COUNT_KEYS = ("time_id", "time_index", "frame_index", "frame_idx", "frame_id", "frame_number", "frame")
DEPTH_KEYS = ("depth_file_path", "depth_path", "depth_map_path")
MASK_KEYS = ("mask_path", "mask_file_path")
NOT_PERSPECTIVE = ("EQUIRECT", "SPHERICAL", "PANORAM", "ORTHO", "OMNIDIRECTIONAL", "CYLIND")


def recognises(path: Path) -> bool:
    """A folder with `transforms.json` or `transforms_train.json`, or such a file itself."""
    if path.suffix == ".json" and path.name.startswith("transforms") and path.is_file():
        return True
    return (path / "transforms.json").is_file() or (path / "transforms_train.json").is_file()


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """Views `train`, `val`, `test` over the union of their times, or one view per camera. The test split is held out."""
    root = paths[0].parent if paths[0].is_file() else paths[0]
    if paths[0].is_file() or not (root / "transforms_train.json").is_file():
        return _single(root, paths[0] if paths[0].is_file() else root / "transforms.json", options)
    listed = {s: frames_of(root / f"transforms_{s}.json") for s in SPLITS if (root / f"transforms_{s}.json").is_file()}
    timed = all(f.time is not None for fs in listed.values() for f in fs)
    facts: dict[str, Any] = {"time": "as given, 0 to 1 taken as seconds"} if timed else _rate(options)
    frames: list[PosedImage] = []
    split_of: dict[str, str] = {}
    for split, own in listed.items():
        found, told = in_views(own, options.fps or DEFAULT_FPS, split)
        several = len({f.view for f in found}) > 1
        found = [replace(f, view=f"{split} {f.view}" if several and not str(f.view).startswith(split) else f.view) for f in found]
        frames, facts = frames + found, facts | told
        split_of |= {str(f.view): split for f in found}
    heldout = "test" if "test" in listed else "val" if "val" in listed else None
    if heldout == "test" and "val" in listed:
        facts["validation"] = "the val split is neither trained on nor held out, as the published figures are of the test split"
    views, times = view_sources(frames, "opacity", partial(load_depth, scale=DEPTH_UNIT))
    flags = [(split_of[v.name] == heldout, heldout == "test" and split_of[v.name] == "val") for v in views]
    views = [replace(v, heldout=np.full(len(times), h), unused=np.full(len(times), u)) for v, (h, u) in zip(views, flags, strict=True)]
    views.sort(key=lambda v: SPLITS.index(split_of[v.name]))
    protocol = f"the {heldout} split" if heldout else None
    return Source("dnerf", root, root.resolve().name, tuple(views), times, "given", False, protocol, facts)


def _rate(options: CaptureOptions) -> dict[str, Any]:
    return {"fps": options.fps or DEFAULT_FPS, "fps_from": "given" if options.fps else "assumed"}


def _single(root: Path, path: Path, options: CaptureOptions) -> Source:
    header = load_record(path)
    frames, told = in_views(frames_of(path), options.fps or DEFAULT_FPS, "camera")
    first = as_first(header)
    unit = header.positive("integer_depth_scale", first.positive("integer_depth_scale", DEPTH_UNIT))
    facts = told | _time_facts(first, options) | ({"depth_unit": f"{unit:g} scene units per step"} if any(f.depth for f in frames) else {})
    alpha: Literal["valid", "opacity"] = "valid" if header.has("fl_x") or first.has("fl_x") else "opacity"
    views, times = view_sources(frames, alpha, partial(load_depth, scale=unit))
    held = {Path(n).as_posix() for n in header.listed("test_filenames") if isinstance(n, str)} if header.value.get("test_filenames") else set()
    for view in views if held else ():
        files = [p for p in view.frames.paths if p is not None] if isinstance(view.frames, FrameFiles) else []
        used = [files[i] for i in view.frame_of_time[view.present]]
        view.heldout[view.present] = [p.is_relative_to(root) and p.relative_to(root).as_posix() in held for p in used]
    return Source("nerfstudio", root, root.resolve().name, views, times, "given", False, "test_filenames" if held else None, facts)


def as_first(header: Record) -> Record:
    """The first entry of `frames`."""
    return next(header.records("frames", "frame"), Record({}, header.where))


def _time_facts(first: Record, options: CaptureOptions) -> dict[str, Any]:
    if first.has("time"):
        return {}
    if key := first.first(*STAMP_KEYS):
        return {"time": f"from {key}"}
    return _rate(options) | ({"time": f"{key} over the frame rate"} if (key := first.first(*COUNT_KEYS)) else {})


def frames_of(path: Path) -> list[PosedImage]:
    """The frames that a file lists and whose images exist, in natural order of their names; times that only count have been left to the caller.

    FourfoldError if the file is broken, gives no focal length, or none of its images exists.
    """
    header = load_record(path)
    found: list[PosedImage] = []
    stamps: list[float | None] = []
    listed = 0
    for record in header.records("frames", "frame"):
        listed += 1
        name = record.text("file_path")
        image = _existing(path.parent, name)
        if image is None:
            continue
        values = Record(header.value | record.value, record.where)
        stamp = record.first("time", *STAMP_KEYS)
        stamps.append(record.number(stamp) if stamp else None)
        view = record.first(*CAMERA_KEYS)
        valid, depth = (_optional(path.parent, record.value.get(record.first(*keys) or "")) for keys in (MASK_KEYS, DEPTH_KEYS))
        K, size = _intrinsics(values, image)
        pose = from_opengl(_pose(record))
        counter = record.first(*COUNT_KEYS)
        count = whole_or_none(record.value[counter]) if counter else None
        posed = PosedImage(image, _plain(name), K, pose, _lens(values), None, count, record.label(view) if view else None, valid, depth)
        found.append(upright(posed, size))
    if not found:
        raise FourfoldError(f"{path} lists {listed} frames and none of their images exists: check file_path")
    found = [replace(f, time=t) for f, t in zip(found, _times(header, stamps), strict=True)]
    return sorted(found, key=lambda f: natural(f.image.as_posix()))


def _times(header: Record, stamps: list[float | None]) -> list[float | None]:
    """`time` as it stands; other stamps from the first on in seconds, whatever their unit."""
    known = [s for s in stamps if s is not None]
    if len(known) != len(stamps) or as_first(header).has("time"):
        return list(stamps) if len(known) == len(stamps) else [None] * len(stamps)
    return list(seconds(known)[0])


def _pose(record: Record) -> NDArray[np.float64]:
    value = record.listed("transform_matrix")
    matrix = record.array("transform_matrix", (4, 4)) if len(value) != 3 else np.eye(4)
    if len(value) == 3:
        matrix[:3] = numbers(value, (3, 4), f"{record.where}: transform_matrix")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise FourfoldError(f"{record.where}: transform_matrix is not a pose (a number is not finite or the rotation is empty): correct it")
    if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        turned = ", as if rows and columns were exchanged" if np.allclose(matrix[:, 3], [0, 0, 0, 1], atol=1e-6) else ""
        raise FourfoldError(f"{record.where}: transform_matrix ends with the row {matrix[3].round(3).tolist()}, not 0 0 0 1{turned}: correct it")
    return matrix


def _intrinsics(values: Record, image: Path) -> tuple[NDArray[np.float64], tuple[float, float] | None]:
    """K, and the size that it is for: `w` and `h`, None where the file does not tell both."""
    size = (values.positive("w"), values.positive("h")) if values.has("w") and values.has("h") else None
    w, h = size or image_size(image)
    if focal := values.first("fl_x", "fl_y"):
        fx = values.number(focal)
        fy = values.number("fl_y", fx)
    elif values.has("camera_angle_x"):
        fx = w / (2 * np.tan(values.positive("camera_angle_x") / 2))
        fy = h / (2 * np.tan(values.positive("camera_angle_y") / 2)) if values.has("camera_angle_y") else fx
    else:
        raise FourfoldError(f"{values.where} has neither fl_x nor camera_angle_x: the focal length is not known")
    return intrinsics(fx, fy, values.number("cx", w / 2), values.number("cy", h / 2)), size


def _lens(values: Record) -> Lens:
    model = str(values.value.get("camera_model", "")).upper()
    if any(word in model for word in NOT_PERSPECTIVE) or values.value.get("is_equirectangular") is True:
        raise FourfoldError(f"{values.where} has the camera model {short(model)}, which sees all around: cut perspective views out of it first")
    k = {name: values.number(name, 0.0) for name in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")}
    if "FISHEYE" in model or values.value.get("is_fisheye") is True:
        return fisheye(k["k1"], k["k2"], k["k3"], k["k4"])
    rational = (k["k4"], k["k5"], k["k6"])
    return pinhole(k["k1"], k["k2"], k["p1"], k["p2"], k["k3"], further=rational if any(rational) else ())


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _existing(root: Path, name: str) -> Path | None:
    """`file_path` as it stands, or with an image suffix appended as Blender leaves it out."""
    path = below(root, name)
    if path.suffix.lower() in IMAGE_SUFFIXES and is_file(path):
        return path
    if not path.name:
        return None
    return next((p for suffix in (".png", ".jpg", ".jpeg", ".webp") if is_file(p := path.with_name(path.name + suffix))), None)


def _optional(root: Path, name: object) -> Path | None:
    return path if isinstance(name, str) and is_file(path := below(root, name)) else None


READER = Reader("nerfstudio", 30, recognises, read)
