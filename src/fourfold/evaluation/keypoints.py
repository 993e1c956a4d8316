"""The annotated keypoints of the iPhone data set: where points of the training camera's images are, in pixels and by the depth sensor in space.

Source: spec shape_of_motion.md section 11. Files `keypoint/2x/train/ID.json`: a list of (x, y, visible) in pixels of the images at half size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.frames import load_depth
from fourfold.capture.readers.nerfies import depth_unit, load_camera
from fourfold.errors import FourfoldError
from fourfold.priors.supplied.places import filmed, source_path
from fourfold.untrusted.records import as_list, load_json, load_record, number

FOLDER = Path("keypoint") / "2x" / "train"
HALVED = 2.0  # pixels at 1x of a pixel of the files


@dataclass(frozen=True)
class Keypoints:
    """J points at K annotated moments of one view.

    Attributes:
        view: which.
        index: (K,) time indices of the capture.
        xy: (K, J, 2) float64 pixels at 1x, centres at +0.5.
        seen: (K, J) bool, annotated as visible.
        xyz: (K, J, 3) float64 world points, metres, by the depth sensor; NaN where all four pixels around do not know it.
        centre: (K, 3) float64 places of the cameras that came with the data.
        size: width and height at 1x.
    """

    view: int
    index: NDArray[np.int64]
    xy: NDArray[np.float64]
    seen: NDArray[np.bool_]
    xyz: NDArray[np.float64]
    centre: NDArray[np.float64]
    size: tuple[int, int]


def read_keypoints(capture: Capture) -> Keypoints | None:
    """The keypoints of what `capture` was read from, at the moments that it holds; None if there are none.

    FourfoldError if a file is damaged, or the lenses bend, which the annotation does not undo.
    """
    root = source_path(capture)
    files = sorted((root / FOLDER).glob("*.json")) if root is not None else []
    if root is None or not files:
        return None
    places = {name: (view, time) for view, names in enumerate(filmed(capture).names) for time, name in enumerate(names) if name}
    files = [file for file in files if file.stem in places]
    views = {places[file.stem][0] for file in files}
    if not files or len(views) != 1:
        return None
    points = [np.array([_point(row, file) for row in as_list(load_json(file), str(file))], np.float64).reshape(-1, 3) for file in files]
    if len({len(p) for p in points}) != 1:
        raise FourfoldError(f"{root / FOLDER} has files with different numbers of points: each must name all of them in the same order")
    size = _size(root, files[0].stem)
    unit = depth_unit([root / "depth" / "1x" / f"{file.stem}.npy" for file in files])
    xy = HALVED * np.stack(points)[..., :2] + 0.5
    placed = [_in_space(root, file.stem, own, size, unit) for file, own in zip(files, xy, strict=True)]
    return Keypoints(
        views.pop(),
        np.array([places[file.stem][1] for file in files], np.int64),
        xy,
        np.stack(points)[..., 2] == 1,
        np.stack([xyz for xyz, _ in placed]),
        np.stack([centre for _, centre in placed]),
        size,
    )


def _point(row: object, file: Path) -> list[float]:
    values = as_list(row, f"a point of {file}")
    if len(values) != 3:
        raise FourfoldError(f"{file} holds a point of {len(values)} numbers, expected x, y and whether it is visible: complete the download")
    return [number(value, f"a point of {file}") for value in values]


def _size(root: Path, name: str) -> tuple[int, int]:
    width, height = load_record(root / "camera" / f"{name}.json").array("image_size", (2,))
    return int(width), int(height)


def _in_space(root: Path, name: str, xy: NDArray[np.float64], size: tuple[int, int], unit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World points (J, 3) of pixels (J, 2) by the depth map at 1x, and the camera's place (3,)."""
    K, pose, lens = load_camera(root / "camera" / f"{name}.json", size)
    if lens.bends:
        raise FourfoldError(f"{root / 'camera' / name}.json tells of a lens that bends, which the annotated keypoints do not undo")
    depth = load_depth(root / "depth" / "1x" / f"{name}.npy", unit)
    if depth.shape != size[::-1]:
        raise FourfoldError(f"{root / 'depth' / '1x' / name}.npy is {depth.shape[1]} x {depth.shape[0]}, expected {size[0]} x {size[1]}")
    z = bilinear_known(depth, xy)
    local = np.concatenate([xy, np.ones((len(xy), 1))], axis=1) @ np.linalg.inv(K).T * z[:, None]
    return (local - pose[:3, 3]) @ pose[:3, :3], -pose[:3, :3].T @ pose[:3, 3]


def bilinear_known(depth: NDArray[np.floating], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) depth (H, W) read between pixel centres (+0.5) at `xy` (P, 2); NaN outside, or where one of the four pixels is 0."""
    height, width = depth.shape
    low = np.floor(xy - 0.5).astype(int)
    share = xy - 0.5 - low
    inside = (low >= 0).all(1) & (low[:, 0] < width - 1) & (low[:, 1] < height - 1)
    column, row = np.clip(low, 0, [width - 2, height - 2]).T
    corners = np.stack([depth[row + dy, column + dx] for dy in (0, 1) for dx in (0, 1)], axis=1).astype(np.float64)
    weight = np.stack([(share[:, 1] if dy else 1 - share[:, 1]) * (share[:, 0] if dx else 1 - share[:, 0]) for dy in (0, 1) for dx in (0, 1)], axis=1)
    return np.where(inside & (corners > 0).all(1), (corners * weight).sum(1), np.nan)
