"""DyCheck iPhone (also iPhone360, which adds masks) and Nerfies / HyperNeRF. Source: spec priors_monocular.md section 7."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.readers.nerfies import MASK_FOLDER, MILLIMETRES_ABOVE
from fourfold.capture.writers.writer import (
    Writer,
    first_reason,
    kind_losses,
    present_frames,
    rate_of,
    save_image,
    save_json,
    save_masks,
    time_losses,
    unknown_cameras,
)

READ_AS = 30.0


def _name(view: int, index: int) -> str:
    return f"{view}_{index:05d}"


def _cameras_and_images(capture: Capture, folder: Path) -> None:
    for v, t in present_frames(capture):
        K, pose = capture.K[v, t], capture.world_to_camera[v, t]
        record = {
            "orientation": pose[:3, :3].tolist(),
            "position": (-pose[:3, :3].T @ pose[:3, 3]).tolist(),
            "focal_length": float(K[0, 0]),
            "principal_point": [float(K[0, 2]), float(K[1, 2])],
            "skew": 0.0,
            "pixel_aspect_ratio": float(K[1, 1] / K[0, 0]),
            "radial_distortion": [0.0, 0.0, 0.0],
            "tangential_distortion": [0.0, 0.0],
            "image_size": [int(n) for n in capture.sizes[v]],
        }
        save_json(folder / "camera" / f"{_name(v, t)}.json", record)
        save_image(folder / "rgb" / "1x" / f"{_name(v, t)}.png", capture, v, t)


def _metadata(capture: Capture, folder: Path) -> tuple[list[str], list[str]]:
    """Writes `metadata.json` and `scene.json`; returns the ids to train on and those held out."""
    ids = {_name(v, t): {"camera_id": v, "warp_id": t, "appearance_id": t} for v, t in present_frames(capture)}
    save_json(folder / "metadata.json", ids)
    centres = -np.einsum("nji,nj->ni", *(lambda p: (p[:, :3, :3], p[:, :3, 3]))(capture.world_to_camera[capture.present]))
    save_json(folder / "scene.json", {"center": centres.mean(0).tolist(), "scale": 1.0, "near": 0.01, "far": 1000.0})
    train = [_name(v, t) for v, t in present_frames(capture) if capture.train[v, t]]
    return train, [_name(v, t) for v, t in present_frames(capture) if capture.heldout[v, t]]


def _other_names(capture: Capture) -> list[str]:
    wanted = tuple(f"camera {v}" for v in range(capture.views))
    return [] if capture.view_names == wanted else ["the views' names became numbers"]


def write_dycheck(capture: Capture, folder: Path) -> list[str]:
    """`camera/`, `rgb/1x/`, `depth/1x/` in metres, `splits/`, masks where Shape of Motion and iPhone360 have them."""
    _cameras_and_images(capture, folder)
    train, held = _metadata(capture, folder)
    for name, ids in (("train", train), ("val", held)):
        moments = [int(i.split("_")[1]) for i in ids]
        save_json(folder / "splits" / f"{name}.json", {"frame_names": ids, "camera_ids": [int(i.split("_")[0]) for i in ids], "time_ids": moments})
    save_json(
        folder / "dataset.json",
        {"count": len(train) + len(held), "num_exemplars": len(train), "ids": train + held, "train_ids": train, "val_ids": held},
    )
    save_json(folder / "extra.json", {"fps": rate_of(capture), "factor": 1, "bbox": [[-1, -1, -1], [1, 1, 1]], "lookat": [0, 0, 1], "up": [0, -1, 0]})
    for v, t in present_frames(capture):
        if (depth := capture.depth(v, t)) is not None:
            path = folder / "depth" / "1x" / f"{_name(v, t)}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.asarray(depth, np.float32)[..., None])
    lost = save_masks(capture, lambda v, t: folder / MASK_FOLDER / "1x" / f"{_name(v, t)}.png")
    if not capture.metric:
        lost.append("that a scene unit is not a metre: readers take this layout as metric")
    return lost + _other_names(capture) + time_losses(capture, None)


def write_hypernerf(capture: Capture, folder: Path) -> list[str]:
    """`camera/`, `rgb/1x/`, `dataset.json` with `train_ids` and `val_ids`; neither depth nor masks."""
    _cameras_and_images(capture, folder)
    train, held = _metadata(capture, folder)
    save_json(
        folder / "dataset.json",
        {"count": len(train) + len(held), "num_exemplars": len(train), "ids": train + held, "train_ids": train, "val_ids": held},
    )
    return kind_losses(capture) + _other_names(capture) + time_losses(capture, READ_AS)


def _far(capture: Capture) -> str | None:
    """Readers tell millimetres from metres by size."""
    depths = [d for v in range(capture.views) for d in (capture.depth(v, int(np.flatnonzero(capture.present[v])[0])),) if d is not None]
    far = any(float(np.median(d[d > 0])) > MILLIMETRES_ABOVE for d in depths if (d > 0).any())
    return f"its median depth is beyond {MILLIMETRES_ABOVE:g} scene units, and the layout is of hand-held captures in metres" if far else None


WRITERS = (
    Writer("dycheck", "DyCheck iPhone, Shape of Motion's iPhone, iPhone360", partial(first_reason, checks=(unknown_cameras, _far)), write_dycheck),
    Writer("hypernerf", "Nerfies / HyperNeRF", unknown_cameras, write_hypernerf),
)
