"""First guess of a moving object's shape and motion: weak-perspective factorisation. Source: Tomasi and Kanade (1992), metric upgrade after
Poelman and Kanade (1997)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def looking_rotation(direction: Array) -> Array:
    """(3, 3) smallest rotation that turns a camera ray into the optical axis."""
    unit = direction / np.linalg.norm(direction)
    axis = np.cross(unit, [0.0, 0.0, 1.0])
    cosine = float(unit[2])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def factorise(xy: Array, K: Array) -> list[tuple[Array, Array]]:
    """Candidate (object_to_camera (F, 4, 4), points (P, 3)) from tracks that are visible in all frames.

    The object's centre lies at depth 1 in the first frame. Weak perspective leaves depth reversal open, and little rotation leaves the metric
    upgrade open: all candidates are meant to be bundle adjusted, and the best kept.

    Args:
        xy: (F, P, 2) pixels.
        K: (F, 3, 3) intrinsics.
    """
    frames, count = xy.shape[:2]
    rays = np.concatenate([xy, np.ones((frames, count, 1))], axis=2) @ np.linalg.inv(K).transpose(0, 2, 1)
    looks = np.stack([looking_rotation(r.mean(axis=0)) for r in rays])
    virtual = rays @ looks.transpose(0, 2, 1)
    plane = virtual[..., :2] / virtual[..., 2:]
    centre = plane.mean(axis=1)
    flat = plane - centre[:, None]
    size = np.sqrt((flat**2).sum(axis=(1, 2)))
    measurement = flat.transpose(0, 2, 1).reshape(2 * frames, count)
    _, _, right = np.linalg.svd(measurement, full_matrices=False)
    affine = measurement @ right[:3].T
    candidates: list[tuple[Array, Array]] = []
    upgrade = _metric_upgrade(affine)
    if upgrade is not None:
        rows, shape = affine @ upgrade, np.linalg.inv(upgrade) @ right[:3]
        candidates += _poses(rows, shape, centre, looks)
    random = np.random.default_rng(0)
    relief = random.normal(size=3)
    spread = flat[0].std(axis=0)
    depth = 0.5 * float(spread.mean()) * (flat[0] / spread @ relief[:2] / 2 + 0.3 * right[2] / max(float(right[2].std()), 1e-9))
    for sign in (1.0, -1.0):
        points = np.concatenate([flat[0], sign * depth[:, None]], axis=1)
        poses = np.stack([_pose(np.eye(3), float(size[0] / max(size[f], 1e-12)), centre[f], looks[f]) for f in range(frames)])
        candidates.append((poses, points))
    return candidates


def _metric_upgrade(affine: Array) -> Array | None:
    """(3, 3) that makes the two rows of each frame orthogonal and equally long, the first frame's of length 1; None if there is none."""
    first, second = affine[0::2], affine[1::2]

    def products(a: Array, b: Array) -> Array:
        return np.stack(
            [
                a[:, 0] * b[:, 0],
                a[:, 0] * b[:, 1] + a[:, 1] * b[:, 0],
                a[:, 0] * b[:, 2] + a[:, 2] * b[:, 0],
                a[:, 1] * b[:, 1],
                a[:, 1] * b[:, 2] + a[:, 2] * b[:, 1],
                a[:, 2] * b[:, 2],
            ],
            axis=1,
        )

    system = np.concatenate([products(first, first) - products(second, second), products(first, second), products(first[:1], first[:1])])
    side = np.zeros(len(system))
    side[-1] = 1
    scale = np.linalg.norm(system, axis=1).mean()
    q = np.linalg.lstsq(system / scale, side / scale, rcond=None)[0]
    matrix = np.array([[q[0], q[1], q[2]], [q[1], q[3], q[4]], [q[2], q[4], q[5]]])
    values, vectors = np.linalg.eigh(matrix)
    if values[-1] <= 0 or values[1] <= 0:
        return None
    return vectors * np.sqrt(np.maximum(values, 1e-3 * values[-1]))


def _poses(rows: Array, shape: Array, centre: Array, looks: Array) -> list[tuple[Array, Array]]:
    frames = len(centre)
    rotations, depths = [], []
    for f in range(frames):
        a, b = rows[2 * f], rows[2 * f + 1]
        left, strength, right = np.linalg.svd(np.stack([a, b]), full_matrices=False)
        two = left @ right
        rotations.append(np.vstack([two, np.cross(two[0], two[1])]))
        depths.append(1 / max(float(strength.mean()), 1e-9))
    first, scale = rotations[0], depths[0]
    points = (first @ shape).T / scale
    result = []
    for flip in (np.eye(3), np.diag([1.0, 1.0, -1.0])):
        poses = np.stack([_pose(flip @ rotations[f] @ first.T @ flip, depths[f] / scale, centre[f], looks[f]) for f in range(frames)])
        result.append((poses, points @ flip))
    return result


def _pose(rotation: Array, depth: float, centre: Array, look: Array) -> Array:
    pose = np.eye(4)
    pose[:3, :3] = look.T @ rotation
    pose[:3, 3] = look.T @ (np.array([centre[0], centre[1], 1.0]) * depth)
    return pose
