"""Pieces of the synthetic captures: ray intersections, textures, point drawing and the noise that spoils them."""

from __future__ import annotations

import numpy as np
import pytest

from fourfold.capture.synthetic.figure import figure, hopping_ball, turn, walk
from fourfold.capture.synthetic.noise import noisy_depth, noisy_mask, noisy_tracks2d, noisy_tracks3d
from fourfold.capture.synthetic.options import NoiseOptions
from fourfold.capture.synthetic.raycast import Eye, trace
from fourfold.capture.synthetic.rigs import look_at
from fourfold.capture.synthetic.solids import Shape, Solid
from fourfold.capture.synthetic.textures import FACE_SIGN, Texture, atlas, face_directions, face_of, plane_noise
from fourfold.capture.synthetic.tracks import draw_points, positions, project


def grey_texture(inside: bool = False) -> Texture:
    rng = np.random.default_rng(0)
    return atlas([rng.random((16, 16, 3)).astype(np.float32) for _ in range(6)], np.full(6, 0.1), inside)


def solid(shape: Shape, linear: np.ndarray | None = None, half_length: float = 0.0, object_id: int = 1) -> Solid:
    placement = np.eye(4)
    if linear is not None:
        placement[:3, :3] = linear
    return Solid(shape, shape, placement[None], grey_texture(), object_id, half_length)


@pytest.mark.parametrize(("shape", "half_length"), [("ball", 0.0), ("capsule", 1.7), ("cube", 0.0)])
def test_first_hits_agree_with_marching_along_the_ray(shape: Shape, half_length: float) -> None:
    rng = np.random.default_rng(1)
    thing = solid(shape, half_length=half_length)
    for _ in range(20):
        origin = rng.standard_normal(3)
        origin *= rng.uniform(4, 6) / np.linalg.norm(origin)
        direction = rng.uniform(-1.5, 1.5, (3, 60)) * thing.extent[:, None] - origin[:, None]
        hit = thing.intersect(origin, direction)
        steps = np.linspace(0, 3, 3001)
        points = origin[:, None, None] + direction[:, :, None] * steps
        inside = thing.contains(points.reshape(3, -1)).reshape(60, -1)
        marched = np.where(inside.any(1), steps[inside.argmax(1)], np.inf)
        assert np.isin(np.isfinite(hit), [True, False]).all() and np.mean(np.isfinite(hit) == inside.any(1)) > 0.93
        both = np.isfinite(hit) & np.isfinite(marched)
        assert np.abs(hit[both] - marched[both]).max() <= 1e-3 + 1e-9 or np.quantile(np.abs(hit[both] - marched[both]), 0.9) <= 1e-3
        on = origin[:, None] + direction[:, np.isfinite(hit)] * hit[np.isfinite(hit)]
        assert not thing.contains(on, 1e-9).any() and thing.contains(on * (1 - 1e-6)).all()


def test_a_room_is_hit_from_inside() -> None:
    thing = solid("room", np.diag([4.0, 1.5, 3.0]))
    direction = np.random.default_rng(2).standard_normal((3, 200))
    hit = thing.intersect(np.array([0.2, -0.3, 0.5]), direction)
    on = np.array([0.2, -0.3, 0.5])[:, None] + hit * direction
    assert np.allclose(np.abs(on).max(0), 1) and (hit > 0).all()
    assert ((thing.normal(on) * direction).sum(0) < 0).all()


@pytest.mark.parametrize(("shape", "half_length"), [("ball", 0.0), ("capsule", 2.3), ("cube", 0.0), ("capsule", 0.4)])
def test_surface_points_lie_on_the_surface_along_the_direction(shape: Shape, half_length: float) -> None:
    thing = solid(shape, half_length=half_length)
    direction = np.random.default_rng(3).standard_normal((3, 300))
    points = thing.surface(direction)
    assert np.allclose(np.cross(points.T, direction.T), 0, atol=1e-12) and ((points * direction).sum(0) > 0).all()
    assert not thing.contains(points, 1e-9).any() and thing.contains(points * (1 - 1e-9)).all()


