"""ExoRecon: MonoFusion's packing of Ego-Exo4D. Source: spec evaluation_and_datasets.md section 3 (see the reader for its oddities)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.readers.exorecon import CAMERA_FOLDER, META
from fourfold.capture.writers.writer import (
    Writer,
    camera_to_world,
    first_reason,
    holdout_losses,
    kind_losses,
    missing_frame,
    moving_view,
    off_centre,
    present_frames,
    save_image,
    save_json,
    time_losses,
    unknown_cameras,
)

READ_AS = 30.0


def write(capture: Capture, folder: Path) -> list[str]:
    """`trajectory/Dy_train_meta.json` with its placeholder for the ego camera, undistorted frames and `dyn_mask` files per camera."""
    meta: dict[str, Any] = {"hw": [[1408, 1408]], "k": [], "w2c": [], "fn": [], "cam_id": []}
    meta["hw"] += [[int(h), int(w)] for w, h in capture.sizes]
    for t in range(capture.times):
        inner, outer, names = [np.diag([670.0, 670.0, 1.0]).tolist()], [np.eye(4).tolist()], [f"0/{t:06d}.png"]
        for v in range(capture.views):
            K = capture.K[v, t].copy()
            K[:2, 2] -= 0.5
            inner.append(K.tolist())
            outer.append(camera_to_world(capture.world_to_camera[v, t]).tolist())
            names.append(f"undist_data/undist_cam{v + 1:02d}/{t:05d}.png")
        for key, value in (("k", inner), ("w2c", outer), ("fn", names), ("cam_id", list(range(capture.views + 1)))):
            meta[key].append(value)
    save_json(folder / META, meta)
    for v, t in present_frames(capture):
        camera = CAMERA_FOLDER.format(v + 1)
        save_image(folder / "undist_processed_frames" / camera / f"{t:05d}.png", capture, v, t)
        if (mask := capture.mask(v, t)) is not None:
            path = folder / "masks" / camera / f"{t:05d}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, dyn_mask=mask > 0)
    wanted = tuple(f"cam{v + 1:02d}" for v in range(capture.views))
    renamed = [] if capture.view_names == wanted else ["the views' names became cam01, cam02, ..."]
    return renamed + holdout_losses(capture) + kind_losses(capture, "masks") + time_losses(capture, READ_AS)


_CHECKS = (unknown_cameras, missing_frame, moving_view, off_centre)
WRITERS = (Writer("exorecon", "ExoRecon: trajectory/Dy_train_meta.json and undistorted frames", partial(first_reason, checks=_CHECKS), write),)
