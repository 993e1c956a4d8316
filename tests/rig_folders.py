"""Folders of a small rig of fixed cameras, in the layouts that people bring."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import capture_files as files

VIEWS, TIMES, WIDTH, HEIGHT, FOCAL = 3, 5, 48, 32, 40.0


def pose(seed: int) -> np.ndarray:
    """(4, 4) world_to_camera near the z axis."""
    rng = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(np.eye(3) + 0.2 * rng.normal(size=(3, 3)))
    result = np.eye(4)
    result[:3, :3] = left @ right * np.sign(np.linalg.det(left @ right))
    result[:3, 3] = rng.normal(size=3)
    return result


@dataclass
class Rig:
    """`world_to_camera` (V, T, 4, 4) and an image of one grey level for each camera and moment, by which it is known again."""

    world_to_camera: np.ndarray = field(default_factory=lambda: np.repeat(np.stack([pose(v) for v in range(VIEWS)])[:, None], TIMES, 1))

    @property
    def K(self) -> np.ndarray:
        """(3, 3), pixel centres at +0.5."""
        return np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])

    def image(self, view: int, time: int) -> np.ndarray:
        """(H, W, 3) of one grey level."""
        return np.full((HEIGHT, WIDTH, 3), grey(view, time), np.uint8)

    def save(self, path: Path, view: int, time: int) -> None:
        """The image as a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.image(view, time)).save(path, quality=95)

    def videos(self, folder: Path, name: str = "cam{:02d}.mp4", fps: int = 10) -> None:
        """One video per camera."""
        folder.mkdir(parents=True, exist_ok=True)
        for v in range(VIEWS):
            files.write_video(folder / name.format(v), [self.image(v, t) for t in range(TIMES)], fps=fps)

    def transforms(self, root: Path, name: Callable[[int, int], str], more: Callable[[int, int], dict[str, Any]] = lambda v, t: {}) -> Path:
        """`transforms.json` and its images."""
        frames = []
        for v, t in np.ndindex(self.world_to_camera.shape[:2]):
            self.save(root / name(v, t).replace("\\", "/"), v, t)
            to_world = np.linalg.inv(self.world_to_camera[v, t]) @ np.diag([1.0, -1, -1, 1])
            frames.append({"file_path": name(v, t), "transform_matrix": to_world.tolist(), **more(v, t)})
        head = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
        (root / "transforms.json").write_text(json.dumps(head | {"frames": frames}))
        return root


def grey(view: int, time: int) -> int:
    """The grey level of a camera's image at a moment."""
    return 40 + 50 * view + 8 * time


def colmap(folder: Path, images: list[tuple[str, np.ndarray]], K: np.ndarray | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A binary COLMAP model of one PINHOLE camera, that of `Rig` without `K`: names and world_to_camera of its images."""
    from scipy.spatial.transform import Rotation

    K = Rig().K if K is None else K
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 1, 1, *size, K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
    data = struct.pack("<Q", len(images))
    for number, (name, matrix) in enumerate(images, 1):
        x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat()
        data += struct.pack("<i7di", number, w, x, y, z, *matrix[:3, 3], 1) + name.encode() + b"\0" + struct.pack("<Q", 0)
    (folder / "images.bin").write_bytes(data)
