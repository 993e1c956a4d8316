"""The bundle adjustment of one body: the compiled step against its plain twin, finite differences and the truth, on any number of threads."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.priors.movers import body_bundle
from fourfold.priors.movers.body_bundle import BundleConfig, Observations, _jacobians, bundle_adjust, reference_cost, reference_step, residuals
from fourfold.priors.movers.object_sfm import solve_object
from fourfold.render.cpu import get_threads, set_threads
from moving_body import body_points, cloud


def test_the_jacobians_are_those_of_finite_differences() -> None:
    xy, visible, K, poses = cloud(frames=3, points=8)
    point, frame = np.nonzero(np.ones_like(visible))
    points = np.random.default_rng(3).normal(size=(8, 3))
    seen = Observations(frame, point, xy[point, frame], np.ones(len(point)), K)
    by_pose, by_point = _jacobians(poses, points, seen)
    start = residuals(poses, points, seen)
    for axis in range(6):
        step = np.zeros(6)
        step[axis] = 1e-6
        moved = poses.copy()
        moved[:, :3, :3] = Rotation.from_rotvec(step[:3]).as_matrix() @ poses[:, :3, :3]
        moved[:, :3, 3] += step[3:]
        np.testing.assert_allclose((residuals(moved, points, seen) - start) / 1e-6, by_pose[:, :, axis], atol=2e-2, rtol=1e-4)
    for axis in range(3):
        shifted = points + 1e-6 * np.eye(3)[axis]
        np.testing.assert_allclose((residuals(poses, shifted, seen) - start) / 1e-6, by_point[:, :, axis], atol=2e-2, rtol=1e-4)


def test_bundle_adjustment_returns_to_the_truth_despite_outliers() -> None:
    xy, visible, K, poses = cloud(frames=8, points=80)
    random = np.random.default_rng(5)
    point, frame = np.nonzero(visible)
    used, point = np.unique(point, return_inverse=True)
    target = xy[visible].copy()
    target[::29] += 25
    truth = body_points(xy.shape[0])[used]
    seen = Observations(frame, point, target, np.ones(len(point)), K)
    start = poses.copy()
    start[:, :3, 3] += random.normal(size=(8, 3)) * 0.05
    _, _, cost = bundle_adjust(start, truth + random.normal(size=truth.shape) * 0.05, seen, BundleConfig(iterations=40))
    _, _, best = bundle_adjust(poses, truth, seen, BundleConfig(iterations=40))
    assert cost == pytest.approx(best, rel=1e-2)


@pytest.mark.parametrize("move_points", [True, False])
def test_the_compiled_step_and_cost_of_a_body_are_those_of_the_plain_twin(move_points: bool) -> None:
    if body_bundle.load() is None:
        pytest.skip("no compiled kernels here")
    xy, visible, K, poses = cloud(frames=11, points=60)
    random = np.random.default_rng(7)
    visible &= random.random(visible.shape) < 0.8
    point, frame = np.nonzero(visible)
    target = xy[visible] + random.normal(size=(len(point), 2)) * np.where(random.random(len(point)) < 0.1, 600, 1)[:, None]
    order = random.permutation(len(point))
    seen = Observations(frame[order], point[order], target[order], random.uniform(0.2, 1, len(point)), K)
    points = body_points(len(xy)) + random.normal(size=(len(xy), 3)) * 0.05
    points[3] = [0, 0, -20]  # behind all cameras
    config = BundleConfig(move_points=move_points)
    steps = body_bundle._Steps(len(poses), len(points), seen, config)
    assert steps.cost(poses, points) == pytest.approx(reference_cost(residuals(poses, points, seen), seen.weight, config.sigma), rel=1e-12)
    for damping in (1e-3, 10.0):  # with less the body's own frame and scale are hardly held, and rounding decides them
        found, twin = steps.step(poses, points, damping), reference_step(poses, points, seen, damping, config)
        assert found is not None and twin is not None
        for ours, theirs in zip(found, twin, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_a_body_is_solved_to_the_same_bits_with_any_number_of_threads(threads: int) -> None:
    if body_bundle.load() is None:
        pytest.skip("no compiled kernels here")
    xy, visible, K, _ = cloud(noise=0.3)
    before = get_threads()
    try:
        set_threads(1)
        one = solve_object(xy, visible, K)
        set_threads(threads)
        other = solve_object(xy, visible, K)
    finally:
        set_threads(before)
    assert one is not None and other is not None
    assert one.points.tobytes() == other.points.tobytes() and one.object_to_camera.tobytes() == other.object_to_camera.tobytes()
