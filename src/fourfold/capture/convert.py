"""A capture written in another layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fourfold.capture.capture import Capture
from fourfold.capture.writers import find_writer
from fourfold.errors import FourfoldError
from fourfold.files import replacing


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote: the layout in words, and what of the capture it has no place for."""

    layout: str
    lost: tuple[str, ...]


def convert(capture: Capture, to: str, out: Path) -> Converted:
    """Write `capture` to the new folder `out` in the layout `to`, whole or not at all; images are PNG or lossless video.

    FourfoldError if there is no such layout, if it cannot hold this capture, or if `out` is there already.
    """
    writer = find_writer(to)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FourfoldError(f"{out} exists already: choose another output folder or remove it")
    if (reason := writer.refuses(capture)) is not None:
        raise FourfoldError(f"{capture.name} cannot be written as {writer.name}: {reason}")
    with replacing(out) as folder:
        folder.mkdir()
        lost = writer.write(capture, folder)
    return Converted(writer.layout, tuple(lost))
