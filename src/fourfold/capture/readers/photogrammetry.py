"""Cameras exported by Metashape (`cameras.xml`) and RealityCapture (`*.csv` of internal and external camera parameters) beside the images.

Source: Metashape's manual, appendix on camera models: x right, y down, z forward; `transform` is camera to world; the principal point is
measured from the middle of the image; P1 and P2 are OpenCV's p2 and p1. RealityCapture's help: `f`, `px`, `py` in 36ths of the longer
side (35 mm film), heading, pitch and roll in degrees, world with z up.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.frames import image_size, images_in
from fourfold.capture.lens import Lens, pinhole
from fourfold.capture.readers.image_folder import DEFAULT_FPS
from fourfold.capture.readers.posed_images import PosedImage, in_views, view_sources
from fourfold.capture.source import CaptureOptions, Reader, Source, from_opengl, intrinsics, noted, scale_intrinsics
from fourfold.errors import FourfoldError
from fourfold.untrusted.files import MOST_MARKUP, read_text
from fourfold.untrusted.markup import load_xml
from fourfold.untrusted.records import number, numbers

IMAGE_PLACES = ("images", "", "input", "rgb")
FILM = 36.0  # millimetres, the longer side of a frame of 35 mm film
CSV_COLUMNS = ("#name", "heading", "pitch", "roll", "f")
Parameters = tuple[tuple[float, float], NDArray[np.float64], Lens]


def recognises(path: Path) -> bool:
    """A folder with such a file."""
    return path.is_dir() and (_metashape_file(path) is not None or _reality_file(path) is not None)


def _metashape_file(root: Path) -> Path | None:
    for path in sorted(root.glob("*.xml")):
        try:
            if "<sensors" in read_text(path, MOST_MARKUP)[:20_000] and "<cameras" in read_text(path, MOST_MARKUP):
                return path
        except FourfoldError:
            continue
    return None


def _reality_file(root: Path) -> Path | None:
    for path in sorted(root.glob("*.csv")):
        try:
            head = read_text(path, MOST_MARKUP).partition("\n")[0].strip().lower().split(",")
        except FourfoldError:
            continue
        if all(c in head for c in CSV_COLUMNS):
            return path
    return None


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """The images that the file names, arranged into cameras by names and poses."""
    root = paths[0]
    path = _metashape_file(root) or _reality_file(root)
    if path is None:
        raise FourfoldError(f"{root} has no cameras of Metashape or RealityCapture")
    there = {p.stem.lower(): p for name in reversed(IMAGE_PLACES) for p in images_in(root / name)}
    program, found = ("Metashape", _metashape(path, there)) if path.suffix == ".xml" else ("RealityCapture", _reality(path, there))
    if not found:
        raise FourfoldError(f"{path} names images of which none is in {root / 'images'}: put them there")
    fps = options.fps or DEFAULT_FPS
    images, told = in_views(found, fps, "camera")
    views, times = view_sources(images, "valid")
    facts = told | {"fps": fps, "fps_from": "given" if options.fps else "assumed"}
    source = Source(program.lower(), root, root.resolve().name, views, times, "given", False, None, facts)
    return noted(source, f"cameras of {program} in {path.name}, {len(found)} of {len(there)} images, in units of the project")


def _metashape(path: Path, there: dict[str, Path]) -> list[PosedImage]:
    root = load_xml(path)
    sensors = {s.attrib.get("id", ""): s for s in root.iter("sensor")}
    known: dict[str, Parameters] = {}
    found: list[PosedImage] = []
    for camera in root.iter("camera"):
        label, text = camera.attrib.get("label", ""), camera.findtext("transform")
        image = there.get(label.lower()) or there.get(Path(label).stem.lower())
        sensor = camera.attrib.get("sensor_id", "")
        if image is None or text is None or sensor not in sensors:
            continue
        if sensor not in known:
            known[sensor] = _sensor(sensors[sensor], f"{path}: sensor {sensor}")
        size, K, lens = known[sensor]
        to_world = numbers([number(w, f"{path}: {label}") for w in text.split()], (16,), f"{path}: {label}: transform").reshape(4, 4)
        if abs(np.linalg.det(to_world[:3, :3])) < 1e-9:
            raise FourfoldError(f"{path}: {label} has no pose: export the cameras again")
        found.append(PosedImage(image, image.name, scale_intrinsics(K, size, image_size(image)), np.linalg.inv(to_world), lens))
    return found


def _sensor(sensor: Element, where: str) -> Parameters:
    kind = sensor.attrib.get("type", "frame")
    if kind != "frame":
        raise FourfoldError(f"{where} is of type {kind}: undistort the photos in Metashape and export them as frame cameras")
    calibrations = sensor.findall("calibration")
    calibration = next((c for c in calibrations if c.attrib.get("class") == "adjusted"), calibrations[-1] if calibrations else None)
    resolution = sensor.find("resolution")
    if calibration is None or resolution is None:
        raise FourfoldError(f"{where} has no calibration: align the photos and export the cameras again")
    width, height = (number(resolution.attrib.get(side), f"{where}: {side}") for side in ("width", "height"))

    def of(name: str) -> float:
        text = calibration.findtext(name)
        return 0.0 if text is None else number(text, f"{where}: {name}")

    K = intrinsics(of("f") + of("b1"), of("f"), width / 2 + of("cx"), height / 2 + of("cy"))
    K[0, 1] = of("b2")
    if of("k4"):
        raise FourfoldError(f"{where} has a fourth radial term k4: undistort the photos in Metashape first")
    return (width, height), K, pinhole(of("k1"), of("k2"), of("p2"), of("p1"), of("k3"))


def _reality(path: Path, there: dict[str, Path]) -> list[PosedImage]:
    found: list[PosedImage] = []
    try:
        rows = list(csv.DictReader(read_text(path, MOST_MARKUP).splitlines()))
    except csv.Error as error:
        raise FourfoldError(f"{path} is not a table ({error}): export it again") from error
    for row in rows:
        name = row.get("#name") or ""
        image = there.get(Path(name).stem.lower())
        if image is None:
            continue
        filled = {k: v for k, v in row.items() if isinstance(k, str) and k != "#name" and isinstance(v, str) and v.strip()}
        of = {k: number(v, f"{path}: {name}: {k}") for k, v in filled.items()}
        if lacking := [k for k in ("x", "y", "alt", "heading", "pitch", "roll", "f") if k not in of]:
            raise FourfoldError(f"{path}: {name} has no {lacking[0]}: export internal and external parameters again")
        width, height = image_size(image)
        scale = max(width, height) / FILM
        K = intrinsics(of["f"] * scale, of["f"] * scale, width / 2 + of.get("px", 0.0) * scale, height / 2 + of.get("py", 0.0) * scale)
        to_world = np.eye(4)
        to_world[:3, :3] = Rotation.from_euler("ZXY", [-of["heading"], of["pitch"], of["roll"]], degrees=True).as_matrix()
        to_world[:3, 3] = of["x"], of["y"], of["alt"]
        bend = [of.get(k, 0.0) for k in ("k1", "k2", "t1", "t2", "k3")]
        found.append(PosedImage(image, image.name, K, from_opengl(to_world), pinhole(*bend)))
    return found


READER = Reader("metashape, realitycapture", 28, recognises, read)
