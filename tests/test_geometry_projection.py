"""Projection, epipolar geometry, triangulation, alignment and interpolation against exact synthetic truth."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import minimize

from fourfold.errors import FourfoldError
from fourfold.geometry.alignment import median_scale_shift, procrustes, scale_only, scale_shift, umeyama
from fourfold.geometry.camera import Camera
from fourfold.geometry.epipolar import fundamental_matrix, sampson_error
from fourfold.geometry.interpolation import MOST_KEPT, cubic_matrix, cubic_weights
from fourfold.geometry.projection import pixel_grid, project, scale_intrinsics, unproject
from fourfold.geometry.rigid import apply_rigid, se3_exp
from fourfold.geometry.triangulation import camera_centers, triangulate

seeds = st.integers(0, 2**31 - 1)
quick = settings(max_examples=20, deadline=None)
K = torch.tensor([[300.0, 0, 160.0], [0, 310.0, 120.0], [0, 0, 1]], dtype=torch.float64)


def rig(seed: int, views: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cameras about 4 units before the origin with spread of about 1, and points around the origin."""
    generator = torch.Generator().manual_seed(seed)
    twists = torch.randn(views, 6, dtype=torch.float64, generator=generator) * torch.tensor([0.05, 0.05, 0.05, 1, 1, 0.2])
    poses = se3_exp(twists)
    poses[:, 2, 3] += 4.0
    return poses, torch.rand(11, 3, dtype=torch.float64, generator=generator) - 0.5


def test_pixel_grid_has_centres_at_one_half_and_agrees_with_the_camera() -> None:
    grid = pixel_grid(3, 4)
    assert grid.shape == (3, 4, 2)
    assert grid[0, 0].tolist() == [0.5, 0.5] and grid[2, 3].tolist() == [3.5, 2.5]
    camera = Camera(K, torch.eye(4, dtype=torch.float64), 320, 240)
    half = camera.scaled(0.5)
    assert torch.allclose(half.K, scale_intrinsics(K, 0.5, 0.5))
    point = torch.tensor([[0.1, -0.2, 3.0]], dtype=torch.float64)
    assert torch.allclose(project(point, half.K, half.world_to_camera)[0], 0.5 * project(point, K, camera.world_to_camera)[0])


@quick
@given(seeds)
def test_projection_round_trip_and_homogeneous_formula(seed: int) -> None:
    poses, points = rig(seed, 1)
    pixels, depth = project(points, K, poses[0])
    homogeneous = np.concatenate([points.numpy(), np.ones((11, 1))], axis=1) @ (K.numpy() @ poses[0, :3].numpy()).T
    np.testing.assert_allclose(pixels.numpy(), homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-9)
    assert torch.allclose(unproject(pixels, depth, K, poses[0]), points, atol=1e-10)
    batched, _ = project(points, K.expand(11, 3, 3), poses.expand(11, 4, 4))
    assert torch.allclose(batched, pixels, atol=1e-10)
    assert torch.allclose(unproject(pixels, depth, K.expand(11, 3, 3), poses.expand(11, 4, 4)), points, atol=1e-10)


def test_projection_at_zero_depth_is_finite() -> None:
    pixels, depth = project(torch.zeros(1, 3), K.float(), torch.eye(4))
    assert torch.isfinite(pixels).all() and depth.item() == 0.0


@quick
@given(seeds)
def test_epipolar_constraint_holds_for_projections_of_one_point(seed: int) -> None:
    poses, points = rig(seed, 2)
    other = scale_intrinsics(K, 1.5, 0.8)
    first, second = project(points, K, poses[0])[0], project(points, other, poses[1])[0]
    matrix = fundamental_matrix(K, poses[0], other, poses[1])
    assert sampson_error(matrix, first, second).max() < 1e-8
    swapped = fundamental_matrix(other, poses[1], K, poses[0])
    shifted = second + torch.tensor([0.7, -0.4], dtype=torch.float64)
    assert torch.allclose(sampson_error(matrix, first, shifted), sampson_error(swapped, shifted, first), rtol=1e-6)


