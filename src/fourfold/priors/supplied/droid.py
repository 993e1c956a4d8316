"""DROID-SLAM's camera path as Shape of Motion keeps it, `droid_recon/SEQUENCE.npy`, and the same in plain arrays.

The public file is a pickled dictionary, which can run code when it is opened: it is refused with the way to convert it. Read are
`traj_c2w.npy` (T, 4, 4) camera to world, `intrinsics.npy` (4,) = fx, fy, cx, cy and, where they are of another size than the images as filmed,
`img_shape.npy` (2,) = height, width, in one folder. K counts pixel centres as whole numbers. Source: spec priors_monocular.md section 7.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.notices import fallback
from fourfold.priors.contracts import Cameras
from fourfold.priors.supplied.layout import Layout, array_of, finite
from fourfold.priors.supplied.places import filmed, folders, given_folder, intrinsics_to_stored, lone_view, source_path
from fourfold.priors.supplied.worlds import cameras_from, rigid

FOLDERS = ("", "droid_recon", "droid")
PATH_FILE = "traj_c2w.npy"


def find(capture: Capture, given: bool) -> list[Path]:
    """The folder with the plain arrays, or the pickled file in the folder that the user gave."""
    for folder in folders(capture, given, FOLDERS):
        if (folder / PATH_FILE).is_file():
            return [folder]
    source = source_path(capture)
    names = [f"{source.resolve().stem}.npy"] if source else []
    holders = [f.parent for f in folders(capture, given, FOLDERS[1:])] + folders(capture, given, FOLDERS[1:])
    root = given_folder(capture)
    if source is not None and not given:
        holders += [p / "droid_recon" for p in (source.resolve().parent, source.resolve().parent.parent)]
    if given and root is not None:
        holders += [root, root / "droid_recon"]
    for path in (h / n for h in holders for n in names):
        if path.is_file() and _pickled(path):
            if given:
                return [path]
            fallback(_refusal(path))
    return []


def read(capture: Capture, files: list[Path]) -> Cameras:
    """Its cameras for the stored images."""
    folder, view = files[0], lone_view(capture) or 0
    if folder.is_file():
        raise FourfoldError(_refusal(folder))
    count = int(capture.present[view].sum())
    poses = rigid(array_of(folder / PATH_FILE, (count, 4, 4)), str(folder / PATH_FILE))
    fx, fy, cx, cy = finite(array_of(folder / "intrinsics.npy", (4,)), str(folder / "intrinsics.npy")).astype(float)
    size = filmed(capture).sizes[view]
    if (folder / "img_shape.npy").is_file():
        height, width = (int(n) for n in array_of(folder / "img_shape.npy", (2,)))
        size = (width, height)
    K = intrinsics_to_stored(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), size, capture, view)
    return cameras_from(capture, view, K, np.linalg.inv(poses), "droid (supplied)", files)


def _pickled(path: Path) -> bool:
    with path.open("rb") as file:
        return b"'|O'" in file.read(128)


def _refusal(path: Path) -> str:
    return (
        f"{path} is a pickled file, which can run code when it is opened, and is not read: save its entries traj_c2w, intrinsics and img_shape "
        "with numpy.save as files of these names in one folder"
    )


PROVIDERS = Layout("droid", "cameras", find, read).providers()
