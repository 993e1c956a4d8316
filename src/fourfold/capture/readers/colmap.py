"""A COLMAP folder: a sparse model beside `images/`. One view per camera that stands, or per subfolder of images, else one moving view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fourfold.capture.arrangement import arrange
from fourfold.capture.frames import images_in, natural
from fourfold.capture.mask_names import MASK_FOLDERS
from fourfold.capture.readers.colmap_model import ModelImage, load_images, model_folder, models_in
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.readers.posed_images import PosedImage, view_sources
from fourfold.capture.readers.stored_pixels import upright
from fourfold.capture.source import CaptureOptions, Reader, Source
from fourfold.errors import FourfoldError
from fourfold.notices import fallback
from fourfold.untrusted.files import below, is_file

IMAGE_FOLDERS = ("images", "input", "rgb", "")
MASK_SUFFIXES = (".png", ".jpg", ".npy", ".npz", ".webp", ".tif")


def recognises(path: Path) -> bool:
    """A folder with `sparse/0` or its like."""
    return path.is_dir() and model_folder(path) is not None


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """Registered images at their place among all images in natural order of the names; the number in that order over the frame rate is the time."""
    root = paths[0]
    models = models_in(root)
    if models is None:
        raise FourfoldError(f"{root} has no COLMAP model")
    if models.told:
        fallback(models.told)
    folder = models.folders[0]
    places = _image_places(root, folder)
    found = {path: image for image in load_images(folder) if (path := _file(places, image.name)) is not None}
    if not found:
        raise FourfoldError(f"{folder} names images of which none is in {root / 'images'}: put them there")
    fps = options.fps or DEFAULT_FPS
    facts: dict[str, object] = {"fps": fps, "fps_from": "given" if options.fps else "assumed", "registered_images": len(found)}
    everything = sorted({*found, *(p for place in {p.parent for p in found} for p in images_in(place))}, key=lambda p: natural(p.as_posix()))
    if len(everything) > len(found):
        facts["unregistered_images"] = len(everything) - len(found)
    if models.told:
        facts["models"] = models.told
    names = {path: _name(path, places) for path in everything}
    moments, told = _moments(names, found)
    frames = [_posed(root, path, names[path], image, *moments[path]) for path, image in found.items()]
    views, times = view_sources([replace(f, time=(f.time or 0.0) / fps) for f in frames], "valid")
    return Source("colmap", root, root.resolve().name, views, times, "given", False, None, facts | told)


def _image_places(root: Path, model: Path) -> list[Path]:
    """Where a model's images may lie: in `images/` and its like beside it or beside a folder that holds it. Straightened ones lie in `dense/`."""
    above = [p for p in model.parents if p.is_relative_to(root)]
    return [p / folder for p in dict.fromkeys((*above, root)) for folder in IMAGE_FOLDERS]


def _moments(names: dict[Path, str], found: dict[Path, ModelImage]) -> tuple[dict[Path, tuple[str, int]], dict[str, object]]:
    """Each image's view and the number of its moment, counted over all images, also those that were not registered; and how it was told."""
    everything = list(names)
    unknown = np.full((4, 4), np.nan)
    arranged = arrange(list(names.values()), np.stack([found[p].world_to_camera if p in found else unknown for p in everything]))
    if arranged is not None:
        told: dict[str, object] = {"cameras_told_by": f"{arranged.because}: {arranged.views} cameras, {len(arranged.labels)} moments"}
        return dict(zip(everything, zip(arranged.view, arranged.moment, strict=True), strict=True)), told
    stems = sorted({path.stem for path in everything}, key=natural)  # images of different folders with one stem are of one moment
    place = {stem: i for i, stem in enumerate(stems)}
    shared = len({path.parent for path in everything}) > 1
    return {p: (Path(n).parent.as_posix() if shared else "camera", place[p.stem]) for p, n in names.items()}, {}


def _name(path: Path, places: Sequence[Path]) -> str:
    """The image's name below the folder of images."""
    return next((path.relative_to(place).as_posix() for place in places if path.is_relative_to(place)), path.as_posix())


def _posed(root: Path, path: Path, name: str, image: ModelImage, view: str, moment: int) -> PosedImage:
    """The image with its camera; `time` is the number of the moment."""
    stem = str(Path(name).with_suffix(""))
    masks = [root / folder / n for folder in MASK_FOLDERS for n in (f"{name}.png", name, *(f"{stem}{suffix}" for suffix in MASK_SUFFIXES))]
    mask = next((m for m in masks if is_file(m)), None)
    posed = PosedImage(path, name, image.camera.K, image.world_to_camera, image.camera.lens, float(moment), None, view, mask=mask)
    return upright(posed, image.camera.size)


def _file(places: Sequence[Path], name: str) -> Path | None:
    return next((path for place in places if is_file(path := below(place, name))), None)


READER = Reader("colmap", 40, recognises, read)
