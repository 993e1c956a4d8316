"""The focal length that a camera wrote into its files: a likely value, not a calibration.

Sources: Exif 2.32 (tags by number, JEITA CP-3451); CIPA DCG-001: the focal length "in 35 mm film" gives the same angle of view over the diagonal,
43.27 mm on film. Apple writes the same for videos into the metadata of the picture's track.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fourfold.capture.boxes import metadata, movie_index
from fourfold.capture.frames import FrameFiles, FrameList
from fourfold.capture.video import VideoFile
from fourfold.untrusted.images import exif_tags

FILM_DIAGONAL = 43.267  # mm, of 36 x 24
SPREAD = 0.02  # images of one camera whose focal lengths differ by more were zoomed
SHAPE = 0.02  # relative difference of aspect above which an image was cropped after it was taken
LOOKED_AT = 8  # images of a list

FOCAL_MM, IN_35MM, EXIF_WIDTH, EXIF_HEIGHT, PLANE_X, PLANE_UNIT = 0x920A, 0xA405, 0xA002, 0xA003, 0xA20E, 0xA210
UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # of the focal plane's resolution: inch, cm, mm, micrometre
QUICKTIME_KEY = re.compile(r"focal_length\.35mm", re.IGNORECASE)


@dataclass(frozen=True)
class FocalHint:
    """A likely focal length: pixels of the images as filmed, and where it was read, in words."""

    pixels: float
    words: str


def focal_hint(frames: FrameList) -> FocalHint | None:
    """What the files of one camera say of its focal length, None where they say nothing or do not agree.

    Good to a tenth: makers round, and count the crop of a stabilised video or not.
    """
    if isinstance(frames, VideoFile):
        return _of_video(frames)
    if not isinstance(frames, FrameFiles):
        return None
    paths = [p for p in frames.paths if p is not None]
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, LOOKED_AT).round().astype(int))] if paths else []
    hints = [hint for path in chosen if (hint := _of_image(path, frames.size)) is not None]
    if not hints or np.ptp(found := np.array([h.pixels for h in hints])) > SPREAD * found.mean():
        return None
    return hints[0]


def from_film(millimetres: float, size: tuple[int, int]) -> float:
    """Pixels of the focal length `millimetres` "in 35 mm film" for an image of `size` (width, height)."""
    return millimetres / FILM_DIAGONAL * float(np.hypot(*size))


def _of_video(video: VideoFile) -> FocalHint | None:
    for key, value in metadata(movie_index(video.path)).items():
        number = re.search(r"\d+(\.\d+)?", str(value)) if QUICKTIME_KEY.search(key) else None
        if number and 1.0 <= (millimetres := float(number.group())) <= 2000.0:
            return FocalHint(from_film(millimetres, video.size), f"{video.path.name}: {millimetres:g} mm in 35 mm terms")
    return None


def _of_image(path: Path, size: tuple[int, int]) -> FocalHint | None:
    tags = exif_tags(path)
    taken = _number(tags.get(EXIF_WIDTH)), _number(tags.get(EXIF_HEIGHT))
    if min(taken) > 0 and not _same_shape(taken, size):
        return None  # cropped or stitched since: the tags are of another picture
    film, own = _number(tags.get(IN_35MM)), _number(tags.get(FOCAL_MM))
    if 1.0 <= film <= 2000.0:
        return FocalHint(from_film(film, size), f"EXIF of {path.name}: {film:g} mm in 35 mm terms")
    density, unit = _number(tags.get(PLANE_X)), UNIT_MM.get(int(_number(tags.get(PLANE_UNIT, 2))), 0.0)
    if own > 0 and density > 0 and unit > 0 and min(taken) > 0:
        pixels = own * density / unit * max(size) / max(taken)
        if 0.1 * max(size) < pixels < 50 * max(size):
            return FocalHint(pixels, f"EXIF of {path.name}: {own:g} mm at {density / unit:.0f} pixels per mm")
    return None


def _same_shape(taken: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether an image of `size` is `taken` (width, height, in either order) resized and perhaps turned."""
    return abs(max(taken) / min(taken) * min(size) / max(size) - 1) < SHAPE


def _number(value: object) -> float:
    """`value` as a finite number, 0 where it is none (EXIF divides by 0 where a maker knew no value)."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if np.isfinite(number) else 0.0