def test_sampson_error_is_the_distance_to_the_epipolar_variety_to_first_order() -> None:
    poses, points = rig(5, 2)
    matrix = fundamental_matrix(K, poses[0], K, poses[1])
    first, second = project(points[:4], K, poses[0])[0], project(points[:4], K, poses[1])[0]
    noise = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.3
    noisy_1, noisy_2 = first + noise[:, :2], second + noise[:, 2:]
    estimate = sampson_error(matrix, noisy_1, noisy_2).numpy()

    def nearest(index: int) -> float:
        """Brute force: the 3D point whose two projections are nearest to the noisy pair."""

        def cost(x: np.ndarray) -> float:
            point = torch.tensor(x)[None]
            gap_1 = project(point, K, poses[0])[0][0] - noisy_1[index]
            gap_2 = project(point, K, poses[1])[0][0] - noisy_2[index]
            return float(gap_1.square().sum() + gap_2.square().sum())

        return minimize(cost, points[index].numpy(), method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14, "maxiter": 4000}).fun ** 0.5

    np.testing.assert_allclose(estimate, [nearest(i) for i in range(4)], rtol=0.01)


@quick
@given(seeds, st.integers(2, 6))
def test_exact_observations_triangulate_exactly(seed: int, views: int) -> None:
    poses, points = rig(seed, views)
    centers = camera_centers(poses)
    if (centers[0] - centers[1]).norm() < 0.2:
        return  # no parallax, nothing to test
    xy = torch.stack([project(points, K, pose)[0] for pose in poses], dim=1)
    result = triangulate(xy, K.expand(views, 3, 3), poses)
    assert torch.allclose(result.points, points, atol=1e-6)
    assert result.error.max() < 1e-6 and bool(result.in_front.all())
    rays = torch.nn.functional.normalize(points[:, None] - centers, dim=-1)
    cosines = torch.einsum("pvi,pwi->pvw", rays, rays).clamp(-1, 1).flatten(1).amin(-1)
    assert torch.allclose(result.parallax, torch.arccos(cosines), atol=1e-6)


def test_triangulation_ignores_missing_views_and_resists_an_outlier() -> None:
    poses, points = rig(3, 6)
    xy = torch.stack([project(points, K, pose)[0] for pose in poses], dim=1)
    xy[:, 0] = float("nan")
    weights = torch.ones(11, 6)
    weights[:, 0] = 0
    clean = triangulate(xy, K.expand(6, 3, 3), poses, weights)
    assert torch.allclose(clean.points, points, atol=1e-6)
    xy[:, 1] += 15.0
    robust = triangulate(xy, K.expand(6, 3, 3), poses, weights)
    assert (robust.points - points).norm(dim=-1).max() < 0.02, "one gross outlier among five views moves a point by less than 2 px"
    only_one = torch.zeros(11, 6)
    only_one[:, 2] = 1
    assert not triangulate(xy, K.expand(6, 3, 3), poses, only_one).in_front.any()


