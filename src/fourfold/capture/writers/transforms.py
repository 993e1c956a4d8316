"""nerfstudio's `transforms.json` and D-NeRF's `transforms_{train,test}.json`. Source: spec evaluation_and_datasets.md section 3."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.writers.writer import (
    Matrix,
    Writer,
    camera_to_world,
    close,
    first_reason,
    kind_losses,
    off_centre,
    other_sizes,
    present_frames,
    save_image,
    save_json,
    save_png,
    unknown_cameras,
)

MILLIMETRES = 1000.0
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def _opengl(world_to_camera: Matrix) -> list[list[float]]:
    return (camera_to_world(world_to_camera) @ OPENGL).tolist()


def write_nerfstudio(capture: Capture, folder: Path) -> list[str]:
    """`transforms.json` with every camera, time, `camera_id`, and depth in millimetres; held-out frames are its `test_filenames`."""
    frames, held = [], []
    for v, t in present_frames(capture):
        name = f"{capture.view_names[v]}/{t:05d}"
        save_image(folder / "images" / f"{name}.png", capture, v, t)
        K, (width, height) = capture.K[v, t], (int(n) for n in capture.sizes[v])
        record = {"file_path": f"images/{name}.png", "transform_matrix": _opengl(capture.world_to_camera[v, t])}
        record |= {"time": float(capture.timestamps[t]), "camera_id": capture.view_names[v], "w": width, "h": height}
        record |= {"fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2])}
        if (depth := capture.depth(v, t)) is not None:
            path = folder / "depth" / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, (depth.astype(np.float64) * MILLIMETRES).astype(np.float32))
            record["depth_file_path"] = f"depth/{name}.npy"
        if capture.heldout[v, t]:
            held.append(record["file_path"])
        frames.append(record)
    header = {"camera_model": "OPENCV", "fl_x": frames[0]["fl_x"], "frames": frames}
    save_json(folder / "transforms.json", header | ({"test_filenames": held} if held else {}))
    return kind_losses(capture, "depth")


def _one_image_per_time(capture: Capture) -> str | None:
    for flags in (capture.train, capture.heldout):
        if (flags.sum(axis=0) > 1).any():
            return "several cameras see one moment, and the layout holds one training and one test image per moment"
    at = present_frames(capture)
    first = capture.K[at[0]]
    return None if all(close(capture.K[frame], first) for frame in at) else "its focal length changes and the layout states one"


def write_dnerf(capture: Capture, folder: Path) -> list[str]:
    """`transforms_train.json` and `transforms_test.json` with times from 0 to 1 and opaque RGBA images."""
    length = float(capture.timestamps[-1]) or 1.0
    width, focal = int(capture.sizes[0, 0]), float(capture.K[present_frames(capture)[0]][0, 0])
    for split, flags in (("train", capture.train), ("test", capture.heldout)):
        frames = []
        for number, (t, v) in enumerate(np.argwhere(flags.T)):
            image = capture.image(v, t)
            save_png(folder / split / f"r_{number:03d}.png", np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]))
            record = {"file_path": f"./{split}/r_{number:03d}", "time": float(capture.timestamps[t]) / length}
            frames.append(record | {"transform_matrix": _opengl(capture.world_to_camera[v, t])})
        if frames:
            save_json(folder / f"transforms_{split}.json", {"camera_angle_x": 2 * float(np.arctan(0.5 * width / focal)), "frames": frames})
    lost = kind_losses(capture) + (["times are stored as fractions of the clip"] if abs(length - 1) > 1e-6 else [])
    unused = capture.present & ~capture.train & ~capture.heldout
    return lost + (["frames that are neither trained on nor held out are left out"] if unused.any() else [])


WRITERS = (
    Writer("nerfstudio", "nerfstudio's transforms.json", unknown_cameras, write_nerfstudio),
    Writer(
        "dnerf",
        "D-NeRF's transforms_train.json and transforms_test.json",
        partial(first_reason, checks=(unknown_cameras, other_sizes, off_centre, _one_image_per_time)),
        write_dnerf,
    ),
)
