"""A COLMAP folder: a sparse model beside `images/`. One view per subfolder of images, else one moving view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fourfold.capture.frames import image_files, images_in, natural
from fourfold.capture.readers.colmap_model import ModelImage, load_images, model_folder
from fourfold.capture.readers.image_folder import DEFAULT_FPS, MASK_FOLDERS, matched_masks
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource, scale_intrinsics, unknown_cameras
from fourfold.errors import FourfoldError

IMAGE_FOLDERS = ("images", "input", "rgb", "")


def recognises(path: Path) -> bool:
    """A folder with `sparse/0` or its like."""
    return path.is_dir() and model_folder(path) is not None


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """Registered images in natural order of their names; the number in that order over the frame rate is the time."""
    root = paths[0]
    folder = model_folder(root)
    if folder is None:
        raise FourfoldError(f"{root} has no COLMAP model")
    found = [(image, path) for image in load_images(folder) if (path := _file(root, image.name)) is not None]
    if not found:
        raise FourfoldError(f"{folder} names images of which none is in {root / 'images'}: put them there")
    groups: dict[str, list[tuple[ModelImage, Path]]] = {}
    for image, path in found:
        groups.setdefault(str(Path(image.name).parent), []).append((image, path))
    stems = _moments(groups)
    fps = options.fps or DEFAULT_FPS
    views = tuple(_view(root, name, groups[name], stems) for name in sorted(groups, key=natural))
    facts = {"fps": fps, "fps_from": "given" if options.fps else "assumed", "registered_images": len(found)}
    return Source("COLMAP", root, root.resolve().name, views, np.arange(len(stems)) / fps, "given", False, None, facts)


def _moments(groups: dict[str, list[tuple[ModelImage, Path]]]) -> list[str]:
    """Stems of all images in natural order: images of different cameras with one stem are of one moment."""
    return sorted({path.stem for members in groups.values() for _, path in members}, key=natural)


def _view(root: Path, name: str, members: list[tuple[ModelImage, Path]], stems: list[str]) -> ViewSource:
    members = sorted(members, key=lambda m: natural(m[1].name))
    paths = [path for _, path in members]
    frames = image_files(paths)
    which, (K, poses) = np.full(len(stems), -1, np.int64), unknown_cameras(len(stems))
    lenses = [members[0][0].camera.lens] * len(stems)
    place = {stem: i for i, stem in enumerate(stems)}
    for number, (image, path) in enumerate(members):
        moment = place[path.stem]
        which[moment], poses[moment], lenses[moment] = number, image.world_to_camera, image.camera.lens
        K[moment] = scale_intrinsics(image.camera.K, image.camera.size, frames.size)
    masks = [m for folder in MASK_FOLDERS for m in images_in(root / folder / name)]
    wanted = {p.stem for p in paths}
    own = [m for m in masks if m.stem in wanted]
    return ViewSource(
        name if name != "." else "camera",
        frames,
        which,
        K,
        poses,
        lenses=tuple(lenses) if len(set(lenses)) > 1 else (lenses[0],),
        alpha="valid",
        masks=matched_masks(paths, own, frames.size) if len(own) == len(paths) else None,
    )


def _file(root: Path, name: str) -> Path | None:
    return next((path for folder in IMAGE_FOLDERS if (path := root / folder / name).is_file()), None)


READER = Reader("COLMAP", 40, recognises, read)
