"""A camera path for other programs: nerfstudio's transforms.json, a COLMAP model as text, an animated glTF camera (Blender opens it)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.export.axes import metres, y_up
from fourfold.export.glb import Glb
from fourfold.export.options import ExportOptions, views
from fourfold.export.paths import View
from fourfold.files import refuse_to_replace, replacing, write_json
from fourfold.geometry.camera import Camera
from fourfold.geometry.rotations import matrix_to_quat
from fourfold.scene.scene import Scene

FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))  # OpenCV's axes to OpenGL's: y up, looking along -z


def export_nerfstudio(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """`transforms.json`: poses from camera to world in OpenGL's axes, scene units, seconds; pictures are called as the format png calls them."""
    frames: list[dict[str, Any]] = []
    for index, (time, camera) in enumerate(views(scene, capture, options)):
        fx, fy, cx, cy = intrinsics(camera)
        size = {"w": camera.width, "h": camera.height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
        pose = (pose_of(camera) @ FLIP).tolist()
        frames.append({"file_path": f"frames/frame_{index:05d}.png", "time": time, "transform_matrix": pose} | size)
    write_json(out, {"camera_model": "OPENCV", "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "frames": frames})


def export_colmap(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """`cameras.txt`, `images.txt`, `points3D.txt`: a PINHOLE camera per distinct intrinsics, scene units; times are in the order of the names."""
    numbers: dict[str, int] = {}
    images: list[str] = []
    for index, (_, camera) in enumerate(views(scene, capture, options)):
        line = f"PINHOLE {camera.width} {camera.height} {' '.join(map(repr, intrinsics(camera)))}"
        number = numbers.setdefault(line, len(numbers) + 1)
        pose = camera.world_to_camera.double()
        values = " ".join(map(repr, [*matrix_to_quat(pose[None, :3, :3])[0].tolist(), *pose[:3, 3].tolist()]))
        images += [f"{index + 1} {values} {number} frame_{index:05d}.png", ""]
    refuse_to_replace(out, "*.txt")
    with replacing(out) as temporary:
        temporary.mkdir()
        (temporary / "cameras.txt").write_text("".join(f"{number} {line}\n" for line, number in numbers.items()))
        (temporary / "images.txt").write_text("\n".join(images) + "\n")
        (temporary / "points3D.txt").write_text("")


def export_camera_gltf(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A `.glb` with one camera that moves: metres, y up. glTF knows no principal point; the vertical field of view is that of the first picture."""
    seen = views(scene, capture, options)
    with replacing(out) as temporary:
        temporary.write_bytes(_animated(scene, seen))


def intrinsics(camera: Camera) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy in pixels, (0.5, 0.5) the centre of the first one."""
    K = camera.K.double()
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


def pose_of(camera: Camera) -> torch.Tensor:
    """(4, 4) camera to world, OpenCV's axes."""
    return torch.linalg.inv(camera.world_to_camera.double())


def _animated(scene: Scene, seen: list[View]) -> bytes:
    turn, scale = y_up(scene), metres(scene)
    poses = torch.stack([pose_of(camera) @ FLIP for _, camera in seen])
    places = (scale * poses[:, :3, 3] @ turn.T).numpy()
    quats = matrix_to_quat(turn @ poses[:, :3, :3])[:, [1, 2, 3, 0]].numpy()
    signs = np.cumprod(np.concatenate([[1.0], np.where((quats[1:] * quats[:-1]).sum(1) < 0, -1.0, 1.0)]))
    quats = quats * signs[:, None]
    camera = seen[0][1]
    _, fy, _, _ = intrinsics(camera)
    lens = {"yfov": 2 * math.atan(camera.height / (2 * fy)), "aspectRatio": camera.width / camera.height, "znear": max(1e-4, scale * scene.near)}
    node = {"name": "camera", "camera": 0, "translation": places[0].tolist(), "rotation": quats[0].tolist()}
    glb = Glb({"scenes": [{"nodes": [0]}], "nodes": [node], "cameras": [{"type": "perspective", "perspective": lens}]})
    seconds = np.array([time for time, _ in seen])
    if len(seen) > 1:
        if (np.diff(seconds) <= 0).any():  # time stands still on some paths: the camera then moves ten times a second
            seconds = np.arange(len(seen)) / 10.0
        keys, moved, turned = glb.add(seconds - seconds[0], bounds=True), glb.add(places), glb.add(quats)
        samplers = [{"input": keys, "output": output, "interpolation": "LINEAR"} for output in (moved, turned)]
        channels = [{"sampler": n, "target": {"node": 0, "path": path}} for n, path in enumerate(("translation", "rotation"))]
        glb.document["animations"] = [{"name": "path", "samplers": samplers, "channels": channels}]
    return glb.encode()
