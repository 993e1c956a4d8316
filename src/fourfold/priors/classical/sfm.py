"""Structure from motion from this side of the process border: images out, features and structure back, all in capture pixels."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.interruption import run_child
from fourfold.notices import fallback
from fourfold.priors.classical.camera_pairs import PairConfig, choose_frames


@dataclass(frozen=True)
class SfmConfig:
    """Numbers of structure from motion.

    Attributes:
        long_side: pixels to which the longer image side is brought for feature extraction; larger is slower and finer.
        features: most SIFT features per image.
        wide_features: the same where several cameras all stand still: their few images are far apart.
        peak_threshold: SIFT contrast threshold; lower it for soft images.
        pairs: which frames are taken and which of them are matched.
        min_matches: pairs with fewer matches are ignored.
        init_min_tri_angle: degrees between the rays of the first two frames; halved twice where no start is found.
        threads: CPU threads; the mapper's results depend on it.
        seed: of every random choice.
    """

    long_side: int = 640
    features: int = 3000
    wide_features: int = 8000
    peak_threshold: float = 0.0067
    pairs: PairConfig = field(default_factory=PairConfig)
    min_matches: int = 15
    init_min_tri_angle: float = 16.0
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """Keypoints of F images and which look alike.

    view (F,) and time (F,) of each image; xy (N, 2) float32 capture pixels, image (N,) row of view/time; pairs (M, 2) rows of xy;
    scale: job pixels per capture pixel (F,); still: (V,) views that stand still beside others.
    """

    job: Path
    view: NDArray[np.int32]
    time: NDArray[np.int32]
    xy: NDArray[np.float32]
    image: NDArray[np.int32]
    pairs: NDArray[np.int32]
    scale: NDArray[np.float64]
    still: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))


@dataclass(frozen=True)
class Structure:
    """What the mapper built, for the F images of the features.

    registered (F,) bool, world_to_camera (F, 4, 4), focal (F,) and principal (F, 2) in capture pixels, points (P, 3), errors (P,) pixels;
    observations: observation_point (O,) row of points, observation_image (O,) row of the images, observation_xy (O, 2) capture pixels.
    """

    registered: NDArray[np.bool_]
    world_to_camera: NDArray[np.float64]
    focal: NDArray[np.float64]
    principal: NDArray[np.float64]
    points: NDArray[np.float64]
    errors: NDArray[np.float32]
    observation_point: NDArray[np.int32]
    observation_image: NDArray[np.int32]
    observation_xy: NDArray[np.float32]

    @property
    def track_lengths(self) -> NDArray[np.int64]:
        """(P,) number of images that see each point."""
        return np.bincount(self.observation_point, minlength=len(self.points))

    @property
    def error(self) -> float:
        """Mean reprojection error over the points, capture pixels; NaN without points."""
        return float(self.errors.mean()) if len(self.errors) else float("nan")

    def K(self, image: int) -> NDArray[np.float64]:
        """(3, 3) intrinsics of one image, capture pixels."""
        return np.array([[self.focal[image], 0, self.principal[image, 0]], [0, self.focal[image], self.principal[image, 1]], [0, 0, 1.0]])


def extract_features(capture: Capture, job: Path, config: SfmConfig = SfmConfig()) -> Features:
    """SIFT features and raw matches of a capture's frames; `job` is a scratch directory that `map_structure` needs again."""
    choice = choose_frames(capture, config.pairs)
    frames = choice.frames
    scales = np.array([config.long_side / max(capture.sizes[view]) for view, _ in frames], np.float64)
    for (view, t), scale in zip(frames, scales, strict=True):
        folder = job / "images" / f"{view:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        image = np.ascontiguousarray(capture.image(view, t))
        size = tuple(round(n * scale) for n in image.shape[1::-1])
        resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        Image.fromarray(resized).save(folder / f"{t:05d}.png", compress_level=1)
    names = [f"{view:03d}/{t:05d}.png" for view, t in frames]
    (job / "names.json").write_text(json.dumps(names))
    (job / "candidates.txt").write_text("\n".join(f"{names[a]} {names[b]}" for a, b in choice.pairs(config.pairs)) + "\n")
    wide = bool(len(choice.still) and choice.still.all() and capture.views > 1)
    _run_worker("features", job, config, {"slanted": wide, "features": config.wide_features if wide else config.features})
    z = np.load(job / "features.npz", allow_pickle=False)
    view, time_index = (np.array(column, np.int32) for column in zip(*frames, strict=True))
    return Features(job, view, time_index, (z["xy"] / scales[z["image"], None]).astype(np.float32), z["image"], z["pairs"], scales, choice.still)


