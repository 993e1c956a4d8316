"""Where masks lie beside images, and which mask belongs to which image."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fourfold.capture.frames import IMAGE_SUFFIXES, FrameFiles, mask_files, natural
from fourfold.capture.mask_levels import ARRAY_SUFFIXES
from fourfold.errors import FourfoldError

MASK_FOLDERS = (
    "masks",
    "mask",
    "seg",
    "segmentation",
    "dynamic_masks",
    "dynamic_mask",
    "dyn_masks",
    "motion_masks",
    "object_masks",
    "matte",
    "mattes",
    "alpha",
    "alphas",
    "pha",
    "Annotations",
    "bgmtv2",
)
"""Folders of masks of what moves, by name. Masks of valid pixels lie in `VALID_FOLDERS`."""

VALID_FOLDERS = ("valid", "valid_masks", "valid_mask")
WORDS = re.compile(r"(?i)(?:^|[-_. ])(?:dyn(?:amic)?|motion|object|obj|fg|mask|masks|matte|alpha|pha|seg|segmentation)(?=$|[-_. ])")


def masks_in(folder: Path) -> list[Path]:
    """The mask files directly inside `folder`, images and arrays, in natural order of their names; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    suffixes = IMAGE_SUFFIXES | ARRAY_SUFFIXES
    found = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()]
    return sorted(found, key=lambda p: natural(p.name))


def paired(images: Sequence[Path], masks: Sequence[Path], by_number: bool = True) -> list[Path] | None:
    """The mask of each image by its name, None if they are not named alike for all of them.

    The same name without suffix, the whole name with a suffix more (COLMAP's `a.jpg.png`), a name with words for a mask in it, or the same number.
    """
    keys: list[tuple[Callable[[Path], object], Callable[[Path], object]]] = [(_stem, _stem), (_name, _stem), (_bare, _bare)]
    for of_image, of_mask in [*keys, *([(_number, _number)] if by_number else [])]:
        named = {of_mask(m): m for m in masks}
        if len(named) == len(masks) and None not in named and all(of_image(i) in named for i in images):
            return [named[of_image(i)] for i in images]
    return None


def matched_masks(images: Sequence[Path], masks: Sequence[Path], size: tuple[int, int]) -> FrameFiles | None:
    """Masks in the order of `images`: by their names, else by order. None without masks.

    FourfoldError if there are as many masks as neither way can pair.
    """
    if not masks:
        return None
    named = paired(images, masks)
    if named is not None:
        return mask_files(named, size)
    if len(masks) != len(images):
        where = f"{masks[0].parent} holds {len(masks)} masks for {len(images)} images in {images[0].parent}"
        raise FourfoldError(f"{where}: give one mask per image, with the same names")
    return mask_files(masks, size)


def _stem(path: Path) -> str:
    return path.stem


def _name(path: Path) -> str:
    return path.name


def _bare(path: Path) -> str:
    """A name without the words for a mask and without separators at its ends."""
    return WORDS.sub("", path.stem).strip("-_. ")


def _number(path: Path) -> int | None:
    """The last number of a name."""
    found = re.findall(r"\d+", path.stem)
    return int(found[-1]) if found and len(found[-1]) < 16 else None
