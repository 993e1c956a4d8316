"""A turning ellipsoid known in closed form, as tracks of points on its surface."""

import numpy as np
from scipy.spatial.transform import Rotation


def cloud(frames: int = 16, points: int = 160, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tracks (P, F, 2), visibility, K and true object_to_camera of a turning ellipsoid that hides its own back."""
    random = np.random.default_rng(0)
    radii = np.array([1.0, 0.6, 0.8])
    unit = random.normal(size=(points, 3))
    body = unit / np.linalg.norm(unit, axis=1, keepdims=True) * radii
    poses = np.tile(np.eye(4), (frames, 1, 1))
    s = np.arange(frames)
    poses[:, :3, :3] = Rotation.from_rotvec(np.stack([0.1 * np.sin(s / 3), 0.035 * s, 0.02 * s], axis=1)).as_matrix()
    poses[:, :3, 3] = np.stack([0.05 * s - 0.5, 0 * s + 0.1, 7 - 0.08 * s], axis=1)
    K = np.tile(np.array([[300.0, 0, 160], [0, 300, 90], [0, 0, 1]]), (frames, 1, 1))
    camera = np.einsum("fij,pj->pfi", poses[:, :3, :3], body) + poses[None, :, :3, 3]
    normal = np.einsum("fij,pj->pfi", poses[:, :3, :3], body / radii**2)
    pixel = np.einsum("fij,pfj->pfi", K, camera)
    xy = pixel[..., :2] / pixel[..., 2:] + random.normal(size=(points, frames, 2)) * noise
    return xy, (normal * camera).sum(axis=2) < 0, K, poses


def body_points(points: int) -> np.ndarray:
    unit = np.random.default_rng(0).normal(size=(points, 3))
    return unit / np.linalg.norm(unit, axis=1, keepdims=True) * [1.0, 0.6, 0.8]
