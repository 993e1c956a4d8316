"""Calibration files of rigs, one module per format; each offers `FORMATS`. A new format is a new file in this folder.

Files are told by their content, not by their names alone: a TOML file with cameras in it is a calibration whatever it is called.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from fourfold.capture.calibrations.camera import Calibration, CalibrationFormat
from fourfold.capture.frames import natural
from fourfold.errors import FourfoldError

PLACES = ("", "calibration", "calib", "calibrations", "Calibration", "cameras")
MOST_FILES = 64  # of one pattern in one folder that are looked into


@cache
def formats() -> tuple[CalibrationFormat, ...]:
    """All formats, the most special first."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return tuple(sorted((f for module in modules for f in getattr(module, "FORMATS", ())), key=lambda f: (f.rank, f.name)))


def calibration_files(root: Path) -> tuple[CalibrationFormat, list[Path]] | None:
    """The first format of which there are files in `root` or a folder for calibrations in it, and its files; None if there is none."""
    for form in formats():
        for folder in (root / name for name in PLACES):
            if not folder.is_dir():
                continue
            found = sorted({p for pattern in form.patterns for p in folder.glob(pattern) if p.is_file()}, key=lambda p: natural(p.name))
            holding = [p for p in found[:MOST_FILES] if _holds(form, p)]
            if holding:
                return form, holding if form.per_camera else holding[:1]
    return None


def load_calibration(form: CalibrationFormat, paths: list[Path]) -> Calibration:
    """The cameras in `paths`, in natural order of their names. FourfoldError if a file is broken or holds no camera."""
    cameras = [camera for path in paths for camera in form.load(path)]
    if not cameras:
        raise FourfoldError(f"{paths[0]} holds no camera: check or remove it")
    for camera in cameras:
        camera.check(paths[0])
    return form.calibration(sorted(cameras, key=lambda c: natural(c.name)))


def _holds(form: CalibrationFormat, path: Path) -> bool:
    """Whether a file is of a format, without raising on foreign files."""
    try:
        return form.holds(path)
    except FourfoldError:
        return form.sure  # a damaged file of a telling name is named when it is read
