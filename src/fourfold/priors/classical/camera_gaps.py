"""Poses of frames the mapper did not place: resected from tracked points of their neighbours, or interpolated and named as such."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from fourfold.capture.capture import Capture
from fourfold.priors.classical.sfm import Features, Structure

Pose = NDArray[np.float64]


@dataclass(frozen=True)
class ResectionConfig:
    """Numbers of placing a frame by points tracked from its neighbours.

    Attributes:
        min_points: fewest points that must agree.
        distance: pixels at 640 longer side within which a point agrees.
        min_share: least share of the tracked points that must agree.
    """

    min_points: int = 25
    distance: float = 3.0
    min_share: float = 0.4


def fill_missing_poses(
    capture: Capture,
    view: int,
    placed: dict[int, Pose],
    features: Features | None,
    structure: Structure | None,
    config: ResectionConfig = ResectionConfig(),
) -> tuple[NDArray[np.float64], list[int]]:
    """Poses of all present frames of a view.

    Args:
        placed: time index to world_to_camera (4, 4) of the frames already placed, at least one.
        features, structure: where the points come from; None only interpolates.

    Returns:
        world_to_camera (T, 4, 4), NaN where no image is present, and the time indices that are interpolated only.
    """
    poses = np.full((capture.times, 4, 4), np.nan)
    guessed: list[int] = []
    for t in np.flatnonzero(capture.present[view]):
        if int(t) in placed:
            poses[t] = placed[int(t)]
            continue
        guess = interpolate_pose(placed, capture.timestamps, int(t))
        found = None
        if features is not None and structure is not None:
            found = _resect(capture, view, int(t), guess, features, structure, config)
        poses[t] = guess if found is None else found
        if found is None and structure is not None:
            guessed.append(int(t))
    return poses, guessed


def interpolate_pose(placed: dict[int, Pose], timestamps: NDArray[np.float64], t: int) -> Pose:
    """The pose at time index t between its placed neighbours (rotation by slerp, centre linearly), or that of the nearest one at an end."""
    known = np.array(sorted(placed))
    before, after = known[known < t], known[known > t]
    if not len(before) or not len(after):
        return placed[int(known[np.abs(known - t).argmin()])].copy()
    a, b = int(before[-1]), int(after[0])
    share = float((timestamps[t] - timestamps[a]) / (timestamps[b] - timestamps[a]))
    rotations = Rotation.from_matrix(np.stack([placed[a][:3, :3], placed[b][:3, :3]]))
    rotation = Slerp([0.0, 1.0], rotations)(share).as_matrix()
    centres = [-placed[i][:3, :3].T @ placed[i][:3, 3] for i in (a, b)]
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ ((1 - share) * centres[0] + share * centres[1])
    return pose


def _resect(capture: Capture, view: int, t: int, guess: Pose, features: Features, structure: Structure, config: ResectionConfig) -> Pose | None:
    """Track the points seen by the nearest placed frames into frame t and solve for its pose."""
    rows = np.flatnonzero((features.view == view) & structure.registered)
    nearest = rows[np.argsort(np.abs(features.time[rows] - t), kind="stable")[:2]]
    grey = _grey(capture, view, t)
    world, image = [], []
    for row in nearest:
        mine = structure.observation_image == row
        xy = structure.observation_xy[mine]
        if len(xy) < config.min_points:
            continue
        found, good = _follow(_grey(capture, view, int(features.time[row])), grey, xy)
        world.append(structure.points[structure.observation_point[mine]][good])
        image.append(found[good])
    if not world or sum(map(len, world)) < config.min_points:
        return None
    points, xy = np.concatenate(world), np.concatenate(image).astype(np.float64)
    K = structure.K(int(nearest[0]))
    unit = capture.sizes[view].max() / 640
    start = cv2.Rodrigues(guess[:3, :3])[0], guess[:3, 3:].copy()
    cv2.setRNGSeed(0)
    done, turn, shift, inliers = cv2.solvePnPRansac(
        points,
        xy,
        K,
        None,
        *start,
        useExtrinsicGuess=True,
        iterationsCount=300,
        reprojectionError=config.distance * unit,
        flags=cv2.SOLVEPNP_ITERATIVE,
    )
    if not done or inliers is None or len(inliers) < max(config.min_points, config.min_share * len(points)):
        return None
    chosen = inliers.ravel()
    turn, shift = cv2.solvePnPRefineLM(points[chosen], xy[chosen], K, None, turn, shift)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift.ravel()
    return pose


def _grey(capture: Capture, view: int, t: int) -> NDArray[np.uint8]:
    return cv2.cvtColor(np.ascontiguousarray(capture.image(view, t)), cv2.COLOR_RGB2GRAY)


def _follow(grey_a: NDArray[np.uint8], grey_b: NDArray[np.uint8], xy: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pyramidal Lucas-Kanade from a to b and back; positions in b (M, 2) and which closed the round trip."""
    start = np.ascontiguousarray(xy - 0.5, np.float32)[:, None]
    there, ok, _ = cv2.calcOpticalFlowPyrLK(grey_a, grey_b, start, None, winSize=(15, 15), maxLevel=4)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(grey_b, grey_a, there, None, winSize=(15, 15), maxLevel=4)
    closed = np.linalg.norm((back - start)[:, 0], axis=1) < 0.7
    return there[:, 0] + 0.5, closed & (ok.ravel() > 0) & (ok_back.ravel() > 0)
