"""Which reader serves a path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fourfold.capture.colour_profiles import profile_words
from fourfold.capture.focal import focal_hint
from fourfold.capture.frames import FrameFiles, FrameList, image_orientation
from fourfold.capture.given_masks import settle_masks
from fourfold.capture.known_files import unread
from fourfold.capture.part import as_it_is, select
from fourfold.capture.pictures import look_at_pictures
from fourfold.capture.readers import readers
from fourfold.capture.refusals import why_not
from fourfold.capture.source import CaptureOptions, Reader, Source, check_cameras, noted
from fourfold.capture.video import VideoFile
from fourfold.errors import FourfoldError
from fourfold.notices import fallback


def find_reader(path: Path) -> Reader:
    """The most special reader that recognises `path`. FourfoldError if the path is missing or no reader does."""
    if not path.exists():
        raise FourfoldError(f"{path} does not exist: give a video, several videos, a folder of images or a dataset folder")
    for reader in readers():
        if _recognised(reader, path):
            return reader
    try:
        raise FourfoldError(why_not(path, dict.fromkeys(r.layout for r in readers())))
    except OSError as error:
        raise FourfoldError(f"{path} may not be read ({error.strerror}): check its permissions") from error


def _recognised(reader: Reader, path: Path) -> bool:
    try:
        return reader.recognises(path)
    except OSError:  # a name too long, a folder that may not be read
        return False


def open_source(paths: Sequence[Path], options: CaptureOptions, cut: Callable[[Source], Source] = as_it_is) -> Source:
    """What lies at `paths`, cameras checked, the part that `options` asks for; nothing is decoded, unless `cut` (see `select`) does.

    FourfoldError if there is nothing, if several paths do not go together, or if what is there is broken.
    """
    if not paths:
        raise FourfoldError("no input was given: give a video, several videos, a folder of images or a dataset folder")
    paths = [Path(p) for p in paths]
    found = [find_reader(path) for path in paths]
    reader = found[0]
    if len(paths) > 1 and (not reader.several or any(r is not reader for r in found)):
        kinds = ", ".join(f"{p} ({r.layout})" for p, r in zip(paths, found, strict=True))
        raise FourfoldError(f"these inputs do not make one capture: {kinds}; give several videos, several image folders, or one dataset folder")
    source = check_cameras(select(reader.read(paths, options), options, cut))
    for finish in (_with_focal_hints, _with_treatment, settle_masks, look_at_pictures, _with_unread):
        source = finish(source)
    return source


def _with_unread(source: Source) -> Source:
    """`source` with a note of every known file beside it that was not read, said aloud."""
    posed, masked = source.cameras == "given", any(v.masks is not None for v in source.views)
    said = unread(source.path, source.layout, posed, masked) if source.layout != "prepared" else []
    for sentence in said:
        fallback(f"{source.path}: {sentence}")
    return noted(source, *said)


def _with_treatment(source: Source) -> Source:
    """`source` with a note of what is done to the pictures on reading: once where it is the same for all views."""
    done: dict[str, list[str]] = {}
    for view in source.views:
        for words in treatment_of(view.frames):
            done.setdefault(words, []).append(view.name)
    return noted(source, *(words if len(names) == len(source.views) else f"{', '.join(names)}: {words}" for words, names in done.items()))


def treatment_of(frames: FrameList) -> tuple[str, ...]:
    """What is done to the pictures of a film or a list of photos on reading, each in words."""
    if isinstance(frames, VideoFile):
        return frames.treatment
    first = next((p for p in frames.paths if p is not None), None) if isinstance(frames, FrameFiles) else None
    if first is None:
        return ()
    turned = image_orientation(first).words
    told = (f"{turned} as EXIF tells, cameras that come with the photos too" if turned else "", profile_words(first))
    return tuple(words for words in told if words)


def _with_focal_hints(source: Source) -> Source:
    """`source` with the focal lengths that its files name, where its cameras are not known."""
    if source.cameras == "given":
        return source
    hints = [focal_hint(view.frames) for view in source.views]
    found = {view.name: f"{hint.pixels:.0f} pixels ({hint.words})" for view, hint in zip(source.views, hints, strict=True) if hint is not None}
    views = tuple(view if hint is None else replace(view, focal_hint=hint.pixels) for view, hint in zip(source.views, hints, strict=True))
    return replace(source, views=views, facts=source.facts | ({"focal_length_named": found} if found else {}))