@quick
@given(seeds, st.floats(0.1, 10))
def test_alignment_is_exact_and_equivariant(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(3, 9, 3, dtype=torch.float64, generator=generator)
    transform = se3_exp(torch.randn(3, 6, dtype=torch.float64, generator=generator))
    weights = torch.rand(3, 9, dtype=torch.float64, generator=generator) + 0.1
    moved = apply_rigid(transform[:, None], source)
    assert torch.allclose(procrustes(source, moved, weights), transform, atol=1e-9)
    got, rotation, translation = umeyama(source, scale * moved, weights)
    assert torch.allclose(got, torch.full_like(got, scale), rtol=1e-9)
    assert torch.allclose(rotation, transform[:, :3, :3], atol=1e-9)
    assert torch.allclose(translation, scale * transform[:, :3, 3], atol=1e-8)
    noisy = source + 0.3 * torch.randn(3, 9, 3, dtype=torch.float64, generator=generator)
    before = procrustes(source, noisy, weights)
    after = procrustes(source, apply_rigid(transform[:, None], noisy), weights)
    assert torch.allclose(after, transform @ before, atol=1e-8)


def test_alignment_of_mirrored_points_is_still_a_rotation_and_zero_weights_give_the_identity() -> None:
    source = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mirrored = source * torch.tensor([-1.0, 1, 1])
    rotation = procrustes(source, mirrored)[:3, :3]
    assert torch.isclose(rotation.det(), torch.tensor(1.0, dtype=torch.float64))
    assert torch.allclose(procrustes(source, mirrored, torch.zeros(9, dtype=torch.float64)), torch.eye(4, dtype=torch.float64))


@quick
@given(seeds, st.floats(0.1, 5), st.floats(-3, 3))
def test_depth_alignments_recover_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    source = torch.rand(2, 101, dtype=torch.float64, generator=generator)
    target = scale * source + shift
    got, offset = scale_shift(source, target, torch.rand(2, 101, dtype=torch.float64, generator=generator))
    assert torch.allclose(got, torch.full_like(got, scale), rtol=1e-8) and torch.allclose(offset, torch.full_like(got, shift), atol=1e-8)
    dirty = target.clone()
    dirty[:, ::5] += 1e6 * (1.5 - source[:, ::5])  # a fifth of the pixels is grossly wrong, all to one side
    robust, _ = median_scale_shift(source, dirty)
    assert (robust - scale).abs().max() < 0.6 * scale, "a fifth of outliers of any size stays bounded"
    clean, offset = median_scale_shift(source, target)
    assert torch.allclose(clean, torch.full_like(clean, scale), rtol=1e-4) and torch.allclose(offset, torch.full_like(offset, shift), atol=1e-3)
    assert torch.allclose(scale_only(source, scale * source), torch.full((2,), scale, dtype=torch.float64), rtol=1e-10)


@quick
@given(seeds, st.integers(2, 9))
def test_cubic_interpolation_properties(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    knots = torch.cumsum(torch.rand(count, dtype=torch.float64, generator=generator) + 0.05, 0)
    times = knots[0] - 0.5 + (knots[-1] - knots[0] + 1.0) * torch.rand(50, dtype=torch.float64, generator=generator)
    matrix = cubic_matrix(knots, times)
    assert torch.allclose(matrix.sum(-1), torch.ones(50, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(matrix @ knots, times.clamp(knots[0], knots[-1]), atol=1e-11), "linear functions are reproduced, the ends clamp"
    assert torch.allclose(cubic_matrix(knots, knots), torch.eye(count, dtype=torch.float64), atol=1e-12), "exact on knots"
    values = torch.randn(count, 3, dtype=torch.float64, generator=generator)
    slopes = np.gradient(values.numpy(), knots.numpy(), axis=0)  # second-order inside, chord at the ends
    spline = CubicHermiteSpline(knots.numpy(), values.numpy(), slopes)
    inside = times.clamp(knots[0], knots[-1])
    np.testing.assert_allclose((matrix @ values).numpy(), spline(inside.numpy()), atol=1e-9)
    indices, weights = cubic_weights(knots, times)
    gathered = (weights[..., None] * values[indices]).sum(1)
    assert torch.allclose(gathered, matrix @ values, atol=1e-12)


def test_interpolation_with_one_knot_and_bad_knots() -> None:
    assert cubic_matrix(torch.tensor([2.0]), torch.tensor([0.0, 5.0])).tolist() == [[1.0], [1.0]]
    for bad in (torch.zeros(0), torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.5])):
        with pytest.raises(FourfoldError, match="strictly increase"):
            cubic_weights(bad, torch.tensor([0.0]))


def test_kept_interpolation_matrices_follow_their_knots():
    knots = torch.tensor([0.0, 1.0, 2.5, 3.0])
    times = torch.tensor([0.4, 2.0])
    first = cubic_matrix(knots, times)
    assert torch.equal(cubic_matrix(knots, times.clone()), first)
    assert torch.allclose(first @ knots, times)
    assert not torch.equal(cubic_matrix(knots, times + 0.1), first)
    knots[2] = 2.0  # changed in place: what was kept for it does not hold any more
    assert torch.allclose(cubic_matrix(knots, times) @ knots, times)
    assert cubic_matrix(knots, times.double()).dtype == cubic_matrix(knots, times).dtype
    for moment in range(MOST_KEPT + 5):
        cubic_matrix(knots, torch.tensor([moment / 100.0]))
    assert torch.allclose(cubic_matrix(knots, times) @ knots, times)
