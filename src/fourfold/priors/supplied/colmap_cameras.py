"""Cameras of a COLMAP model (`sparse/0/cameras.bin|txt`, `images.bin|txt`) in the folder that the user gave.

Images are matched by name without folder and suffix, and with several cameras by the folder in their name, which is the view's. A
folder with a model beside its images is read as a capture of its own and needs no supply. COLMAP has pixel centres at +0.5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.readers.colmap_model import load_images, model_folder
from fourfold.capture.source import scale_intrinsics
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Cameras, Provenance
from fourfold.priors.supplied.layout import Layout
from fourfold.priors.supplied.places import filmed, given_folder


def find(capture: Capture, given: bool) -> list[Path]:
    """The folder with the model."""
    root = given_folder(capture)
    folder = model_folder(root) if given and root is not None else None
    return [] if folder is None else [folder]


def read(capture: Capture, files: list[Path]) -> Cameras:
    """The model's cameras; images it does not hold stay unknown. FourfoldError if it holds none of the training images."""
    names = filmed(capture).names
    K, poses = np.full((capture.views, capture.times, 3, 3), np.nan), np.full((capture.views, capture.times, 4, 4), np.nan)
    places = {
        (view if capture.views > 1 else "", name): (v, t) for v, view in enumerate(capture.view_names) for t, name in enumerate(names[v]) if name
    }
    for image in load_images(files[0]):
        folder = Path(image.name).parent.name if capture.views > 1 else ""
        place = places.get((folder, Path(image.name).stem))
        if place is None:
            continue
        if image.camera.lens.bends:
            raise FourfoldError(f"{files[0]} has lens distortion, and the images are used as they are: undistort them with COLMAP first")
        K[place] = scale_intrinsics(image.camera.K, image.camera.size, (int(capture.sizes[place[0], 0]), int(capture.sizes[place[0], 1])))
        poses[place] = image.world_to_camera
    known = np.isfinite(poses).all(axis=(2, 3))
    if not (known & capture.train).any():
        first = next((n for n in names[0] if n), "none")
        raise FourfoldError(f"{files[0]} holds none of the training images ({first}, ...): its images have other names")
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    figures = {"source": "given", "registered_share": float(known[capture.train].mean()), "files": str(files[0])}
    return Cameras(Provenance("colmap (supplied)", figures=figures), K, poses, *none)


PROVIDERS = Layout("colmap", "cameras", find, read, several=True).providers()
