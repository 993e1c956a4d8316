"""Cameras of photos, and of several cameras that all stand: incremental mapping over SIFT matches, and what is worth saying about it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.counting import count
from fourfold.errors import FourfoldError
from fourfold.files import disk_is_full, no_space
from fourfold.interruption import WATCHING, child, temporary_folder
from fourfold.notices import fallback
from fourfold.priors.cameras.photo_worker import PLACED
from fourfold.priors.cameras.pose_path import interpolate_pose
from fourfold.priors.contracts import Cameras, Masks, Provenance
from fourfold.priors.given import given_masks
from fourfold.priors.tracking.track_step import grey_of
from fourfold.room import SMALLER, free_disk

Array = NDArray[np.float64]
Frame = tuple[int, int]

LOOK_EVERY = 2.0  # seconds between looks at how far the worker is
LEAST_DISK = 1_000_000  # bytes: with less free, what failed failed for want of room


@dataclass(frozen=True)
class PhotoNumbers:
    """Numbers of the mapping.

    Attributes:
        long_side: pixels to which the longer image side is brought; larger is slower and finer.
        features, wide_features: most SIFT features per image, and where several cameras all stand still: their few images are far apart.
        peak_threshold: SIFT contrast threshold; lower it for soft images.
        angles: degrees between the rays of the first two images, tried one after the other until most images are placed.
        most: images that are mapped, of all views together: every one is compared with every other.
        still_frames: middle frames taken of a camera that stands still beside others.
        still: pixels at 640 longer side that corners may move in a camera that stands still; probes: frames in which that is looked at.
        least: share of the images that must be placed for the answer to be believed.
        usual, error, parallax, field_of_view: share of the images, pixels at 640, degrees (median over the points) and horizontal degrees from
            which on a check speaks up.
        seed: of every random choice.
    """

    long_side: int = 640
    features: int = 3000
    wide_features: int = 8000
    peak_threshold: float = 0.0067
    angles: tuple[float, ...] = (16.0, 8.0, 4.0)
    most: int = 80
    still_frames: int = 3
    still: float = 0.5
    probes: int = 6
    least: float = 0.5
    usual: float = 0.95
    error: float = 1.2
    parallax: float = 2.0
    field_of_view: tuple[float, float] = (20.0, 110.0)
    seed: int = 0


@dataclass(frozen=True)
class Structure:
    """What the mapper built of F images.

    registered (F,) bool, world_to_camera (F, 4, 4), focal (F,) and principal (F, 2) in pixels of the images it saw; points (P, 3) with errors (P,)
    in those pixels, lengths (P,) number of images and parallax (P,) degrees.
    """

    registered: NDArray[np.bool_]
    world_to_camera: Array
    focal: Array
    principal: Array
    points: Array
    errors: NDArray[np.float32]
    lengths: NDArray[np.int32]
    parallax: NDArray[np.float32]


def photo_cameras(capture: Capture, numbers: PhotoNumbers = PhotoNumbers()) -> Cameras:
    """Cameras of photos and of several cameras, over the parts of the images that given masks do not call moving.

    Never fails because the images are hard: what cannot be found is said loudly.
    """
    masks = given_masks(capture) if any(capture.has("masks", view) for view in range(capture.views)) else None
    frames, still = chosen_frames(capture, numbers)
    with temporary_folder("sfm") as job:
        structure = _mapped(_written(capture, frames, still, masks, job, numbers))
    if structure is None or structure.registered.mean() < numbers.least:
        return _unknown(capture, 0.0 if structure is None else float(structure.registered.mean()))
    return cameras_of(capture, frames, still, structure, numbers)


def chosen_frames(capture: Capture, numbers: PhotoNumbers = PhotoNumbers()) -> tuple[list[Frame], NDArray[np.bool_]]:
    """(view, time index) of the images that are mapped, and which views (V,) stand still beside others.

    A camera that stands has one pose: a few of its middle frames are enough. Of the others every one, or every k-th with the last.
    """
    still = np.array([capture.views > 1 and stands_still(capture, view, numbers) for view in range(capture.views)])
    share = max(3, (numbers.most - numbers.still_frames * int(still.sum())) // max(int((~still).sum()), 1))
    frames: list[Frame] = []
    for view in range(capture.views):
        times = np.flatnonzero(capture.present[view])
        if still[view]:
            chosen = times[np.unique(np.clip(len(times) // 2 + np.arange(numbers.still_frames) - numbers.still_frames // 2, 0, len(times) - 1))]
        else:
            chosen = np.unique(np.append(times[:: -(-len(times) // share)], times[-1:]))
        frames += [(view, int(t)) for t in chosen]
    return frames, still


def stands_still(capture: Capture, view: int, numbers: PhotoNumbers = PhotoNumbers()) -> bool:
    """Whether the corners of a view's first frame are where they were in its other frames, by their median: things that move are the fewer."""
    times = np.flatnonzero(capture.present[view])
    if len(times) < 2:
        return True
    probes = times[np.unique(np.linspace(0, len(times) - 1, numbers.probes + 1).astype(int))]
    grey = [grey_of(capture.image(view, int(t))) for t in probes]
    corners = cv2.goodFeaturesToTrack(grey[0], 400, 0.01, 5)
    if corners is None or len(corners) < 20:
        return False
    limit = numbers.still * max(grey[0].shape) / 640
    for other in grey[1:]:
        there, ok, _ = cv2.calcOpticalFlowPyrLK(grey[0], other, corners, None, winSize=(15, 15), maxLevel=3)
        good = ok.ravel() > 0
        if good.sum() < 20 or np.median(np.linalg.norm((there - corners)[good, 0], axis=1)) > limit:
            return False
    return True


