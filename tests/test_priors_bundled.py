"""Bundle adjustment of a moving camera with depth on static tracks: exact projections of random points, spoilt in known ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import CameraSource, Capture
from fourfold.capture.synthetic.generate import generate
from fourfold.capture.synthetic.options import SyntheticOptions
from fourfold.errors import FourfoldError
from fourfold.priors import providers
from fourfold.priors.contracts import Cameras, Depth, Masks, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.priors.depth_alignment.bundled import BundledNumbers, bundled
from fourfold.priors.depth_alignment.joint_adjustment import Free, Problem, State, cost, jacobian, residuals
from fourfold.priors.depth_alignment.scale_start import depth_per_path, relative_scales
from fourfold.priors.depth_alignment.static_slots import Slots
from fourfold.priors.depth_alignment.view_adjustment import adjust_view, in_place, state_at
from fourfold.priors.providers import choose, prepare_priors

FRAMES, POINTS, WIDTH, HEIGHT = 16, 160, 320, 180
K = np.array([[300.0, 0, 160], [0, 300.0, 90], [0, 0, 1]])


def walk() -> np.ndarray:
    """(F, 4, 4) a camera that goes 2 units to the right, turning by 20 degrees towards what it films some 5 units ahead."""
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    for f, s in enumerate(np.linspace(0, 1, FRAMES)):
        turn = Rotation.from_euler("yx", [20 * s - 10, 3 * np.sin(5 * s)], degrees=True).as_matrix()
        poses[f, :3, :3], poses[f, :3, 3] = turn, -turn @ np.array([2 * s - 1, 0.2 * np.sin(4 * s), 0.3 * s])
    return poses


def tracked(scale: np.ndarray, outliers: float = 0.0, noise: float = 0.0, seed: int = 0) -> tuple[Slots, np.ndarray]:
    """Slots of random points whose depth maps are wrong by the factors 1 / `scale` (F,), and the points (P, 3)."""
    random = np.random.default_rng(seed)
    points = random.uniform([-2.2, -1.2, 3.5], [2.2, 1.2, 7.0], (POINTS, 3))
    poses = walk()
    local = np.einsum("fij,pj->fpi", poses[:, :3, :3], points) + poses[:, None, :3, 3]
    pixels = np.einsum("ij,fpj->fpi", K, local)
    xy = pixels[..., :2] / pixels[..., 2:] + noise * random.normal(size=(FRAMES, POINTS, 2))
    wild = np.flatnonzero(random.random(POINTS) < outliers)
    xy[:, wild] += 4 * np.cumsum(random.normal(size=(FRAMES, len(wild), 2)), axis=0)
    inside = ((xy >= 0) & (xy < [WIDTH, HEIGHT])).all(-1)
    frame, point = np.nonzero(inside)
    depth = local[..., 2][inside] / scale[frame]
    ones = np.ones(len(frame))
    slots = Slots(np.arange(FRAMES), frame, point, xy[inside], depth, ones, ones)
    return slots.of(ones > 0), points[np.unique(point)]  # without points that never were in the picture


def problem_of(slots: Slots) -> Problem:
    return Problem(slots, np.tile(K, (FRAMES, 1, 1)), 2.0 / HEIGHT)


def spoilt(seed: int = 1) -> np.ndarray:
    """The camera, each pose turned by half a degree and moved by a hundredth of its path."""
    random, poses = np.random.default_rng(seed), walk()
    off = random.normal(size=(2, FRAMES, 3))
    off /= np.linalg.norm(off, axis=-1, keepdims=True)
    wrong = poses.copy()
    wrong[:, :3, :3] = Rotation.from_rotvec(np.radians(0.5) * off[0]).as_matrix() @ poses[:, :3, :3]
    centre = -np.einsum("fji,fj->fi", poses[:, :3, :3], poses[:, :3, 3]) + 0.02 * off[1]
    wrong[:, :3, 3] = -np.einsum("fij,fj->fi", wrong[:, :3, :3], centre)
    return wrong


def turned_by(poses: np.ndarray) -> np.ndarray:
    """(F,) degrees between `poses` and the truth."""
    return np.degrees(Rotation.from_matrix(poses[:, :3, :3] @ walk()[:, :3, :3].transpose(0, 2, 1)).magnitude())


def random_scales(seed: int = 3) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(np.log(0.7), np.log(1.4), FRAMES))


def test_the_jacobian_is_that_of_finite_differences() -> None:
    slots, points = tracked(random_scales(), noise=2.0)
    problem = problem_of(slots)
    state = State(spoilt(), random_scales(4), 1.1, points + 0.05)
    by_image, by_point = jacobian(state, problem)
    small = 1e-6

    def change(plus: State, minus: State) -> np.ndarray:
        ends = [np.concatenate([image, depth[:, None]], axis=1) for image, depth in (residuals(plus, problem), residuals(minus, problem))]
        return (ends[0] - ends[1]) / (2 * small)

    for axis in range(3):
        step = np.eye(3)[axis] * small
        turned, shifted, moved = ([], [], [])
        for sign in (1, -1):
            poses = state.poses.copy()
            poses[:, :3, :3] = Rotation.from_rotvec(sign * step).as_matrix() @ poses[:, :3, :3]
            turned.append(replace(state, poses=poses))
            poses = state.poses.copy()
            poses[:, :3, 3] += sign * step
            shifted.append(replace(state, poses=poses))
            moved.append(replace(state, points=state.points + sign * step))
        assert np.allclose(by_image[:, :, axis], change(*turned), atol=1e-6)
        assert np.allclose(by_image[:, :, 3 + axis], change(*shifted), atol=1e-6)
        assert np.allclose(by_point[:, :, axis], change(*moved), atol=1e-6)
    grown = change(*(replace(state, scale=state.scale * np.exp(sign * small)) for sign in (1, -1)))
    zoomed = change(*(replace(state, focal=state.focal * np.exp(sign * small)) for sign in (1, -1)))
    assert np.allclose(by_image[:, :, 6], grown, atol=1e-6) and np.allclose(by_image[:, :, 7], zoomed, atol=1e-6)


def test_scales_start_in_closed_form() -> None:
    scale = random_scales()
    slots, _ = tracked(scale)
    found = relative_scales(slots, np.tile(K, (FRAMES, 1, 1)))
    assert np.allclose(found, scale / np.exp(np.log(scale).mean()), rtol=1e-3), "without any pose"
    path = depth_per_path(slots, np.tile(K, (FRAMES, 1, 1)), walk(), found)
    assert path == pytest.approx(1 / np.exp(np.log(scale).mean()), rel=1e-3)


def test_what_is_exact_stays() -> None:
    problem = problem_of(tracked(np.ones(FRAMES))[0])
    found = adjust_view(problem, walk(), Free(poses=True, focal=True))
    assert found is not None and found.moved == "nothing"
    assert np.abs(found.state.poses - walk()).max() < 1e-6 and np.abs(found.state.scale - 1).max() < 1e-6 and found.state.focal == 1.0


def test_given_cameras_stay_and_depth_scales_are_found() -> None:
    scale = random_scales()
    slots, _ = tracked(scale, outliers=0.1, noise=0.2)
    found = adjust_view(problem_of(slots), walk(), Free(poses=False))
    assert found is not None and found.moved == "scales"
    assert np.abs(found.state.poses - walk()).max() == 0
    assert np.abs(found.state.scale / scale - 1).max() < 0.01


def test_poses_and_scales_are_found_together() -> None:
    scale = random_scales()
    slots, _ = tracked(scale, outliers=0.1, noise=0.2)
    found = adjust_view(problem_of(slots), spoilt(), Free(poses=True))
    assert found is not None and found.moved == "cameras"
    placed = in_place(found.state, walk())  # the tracks do not tell where the world is
    assert turned_by(placed.poses).max() < 0.1 * 0.5, "a tenth of what they were off"
    ratio = placed.scale / scale
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.01


def test_the_cost_is_least_at_the_truth() -> None:
    slots, points = tracked(np.ones(FRAMES))
    problem = problem_of(slots)
    truth = State(walk(), np.ones(FRAMES), 1.0, points)
    assert cost(truth, problem) < 1e-12 < cost(replace(truth, poses=spoilt()), problem)
    assert np.allclose(state_at(problem, walk(), np.ones(FRAMES)).points, points, atol=1e-9)


def clip(cameras: CameraSource, tracks: int, folder: Path) -> tuple[Capture, Priors]:
    """A wall filmed by the walking camera, its depth maps wrong by known factors, and `tracks` of its points."""
    random, poses = np.random.default_rng(0), walk()
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    rays = np.stack([(column - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1], np.ones_like(row)], -1)
    normal = np.array([0.15, 0.1, -1.0])  # of the plane n . X = -5
    down = np.einsum("fij,j->fi", poses[:, :3, :3], normal)
    offset = -5.0 + np.einsum("fi,fi->f", down, poses[:, :3, 3])
    depth = offset[:, None, None] / np.einsum("hwi,fi->fhw", rays, down)
    points = random.uniform([-2, -1.2], [2, 1.2], (tracks, 2))
    points = np.concatenate([points, (points @ normal[:2] + 5.0)[:, None]], axis=1)
    local = np.einsum("fij,pj->pfi", poses[:, :3, :3], points) + poses[None, :, :3, 3]
    xy = (local / local[..., 2:]) @ K.T
    xy = xy[..., :2]
    seen = ((xy > 1) & (xy < [WIDTH - 1, HEIGHT - 1])).all(-1).astype(np.float16)
    every = np.ones((1, FRAMES), bool)
    moments, sizes = np.linspace(0, 1, FRAMES), np.array([[WIDTH, HEIGHT]])
    capture = Capture(folder, np.tile(K, (1, FRAMES, 1, 1)), poses[None], moments, sizes, every, every, ~every, cameras, False, "wall", ("hand",))
    wrong = (depth / random_scales()[:, None, None]).astype(np.float32)[None]
    made = Provenance("made")
    none, nothing = np.zeros(tracks, np.int32), np.zeros((0, 3), np.float32)
    priors = Priors(
        masks=Masks(made, (np.full((FRAMES, HEIGHT, WIDTH), -1, np.int8),)),
        depth=Depth(made, tuple(wrong), tuple(np.ones_like(wrong, np.float16))),
        tracks2d=Tracks2D(made, xy.astype(np.float32), seen, seen, none, none),
        tracks3d=Tracks3D(
            made, np.repeat(points[:, None], FRAMES, 1).astype(np.float32), seen, seen, np.zeros((tracks, 3), np.float32),
            np.ones(tracks, np.float32), none, none.astype(np.uint8),
        ),
        cameras=Cameras(replace(made, figures={"source": cameras}), capture.K, capture.world_to_camera, nothing, nothing[:, 0], nothing[:, 0]),
    )  # fmt: skip
    return capture, priors


def test_depth_of_a_clip_with_given_cameras_is_scaled_image_by_image(tmp_path: Path) -> None:
    capture, priors = clip("given", 400, tmp_path)
    assert choose("depth:bundled", capture).name == "bundled" and choose("depth", capture).name != "bundled"
    cameras, depth, _ = bundled(capture, priors)
    ratio = np.array([np.median(new / old) for new, old in zip(depth.depth[0], priors.depth.depth[0], strict=True)])  # type: ignore[attr-defined,union-attr]
    assert np.abs(ratio / random_scales() - 1).max() < 0.01
    assert np.abs(cameras.world_to_camera - capture.world_to_camera).max() == 0  # type: ignore[attr-defined]


def test_who_refines_never_serves_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture, _ = clip("given", 20, tmp_path)
    alone = choose("depth:bundled", capture)
    monkeypatch.setattr(providers, "all_providers", lambda: (alone,))
    with pytest.raises(FourfoldError, match="no provider knows it"):
        choose("depth", capture)


def test_too_few_static_points_leave_all_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture, priors = clip("given", 20, tmp_path)
    cameras, depth, tracks = bundled(capture, priors)
    assert cameras is priors.cameras and depth is priors.depth and tracks is priors.tracks3d
    assert "fewer than 32 static points" in capsys.readouterr().err


def test_estimated_cameras_are_corrected_and_tracks_keep_their_pixels(tmp_path: Path) -> None:
    true, priors = clip("estimated", 400, tmp_path)
    capture = true.with_cameras(true.K, spoilt()[None], "estimated")
    priors.cameras = replace(priors.cameras, world_to_camera=capture.world_to_camera)  # type: ignore[type-var]
    cameras, _, tracks = bundled(capture, priors, BundledNumbers(focal=False))
    assert isinstance(cameras, Cameras) and isinstance(tracks, Tracks3D) and priors.tracks3d is not None
    poses = in_place(State(cameras.world_to_camera[0], np.ones(FRAMES), 1.0, np.zeros((1, 3))), walk()).poses
    assert turned_by(poses).max() < 0.1 * 0.5, "a tenth of what they were off"
    for time in range(FRAMES):
        before, after = (
            (xyz[:, time] @ pose[:3, :3].T + pose[:3, 3]) @ K.T
            for xyz, pose in ((priors.tracks3d.xyz, capture.world_to_camera[0, time]), (tracks.xyz, cameras.world_to_camera[0, time]))
        )
        assert np.allclose(before[:, :2] / before[:, 2:], after[:, :2] / after[:, 2:], atol=1e-3)


def test_who_refines_replaces_what_is_there_and_is_kept(tmp_path: Path) -> None:
    capture = generate("casual", tmp_path / "clip", options=SyntheticOptions(frames=8, width=96, height=54, fps=12.0, supersample=1, tracks=10))
    plain = prepare_priors(capture, ("depth",), tmp_path / "priors").priors.depth
    scale = random_scales()[: capture.times]
    stack = np.load(capture.root / "depth_000.npy")
    np.save(capture.root / "depth_000.npy", (stack / scale[:, None, None]).astype(np.float32))
    done = prepare_priors(capture, ("depth:bundled", "tracks3d"), tmp_path / "spoilt")
    again = prepare_priors(capture, ("depth:bundled", "tracks3d"), tmp_path / "spoilt")
    assert plain is not None and done.priors.depth is not None and again.priors.depth is not None
    ratio = np.array([np.median(new[old > 0] / old[old > 0]) for new, old in zip(done.priors.depth.depth[0], plain.depth[0], strict=True)])
    assert np.abs(ratio / np.median(ratio) - 1).max() < 0.03 < np.abs(np.log(scale)).max()
    assert np.array_equal(again.priors.depth.depth[0], done.priors.depth.depth[0])
    assert (tmp_path / "spoilt" / "bundled" / "cameras.safetensors").exists()
    assert done.capture.cameras == "given" and np.array_equal(done.capture.world_to_camera, capture.world_to_camera)
