"""Folders of images: one view per folder, with an optional `masks` folder beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fourfold.capture.frames import FrameFiles, image_files, images_in, mask_files, natural
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, unknown_cameras
from fourfold.errors import FourfoldError

DEFAULT_FPS = 30.0
IMAGE_FOLDERS = ("images", "ims", "rgb", "frames", "color", "input")
MASK_FOLDERS = ("masks", "mask", "seg", "segmentation")


@dataclass(frozen=True)
class Folder:
    """One view's images and the masks that belong to them (empty if none)."""

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]


def recognises(path: Path) -> bool:
    """A folder with images in it, in `images/`, or in one folder per camera."""
    return path.is_dir() and bool(folders_in(path))


def folders_in(path: Path) -> list[Folder]:
    """The views in a folder: images directly inside it, inside `images/` and its like, or inside one folder per camera in either."""
    if found := images_in(path):
        return [Folder(path.name, tuple(found), _masks(path, None) or _beside(path, found))]
    for name in IMAGE_FOLDERS:
        if found := images_in(path / name):
            return [Folder(path.name, tuple(found), _masks(path, None))]
        if views := _cameras(path / name, path):
            return views
    return _cameras(path, path)


def _cameras(folder: Path, root: Path) -> list[Folder]:
    if not folder.is_dir():
        return []
    inside = sorted(
        (p for p in folder.iterdir() if p.is_dir() and p.name not in MASK_FOLDERS and not p.name.startswith(".")), key=lambda p: natural(p.name)
    )
    return [Folder(p.name, tuple(found), _masks(root, p.name)) for p in inside if (found := images_in(p))]


def _masks(root: Path, camera: str | None) -> tuple[Path, ...]:
    for name in MASK_FOLDERS:
        if found := images_in(root / name / camera if camera else root / name):
            return tuple(found)
    return ()


def _beside(path: Path, images: Sequence[Path]) -> tuple[Path, ...]:
    """Masks in a sibling folder: of `images/` and its like in any case, of a folder of another name only if the file names agree."""
    masks = _masks(path.resolve().parent, None)
    return masks if path.resolve().name in IMAGE_FOLDERS or {i.stem for i in images} <= {m.stem for m in masks} else ()


def matched_masks(images: Sequence[Path], masks: Sequence[Path], size: tuple[int, int]) -> FrameFiles | None:
    """Masks in the order of `images`: by equal stem where stems agree, else by order. None without masks.

    FourfoldError if there are as many masks as neither way can pair.
    """
    if not masks:
        return None
    by_stem = {m.stem: m for m in masks}
    if all(i.stem in by_stem for i in images):
        return mask_files([by_stem[i.stem] for i in images], size)
    if len(masks) != len(images):
        where = f"{masks[0].parent} holds {len(masks)} masks for {len(images)} images in {images[0].parent}"
        raise FourfoldError(f"{where}: give one mask per image, with the same names")
    return mask_files(masks, size)


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """One view per folder of images; frame i of every view is moment i. Cameras are unknown."""
    folders = [folder for path in paths for folder in folders_in(path)]
    counts = [len(f.images) for f in folders]
    times = max(counts)
    fps = options.fps or DEFAULT_FPS
    views = tuple(_view(folder, times) for folder in folders)
    first = Path(paths[0])
    facts: dict[str, object] = {"fps": fps, "fps_from": "given" if options.fps else "assumed"}
    if min(counts) != times:
        facts["images_per_view"] = {f.name: len(f.images) for f in folders}
    layout = "images" if len(folders) == 1 else "images per camera"
    name = first.resolve().parent.name if first.name in IMAGE_FOLDERS else first.resolve().name
    return Source(layout, first, name, views, np.arange(times) / fps, facts=facts)


def _view(folder: Folder, times: int) -> ViewSource:
    frames = image_files(folder.images)
    number = np.arange(times)
    which = np.where(number < len(folder.images), number, -1).astype(np.int64)
    return ViewSource(
        folder.name, frames, which, *unknown_cameras(times), alpha="valid", masks=matched_masks(folder.images, folder.masks, frames.size)
    )


READER = Reader("images", 90, recognises, read, several=True)
