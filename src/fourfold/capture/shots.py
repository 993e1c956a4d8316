"""The one shot of a film that is reconstructed: the longest, or the one asked for; frames that repeat or show nothing are left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold import counting
from fourfold.capture.cuts import Survey, survey
from fourfold.capture.discover import open_source
from fourfold.capture.part import take
from fourfold.capture.source import CaptureOptions, Source, noted
from fourfold.errors import FourfoldError

SHORTEST = 8
"""Frames: a shorter shot is named, and is reconstructed only when it is asked for."""


@dataclass(frozen=True)
class Shot:
    """A shot of a film: its moments that show something new (indices into the film's), and seconds of the first and the last."""

    moments: NDArray[np.int64]
    begins: float
    ends: float


def open_shot(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """What `open_source` finds, cut to one shot where it is one film by an unknown camera; its notes say what was done.

    The film is decoded once. FourfoldError if `options.shot` names a shot that is not there.
    """
    return open_source(paths, options, lambda source: one_shot(source, options.shot))


def one_shot(source: Source, number: int | None) -> Source:
    """`source` cut to shot `number`, from 1, or to the longest, where it is one film by an unknown camera. FourfoldError if it has no such shot."""
    if not is_film(source):
        if number is not None:
            raise FourfoldError(f"{source.path} is not one film without cameras: --shot takes a shot of a video or of a folder of its frames")
        return source
    found = look(source)
    shots = shots_of(source, found)
    if sum(len(s.moments) for s in shots) < 2:
        return source
    if number is not None and not 1 <= number <= len(shots):
        raise FourfoldError(f"{source.path} has {counted(len(shots), 'shot')}: --shot got {number}, choose 1 to {len(shots)}")
    longest = max(range(len(shots)), key=lambda n: len(shots[n].moments))
    chosen = longest if number is None else number - 1
    said = [*cut_words(shots, chosen, asked=number is not None), *left_out_words(source, found, shots[chosen])]
    listed = [{"begins": round(s.begins, 3), "ends": round(s.ends, 3), "frames": len(s.moments)} for s in shots]
    facts: dict[str, Any] = {"shots": listed, "shot": chosen + 1} if len(shots) > 1 else {}
    return noted(replace(take(source, shots[chosen].moments), facts=source.facts | facts), *said)


def is_film(source: Source) -> bool:
    """Whether `source` is one view whose camera is not known: only there can a cut be told from a camera that jumps."""
    return source.cameras == "unknown" and len(source.views) == 1


def look(source: Source) -> Survey:
    """Look at all frames of a film."""
    view = source.views[0]

    def images() -> Iterator[NDArray[Any]]:
        order = [int(n) for n in view.frame_of_time]
        uses = {n: order.count(n) for n in set(order)} if len(set(order)) < len(order) else {}
        for number, image in zip(counting.counted(sorted(set(order)), "looking for cuts"), view.frames.decode(sorted(set(order))), strict=True):
            for _ in range(uses.get(number, 1)):
                yield image

    return survey(images())


def shots_of(source: Source, found: Survey) -> list[Shot]:
    """The shots that a survey of `source` found, in order."""
    return [Shot(m, float(source.timestamps[m[0]]), float(source.timestamps[m[-1]])) for m in found.shots]


def long_enough(paths: Sequence[Path], options: CaptureOptions) -> tuple[list[int], list[str]]:
    """Numbers from 1 of the shots that can be reconstructed each on its own, and sentences about those that cannot.

    FourfoldError if `paths` is not one film without cameras.
    """
    films: list[Source] = []

    def keep(film: Source) -> Source:
        films.append(film)
        return film

    source = open_source(paths, options, keep)
    if not is_film(source):
        raise FourfoldError(f"{source.path} is not one film without cameras: --all-shots takes a video or a folder of its frames")
    shots = shots_of(films[0], look(films[0]))
    short = [
        f"shot {n} ({s.begins:.2f} to {s.ends:.2f} s) has {counted(len(s.moments), 'frame')} and is left out: a moving scene needs {SHORTEST}"
        for n, s in enumerate(shots, 1)
        if len(s.moments) < SHORTEST
    ]
    return [n for n, s in enumerate(shots, 1) if len(s.moments) >= SHORTEST], short


def cut_words(shots: Sequence[Shot], chosen: int, asked: bool) -> list[str]:
    """Where the film cuts and which shot is used; nothing for a film of one shot."""
    if len(shots) < 2:
        return []
    places = [f"{s.begins:.2f}" for s in shots[1:]]
    where = f"{', '.join(places[:-1])} and {places[-1]}" if len(places) > 1 else places[0]
    shot = shots[chosen]
    which = f"shot {chosen + 1} of {len(shots)}, {shot.begins:.2f} to {shot.ends:.2f} s, {counted(len(shot.moments), 'frame')}"
    why = f"{which}, is used as asked" if asked else f"{which}, the longest, is used; --shot N takes another, --all-shots each on its own"
    return [f"The film cuts at {where} s: {why}."]


def left_out_words(source: Source, found: Survey, shot: Shot) -> list[str]:
    """Which frames between the first and the last of `shot`, or beside them, repeat another or show nothing."""
    said = []
    for flags, one, many in ((found.dark, "is black", "are black"), (found.blank & ~found.dark, "is of one colour", "are of one colour")):
        numbers = np.flatnonzero(flags)
        if len(numbers):
            count, verb = counted(len(numbers), "frame"), one if len(numbers) == 1 else many
            said.append(f"{count} of the film ({spans(source.timestamps, numbers)}) {verb} and left out.")
    inside = np.flatnonzero(found.repeated)
    inside = inside[(inside >= shot.moments[0]) & (inside <= shot.moments[-1])]
    if len(inside):
        verb = "repeats the one before and is" if len(inside) == 1 else "repeat the one before and are"
        said.append(f"{counted(len(inside), 'frame')} ({spans(source.timestamps, inside)}) {verb} left out.")
    return said


def spans(timestamps: NDArray[np.float64], numbers: NDArray[np.int64], most: int = 3) -> str:
    """The times of runs of frames: `0.00 to 0.17 s, 1.20 s`."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    words = [f"{timestamps[r[0]]:.2f} to {timestamps[r[-1]]:.2f} s" if len(r) > 1 else f"{timestamps[r[0]]:.2f} s" for r in runs]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more places" if len(words) > most else "")


def counted(number: int, what: str) -> str:
    """`1 frame`, `12 frames`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
