"""`poses_bounds.npy`: NVIDIA Dynamic Scenes (a moving camera and what camera N saw) and Neural 3D Video (a video per fixed camera).

Source: spec evaluation_and_datasets.md section 3; axes down, right, backwards.
"""

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
    holdout_losses,
    kind_losses,
    missing_frame,
    moving_view,
    off_centre,
    save_image,
    save_png,
    save_video,
    time_losses,
    unknown_cameras,
)

NEAR, FAR = 0.1, 100.0  # bounds in scene units where the capture knows no depth
READ_AS = 30.0


def _rows(K: Matrix, world_to_camera: Matrix, sizes: Matrix, bounds: tuple[float, float]) -> Matrix:
    """(N, 17) rows of N cameras."""
    pose = camera_to_world(world_to_camera)[:, :3]
    columns = np.stack([pose[..., 1], pose[..., 0], -pose[..., 2], pose[..., 3], np.stack([sizes[:, 1], sizes[:, 0], K[:, 0, 0]], -1)], -1)
    return np.concatenate([columns.reshape(len(K), 15), np.tile(bounds, (len(K), 1))], 1)


def _bounds(capture: Capture) -> tuple[float, float]:
    """Nearest and farthest depth, scene units."""
    known = [d[d > 0] for d in (capture.depth(0, t) for t in range(0, capture.times, max(1, capture.times // 8))) if d is not None]
    values = np.concatenate(known) if known else np.zeros(0)
    return (float(np.quantile(values, 0.005)), float(np.quantile(values, 0.995))) if values.size else (NEAR, FAR)


def _moving(capture: Capture) -> int | None:
    """The one view that is trained on, if it has an image at every moment."""
    trained = np.flatnonzero(capture.train.any(axis=1))
    return int(trained[0]) if len(trained) == 1 and capture.present[trained[0]].all() else None


def _row_of(capture: Capture, moving: int, view: int) -> int | None:
    """The number N of the moving camera's pose at which the fixed `view` stands."""
    at = np.flatnonzero(capture.present[view])
    poses = capture.world_to_camera[view, at]
    same = [n for n in range(capture.times) if np.abs(poses - capture.world_to_camera[moving, n]).max() < 1e-6]
    return same[0] if same else None


def _not_nvidia(capture: Capture) -> str | None:
    moving = _moving(capture)
    if moving is None:
        return "the layout is of one moving camera with an image at every moment"
    strange = [v for v in range(capture.views) if v != moving and _row_of(capture, moving, v) is None]
    if strange:
        return f"view {capture.view_names[strange[0]]!r} stands nowhere on the moving camera's way, and the layout has no other cameras"
    (width, _), K = capture.sizes[moving], capture.K
    ratio = [float(capture.sizes[v, 0] / width) for v in range(capture.views)]
    right = all(
        close(K[v, t, 0, 0] / ratio[v], K[moving, _row_of(capture, moving, v) or 0, 0, 0]) for v, t in np.argwhere(capture.present) if v != moving
    )
    return None if right else "a held-out camera has another focal length than the moving one had in its place"


def write_nvidia(capture: Capture, folder: Path) -> list[str]:
    """`images/NNNNN.png` of the moving camera, `heldout/vNNN_tNNN.png` of the others, masks beside."""
    moving = _moving(capture)
    assert moving is not None  # refused before
    sizes = np.repeat(capture.sizes[moving][None].astype(np.float64), capture.times, 0)
    np.save(folder / "poses_bounds.npy", _rows(capture.K[moving], capture.world_to_camera[moving], sizes, _bounds(capture)))
    for t in range(capture.times):
        save_image(folder / "images" / f"{t:05d}.png", capture, moving, t)
        if (mask := capture.mask(moving, t)) is not None:
            save_png(folder / "masks" / f"{t:05d}.png", np.where(mask > 0, 255, 0).astype(np.uint8))
    for v, t in np.argwhere(capture.present):
        if v != moving:
            save_image(folder / "heldout" / f"v{_row_of(capture, moving, int(v)):03d}_t{t:03d}.png", capture, int(v), int(t))
    own = holdout_losses(capture) if capture.heldout[moving].any() else []
    return own + kind_losses(capture, "masks") + time_losses(capture, READ_AS)


def _test_cameras(capture: Capture) -> str | None:
    whole = capture.heldout.all(axis=1)
    return "the layout holds out one whole camera, the first" if (capture.heldout.any(axis=1) != whole).any() or whole.sum() > 1 else None


def write_n3dv(capture: Capture, folder: Path) -> list[str]:
    """`camNN.mp4` per view, lossless, the held-out one first."""
    order = np.argsort(~capture.heldout.all(axis=1), kind="stable")
    np.save(
        folder / "poses_bounds.npy",
        _rows(capture.K[order, 0], capture.world_to_camera[order, 0], capture.sizes[order].astype(np.float64), _bounds(capture)),
    )
    for number, v in enumerate(order):
        save_video(folder / f"cam{number:02d}.mp4", capture, int(v))
    lost = kind_losses(capture)
    if not capture.heldout.any():
        lost.append("the first camera will be held out by readers, as the layout's protocol says")
    return lost


WRITERS = (
    Writer(
        "nvidia",
        "NVIDIA Dynamic Scenes / LLFF: poses_bounds.npy beside the images of one moving camera",
        partial(first_reason, checks=(unknown_cameras, off_centre, _not_nvidia)),
        write_nvidia,
    ),
    Writer(
        "n3dv",
        "Neural 3D Video: poses_bounds.npy beside one video per camera",
        partial(first_reason, checks=(unknown_cameras, missing_frame, moving_view, off_centre, _test_cameras)),
        write_n3dv,
    ),
)