def _written(capture: Capture, frames: list[Frame], still: NDArray[np.bool_], masks: Masks | None, job: Path, numbers: PhotoNumbers) -> Path:
    """The job of the worker: images, masks, pairs and settings."""
    names = [f"{view:03d}/{time:05d}.png" for view, time in frames]
    for (view, time), name in zip(frames, names, strict=True):
        image = np.ascontiguousarray(capture.image(view, time))
        scale = numbers.long_side / max(image.shape)
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        _save(cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), job / "images" / name)
        if masks is not None:
            rests = np.where(masks.mask[view][time] < 0, 255, 0).astype(np.uint8)
            _save(cv2.resize(rests, size, interpolation=cv2.INTER_NEAREST), job / "masks" / f"{name}.png")
    pairs = [(a, b) for b in range(len(frames)) for a in range(b) if not (frames[a][0] == frames[b][0] and still[frames[a][0]])]
    wide = capture.views > 1 and bool(still.all())
    settings = {
        "features": numbers.wide_features if wide else numbers.features,
        "slanted": wide,
        "peak_threshold": numbers.peak_threshold,
        "angles": numbers.angles,
        "seed": numbers.seed,
    }
    (job / "names.json").write_text(json.dumps(names))
    (job / "pairs.txt").write_text("".join(f"{names[a]} {names[b]}\n" for a, b in pairs))
    (job / "settings.json").write_text(json.dumps(settings))
    return job


def _save(image: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, compress_level=1)


def _mapped(job: Path) -> Structure | None:
    """What the worker built; None and, where it crashed, a note.

    FourfoldError where it was the machine's fault: another time it may find cameras, and what it found without room would be kept.
    """
    environment = dict(os.environ)
    environment["TMPDIR"] = str(job)  # what its libraries log goes with the job
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parents[3]), environment.get("PYTHONPATH", "")])
    done = _watched([sys.executable, "-c", f"{WATCHING}from fourfold.priors.cameras.photo_worker import main; main()", str(job)], environment, job)
    failure = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    if sys.platform != "win32" and done.returncode == -signal.SIGKILL:
        raise FourfoldError(f"structure from motion was ended by SIGKILL, as the system does when memory runs out: {SMALLER}")
    if done.returncode and (disk_is_full(RuntimeError(done.stderr)) or free_disk(job) < LEAST_DISK):
        raise FourfoldError(no_space(f" while structure from motion worked in {job}"))
    if failure:
        fallback(f"structure from motion failed ({failure[0][:200]})")
    return Structure(**np.load(job / "model.npz", allow_pickle=False)) if (job / "model.npz").exists() else None


def _watched(command: list[str], environment: dict[str, str], job: Path) -> subprocess.CompletedProcess[str]:
    """The worker's end; how far it is is told meanwhile."""
    with child(command, environment) as process:
        while True:
            try:
                out, err = process.communicate(timeout=LOOK_EVERY)
                return subprocess.CompletedProcess(command, process.returncode, out, err)
            except subprocess.TimeoutExpired:
                count(*how_far(job))


def how_far(job: Path) -> tuple[str, int, int]:
    """What the worker does in `job`, and how many of how many images or pairs are done."""
    images, pairs = len(json.loads((job / "names.json").read_text())), len((job / "pairs.txt").read_text().splitlines())
    placed = job / PLACED
    if placed.exists():
        return "placing photos", placed.stat().st_size, images
    rows = {"keypoints": 0, "two_view_geometries": 0}
    try:
        with closing(sqlite3.connect(f"file:{job / 'features.db'}?mode=ro", uri=True, timeout=0)) as database:
            rows = {table: int(database.execute(f"select count(*) from {table}").fetchone()[0]) for table in rows}
    except sqlite3.Error:  # not there yet, or being written to
        pass
    if rows["two_view_geometries"]:
        return "matching photos", rows["two_view_geometries"], pairs
    return "features of photos", rows["keypoints"], images


