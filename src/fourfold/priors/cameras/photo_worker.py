"""Incremental mapping in a process of its own: pycolmap behind a directory of plain files.

Reads `images/` (one folder per camera), `names.json`, `pairs.txt` (names to match), `settings.json` and, where there is one, `masks/`; writes
`model.npz`, and a byte for each image that it places into `placed`. A separate process because pycolmap's own PNG and logging libraries clash with
OpenCV's in one process, and because its failing must not end the job. Source: spec calibration.md section E.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLACED = "placed"
"""Name of the file that grows by a byte with every image that is placed."""


def extract_and_match(job: Path, settings: dict[str, Any]) -> None:
    """SIFT in every image, outside its mask, matched over the pairs and verified; writes `features.db`."""
    import pycolmap

    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = "SIMPLE_PINHOLE"
    if (job / "masks").exists():
        reader.mask_path = job / "masks"
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads, extraction.use_gpu = 1, False
    extraction.sift.max_num_features = settings["features"]
    extraction.sift.peak_threshold = settings["peak_threshold"]
    # features that are told from their surroundings' slant too: slower, and found again from farther aside
    extraction.sift.estimate_affine_shape = extraction.sift.domain_size_pooling = settings["slanted"]
    pycolmap.extract_features(
        job / "features.db",
        job / "images",
        camera_mode=pycolmap.CameraMode.PER_FOLDER,
        reader_options=reader,
        extraction_options=extraction,
        device=pycolmap.Device.cpu,
    )
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu = 1, False
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = job / "pairs.txt"
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = settings["seed"]
    pycolmap.match_image_pairs(job / "features.db", matching, pairing, verification, pycolmap.Device.cpu)


def map_images(job: Path, settings: dict[str, Any]) -> Any:
    """The largest reconstruction, from a start with less and less parallax until most images are placed; None where nothing can be built."""
    import pycolmap

    best: Any = None
    count = len(json.loads((job / "names.json").read_text()))

    def placed() -> None:
        with (job / PLACED).open("ab") as file:
            file.write(b".")

    for angle in settings["angles"]:
        (job / PLACED).write_bytes(b"..")  # a reconstruction begins with a pair
        out = job / f"from_{angle}"
        out.mkdir()
        pycolmap.set_random_seed(settings["seed"])
        options = pycolmap.IncrementalPipelineOptions()
        options.num_threads, options.multiple_models, options.random_seed = 1, False, settings["seed"]
        options.extract_colors, options.min_model_size, options.ba_global_function_tolerance = False, 3, 1e-5
        options.mapper.init_min_tri_angle = angle
        models = pycolmap.incremental_mapping(job / "features.db", job / "images", out, options=options, next_image_callback=placed)
        for model in models.values():
            best = model if best is None or model.num_reg_images() > best.num_reg_images() else best
        if best is not None and best.num_reg_images() > count / 2:
            break
    return best


def write_model(model: Any, names: list[str], out: Path) -> None:
    """The arrays of `photo_cameras.Structure`, in the order of `names`."""
    count, index = len(names), {name: i for i, name in enumerate(names)}
    registered, poses = np.zeros(count, bool), np.tile(np.eye(4), (count, 1, 1))
    focal, principal = np.full(count, np.nan), np.full((count, 2), np.nan)
    for image in (i for i in model.images.values() if i.has_pose):
        row, camera = index[image.name], model.cameras[image.camera_id]
        registered[row], poses[row, :3] = True, image.cam_from_world().matrix()
        focal[row], principal[row] = camera.mean_focal_length(), (camera.principal_point_x, camera.principal_point_y)
    points = [model.points3D[identifier] for identifier in sorted(model.points3D)]
    centres = {identifier: image.projection_center() for identifier, image in model.images.items() if image.has_pose}
    np.savez(
        out,
        registered=registered,
        world_to_camera=poses,
        focal=focal,
        principal=principal,
        points=np.array([p.xyz for p in points], np.float64).reshape(-1, 3),
        errors=np.array([p.error for p in points], np.float32),
        lengths=np.array([p.track.length() for p in points], np.int32),
        parallax=np.array([_parallax(p, centres) for p in points], np.float32),
    )


def _parallax(point: Any, centres: dict[int, NDArray[np.float64]]) -> float:
    """Degrees between the rays to a point from the first and the last image that see it."""
    seen = sorted({element.image_id for element in point.track.elements})
    first, last = (point.xyz - centres[seen[i]] for i in (0, -1))
    return float(np.degrees(np.arccos(np.clip(first @ last / (np.linalg.norm(first) * np.linalg.norm(last)), -1, 1))))


def main() -> None:
    """The program, with the job's folder as its argument; no `model.npz` where nothing could be built."""
    job = Path(sys.argv[1])
    settings = json.loads((job / "settings.json").read_text())
    extract_and_match(job, settings)
    model = map_images(job, settings)
    if model is not None:
        write_model(model, json.loads((job / "names.json").read_text()), job / "model.npz")