def map_structure(
    features: Features,
    keep: NDArray[np.bool_],
    config: SfmConfig = SfmConfig(),
    focal: float | None = None,
    refine_focal: bool = True,
) -> Structure:
    """Incremental mapping of the kept (N,) keypoints; an empty structure where none can be built.

    Args:
        focal: starting focal length in capture pixels, of the first view; None lets the mapper guess.
        refine_focal: False keeps it.
    """
    np.save(features.job / "keep.npy", keep)
    scale = float(features.scale[0])
    structure = Structure(*_empty_arrays(len(features.view)))
    for angle in (config.init_min_tri_angle, config.init_min_tri_angle / 2, config.init_min_tri_angle / 4):
        extra = {"init_min_tri_angle": angle, "focal": focal * scale if focal else 0.0, "refine_focal": refine_focal}
        _run_worker("map", features.job, config, extra)
        found = _read_structure(features)
        if found.registered.sum() > structure.registered.sum():
            structure = found
        if structure.registered.mean() > 0.5:
            break
    return structure


def _read_structure(features: Features) -> Structure:
    z = np.load(features.job / "model.npz", allow_pickle=False)
    scale = features.scale
    xy = z["observation_xy"] / scale[z["observation_image"], None]
    per_point = np.full(len(z["points"]), scale.mean())
    if len(z["observation_point"]):
        per_point[z["observation_point"]] = scale[z["observation_image"]]
    return Structure(
        z["registered"],
        z["world_to_camera"],
        z["focal"] / scale,
        z["principal"] / scale[:, None],
        z["points"],
        (z["errors"] / per_point).astype(np.float32),
        z["observation_point"],
        z["observation_image"],
        xy.astype(np.float32),
    )


def _run_worker(step: str, job: Path, config: SfmConfig, extra: dict[str, Any]) -> None:
    """Run one step in its own process. A crash becomes an empty result and a note, since SfM failing must not end the job."""
    settings = (
        {"camera_model": "SIMPLE_PINHOLE", "first_octave": -1, "slanted": False} | {k: v for k, v in vars(config).items() if k != "pairs"} | extra
    )
    (job / "settings.json").write_text(json.dumps(settings))
    environment = dict(os.environ)
    environment["TMPDIR"] = str(job)  # what its libraries log goes with the job
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parents[3]), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "fourfold.priors.classical.sfm_worker", step, str(job)]
    for stale in ("features.npz",) if step == "features" else ("model.npz",):
        (job / stale).unlink(missing_ok=True)
    done = run_child(command, environment)
    failure = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    if failure:
        fallback(f"structure from motion failed in its {step} step ({failure[0][:200]}); the cameras are found without it")
        _write_empty(step, job)


def _write_empty(step: str, job: Path) -> None:
    if step == "features":
        np.savez(job / "features.npz", xy=np.zeros((0, 2), np.float32), image=np.zeros(0, np.int32), pairs=np.zeros((0, 2), np.int32))
        return
    count = len(json.loads((job / "names.json").read_text()))
    arrays = dict(zip((f.name for f in fields(Structure)), _empty_arrays(count), strict=True))
    np.savez(job / "model.npz", **arrays)


def _empty_arrays(count: int) -> list[NDArray[Any]]:
    """The arrays of a `Structure` of `count` images of which none is registered."""
    poses = [np.zeros(count, bool), np.tile(np.eye(4), (count, 1, 1)), np.full(count, np.nan), np.full((count, 2), np.nan)]
    return [*poses, np.zeros((0, 3)), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 2), np.float32)]