def cameras_of(
    capture: Capture, frames: list[Frame], still: NDArray[np.bool_], structure: Structure, numbers: PhotoNumbers = PhotoNumbers()
) -> Cameras:
    """The prior. Frames of a view that were not placed are interpolated; a view of which none was placed is left out."""
    K, poses = np.full((*capture.present.shape, 3, 3), np.nan), np.full((*capture.present.shape, 4, 4), np.nan)
    lost: list[str] = []
    guessed: list[list[int]] = []
    for view in range(capture.views):
        rows = [row for row, frame in enumerate(frames) if frame[0] == view and structure.registered[row]]
        times = [int(t) for t in np.flatnonzero(capture.present[view])]
        if not rows:
            lost.append(capture.view_names[view])
            continue
        scale = float(capture.sizes[view].max()) / numbers.long_side
        focal, (x, y) = structure.focal[rows[0]] * scale, structure.principal[rows[0]] * scale
        K[view] = [[focal, 0, x], [0, focal, y], [0, 0, 1.0]]
        placed = {frames[row][1]: structure.world_to_camera[row] for row in rows}
        if still[view]:
            poses[view, times] = mean_pose(list(placed.values()))
        else:
            poses[view, times] = [placed[t] if t in placed else interpolate_pose(placed, capture.timestamps, t) for t in times]
            guessed += [[view, t] for t in times if t not in placed]
    figures, notes = _told(capture, structure, numbers)
    if lost:
        notes.append(f"the cameras {', '.join(lost)} share too few points with the others to be placed and are left out: give their calibration")
        fallback(notes[-1])
        figures["cameras_left_out"] = lost
    if guessed:
        notes.append(f"{len(guessed)} frames could not be placed by structure from motion and are interpolated")
    provenance = Provenance("pycolmap", notes=tuple(notes), figures={"source": "estimated", "interpolated": guessed} | figures)
    errors = structure.errors * (float(capture.sizes.max(axis=1).mean()) / numbers.long_side)
    return Cameras(provenance, K, poses, structure.points.astype(np.float32), errors.astype(np.float32), structure.lengths)


def mean_pose(poses: list[Array]) -> Array:
    """(4, 4) the one pose of a camera that stands still: mean rotation and median centre of its estimates."""
    stack, pose = np.stack(poses), np.eye(4)
    pose[:3, :3] = Rotation.from_matrix(stack[:, :3, :3]).mean().as_matrix()
    pose[:3, 3] = -pose[:3, :3] @ np.median(-np.einsum("nji,nj->ni", stack[:, :3, :3], stack[:, :3, 3]), axis=0)
    return pose


def _told(capture: Capture, structure: Structure, numbers: PhotoNumbers) -> tuple[dict[str, Any], list[str]]:
    """Figures of a structure, and sentences: a summary and what looks wrong."""
    width, height = (int(n) for n in capture.sizes[0])
    widths = float(np.nanmedian(structure.focal)) / numbers.long_side * max(width, height) / width
    share, error = float(structure.registered.mean()), float(structure.errors.mean()) * 640 / numbers.long_side
    parallax, view = float(np.median(structure.parallax)), float(np.degrees(2 * np.arctan(0.5 / widths)))
    summary = (
        f"structure from motion placed {share:.0%} of the frames with {len(structure.points)} points, reprojection error {error:.2f} px at 640 px "
        f"image size, focal length {widths:.2f} image widths, {parallax:.1f} degrees of parallax"
    )
    low, high = numbers.field_of_view
    checks = [
        (share < numbers.usual, f"check: {share:.0%} of the frames were placed"),
        (error > numbers.error, f"check: the reprojection error of {error:.2f} px is high"),
        (parallax < numbers.parallax, f"check: with {parallax:.1f} degrees of parallax depth is poorly known"),
        (not low < view < high, f"check: a field of view of {view:.0f} degrees is implausible"),
    ]
    figures = {
        "registered_share": share,
        "points": len(structure.points),
        "reprojection_error_px_at_640": round(error, 4),
        "parallax_degrees": round(parallax, 4),
        "focal_px": round(widths * width, 4),
    }
    return figures, [summary, *(sentence for failed, sentence in checks if failed)]


def _unknown(capture: Capture, registered: float) -> Cameras:
    """A camera that cannot be found stays in one place, said loudly. FourfoldError for several: only what they see of each other joins them."""
    if capture.views > 1:
        raise FourfoldError(
            f"structure from motion placed only {registered:.0%} of the images of {capture.views} cameras, so that nothing says where they stand: "
            "give their calibration, or reconstruct one of them alone"
        )
    K, poses = np.full((*capture.present.shape, 3, 3), np.nan), np.tile(np.eye(4), (*capture.present.shape, 1, 1))
    (width, height) = capture.sizes[0]
    K[0] = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    note = f"structure from motion placed only {registered:.0%} of the photos: give their calibration"
    fallback(note)
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    return Cameras(Provenance("one_place", notes=(f"check: {note}",), figures={"source": "fixed", "interpolated": []}), K, poses, *none)
