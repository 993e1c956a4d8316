"""What stands in a `.4dgs` file beside the Gaussians: axes and units, where the cameras were, and what only Fourfold asks for."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.geometry.camera import Camera
from fourfold.geometry.rotations import matrix_to_quat
from fourfold.scene.scene import Scene

NOTES = "fourfold"  # the name of our metadata record
AXES = ("+x", "+y", "+z", "-x", "-y", "-z")  # in the order of the format's registry


def front_records(scene: Scene, capture: Capture) -> list[bytes]:
    """Encoded records: our notes, the coordinate frame, one sensor and one trajectory per view, and the first view as a camera to begin with."""
    from fourdgs import Provenance
    from fourdgs.records import Metadata

    sensors, trajectories = [], []
    for view in range(capture.views):
        path = _filmed(scene, capture, view)
        if path:
            sensor, trajectory = _sensor(capture.view_names[view], path)
            sensors.append(sensor)
            trajectories.append(trajectory)
    provenance = Provenance(frames=[_frame(scene)], sensors=sensors, trajectories=trajectories)
    provenance.check()
    records = [Metadata(NOTES, notes(scene)).encode()]
    records += [record.encode() for record in (*provenance.frames, *sensors, *trajectories)]
    if sensors:
        records.append(_suggestion(_filmed(scene, capture, 0) or _filmed(scene, capture, capture.views - 1)))
    return records


def notes(scene: Scene) -> dict[str, str]:
    """What the format has no field for, as text: the second that its zero stands for, names and roles of layers, background, up and near."""
    return {
        "begin": repr(float(scene.time_range[0])),
        "end": repr(float(scene.time_range[1])),
        "layers": json.dumps([[layer.name, layer.role, len(layer)] for layer in scene.layers]),
        "background": json.dumps(list(scene.background)),
        "up": json.dumps(list(scene.up)),
        "near": repr(float(scene.near)),
        "scale": json.dumps(scene.scale),
        "color_space": "srgb-rec709-display",
    }


def _frame(scene: Scene) -> Any:
    """Right-handed; the axis nearest to the scene's up is said to be up (the exact vector is in the notes)."""
    from fourdgs import CoordinateFrame

    up = np.array(scene.up)
    along = int(np.argmax(np.abs(up)))
    up_axis = along + (3 if up[along] < 0 else 0)
    forward = next(axis for axis in (2, 1, 0) if axis != along)
    metres = scene.scale or 0.0
    return CoordinateFrame("scene", 1, up_axis, forward, 1 if math.isclose(metres, 1.0) else 0, metres)


def _filmed(scene: Scene, capture: Capture, view: int) -> list[tuple[float, Camera]]:
    """(seconds since the file's zero, camera) of every moment of `view` whose camera is known."""
    known = np.flatnonzero(np.isfinite(capture.world_to_camera[view]).all(axis=(1, 2)))
    return [(float(capture.timestamps[t]) - scene.time_range[0], capture.camera_at(view, int(t))) for t in known]


def _sensor(name: str, path: list[tuple[float, Camera]]) -> tuple[Any, Any]:
    from fourdgs import RigTrajectory, SensorCalibration
    from fourdgs.records import POSE_TO_RIG

    camera = path[0][1]
    fx, fy, cx, cy = (float(camera.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    sensor = SensorCalibration(name, "rgb", 1, camera.width, camera.height, fx, fy, cx, cy, pose_reference=POSE_TO_RIG, rig_name=name)
    turns = matrix_to_quat(torch.stack([c.world_to_camera[:3, :3].T.double() for _, c in path]))[:, [1, 2, 3, 0]]
    places = [c.center.double().tolist() for _, c in path]
    return sensor, RigTrajectory(name, 0, [time for time, _ in path], turns.tolist(), places)


def _suggestion(path: list[tuple[float, Camera]]) -> bytes:
    """The filmed path as the camera that a viewer may begin with: it looks along the optical axis, one unit ahead."""
    from fourdgs.records import Camera as Suggested

    first = path[0][1]
    positions = [c.center.double().tolist() for _, c in path]
    targets = [(c.center + c.world_to_camera[2, :3]).double().tolist() for _, c in path]
    fov = math.degrees(2 * math.atan(first.height / (2 * float(first.K[1, 1]))))
    times = [time for time, _ in path]
    return Suggested(fov, positions[0], targets[0], times, positions, targets, "linear", False).encode()
