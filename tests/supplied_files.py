"""Supplied files of a synthetic clip in their public layouts, written by numpy alone."""

import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.synthetic.truth import Truth

T, W, H = 14, 96, 64
NAMES = [f"shot_{7 * t:03d}" for t in range(T)]
SCALE = 2.5  # of the world of the supplied cameras


def captured(clip: Path, out: Path, folder: Path | None, pixels: int = W * H) -> Capture:
    return prepare_capture([clip], out / f"capture{pixels}", pixels=pixels, holdout="none", priors_folder=folder)


def whole_pixels(K: np.ndarray) -> np.ndarray:
    """K for pixel centres at whole numbers."""
    moved = K.copy()
    moved[..., :2, 2] -= 0.5
    return moved


def other_world(poses: np.ndarray) -> np.ndarray:
    """The same cameras in a world turned by 90 degrees, moved and `SCALE` times larger: world_to_camera (T, 4, 4)."""
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    result = poses.copy()
    result[:, :3, :3] = poses[:, :3, :3] @ turn.T
    result[:, :3, 3] = SCALE * poses[:, :3, 3] - result[:, :3, :3] @ np.array([3.0, -1, 2])
    return result


def move(xyz: np.ndarray) -> np.ndarray:
    return SCALE * xyz @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]).T + np.array([3.0, -1, 2])


def write_tapir(folder: Path, truth: Truth, queries: range = range(T)) -> None:
    folder.mkdir(parents=True)
    for q in queries:
        mine = np.flatnonzero(truth.visibility[0][:, q])[: 10 + q]
        for j in range(T):
            shown = truth.visibility[0][mine, j]
            row = np.concatenate([truth.xy[0][mine, j] - 0.5, np.where(shown, -6.0, 6.0)[:, None], np.full((len(mine), 1), -6.0)], 1)
            np.save(folder / f"{NAMES[q]}_{NAMES[j]}.npy", np.nan_to_num(row).astype(np.float32))


def save_megasam(path: Path, truth: Truth, given: Capture) -> None:
    depths = np.stack([given.depth(0, t) for t in range(T)]) * SCALE
    images = np.zeros((T, H, W, 3), np.uint8)
    cam_c2w = np.linalg.inv(other_world(truth.world_to_camera[0]))
    np.savez(path, images=images, depths=depths, intrinsic=whole_pixels(truth.K[0, 0]), cam_c2w=cam_c2w)


def spoil_npz(path: Path, how: str, **other) -> None:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {k: archive[k] for k in archive.files}
    if how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "objects":
        data = path.read_bytes()
        path.write_bytes(data.replace(b"'descr': '<f8'", b"'descr': '|O' ", 1))
    else:
        np.savez(path, **(arrays | other))


def pickled_header() -> bytes:
    """What numpy writes before a pickled object."""
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"\x80\x04}."


def quat(rotation: np.ndarray) -> np.ndarray:
    return Rotation.from_matrix(rotation).as_quat()[[3, 0, 1, 2]]


def queries(truth: Truth) -> np.ndarray:
    first = truth.visibility[0].argmax(1)
    return np.concatenate([first[:, None], truth.xy[0][np.arange(len(first)), first] - 0.5], 1).astype(np.float32)


def save_cotracker(path: Path, truth: Truth, given: Capture) -> np.ndarray:
    tracks = np.nan_to_num(truth.xy[0] - 0.5).transpose(1, 0, 2).astype(np.float32)
    np.savez(path, pred_tracks=tracks[None], pred_visibility=truth.visibility[0].T[None], queries=queries(truth)[None])
    return tracks
