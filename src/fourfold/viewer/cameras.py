"""Cameras of the page: what was filmed, other paths to fly along, and from which sides the scene was seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.paths import PathOptions, View, camera_path
from fourfold.geometry.camera import Camera
from fourfold.scene.scene import Scene

MOST_SAMPLES = 240  # cameras of one path
MOST_VIEWS = 1200  # cameras of all filmed views together
OTHERS = {"Orbit": "orbit", "Bullet time": "bullet-time", "Turntable": "turntable"}
OTHER_SAMPLES = 48
DIRECTIONS = 64


def paths_of(scene: Scene, capture: Capture) -> list[dict[str, Any]]:
    """Every filmed view, those of training first, then the paths of export that suit the scene: `name` and `cameras`."""
    views = sorted(range(capture.views), key=lambda v: not capture.train[v].any())
    known = [_known(capture, view) for view in views]
    most = max(2, min(MOST_SAMPLES, MOST_VIEWS // max(1, len(views))))
    filmed = [
        {"name": f"Filmed: {capture.view_names[view]}", "cameras": [_filmed(capture, view, int(t)) for t in _spread(moments, most)]}
        for view, moments in zip(views, known, strict=True)
        if len(moments)
    ]
    flown = [{"name": name, "cameras": _flown(scene, capture, path)} for name, path in OTHERS.items()]
    return filmed + [path for path in flown if path["cameras"]]


def focus_of(scene: Scene) -> list[float]:
    """The point to look at: the middle of what moves, else of everything, at the middle of the clip."""
    middle = scene.at(sum(scene.time_range) / 2)
    rows = (scene.dynamic_rows() > 0) & (middle.opacity > 0.2)
    chosen = rows if bool(rows.any()) else middle.opacity > 0.2
    points = middle.means[chosen] if bool(chosen.any()) else middle.means
    points = points[points.isfinite().all(dim=1)]
    return [float(x) for x in points.detach().median(dim=0).values] if len(points) else [0.0, 0.0, 0.0]


def seen_from(capture: Capture, focus: list[float]) -> list[list[float]]:
    """Unit vectors from the focus to cameras that filmed it."""
    poses = capture.world_to_camera[np.isfinite(capture.world_to_camera).all(axis=(2, 3)) & capture.present & capture.train]
    poses = poses[_spread(np.arange(len(poses)), DIRECTIONS)]
    away = -(poses[:, :3, :3].transpose(0, 2, 1) @ poses[:, :3, 3:])[..., 0] - np.asarray(focus)
    return [[round(float(x), 4) for x in unit] for unit in away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)]


def _known(capture: Capture, view: int) -> np.ndarray[Any, Any]:
    return np.flatnonzero(np.isfinite(capture.world_to_camera[view]).all(axis=(1, 2)) & capture.present[view])


def _spread(values: np.ndarray[Any, Any], most: int) -> np.ndarray[Any, Any]:
    return values[np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).astype(int))] if len(values) else values


def _filmed(capture: Capture, view: int, index: int) -> dict[str, Any]:
    time = float(capture.timestamps[index])
    return _told(capture.camera_at(view, index), time, time)


def _flown(scene: Scene, capture: Capture, path: str) -> list[dict[str, Any]]:
    """Cameras of a path of export over the length of the recording; none where it does not suit the scene."""
    try:
        flown: list[View] = camera_path(path, scene, capture, PathOptions(frames=OTHER_SAMPLES))
    except FourfoldError:
        return []
    clock = torch.linspace(scene.time_range[0], scene.time_range[1], len(flown)).tolist()
    return [_told(camera, time, at) for (time, camera), at in zip(flown, clock, strict=True)]


def _told(camera: Camera, time: float, at: float) -> dict[str, Any]:
    """At the second `at` of the path's clock the second `time` of the scene is seen; focal lengths and principal point in shares of the picture."""
    K, width, height = camera.K.double(), camera.width, camera.height
    shares = [K[0, 0] / width, K[1, 1] / height, K[0, 2] / width, K[1, 2] / height]
    pose = [round(float(x), 7) for x in camera.world_to_camera.double().flatten()]
    return {"at": at, "time": time, "pose": pose, "k": [round(float(x), 7) for x in shares], "aspect": width / height}