def test_depth_of_a_slanted_ellipsoid_is_its_closed_form() -> None:
    """A sheared ball seen by a turned camera: the quadratic of the transformed quadric, solved per pixel."""
    linear = turn(0, np.array([0.6]))[0] @ np.array([[0.5, 0.2, 0.0], [0.0, 0.3, 0.1], [0.0, 0.0, 0.4]])
    thing = solid("ball", linear)
    pose = look_at(np.array([[1.0, -0.8, -2.5]]), np.zeros((1, 3)), np.array([0.3]))[0]
    eye = Eye(np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]), pose, 64, 48)
    x, y = eye.grid(1, np.float64)
    depth, owner = trace([thing], 0, eye, x, y)
    quadric = np.linalg.inv(linear @ linear.T)
    rays = np.stack([np.broadcast_to(x, depth.shape), np.broadcast_to(y, depth.shape), np.ones(depth.shape)], -1) @ pose[:3, :3]
    a = np.einsum("hwi,ij,hwj->hw", rays, quadric, rays)
    b = np.einsum("hwi,ij,j->hw", rays, quadric, eye.center)
    root = b * b - a * (eye.center @ quadric @ eye.center - 1)
    expected = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    assert np.array_equal(np.isfinite(depth), np.isfinite(expected)) and np.array_equal(owner >= 0, root > 0) and (owner >= 0).sum() > 50
    assert np.allclose(depth[root > 0], expected[root > 0], rtol=1e-10)


def test_cameras_look_at_their_target_with_the_floor_below() -> None:
    eye, target = np.array([[1.0, -1.2, -2.0]]), np.array([[0.2, -0.7, 0.3]])
    camera = Eye(np.array([[50.0, 0, 20], [0, 50, 15], [0, 0, 1]]), look_at(eye, target)[0], 40, 30)
    xy, depth = project(camera, np.array([target[0], target[0] + [0, 0.3, 0]]))
    assert np.allclose(xy[0], [20, 15]) and np.isclose(depth[0], np.linalg.norm(target - eye))
    assert np.isclose(xy[1, 0], 20) and xy[1, 1] > 20
    assert np.allclose(camera.center, eye[0])


def test_faces_and_directions_are_inverse() -> None:
    extent = np.array([1.0, 1.0, 2.5])
    for face in range(6):
        found, u, v = face_of(face_directions(face, 8, extent) * 0.7, extent, FACE_SIGN)
        centres = (np.arange(8) + 0.5) / 8
        assert (found == face).all() and np.allclose(u.reshape(8, 8), centres) and np.allclose(v.reshape(8, 8), centres[:, None])


def test_texture_is_exact_at_texels_and_averages_far_away() -> None:
    rng = np.random.default_rng(4)
    faces = [rng.random((32, 32, 3)).astype(np.float32) for _ in range(6)]
    texture = atlas(faces, np.full(6, 0.05))
    row, column = rng.integers(0, 32, (2, 40))
    near = texture.sample(np.full(40, 3), ((column + 0.5) / 32).astype(np.float32), ((row + 0.5) / 32).astype(np.float32), np.full(40, 0.01))
    assert np.abs(near / 255 - faces[3][row, column]).max() < 0.01
    far = texture.sample(np.full(40, 3), rng.random(40).astype(np.float32), rng.random(40).astype(np.float32), np.full(40, 100.0))
    assert np.abs(far / 255 - faces[3].mean((0, 1))).max() < 0.02


def test_noise_pattern_does_not_depend_on_the_texel_size() -> None:
    coarse, fine = (plane_noise(np.random.default_rng(7), (1.6, 0.8), texel, 0.4) for texel in (0.02, 0.01))
    assert np.abs(fine.reshape(40, 2, 80, 2).mean((1, 3)) - coarse).max() < 0.03 and coarse.std() > 0.1


