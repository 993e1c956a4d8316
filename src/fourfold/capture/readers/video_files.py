"""One video, several videos of one moment, or a folder of videos: a view each, joined by nearest timestamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.epipolar_clock import FixedCamera
from fourfold.capture.film import Film
from fourfold.capture.film_roles import Roles, mask_film, mask_folder, roles_of
from fourfold.capture.frames import FrameList, images_in, natural
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, noted, unknown_cameras
from fourfold.capture.video import VideoFile, is_video, open_video
from fourfold.errors import FourfoldError

VIDEO_FOLDERS = ("", "videos", "video", "Videos", "Video", "recordings", "recording", "videos-raw", "clips", "footage", "media", "raw")
CLOCKS_APART = 5.0  # seconds by which clocks of cameras that film together may differ


def recognises(path: Path) -> bool:
    """A video file, or a folder with video files and no images beside them; a single image is a cover or a live photo's still picture."""
    return is_video(path) or (bool(videos_in(path)) and len(images_in(path)) < 2)


def videos_below(root: Path) -> dict[str, Path]:
    """The videos of cameras in a folder by name: in it, in `videos/` and its like, one in each of its folders, or in the only folder that has any."""
    return roles_below(root).cameras


def roles_below(root: Path) -> Roles:
    """The same with the masks of some of them, and what is to be said of the other videos there."""
    for name in VIDEO_FOLDERS:
        if found := videos_in(root / name):
            return roles_of(dict(zip(view_names(found), found, strict=True)))
    inside = sorted((p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")), key=lambda p: natural(p.name)) if root.is_dir() else []
    holding = {p.name: videos for p in inside if (videos := videos_in(p))}
    if len(holding) == 1:
        found = next(iter(holding.values()))
        return roles_of(dict(zip(view_names(found), found, strict=True)))
    return Roles({name: videos[0] for name, videos in holding.items()} if all(len(v) == 1 for v in holding.values()) else {}, {})


def videos_in(folder: Path) -> list[Path]:
    """The video files directly inside `folder`, in natural order; empty if there is no such folder."""
    return sorted((p for p in folder.iterdir() if is_video(p)), key=lambda p: natural(p.name)) if folder.is_dir() else []


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per video of a camera, with the masks that lie beside it. Cameras are unknown."""
    below = [roles_below(path) if path.is_dir() else None for path in paths]
    given = view_names([p for p in paths if not p.is_dir()])
    roles = [roles_of(dict(zip(given, (p for p in paths if not p.is_dir()), strict=True))), *(r for r in below if r is not None)]
    named = [item for r in roles for item in r.cameras.items()]
    files = [file for _, file in named]
    videos = [open_video(file) for file in files]
    offsets, known = start_offsets(videos, options, free_running=True)
    timestamps, chosen = common_times(videos, offsets)
    names = [name for name, _ in named]
    names = names if len(set(names)) == len(names) else view_names(files)
    masks, said = _mask_films(roles, videos)
    for root, video in ((path, video) for path in paths[:1] if path.is_dir() for video in videos):
        own, words = mask_folder(root, video.path.stem, video, len(videos) == 1)
        said += [words] if words and video.path not in masks else []
        if own is not None:
            masks.setdefault(video.path, own)
    said += _clocks(videos)
    views = tuple(
        ViewSource(name, video, frames, *unknown_cameras(len(timestamps)), masks=masks.get(video.path))
        for name, video, frames in zip(names, videos, chosen, strict=True)
    )
    facts = video_facts(videos)
    if len(videos) > 1:
        facts |= {"offsets_seconds": offsets, **known, "files": [f.name for f in files]}
        facts["synchronisation"] = in_words([f.name for f in files], offsets, known)
        facts["largest_time_difference_seconds"] = round(time_difference(videos, offsets, chosen), 5)
    first = Path(paths[0])
    name = first.stem if len(videos) == 1 else (first if first.is_dir() else first.parent).resolve().name
    return noted(Source("video" if len(videos) == 1 else "videos", first, name, views, timestamps, facts=facts), *said)


def _mask_films(roles: Sequence[Roles], videos: Sequence[VideoFile]) -> tuple[dict[Path, FrameList], list[str]]:
    """The films of masks by the film that they belong to, and what is to be said of all that are no cameras."""
    found: dict[Path, FrameList] = {}
    said = [words for r in roles for words in r.words]
    for r in roles:
        for name, path in r.masks.items():
            masks, words = mask_film(path, next(v for v in videos if v.path == r.cameras[name]))
            said.append(words)
            if masks is not None:
                found[r.cameras[name]] = masks
    return found, said


def _clocks(videos: Sequence[VideoFile]) -> list[str]:
    """What to say of films that, by the clocks of their cameras, were made one after the other."""
    begun = [video.made for video in videos]
    known = [(b, video) for b, video in zip(begun, videos, strict=True) if b is not None]
    if len(known) < 2 or len(known) < len(videos):
        return []
    (first, before), (second, after) = sorted(known, key=lambda pair: pair[0])[:2]
    gap = second - first - float(before.times[-1])
    if gap < CLOCKS_APART:
        return []
    return [f"by their clocks {after.path.name} begins {gap:.0f} s after {before.path.name} ends: give one film if they are not of one moment"]


def start_offsets(
    videos: Sequence[Film], options: CaptureOptions, free_running: bool = False, rig: Sequence[FixedCamera] = ()
) -> tuple[list[float], dict[str, object]]:
    """Seconds by which each video began after the first one, and how that is known: with what confidence (0..1) and standard deviation
    (seconds), and the best rival offset (None where there is none).

    With "auto" only cameras that may be free-running are compared, or those of a calibrated `rig` of standing cameras, which mostly began
    together. FourfoldError if offsets were given, but not one per video.
    """
    if options.offsets:
        if len(options.offsets) != len(videos):
            raise FourfoldError(f"got {len(options.offsets)} time offsets for {len(videos)} videos: give one per video, in seconds")
        return [float(o) for o in options.offsets], {"offsets_from": "given"}
    if len(videos) > 1 and options.synchronise != "none" and (free_running or rig or options.synchronise != "auto"):
        from fourfold.capture.synchronise import find_offsets

        found, how = find_offsets(videos, options.synchronise, rig)
        facts: dict[str, object] = {"offsets_from": how, "offsets_confidence": [round(o.confidence, 3) for o in found]}
        if any(np.isfinite(o.error) for o in found[1:]):
            facts["offsets_error"] = [round(o.error, 5) if np.isfinite(o.error) else None for o in found]
            facts["offsets_rival"] = [round(o.rival, 3) if np.isfinite(o.rival) else None for o in found]
        return [o.seconds for o in found], facts
    return [0.0] * len(videos), {"offsets_from": "assumed to begin together"}


def in_words(names: Sequence[str], offsets: Sequence[float], known: Mapping[str, object]) -> str:
    """The offsets of all videos but the first, how they are known and how surely, for the report."""
    nothing: list[float | None] = [None] * len(names)
    sure, errors = (found if isinstance(found := known.get(key), list) else nothing for key in ("offsets_confidence", "offsets_error"))
    rows = list(zip(names, offsets, sure, errors, strict=True))[1:]
    return f"{known['offsets_from']}: " + ", ".join(
        f"{name} {offset:+.3f}{'' if error is None else f' +- {error:.3f}'} s{'' if c is None else f' (confidence {c:.2f})'}"
        for name, offset, c, error in rows
    )


def time_difference(videos: Sequence[VideoFile], offsets: Sequence[float], chosen: Sequence[NDArray[np.int64]]) -> float:
    """Largest difference in time between frames of different videos that are taken for one moment, seconds."""
    clocks = np.stack([video.times[frames] + offset for video, frames, offset in zip(videos, chosen, offsets, strict=True)])
    return float(np.ptp(clocks, axis=0).max())


def common_times(videos: Sequence[VideoFile], offsets: Sequence[float]) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """Moments (T,) that all videos saw, and for each video the number of its frame nearest to each moment.

    The moments are the frames of the video with the lowest rate, so that no frame is used twice. FourfoldError if the videos do not overlap.
    """
    return common_moments([video.times + offset for video, offset in zip(videos, offsets, strict=True)], videos[0].path)


def common_moments(clocks: Sequence[NDArray[np.float64]], first: Path) -> tuple[NDArray[np.float64], list[NDArray[np.int64]]]:
    """The same for increasing times (N,) of each camera's frames on one clock; `first` is named where they do not overlap."""
    slowest = min(range(len(clocks)), key=lambda i: (len(clocks[i]) - 1) / max(float(np.ptp(clocks[i])), 1e-9))
    half = float(np.median(np.diff(clocks[slowest]))) / 2 if len(clocks[slowest]) > 1 else 0.5
    begin, end = max(c[0] for c in clocks) - half, min(c[-1] for c in clocks) + half
    moments = clocks[slowest][(clocks[slowest] >= begin) & (clocks[slowest] <= end)]
    if not len(moments):
        begun = [round(float(clock[0] - clocks[0][0]), 3) for clock in clocks]
        raise FourfoldError(f"{first} and the other cameras do not overlap in time: they begin {begun} s after it, check the offsets")
    return moments - moments[0], [nearest(clock, moments) for clock in clocks]


def nearest(clock: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.int64]:
    """(T,) index into the increasing `clock` of the entry nearest to each of `moments`."""
    after = np.clip(np.searchsorted(clock, moments), 1, max(len(clock) - 1, 1))
    if len(clock) == 1:
        return np.zeros(len(moments), np.int64)
    return np.where(moments - clock[after - 1] <= clock[after] - moments, after - 1, after).astype(np.int64)


def view_names(files: Sequence[Path]) -> list[str]:
    """A name per file: its stem, or where stems repeat its folder and stem."""
    stems = [f.stem for f in files]
    return stems if len(set(stems)) == len(stems) else [f"{f.parent.name}/{f.stem}" if stems.count(f.stem) > 1 else f.stem for f in files]


def video_facts(videos: Sequence[VideoFile]) -> dict[str, object]:
    """What is worth reporting about the files."""
    first = videos[0]
    return {
        "fps": round(first.fps, 4),
        "variable_frame_rate": any(v.variable_rate for v in videos),
        "rotation_degrees": first.orientation.degrees,
        "pixel_format": first.pixel_format,
        "has_audio": all(v.has_audio for v in videos),
    }


READER = Reader("video", 80, recognises, read, several=True)
