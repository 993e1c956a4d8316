"""`CalibratedCamera` and `CalibrationFormat`: what a calibration file gives, and the contract of a format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import LARGEST_SIDE
from fourfold.capture.lens import Lens
from fourfold.capture.source import world_to_camera_of
from fourfold.errors import FourfoldError
from fourfold.untrusted.records import flat, numbers

FAR_APART = 30.0  # units: cameras that stand farther apart are counted in millimetres, no rig of people's is 30 metres wide


@dataclass(frozen=True)
class CalibratedCamera:
    """One camera of a calibration file.

    Attributes:
        name: as the file has it.
        size: width and height of the images that K is for; None for the images as they are.
        K: (3, 3), pixel centres at +0.5.
        world_to_camera: (4, 4), None where the file gives the lens alone.
        lens: its distortion.
    """

    name: str
    size: tuple[int, int] | None
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64] | None
    lens: Lens

    def check(self, path: Path) -> None:
        """FourfoldError if a number cannot be."""
        where = f"{path}: camera {self.name}"
        if self.size is not None and not all(0 < side <= LARGEST_SIDE for side in self.size):
            raise FourfoldError(f"{where} is for images of {self.size[0]}x{self.size[1]} pixels: correct it")
        if not (np.isfinite(self.K).all() and self.K[0, 0] > 0 and self.K[1, 1] > 0 and np.isfinite(self.lens.coefficients).all()):
            raise FourfoldError(f"{where} has a focal length or distortion that cannot be: correct it")
        if self.world_to_camera is not None and not np.isfinite(self.world_to_camera).all():
            raise FourfoldError(f"{where} has a pose that is not finite: correct it")


@dataclass(frozen=True)
class Calibration:
    """Cameras, whether a unit is a metre, and what is to be said of them."""

    cameras: list[CalibratedCamera]
    metric: bool
    words: str

    @property
    def posed(self) -> bool:
        """Whether every camera has a pose."""
        return all(c.world_to_camera is not None for c in self.cameras)


@dataclass(frozen=True)
class CalibrationFormat:
    """A format of calibration files.

    Attributes:
        layout: the word for a folder with such files.
        name: what wrote them.
        patterns: names of its files.
        holds: (path) -> whether the file is of this format; may raise FourfoldError on foreign files.
        load: (path) -> its cameras. FourfoldError if it is broken.
        unit: "metres" where the format says so, else "unknown": then far numbers are taken as millimetres.
        per_camera: one file per camera.
        sure: whether the name alone tells the format.
        rank: formats are asked in increasing rank.
    """

    layout: str
    name: str
    patterns: tuple[str, ...]
    holds: Callable[[Path], bool]
    load: Callable[[Path], list[CalibratedCamera]]
    unit: str = "metres"
    per_camera: bool = False
    sure: bool = False
    rank: int = 10

    def calibration(self, cameras: list[CalibratedCamera]) -> Calibration:
        """The cameras in metres where their unit is known or can be told."""
        words = f"cameras of {self.name}"
        poses = [c.world_to_camera for c in cameras if c.world_to_camera is not None]
        if len(poses) < len(cameras):
            return Calibration(cameras, False, f"{words}: focal lengths and lenses only, the poses are estimated")
        if self.unit == "metres":
            return Calibration(cameras, True, f"{words}, in metres")
        centres = np.stack([-p[:3, :3].T @ p[:3, 3] for p in poses])
        apart = float(np.linalg.norm(np.ptp(centres, axis=0)))
        if apart <= FAR_APART:
            return Calibration(cameras, True, f"{words}, {apart:.3g} units apart, taken as metres")
        moved = [replace(c, world_to_camera=_scaled(p, 1e-3)) for c, p in zip(cameras, poses, strict=True)]
        return Calibration(moved, True, f"{words}, {apart:.4g} units apart, taken as millimetres")


def _scaled(pose: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    result = pose.copy()
    result[:3, 3] *= by
    return result


def opencv_matrix(value: object, where: str) -> NDArray[np.float64]:
    """(3, 3) K with pixel centres at +0.5 of an OpenCV matrix (nine numbers, nested or not), whose centres are whole numbers."""
    K = np.array(_exactly(value, 9, where)).reshape(3, 3)
    K[:2, 2] += 0.5
    return K


def opencv_pose(rotation: object, translation: object, where: str) -> NDArray[np.float64]:
    """(4, 4) world_to_camera of a rotation (a matrix, or a vector of OpenCV's Rodrigues form) and a translation."""
    turn = np.array(flat(rotation, 9, f"{where}: rotation"))
    if len(turn) not in (3, 9):
        raise FourfoldError(f"{where}: rotation has {len(turn)} numbers, expected 3 or 9: correct it")
    matrix = np.asarray(cv2.Rodrigues(turn)[0], np.float64) if len(turn) == 3 else turn.reshape(3, 3)
    return world_to_camera_of(matrix, np.array(_exactly(translation, 3, f"{where}: translation")))


def _exactly(value: object, count: int, where: str) -> Sequence[float]:
    found = flat(value, count, where)
    return numbers(found, (count,), where).tolist()
