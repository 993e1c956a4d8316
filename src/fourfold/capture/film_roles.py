"""Films that lie beside films of cameras and are none: masks of one, its depth, its small copy; and the later chapters of one recording.

Told by names as matting tools, trackers and cameras write them: `clip_mask.mp4`, `clip_pha.mp4`, `mask.mp4` beside the only other film,
`DJI_0001_proxy.mp4`; GoPro's `GX020042.MP4` is the second chapter of `GX010042.MP4`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import FrameFiles, mask_files
from fourfold.capture.glimpses import bursts
from fourfold.capture.mask_names import MASK_FOLDERS, masks_in
from fourfold.capture.video import VideoFile, open_video
from fourfold.errors import FourfoldError

Role = Literal["mask", "depth", "copy"]
WORDS: dict[Role, str] = {
    "mask": "mask|masks|matte|alpha|pha|seg|segmentation|silhouette",
    "depth": "depth|depths|disp|disparity|flow|normal|normals",
    "copy": "proxy|preview|lowres|lrv|thumb|thumbnail",
}
TOLD: dict[Role, str] = {"mask": "masks of it", "depth": "no pictures of a camera", "copy": "a small copy of it"}
_CHAPTER = re.compile(r"(?i)^g[hxlp](\d\d)(\d{4})$")
ON = 128  # level from which a pixel of a mask's film is on; coding leaves others than 0 and 255
COLOURED, BETWEEN = 24, (40, 215)  # levels: between the channels of one pixel; and those that a film of masks has few of
MOST_BETWEEN, MOST_COLOURED = 0.4, 0.05  # shares of the pixels
BACKGROUND = 0.5  # share of the image, and of its border, above which what is on is the background

SHAPE = 0.02  # relative difference of side ratios up to which two sizes are of one picture


@dataclass(frozen=True)
class Roles:
    """Films of cameras by name, the masks of some of them, and what is to be said of the others."""

    cameras: dict[str, Path]
    masks: dict[str, Path]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class MaskFilm:
    """A film of masks as int8 frames: +1 object, -1 background."""

    film: VideoFile
    inverted: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.film.size

    def __len__(self) -> int:
        return len(self.film)

    def decode(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The masks `indices` (increasing) as (H, W)."""
        for image in self.film.decode(indices):
            on = np.where(image.max(axis=2) >= ON, 1, -1).astype(np.int8)
            yield -on if self.inverted else on


def roles_of(films: Mapping[str, Path]) -> Roles:
    """Which of `films` are cameras. FourfoldError if some are chapters of one recording."""
    _no_chapters(films)
    plain = {_base(path.stem, role)[0] for path in films.values() for role in WORDS} | {p.stem for p in films.values()}
    cameras, masks, words = dict(films), dict[str, Path](), list[str]()
    for name, path in films.items():
        for role in WORDS:
            base, worded = _base(path.stem, role)
            others = [n for n, p in films.items() if p.stem != path.stem and p.stem in plain and (p.stem == base or (not base and len(films) == 2))]
            if not worded or len(others) != 1 or (role == "mask" and not _looks_like_masks(path)):
                continue
            del cameras[name]
            if role == "mask":
                masks.setdefault(others[0], path)
            else:
                words.append(f"found {path.name} beside {films[others[0]].name}, not read: its name says that it is {TOLD[role]}")
            break
    return Roles(cameras, masks, tuple(words))


def mask_film(path: Path, film: VideoFile) -> tuple[MaskFilm | None, str]:
    """The masks in `path` for the frames of `film`, None if they are not as many, and what to say."""
    masks = open_video(path)
    if len(masks) != len(film):
        return None, f"found {path.name}, not read: it has {len(masks)} frames of masks for {len(film)} frames of {film.path.name}"
    if abs(masks.size[0] / masks.size[1] * film.size[1] / film.size[0] - 1) > SHAPE:
        return None, f"found {path.name}, not read: it is {masks.size[0]}x{masks.size[1]}, another shape than {film.path.name}"
    ons = [first.max(axis=2) >= ON for first, _ in bursts(masks)]
    share = float(np.mean([on.mean() for on in ons])) if ons else 0.0
    border = float(np.mean([np.concatenate([on[0], on[-1], on[:, 0], on[:, -1]]).mean() for on in ons])) if ons else 0.0
    inverted = share > BACKGROUND and border > BACKGROUND
    turned = f", on over {share:.0%} of the image and most of its border: taken as the background" if inverted else ""
    return MaskFilm(masks, inverted), f"masks of {film.path.name} from {path.name}{turned}"


def mask_folder(root: Path, name: str, film: VideoFile, alone: bool) -> tuple[FrameFiles | None, str]:
    """The masks in `masks/` or its like for the frames of `film`, by order, None if there are none or not as many; and what to say.

    Several films have a folder each, with their names: `masks/NAME/`.
    """
    places = [root / f / n for f in MASK_FOLDERS for n in ([name, ""] if alone else [name])] + [root / f"{name}_{word}" for word in ("mask", "masks")]
    found = next(((p, masks) for p in places if (masks := masks_in(p))), None)
    if found is None:
        return None, ""
    folder, masks = found[0].relative_to(root), found[1]
    if len(masks) != len(film):
        return None, f"found {folder}, not read: it holds {len(masks)} masks for {len(film)} frames of {film.path.name}"
    return mask_files(masks, film.size), f"masks of {film.path.name} from {folder}, by order"


def _base(stem: str, role: Role) -> tuple[str, bool]:
    """A name without the word for `role` at its end, and whether it had one."""
    found = re.fullmatch(rf"(?i)(.*?)(?:^|[-_. ])(?:{WORDS[role]})", stem)
    return (found.group(1), True) if found else (stem, False)


def _no_chapters(films: Mapping[str, Path]) -> None:
    chapters: dict[tuple[Path, str], list[tuple[str, Path]]] = {}
    for path in films.values():
        if match := _CHAPTER.match(path.stem):
            chapters.setdefault((path.parent, match.group(2)), []).append((match.group(1), path))
    for parts in chapters.values():
        if len({number for number, _ in parts}) > 1:
            names = ", ".join(path.name for _, path in sorted(parts))
            raise FourfoldError(f"{names} are chapters of one GoPro recording, not several cameras: join them into one film, or give one of them")


def _looks_like_masks(path: Path) -> bool:
    """Whether the film's first pictures are grey and nearly all black or white."""
    try:
        images = [first for first, _ in bursts(open_video(path))[:2]]
    except FourfoldError:
        return False
    for image in images:
        small = cv2.resize(image, (160, 90), interpolation=cv2.INTER_NEAREST).astype(np.int64)
        levels = small.max(axis=2)
        coloured = (levels - small.min(axis=2) > COLOURED).mean()
        if coloured > MOST_COLOURED or ((levels > BETWEEN[0]) & (levels < BETWEEN[1])).mean() > MOST_BETWEEN:
            return False
    return bool(images)
