"""A project's folder whose videos lie one folder down, in `videos/` or one in each camera's folder, and that holds nothing else that is read."""

from __future__ import annotations

from pathlib import Path

from fourfold.capture.readers.video_files import read, videos_below
from fourfold.capture.source import Reader


def recognises(path: Path) -> bool:
    """A folder with videos one folder down."""
    return path.is_dir() and bool(videos_below(path))


READER = Reader("videos", 95, recognises, read)
