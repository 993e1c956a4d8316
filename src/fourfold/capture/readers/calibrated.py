"""Calibrated synchronised cameras: a calibration file of a known format (`capture/calibrations`) with one video or one folder of images per camera.

OpenCV's calibrations have pixel centres at whole numbers: half a pixel is added where they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.calibrations import calibration_files, load_calibration
from fourfold.capture.calibrations.camera import CalibratedCamera, CalibrationFormat
from fourfold.capture.epipolar_clock import fixed_camera
from fourfold.capture.film import FolderFilm
from fourfold.capture.frames import FrameFiles, FrameList, image_files, images_in, mask_files, natural
from fourfold.capture.mask_names import MASK_FOLDERS, masks_in, matched_masks
from fourfold.capture.pairing import paired
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.readers.video_files import common_moments, common_times, in_words, start_offsets, video_facts, videos_below
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, noted, scale_intrinsics
from fourfold.capture.video import VideoFile, open_video
from fourfold.errors import FourfoldError
from fourfold.notices import fallback

IMAGE_FOLDERS = ("images", "frames", "ims", "")


def recognises(path: Path) -> bool:
    """A folder with a calibration file (in it or in `calibration/`) and videos or images per camera."""
    names = list(videos_below(path) or _image_folders(path)) if path.is_dir() else []
    found = calibration_files(path) if names else None
    return found is not None and (found[0].sure or _goes_with(*found, names))


def _goes_with(form: CalibrationFormat, files: list[Path], names: list[str]) -> bool:
    """Whether the cameras of files that are known by their content alone are those of the frames."""
    try:
        return paired([c.name for c in load_calibration(form, files).cameras], names) is not None
    except FourfoldError:
        return False


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per camera that has both a calibration and frames."""
    root = paths[0]
    found = calibration_files(root)
    if found is None:
        raise FourfoldError(f"{root} has no calibration file")
    form, files = found
    calibration = load_calibration(form, files)
    videos_of, folders = videos_below(root), _image_folders(root)
    names = list(videos_of or folders)
    pairs = paired([c.name for c in calibration.cameras], names)
    if not pairs:
        theirs = ", ".join(c.name for c in calibration.cameras)
        raise FourfoldError(f"{files[0]} names cameras {theirs}, the frames are named {', '.join(names)}: name them alike")
    if left := [n for i, n in enumerate(names) if i not in {f for _, f in pairs}]:
        fallback(f"{', '.join(left)} of {root} has no camera in {files[0].name}: what it filmed is left out")
    chosen = [(calibration.cameras[c], names[f]) for c, f in pairs]
    if videos_of:
        videos = [open_video(videos_of[name]) for _, name in chosen]
        offsets, facts = _clocks(videos, chosen, calibration.posed, options)
        timestamps, which = common_times(videos, offsets)
        frames: list[FrameList] = list(videos)
        facts = video_facts(videos) | facts
    else:
        fps = options.fps or DEFAULT_FPS
        images = [image_files(folders[name]) for _, name in chosen]
        films = [FolderFilm(folders[name][0].parent, f, fps) for (_, name), f in zip(chosen, images, strict=True)]
        offsets, facts = _clocks(films, chosen, calibration.posed, options)
        timestamps, which = _moments(films, offsets)
        frames = list(images)
        facts = {"fps": fps, "fps_from": "given" if options.fps else "assumed"} | facts
    views = tuple(_view(camera, f, w, _masks(root, name, f)) for (camera, name), f, w in zip(chosen, frames, which, strict=True))
    facts["calibration"] = ", ".join(f.name for f in files)
    cameras = "given" if calibration.posed else "unknown"
    source = Source(form.layout, root, root.resolve().name, views, timestamps, cameras, calibration.metric, None, facts)
    return noted(source, calibration.words)


def _clocks(
    films: Sequence[VideoFile | FolderFilm], chosen: Sequence[tuple[CalibratedCamera, str]], posed: bool, options: CaptureOptions
) -> tuple[list[float], dict[str, object]]:
    """When each film began after the first one, seconds, and what is told of it: nothing where all are taken to have begun together."""
    rig = [
        fixed_camera(scale_intrinsics(c.K, c.size or size, size), c.world_to_camera, c.lens, size)
        for (c, _), size in zip(chosen, [f.frames.size if isinstance(f, FolderFilm) else f.size for f in films], strict=True)
        if c.world_to_camera is not None
    ]
    offsets, known = start_offsets(films, options, free_running=not posed, rig=rig if posed else ())
    if known["offsets_from"] == "assumed to begin together":
        return offsets, {}
    return offsets, {"offsets_seconds": offsets, **known, "synchronisation": in_words([name for _, name in chosen], offsets, known)}


def _moments(films: Sequence[FolderFilm], offsets: Sequence[float]) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """The common moments of folders of images: those of the longest where all began together, others having no image at the end."""
    if any(offsets):
        return common_moments([f.times + o for f, o in zip(films, offsets, strict=True)], films[0].path)
    number = np.arange(max(len(f) for f in films))
    return number / films[0].fps, [np.where(number < len(f), number, -1).astype(np.int64) for f in films]


def _view(camera: CalibratedCamera, frames: FrameList, which: NDArray[np.int64], masks: FrameList | None) -> ViewSource:
    K = scale_intrinsics(camera.K, camera.size or frames.size, frames.size)
    pose = np.full((4, 4), np.nan) if camera.world_to_camera is None else camera.world_to_camera
    moments = len(which)
    return ViewSource(
        camera.name,
        frames,
        which,
        np.repeat(K[None], moments, 0),
        np.repeat(pose[None], moments, 0),
        lenses=(camera.lens,),
        masks=masks,
        focal_hint=float(K[0, 0]),
    )


def _masks(root: Path, name: str, frames: FrameList) -> FrameList | None:
    """Object masks of one camera's frames, paired by name for image files and by order for videos."""
    found = next((masks for folder in MASK_FOLDERS if (masks := masks_in(root / folder / name))), [])
    images = frames.paths if isinstance(frames, FrameFiles) else ()
    if images and found:
        return matched_masks([p for p in images if p], found, frames.size)
    return mask_files(found, frames.size) if len(found) == len(frames) > 0 else None


def _image_folders(root: Path) -> dict[str, list[Path]]:
    for name in IMAGE_FOLDERS:
        folder = root / name
        inside = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: natural(p.name)) if folder.is_dir() else []
        found = {p.name: images for p in inside if (images := images_in(p))}
        if found:
            return found
    return {}


READER = Reader("calibrated", 20, recognises, read)
