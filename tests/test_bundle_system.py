"""The compiled normal equations of a bundle of tracks against their readable twin, finite differences and dense algebra."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.priors.cameras import bundle_system
from fourfold.priors.cameras.bundle_system import (
    Sightings,
    Solved,
    follow,
    jacobians,
    reduce,
    reference_residuals,
    reference_system,
    residuals,
    solve_positive,
    tangents,
)


def _some(lenses: int = 2, frames: int = 9, tracks: int = 40) -> tuple[Sightings, Solved]:
    """Random rays seen by random frames through `lenses` lenses with distortion; some tracks have gaps and some change the lens."""
    rng = np.random.default_rng(3)
    seen = [np.sort(rng.choice(frames, rng.integers(2, frames + 1), replace=False)) for _ in range(tracks)]
    frame = np.concatenate(seen).astype(np.int32)
    first = np.concatenate([[0], np.cumsum([len(s) for s in seen])]).astype(np.int64)
    direction = rng.normal([0, 0, 3], 0.6, (tracks, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    rotation = Rotation.from_rotvec(rng.normal(0, 0.1, (frames, 3))).as_matrix()
    at = Solved(
        rotation,
        rng.normal(0, 0.1, (frames, 3)),
        direction,
        np.exp(rng.normal(0, 0.3, tracks)),
        rng.uniform(400, 600, lenses),
        rng.uniform(-0.1, 0.1, lenses),
    )
    lens_of = np.sort(rng.integers(0, lenses, frames)).astype(np.int32)
    xy = rng.uniform(0, 640, (len(frame), 2))
    return Sightings(xy, frame, first, lens_of, rng.uniform(150, 350, (lenses, 2))), at


def _moved(at: Solved, frames: np.ndarray, tracks: np.ndarray) -> Solved:
    """Everything changed by small steps, to first order."""
    count = len(at.rotation)
    poses, lens = frames[: 6 * count].reshape(count, 6), frames[6 * count :].reshape(-1, 2)
    across = tangents(at.direction)
    return Solved(
        Rotation.from_rotvec(poses[:, :3]).as_matrix() @ at.rotation,
        at.translation + poses[:, 3:],
        at.direction + np.einsum("nk,nki->ni", tracks[:, :2], across),
        at.inverse + tracks[:, 2],
        at.focal * np.exp(lens[:, 0]),
        at.bend + lens[:, 1],
    )


def test_jacobians_are_the_finite_differences_of_the_residuals() -> None:
    seen, at = _some()
    rng = np.random.default_rng(0)
    frames, tracks = rng.normal(size=6 * seen.frames + 4), rng.normal(size=(seen.tracks, 3))
    h = 1e-6
    there, back = (residuals(seen, _moved(at, s * h * frames, s * h * tracks)) for s in (1, -1))
    by_frame, by_lens, by_track = jacobians(seen, at)
    poses, lens = frames[: 6 * seen.frames].reshape(-1, 6), frames[6 * seen.frames :].reshape(-1, 2)
    expected = np.einsum("mki,mi->mk", by_frame, poses[seen.frame]) + np.einsum("mki,mi->mk", by_lens, lens[seen.lens_of[seen.frame]])
    expected += np.einsum("mki,mi->mk", by_track, tracks[seen.track])
    assert np.allclose((there - back) / (2 * h), expected, rtol=1e-6, atol=1e-4)


def test_the_kernel_projects_as_its_twin_does_also_what_lies_behind_a_camera() -> None:
    seen, at = _some(3, tracks=700)  # several pieces of work
    turned = at.rotation.copy()
    turned[2] = turned[2] @ Rotation.from_rotvec([0, np.pi, 0]).as_matrix()
    behind = replace(at, rotation=turned)
    assert np.allclose(residuals(seen, behind), reference_residuals(seen, behind), rtol=1e-12, atol=1e-9)
    assert np.abs(residuals(seen, behind)).max() > 1e4


@pytest.mark.parametrize("lenses", [1, 3])
def test_the_kernel_and_its_twin_give_the_same_equations_and_steps(lenses: int) -> None:
    if bundle_system.load() is None:
        pytest.skip("no compiled kernels here")
    seen, at = _some(lenses)
    rng = np.random.default_rng(1)
    weight, pull = rng.uniform(0, 1, len(seen.xy)), np.abs(rng.normal(size=(seen.tracks, 2)))
    system, (twin, inverse, mixed, side) = reduce(seen, at, weight, pull, 0.01), reference_system(seen, at, weight, pull, 0.01)
    scale = np.abs(twin.matrix).max()
    assert np.allclose(np.triu(system.matrix), np.triu(twin.matrix), rtol=1e-9, atol=1e-11 * scale)
    assert np.allclose(system.side, twin.side, rtol=1e-9, atol=1e-9 * np.abs(twin.side).max())
    step = rng.normal(0, 0.01, len(twin.side))
    expected = np.einsum("nij,nj->ni", inverse, side - (mixed @ step).reshape(-1, 3))
    assert np.allclose(follow(seen, at, weight, pull, 0.01, step), expected, rtol=1e-8, atol=1e-10)


def test_the_reduced_step_is_that_of_the_full_equations() -> None:
    seen, at = _some(1, 5, 12)
    weight, pull, damping = np.ones(len(seen.xy)), np.zeros((seen.tracks, 2)), 0.1
    by_frame, by_lens, by_track = jacobians(seen, at)
    full = np.zeros((2 * len(seen.xy), 6 * 5 + 2 + 3 * 12))
    for m, (f, n) in enumerate(zip(seen.frame, seen.track, strict=True)):
        full[2 * m : 2 * m + 2, 6 * f : 6 * f + 6] = by_frame[m]
        full[2 * m : 2 * m + 2, 30:32] = by_lens[m]
        full[2 * m : 2 * m + 2, 32 + 3 * n : 35 + 3 * n] = by_track[m]
    H = full.T @ full
    expected = np.linalg.solve(H + damping * np.diag(np.diag(H)) + 1e-6 * np.eye(len(H)), -full.T @ residuals(seen, at).ravel())
    system = reduce(seen, at, weight, pull, damping)
    step = solve_positive(system.matrix, system.side)
    assert step is not None and np.allclose(step, expected[:32], rtol=1e-7, atol=1e-9)
    assert np.allclose(follow(seen, at, weight, pull, damping, step).ravel(), expected[32:], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("size", [1, 7, 8, 61, 130])
def test_positive_systems_are_solved_and_others_refused(size: int) -> None:
    root = np.random.default_rng(size).normal(size=(size, size + 3))
    matrix, sides = root @ root.T, np.random.default_rng(2).normal(size=(2, size))
    assert np.allclose(solve_positive(np.triu(matrix), sides), np.linalg.solve(matrix, sides.T).T, rtol=1e-6)
    matrix[-1, -1] = -1
    assert solve_positive(matrix, sides[0]) is None


def test_the_number_of_threads_changes_no_bit() -> None:
    library = bundle_system._library()
    if library is None:
        pytest.skip("no compiled kernels here")
    seen, at = _some(2, 40, 300)
    weight, pull = np.ones(len(seen.xy)), np.zeros((seen.tracks, 2))
    before, found = library.ff_get_threads(), []
    try:
        for threads in (1, 2, 7):
            library.ff_set_threads(threads)
            system = reduce(seen, at, weight, pull, 0.01)
            step = solve_positive(system.matrix.copy(), system.side)
            assert step is not None
            found.append((np.triu(system.matrix), step, follow(seen, at, weight, pull, 0.01, step)))
    finally:
        library.ff_set_threads(before)
    assert all(np.array_equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
