"""Camera paths: which camera looks at which moment. Nothing is rendered here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.projection import project
from fourfold.geometry.rigid import apply_rigid, make_rigid
from fourfold.geometry.rotations import matrix_to_quat, quat_to_matrix, slerp, so3_exp
from fourfold.render.projection import MIN_ALPHA
from fourfold.scene.scene import Scene

View = tuple[float, Camera]
STEADY = 0.25  # seconds, standard deviation of the smoothing of a steadied path


@dataclass(frozen=True)
class PathOptions:
    """Numbers of a camera path.

    Attributes:
        amplitude: how far the camera leaves the filmed path, as a fraction of the object's depth; a quarter shows depth well without
            looking much at what was never seen.
        frames: length of the path; the number of recorded moments if None.
        view: the filmed camera that the path follows.
        file: the JSON file of the path "json".
    """

    amplitude: float = 0.25
    frames: int | None = None
    view: int = 0
    file: Path | None = None


def camera_path(name: str, scene: Scene, capture: Capture, options: PathOptions = PathOptions()) -> list[View]:
    """(seconds, camera) of every frame of the path `name`.

    - "input": the filmed camera, time running.
    - "steady": the filmed camera without its shaking: positions and directions smoothed over half a second.
    - "orbit": an ellipse around the moving object, which stays where it was in the picture; time running.
    - "wiggle": a small Lissajous figure about the filmed camera, time running.
    - "bullet-time": time stands still at the middle, the camera swings to both sides of the object.
    - "turntable": time stands still at the middle, the camera goes once round the object, about the filmed cameras' mean vertical.
    - "json": the cameras in `options.file`, a list of `{"time", "world_to_camera", "K"?, "width"?, "height"?}`; what is missing is taken
      from the filmed camera.

    Raises:
        FourfoldError: there is no such path, or its file cannot be used.
    """
    if name not in PATHS:
        raise FourfoldError(f"there is no camera path {name!r}: choose one of {', '.join(PATHS)}")
    return PATHS[name](scene, capture, options)


def camera_between(capture: Capture, view: int, time: float) -> Camera:
    """The camera of `view` at `time`, seconds: rotation and centre interpolated between the neighbouring known moments."""
    known = np.flatnonzero(np.isfinite(capture.world_to_camera[view]).all(axis=(1, 2)))
    if len(known) == 0:
        return capture.camera_at(view, 0)  # raises the sentence that says what to do
    moments = capture.timestamps[known]
    right = int(np.clip(np.searchsorted(moments, time), 1, max(1, len(known) - 1)))
    if len(known) == 1:
        return capture.camera_at(view, int(known[0]))
    left = right - 1
    fraction = float(np.clip((time - moments[left]) / max(moments[right] - moments[left], 1e-12), 0, 1))
    one, two = (capture.camera_at(view, int(known[i])) for i in (left, right))
    if fraction in (0.0, 1.0):
        return two if fraction else one
    quats = matrix_to_quat(torch.stack([one.world_to_camera[:3, :3], two.world_to_camera[:3, :3]]).double())
    rotation = quat_to_matrix(slerp(quats[0], quats[1], torch.tensor(fraction, dtype=torch.float64)))
    center = torch.lerp(one.center.double(), two.center.double(), fraction)
    pose = make_rigid(rotation, -rotation @ center).to(one.K.dtype)
    return replace(one, K=torch.lerp(one.K, two.K, fraction), world_to_camera=pose)


def object_center(scene: Scene, time: float, camera: Camera) -> Tensor:
    """(3,) what a path turns about: the median of the moving Gaussians weighted by opacity, of all in the picture if none moves.

    A point behind the camera would be useless: then it is put on the optical axis at the median depth of what is before the camera.
    """
    with torch.no_grad():
        gaussians = scene.at(time)
        camera = camera.to(gaussians.means.device)
        pixels, depth = project(gaussians.means, camera.K.to(gaussians.means.dtype), camera.world_to_camera.to(gaussians.means.dtype))
        before = depth > scene.near
        inside = before & (pixels >= 0).all(-1) & (pixels < pixels.new_tensor([camera.width, camera.height])).all(-1)
        for chosen in (scene.foreground_rows().bool() & before, inside, before):
            rows = chosen & (gaussians.opacity > MIN_ALPHA)  # of a long film most are not there
            if bool(rows.any()):
                means, weights = gaussians.means[rows], gaussians.opacity[rows]
                return torch.stack([_weighted_median(means[:, axis], weights) for axis in range(3)])
    return camera.center + camera.world_to_camera[2, :3]


def swing(camera: Camera, center: Tensor, yaw: float, pitch: float) -> Camera:
    """`camera` turned about `center` (3,), by `yaw` about its vertical and `pitch` about its horizontal image axis, radians.

    The distance to the centre and the pixel where it appears stay; positive yaw moves the camera to its left, positive pitch up.
    """
    local = apply_rigid(camera.world_to_camera, center.to(camera.K))
    turn = so3_exp(local.new_tensor([0.0, -yaw, 0.0])) @ so3_exp(local.new_tensor([pitch, 0.0, 0.0]))
    about = make_rigid(turn, local - turn @ local)
    return replace(camera, world_to_camera=about @ camera.world_to_camera)


def _input(scene: Scene, capture: Capture, options: PathOptions) -> list[View]:
    return [(time, camera_between(capture, options.view, time)) for time in _times(scene, capture, options)]


def _steady(scene: Scene, capture: Capture, options: PathOptions) -> list[View]:
    path = _input(scene, capture, options)
    times = torch.tensor([time for time, _ in path], dtype=torch.float64)
    weights = torch.softmax(-0.5 * ((times[:, None] - times) / STEADY).square(), dim=1)
    centers = weights @ torch.stack([camera.center.double() for _, camera in path])
    quats = matrix_to_quat(torch.stack([camera.world_to_camera[:3, :3].double() for _, camera in path]))
    signs = torch.where((quats[:, None] * quats).sum(-1) < 0, -1.0, 1.0)  # of one hemisphere about each moment
    rotations = quat_to_matrix(torch.nn.functional.normalize(((weights * signs)[..., None] * quats).sum(1), dim=1))
    poses = make_rigid(rotations, -torch.einsum("tij,tj->ti", rotations, centers))
    return [(time, replace(camera, world_to_camera=pose.to(camera.K.dtype))) for (time, camera), pose in zip(path, poses, strict=True)]


def _orbit(scene: Scene, capture: Capture, options: PathOptions) -> list[View]:
    return _moving(scene, capture, options, lambda s: (math.cos(2 * math.pi * s), 0.5 * math.sin(2 * math.pi * s)))


def _wiggle(scene: Scene, capture: Capture, options: PathOptions) -> list[View]:
    return _moving(scene, capture, options, lambda s: (0.3 * math.sin(4 * math.pi * s), 0.2 * math.sin(6 * math.pi * s)))


def _moving(scene: Scene, capture: Capture, options: PathOptions, shape: Callable[[float], tuple[float, float]]) -> list[View]:
    times, path = _times(scene, capture, options), []
    for index, time in enumerate(times):
        camera = camera_between(capture, options.view, time)
        yaw, pitch = shape(index / max(1, len(times)))
        path.append((time, swing(camera, object_center(scene, time, camera), options.amplitude * yaw, options.amplitude * pitch)))
    return path


def _standing(scene: Scene, capture: Capture, options: PathOptions) -> tuple[int, float, Camera, Tensor]:
    """Number of frames, the middle of the clip in seconds, the filmed camera then and what it turns about, for paths on which time stands still."""
    frames, middle = options.frames or max(2, capture.times), 0.5 * (scene.time_range[0] + scene.time_range[1])
    camera = camera_between(capture, options.view, middle)
    return frames, middle, camera, object_center(scene, middle, camera)


def _bullet_time(scene: Scene, capture: Capture, options: PathOptions) -> list[View]:
    frames, middle, camera, center = _standing(scene, capture, options)
    return [(middle, swing(camera, center, options.amplitude * math.sin(2 * math.pi * i / frames), 0.0)) for i in range(frames)]


def _turntable(scene: Scene, capture: Capture, options: PathOptions) -> list[View]:
    frames, middle, camera, center = _standing(scene, capture, options)
    center = center.to(camera.world_to_camera)
    down = torch.from_numpy(np.nanmean(capture.world_to_camera[..., 1, :3].reshape(-1, 3), axis=0)).to(center)
    path = []
    for index in range(frames):
        turn = so3_exp(torch.nn.functional.normalize(down, dim=0) * (-2 * math.pi * index / frames))
        path.append((middle, replace(camera, world_to_camera=camera.world_to_camera @ make_rigid(turn, center - turn @ center))))
    return path


def _from_json(scene: Scene, capture: Capture, options: PathOptions) -> list[View]:
    if options.file is None:
        raise FourfoldError('the camera path "json" needs a file: a list of {"time", "world_to_camera", "K"?, "width"?, "height"?}')
    try:
        entries = json.loads(Path(options.file).read_text())
        if not entries:
            raise ValueError("it is empty")
        return [_entry(entry, capture, options.view) for entry in entries]
    except OSError as error:
        raise FourfoldError(f"the camera path {options.file} cannot be read ({error.strerror}): check its name") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = 'a list of {"time": seconds, "world_to_camera": 4x4, "K"?: 3x3, "width"?, "height"?}'
        raise FourfoldError(f"the camera path {options.file} is not {wanted} ({type(error).__name__}: {error}): correct the file") from error


def _entry(entry: dict[str, Any], capture: Capture, view: int) -> View:
    time = float(entry["time"])
    base = camera_between(capture, view, time)
    K = torch.tensor(entry["K"], dtype=base.K.dtype) if "K" in entry else base.K
    pose = torch.tensor(entry["world_to_camera"], dtype=base.K.dtype)
    return time, Camera(K, pose, int(entry.get("width", base.width)), int(entry.get("height", base.height)), base.near)


def _times(scene: Scene, capture: Capture, options: PathOptions) -> list[float]:
    if options.frames is None:
        return [float(t) for t in capture.timestamps]
    return [float(t) for t in np.linspace(*scene.time_range, options.frames)]


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    order = values.argsort()
    total = weights[order].cumsum(0)
    return values[order[torch.searchsorted(total, 0.5 * total[-1]).clamp_max(len(values) - 1)]]


PATHS: dict[str, Callable[[Scene, Capture, PathOptions], list[View]]] = {
    "input": _input,
    "steady": _steady,
    "orbit": _orbit,
    "wiggle": _wiggle,
    "bullet-time": _bullet_time,
    "turntable": _turntable,
    "json": _from_json,
}