def test_points_are_uniform_over_a_stretched_surface() -> None:
    """Mean squares of coordinates over a spheroid and the share of a capsule's side, against surface integrals."""
    rng = np.random.default_rng(5)
    stretched = solid("ball", np.diag([1.0, 1.0, 3.0]))
    part, local = draw_points([stretched], 1, 500, rng)
    z = positions([stretched], part, local)[:, 0, 2]
    s = np.linspace(-1, 1, 20001)
    weight = np.sqrt(s * s + 9 * (1 - s * s))
    assert abs(np.mean(z * z) - np.average(9 * s * s, weights=weight)) < 0.35
    capsule = solid("capsule", half_length=2.0)
    _, local = draw_points([capsule], 1, 500, rng)
    assert abs(np.mean(np.abs(local[:, 2]) < 2) - 2 / 3) < 0.07


def test_no_point_is_drawn_inside_another_piece() -> None:
    ball, cube = solid("ball"), solid("cube", np.diag([0.5, 2.0, 2.0]))
    part, local = draw_points([ball, cube], 1, 300, np.random.default_rng(6))
    on_ball = local[part == 0]
    assert (np.abs(on_ball[:, 0]) >= 0.5 * 0.98 - 1e-9).all() and set(part) == {0, 1}


def test_figure_stands_on_the_floor_and_keeps_clear_of_the_ball() -> None:
    seconds = np.linspace(0, 6, 61)
    solids = figure(np.random.default_rng(0), seconds, 8) + hopping_ball(np.random.default_rng(0), seconds, 8)
    rng = np.random.default_rng(1)
    body, ball = (positions(solids, *draw_points(solids, o, 400, rng)) for o in (1, 2))
    lowest = body[..., 1].max(0)
    assert (lowest < 0.03).all() and (lowest > -0.06).all() and body[..., 1].min() > -1.8
    assert (ball[..., 1].max(0) < 1e-9).all() and ball[..., 1].max() > -0.01
    gap = np.linalg.norm(body[:, None, ::6] - ball[None, :, ::6], axis=-1)
    assert gap.min() > 0.1
    position, ahead = walk(seconds)
    assert np.allclose(np.gradient(position, seconds, axis=0)[1:-1], 0.45 * ahead[1:-1], atol=5e-3)


def test_noise_is_as_strong_as_asked() -> None:
    rng = np.random.default_rng(8)
    depth = np.full((90, 160), 3.0, np.float32)
    spoilt = noisy_depth(depth, NoiseOptions(depth_relative=0.02, depth_scale=0.0, depth_holes=0.1), rng)
    assert abs(np.mean(spoilt == 0) - 0.1) < 0.01 and abs(np.std(spoilt[spoilt > 0] / 3) - 0.02) < 0.002
    mask = np.full((90, 160), -1, np.int8)
    mask[30:60, 40:120] = 1
    mask[0] = 0
    wandered = noisy_mask(mask, NoiseOptions(mask_pixels=2.0), rng)
    assert (wandered[0] == 0).all() and 20 < np.sum(wandered != mask) < 220 * 4 and wandered[45, 80] == 1 and wandered[10, 10] == -1
    assert (noisy_mask(np.full((20, 20), -1, np.int8), NoiseOptions(), rng) == -1).all()
    xy = np.tile(np.array([80.0, 45.0]), (400, 20, 1))
    tracks = noisy_tracks2d(xy, NoiseOptions(track_pixels=0.5, track_outliers=0.25), rng, (160, 90))
    far = np.linalg.norm(tracks - xy, axis=-1)[:, -1] > 4
    assert 0.15 < far.mean() < 0.3 and abs(np.std((tracks - xy)[~far]) - 0.5) < 0.05
    xyz = noisy_tracks3d(np.zeros((500, 10, 3)), NoiseOptions(track_metres=0.02), rng)
    assert abs(xyz.std() - 0.02) < 0.001 and abs(np.corrcoef(xyz[:, 0].ravel(), xyz[:, 5].ravel())[0, 1] - 0.5) < 0.1
