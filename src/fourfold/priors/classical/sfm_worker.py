"""Structure from motion in a process of its own: pycolmap behind a directory of plain files.

`features` reads `names.json` (images below `images/`, one folder per camera) and `candidates.txt` (pairs to match) and writes
`features.npz` (keypoints and raw matches); `map` reads those with `keep.npy` (which keypoints may be used) and writes `model.npz`
(poses, focal length, points and their observations). A separate process because
pycolmap's own PNG and logging libraries clash with OpenCV's in one process. Source: spec calibration.md section E.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.interruption import end_with_parent


def extract_and_match(job: Path, settings: dict[str, Any]) -> None:
    """SIFT in every image, matched over the candidate pairs; writes `raw.db` and `features.npz`.

    `features.npz`: xy (N, 2) float32 pixels of the images in the job, image (N,) int32 index into names.json, pairs (M, 2) int32 rows
    of xy that look alike.
    """
    import pycolmap

    database_path = job / "raw.db"
    database_path.unlink(missing_ok=True)
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = settings["camera_model"]
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads, extraction.use_gpu = settings["threads"], False
    extraction.sift.max_num_features = settings["features"]
    extraction.sift.peak_threshold = settings["peak_threshold"]
    extraction.sift.first_octave = settings["first_octave"]
    # features that are told from their surroundings' slant too: slower, and found again from farther aside
    extraction.sift.estimate_affine_shape = extraction.sift.domain_size_pooling = settings["slanted"]
    pycolmap.extract_features(
        database_path,
        job / "images",
        camera_mode=pycolmap.CameraMode.PER_FOLDER,
        reader_options=reader,
        extraction_options=extraction,
        device=pycolmap.Device.cpu,
    )
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu, matching.skip_geometric_verification = settings["threads"], False, True
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = job / "candidates.txt"
    pycolmap.match_image_pairs(database_path, matching_options=matching, pairing_options=pairing, device=pycolmap.Device.cpu)
    with pycolmap.Database.open(database_path) as database:
        _write_features(database, job)


def _images_in_order(database: Any, job: Path) -> list[Any]:
    by_name = {image.name: image for image in database.read_all_images()}
    return [by_name[name] for name in json.loads((job / "names.json").read_text())]


def _write_features(database: Any, job: Path) -> None:
    images = _images_in_order(database, job)
    keypoints = [database.read_keypoints(image.image_id)[:, :2].astype(np.float32).reshape(-1, 2) for image in images]
    starts = dict(zip([image.image_id for image in images], np.cumsum([0, *[len(k) for k in keypoints[:-1]]]), strict=True))
    pairs = [np.zeros((0, 2), np.int32)]
    for first in images:
        for second in images:
            if first.image_id < second.image_id and database.exists_matches(first.image_id, second.image_id):
                matches = database.read_matches(first.image_id, second.image_id).astype(np.int32).reshape(-1, 2)
                pairs.append((matches + np.array([starts[first.image_id], starts[second.image_id]])).astype(np.int32))
    np.savez(
        job / "features.npz",
        xy=np.concatenate(keypoints),
        image=np.concatenate([np.full(len(k), i, np.int32) for i, k in enumerate(keypoints)]),
        pairs=np.concatenate(pairs),
    )


def map_frames(job: Path, settings: dict[str, Any]) -> None:
    """Incremental mapping of the kept keypoints; writes `model.npz` (`registered` all false where nothing could be built).

    `model.npz`: registered (F,) bool in the order of names.json, world_to_camera (F, 4, 4), focal (F,) and principal (F, 2) in pixels of the job's
    images, points (P, 3), errors (P,), observation_point (O,) row of points, observation_image (O,), observation_xy (O, 2).
    """
    import pycolmap

    pycolmap.set_random_seed(settings["seed"])
    database_path, out = job / "work.db", job / "sparse"
    shutil.copy(job / "raw.db", database_path)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    _filter_matches(database_path, job, settings)
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.multiple_models, options.random_seed = settings["threads"], False, settings["seed"]
    options.extract_colors = False
    options.min_model_size = 3
    options.ba_global_function_tolerance = 1e-5
    options.mapper.init_min_tri_angle = settings["init_min_tri_angle"]
    if settings["focal"]:
        options.ba_refine_focal_length = settings["refine_focal"]
    models = pycolmap.incremental_mapping(database_path, job / "images", out, options=options)
    best = max(models.values(), key=lambda model: model.num_reg_images(), default=None)
    _write_model(best, json.loads((job / "names.json").read_text()), job)


def _filter_matches(database_path: Path, job: Path, settings: dict[str, Any]) -> None:
    """Keep only matches between kept keypoints, set the starting focal length, and verify every pair geometrically."""
    import pycolmap

    features, keep = np.load(job / "features.npz"), np.load(job / "keep.npy")
    frame, pairs = features["image"], features["pairs"]
    pairs = pairs[keep[pairs].all(axis=1)] if len(pairs) else pairs
    listing: list[str] = []
    with pycolmap.Database.open(database_path) as database:
        images = _images_in_order(database, job)
        starts = np.concatenate([[0], np.cumsum(np.bincount(frame, minlength=len(images)))])
        if settings["focal"]:
            camera = database.read_camera(images[0].camera_id)
            parameters = np.array(camera.params)
            parameters[0] = settings["focal"]
            camera.params, camera.has_prior_focal_length = parameters, True
            database.update_camera(camera)
        database.clear_two_view_geometries()
        database.clear_matches()
        keys = frame[pairs[:, 0]].astype(np.int64) * len(images) + frame[pairs[:, 1]]
        order = np.argsort(keys, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            if len(rows) < settings["min_matches"]:
                continue
            a, b = int(frame[pairs[rows[0], 0]]), int(frame[pairs[rows[0], 1]])
            local = (pairs[rows] - np.array([starts[a], starts[b]])).astype(np.uint32)
            database.write_matches(images[a].image_id, images[b].image_id, local)
            listing.append(f"{images[a].name} {images[b].name}")
    (job / "pairs.txt").write_text("\n".join(listing) + "\n")
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = settings["seed"]
    pycolmap.verify_matches(database_path, job / "pairs.txt", options=options)


def _write_model(model: Any, names: list[str], job: Path) -> None:
    count = len(names)
    index = {name: i for i, name in enumerate(names)}
    registered, poses = np.zeros(count, bool), np.tile(np.eye(4), (count, 1, 1))
    focal, principal = np.full(count, np.nan), np.full((count, 2), np.nan)
    points, errors, rows, frames, xy = [], [], [], [], []
    if model is not None:
        row_of = {identifier: row for row, identifier in enumerate(sorted(model.points3D))}
        points = [model.points3D[identifier].xyz for identifier in row_of]
        errors = [model.points3D[identifier].error for identifier in row_of]
        for image in sorted((i for i in model.images.values() if i.has_pose), key=lambda i: i.name):
            f = index[image.name]
            camera = model.cameras[image.camera_id]
            registered[f], poses[f, :3] = True, image.cam_from_world().matrix()
            focal[f], principal[f] = camera.mean_focal_length(), (camera.principal_point_x, camera.principal_point_y)
            for point in image.points2D:
                if point.has_point3D():
                    rows.append(row_of[point.point3D_id])
                    frames.append(f)
                    xy.append(point.xy)
    np.savez(
        job / "model.npz",
        registered=registered,
        world_to_camera=poses,
        focal=focal,
        principal=principal,
        points=np.array(points, np.float64).reshape(-1, 3),
        errors=np.array(errors, np.float32),
        observation_point=np.array(rows, np.int32),
        observation_image=np.array(frames, np.int32),
        observation_xy=np.array(xy, np.float32).reshape(-1, 2),
    )


def main(arguments: list[str]) -> None:
    """`python -m fourfold.priors.classical.sfm_worker features|map JOB`, settings in `JOB/settings.json`."""
    end_with_parent()
    step, job = arguments[0], Path(arguments[1])
    settings = json.loads((job / "settings.json").read_text())
    {"features": extract_and_match, "map": map_frames}[step](job, settings)


if __name__ == "__main__":
    main(sys.argv[1:])
