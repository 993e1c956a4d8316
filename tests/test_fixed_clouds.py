"""Hulls, clouds and enclosing surfaces of rigs against exact geometry."""

from dataclasses import replace

import numpy as np
import pytest

from fourfold.capture.reduced import reduce_capture
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.priors.depth.enclosure import fit_enclosure
from fourfold.priors.depth.rig import stage_of
from fourfold.priors.rigs.depth_clouds import nearest_velocity
from fourfold.priors.rigs.hull import HullNumbers, carve, silhouette, visible
from fourfold.priors.rigs.hull_clouds import HullCloudNumbers, hull_clouds, motion
from fourfold.priors.rigs.hull_repair import RepairNumbers, Stand, coverage, mended, shown
from rig_scene import RADIUS, make_rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    return make_rig(tmp_path_factory.mktemp("rig"))


def outlines(rig, index=0):
    c = rig.capture
    return [silhouette(rig.masks.mask[v][index] > 0, c.K[v, index], c.world_to_camera[v, index]) for v in range(c.views)]


def test_the_stage_is_where_the_cameras_look(rig):
    stage = stage_of(rig.capture)
    assert np.abs(stage.center).max() < 1e-6
    assert 3.0 <= stage.radius < 3.2 and stage.views == 8
    assert stage.arc > 2.5


def test_hull_holds_the_ball_and_little_more(rig):
    surface, body = carve(outlines(rig), np.zeros(3), 3.0, 0.05)
    distance = np.linalg.norm(body - rig.centers[0], axis=1)
    grid = np.stack(np.meshgrid(*[np.arange(-0.3, 0.31, 0.05)] * 3, indexing="ij"), -1).reshape(-1, 3) + rig.centers[0]
    inside = grid[np.linalg.norm(grid - rig.centers[0], axis=1) < 0.85 * RADIUS]
    nearest = np.linalg.norm(inside[:, None] - body[None], axis=2).min(1)
    assert nearest.max() < 0.05 * 0.87 + 1e-9  # no hole
    assert distance.max() < 1.5 * RADIUS  # rays of eight cameras leave small corners
    assert len(body) * 0.05**3 < 1.5 * 4 / 3 * np.pi * RADIUS**3
    assert np.linalg.norm(surface - rig.centers[0], axis=1).min() > 0.6 * RADIUS


def test_coarse_to_fine_finds_what_one_fine_grid_finds(rig):
    views = outlines(rig)
    _, fine = carve(views, np.zeros(3), 1.5, 0.0625, HullNumbers(coarsest=48))
    _, stepped = carve(views, np.zeros(3), 1.5, 0.0625, HullNumbers(coarsest=6))
    assert {tuple(p) for p in fine.round(4)} == {tuple(p) for p in stepped.round(4)}


def test_one_wrong_mask_of_many_is_forgiven(rig):
    views = outlines(rig)
    views[2] = silhouette(np.zeros((60, 80), bool), views[2].K, views[2].world_to_camera)
    assert len(carve(views, np.zeros(3), 3.0, 0.1)[1]) == 0
    assert len(carve(views, np.zeros(3), 3.0, 0.1, HullNumbers(miss_share=0.13))[1]) > 50


def _punched(rig, view, radius=4):
    """The exact outlines but for a hole in the middle of one mask."""
    views = outlines(rig)
    body = views[view].outside == 0
    rows, columns = np.nonzero(body)
    y, x = np.mgrid[: body.shape[0], : body.shape[1]]
    body = body & (np.hypot(y - rows.mean(), x - columns.mean()) > radius)
    views[view] = silhouette(body, views[view].K, views[view].world_to_camera)
    return views


def test_a_hole_in_one_mask_is_closed_by_the_others(rig):
    stand, hull = Stand(np.zeros(3), 1.5, 0.05), HullNumbers()
    whole = carve(outlines(rig), stand.center, stand.half, stand.voxel)[1]
    holed = _punched(rig, 2)
    tunnel = carve(holed, stand.center, stand.half, stand.voxel)[1]
    assert len(tunnel) < 0.8 * len(whole)
    assert coverage(whole, outlines(rig), 0.05).min() > 0.95 and coverage(tunnel, holed, 0.05).min() < 0.95
    views = mended(holed, stand, hull, RepairNumbers(gap=0.15))
    assert {tuple(p) for p in carve(views, stand.center, stand.half, stand.voxel)[1].round(3)} == {tuple(p) for p in whole.round(3)}
    for before, after in zip(outlines(rig), views, strict=True):  # nothing outside the body is added
        grown = (after.outside == 0) & (before.outside > 0)
        assert grown.sum() < 0.1 * (before.outside == 0).sum()


def test_a_gap_that_the_others_see_through_stays(rig):
    """Two balls beside each other in every mask: the gap is no hole."""
    views = []
    for view in outlines(rig):
        local = view.world_to_camera[:3, 1] * 0.9  # another ball above or below the first
        shift = round(float(view.K[0, 0] * local[1] / 3))
        body = view.outside == 0
        views.append(silhouette(body | np.roll(body, shift, 0), view.K, view.world_to_camera))
    after = mended(views, Stand(np.zeros(3), 2.0, 0.06), HullNumbers(), RepairNumbers(gap=0.3))
    added = np.mean([((a.outside == 0) & (b.outside > 0)).sum() / (b.outside == 0).sum() for a, b in zip(after, views, strict=True)])
    assert added < 0.12


def test_a_hull_is_shown_where_its_cells_are(rig):
    view = outlines(rig)[0]
    _, body = carve(outlines(rig), np.zeros(3), 1.5, 0.05)
    drawn, truth = shown(body, view, 0.05), view.outside == 0
    assert (drawn & truth).sum() > 0.98 * truth.sum() and (drawn & ~truth).sum() < 0.25 * truth.sum()
    assert coverage(body[:0], [view], 0.05).tolist() == [0.0]


def test_masks_that_do_not_agree_are_said(rig):
    good = hull_clouds(rig.capture, rig.masks)
    assert good.provenance.notes == () and min(good.provenance.figures["covered"].values()) > 0.9
    late = tuple(np.roll(m, 4 * (v % 2), 2) for v, m in enumerate(rig.masks.mask))  # every other camera looks four pixels aside
    bad = hull_clouds(rig.capture, replace(rig.masks, mask=late))
    assert len(bad.provenance.notes) == 1 and "do not agree" in bad.provenance.notes[0]
    one = tuple(np.roll(m, 24 * (v == 3), 2) for v, m in enumerate(rig.masks.mask))
    alone = hull_clouds(rig.capture, replace(rig.masks, mask=one), HullCloudNumbers(hull=HullNumbers(miss_share=0.2)))
    assert "(camera 3: " in alone.provenance.notes[0]


def test_a_camera_sees_the_near_side(rig):
    surface, _ = carve(outlines(rig), np.zeros(3), 3.0, 0.05)
    view = outlines(rig)[0]
    seen, _ = visible(surface, view, 0.05)
    eye = -view.world_to_camera[:3, :3].T @ view.world_to_camera[:3, 3]
    toward = (surface - rig.centers[0]) @ (eye - rig.centers[0]) / np.linalg.norm(eye - rig.centers[0])
    assert seen[toward > 0.5 * RADIUS].mean() > 0.9
    assert seen[toward < -0.5 * RADIUS].mean() < 0.05


def test_exact_flow_of_several_cameras_gives_exact_motion(rig):
    generator = np.random.default_rng(0)
    points = generator.normal(size=(60, 3)) * 0.2
    step = np.array([0.004, -0.006, 0.003])
    views, seen, flows = outlines(rig)[:3], [], []
    for view in views:
        pixel = _project(points, view)
        where = np.floor(pixel).astype(int)
        flow = np.zeros((60, 80, 3), np.float32)
        flow[where[:, 1], where[:, 0], :2] = _project(points + step, view) - pixel
        flow[where[:, 1], where[:, 0], 2] = 1
        seen.append((np.arange(60), where))
        flows.append(flow)
    found = motion(points, views, seen, flows, HullCloudNumbers(ridge=1e-9))
    assert np.abs(np.median(found, axis=0) - step).max() < 2e-4
    alone = motion(points, views[:1], seen[:1], flows[:1], HullCloudNumbers())
    forward = views[0].world_to_camera[2, :3]
    assert abs(float(np.median(alone @ forward))) < 0.3 * np.linalg.norm(step)  # one camera cannot see depth: damped to rest


def _project(points, view):
    local = points @ view.world_to_camera[:3, :3].T + view.world_to_camera[:3, 3]
    flat = local @ view.K.T
    return flat[:, :2] / flat[:, 2:]


def test_clouds_of_a_flying_ball(rig):
    clouds = hull_clouds(rig.capture, rig.masks, HullCloudNumbers(every=1, voxel_pixels=1.5))
    assert set(clouds.index) == {0, 1, 2, 3}
    for t in range(4):
        mine = clouds.index == t
        assert np.abs(clouds.xyz[mine].mean(0) - rig.centers[t]).max() < 0.05
        error = np.linalg.norm(np.median(clouds.velocity[mine], axis=0) - rig.velocity)
        assert error < 0.3 * np.linalg.norm(rig.velocity)
    assert clouds.color.min() >= 0 and clouds.color.max() <= 1 and clouds.color.std() > 0.1


def test_moments_that_may_not_be_trained_on_are_not_looked_at(rig):
    train = rig.capture.train.copy()
    train[:, 2] = False
    clouds = hull_clouds(replace(rig.capture, train=train), rig.masks, HullCloudNumbers(every=1))
    assert 2 not in set(clouds.index)


def test_empty_masks_give_an_empty_cloud_and_say_so(rig):
    nothing = replace(rig.masks, mask=tuple(np.full_like(m, -1) for m in rig.masks.mask))
    clouds = hull_clouds(rig.capture, nothing)
    assert len(clouds.xyz) == 0 and "nothing moves" in clouds.provenance.notes[0]


def test_nearest_velocity_follows_a_body_and_drops_what_does_not_match():
    generator = np.random.default_rng(1)
    points = generator.uniform(-1, 1, (400, 3))
    step = np.array([0.5, -0.2, 0.1])  # far more than the points are apart
    velocity = nearest_velocity(points, points + step, 0.25, neighbours=1)
    assert np.abs(velocity - step / 0.25).max() < 1e-5
    later = np.concatenate([points[40:] + step, generator.uniform(5, 6, (3, 3))])
    velocity = nearest_velocity(points, later, 0.25, neighbours=1)
    assert np.median(np.linalg.norm(velocity - step / 0.25, axis=1)) < 0.3
    assert np.linalg.norm(velocity - step / 0.25, axis=1).max() < 3.0
    assert not nearest_velocity(points, points + step, 0.0).any()


def test_spacing_of_a_lattice():
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    assert neighbour_spacing(grid * 0.2) == pytest.approx(0.2)


def box_room(count=4000, seed=0):
    """Points on the walls of a room 4 x 3 x 5 around the origin, with normals to the nearest wall."""
    generator = np.random.default_rng(seed)
    half = np.array([2.0, 1.5, 2.5])
    directions = generator.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions / (np.abs(directions) / half).max(axis=1)[:, None], half


def test_enclosure_of_a_room_with_wrong_points():
    points, half = box_room()
    generator = np.random.default_rng(2)
    wrong = generator.random(len(points)) < 0.3
    points[wrong] *= generator.uniform(0.3, 0.9, (int(wrong.sum()), 1))  # three in ten float in front of the walls
    surface = fit_enclosure(points, np.ones(len(points)), np.array([0.1, 0.0, -0.1]))
    clean, _ = box_room(seed=3)
    misfit = np.abs(surface.inside(clean))
    assert np.median(misfit) < 0.02 and np.quantile(misfit, 0.9) < 0.08
    assert half is not None


def test_a_plane_is_free_and_continued():
    """Points on one wall only: the surface goes on flat beyond them, for planes cost nothing."""
    generator = np.random.default_rng(4)
    wall = np.stack([generator.uniform(-1, 1, 2000), generator.uniform(-1, 1, 2000), np.full(2000, 2.0)], 1)
    surface = fit_enclosure(wall, np.ones(2000), np.zeros(3))
    beyond = np.array([[1.6, 0.0, 2.0], [0.0, -1.7, 2.0]])
    assert np.abs(surface.inside(beyond)).max() < 0.05


def test_depth_of_the_enclosure_is_where_rays_leave_the_room():
    points, half = box_room(20_000)
    surface = fit_enclosure(points, np.ones(len(points)), np.zeros(3))
    K = np.array([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, 3] = [0.3, 0.0, 1.5]  # the camera stands at z = -1.5 and looks along z
    depth = surface.depth(K, pose, 48, 64, reduce=1)
    assert depth.shape == (48, 64)
    middle = depth[18:30, 24:40]
    assert np.abs(middle - (half[2] + 1.5)).max() < 0.25
    assert np.isfinite(depth).all() and (depth > 0).all()


def test_a_reduced_capture_is_the_same_scene(rig):
    small = reduce_capture(rig.capture, 40)
    assert small.sizes[0].tolist() == [40, 30] and small.image(0, 0).shape == (30, 40, 3) and small.mask(0, 0).shape == (30, 40)
    assert reduce_capture(rig.capture, 80) is rig.capture
    point = np.array([[0.1, 0.2, -0.1]])
    large, less = (_project(point, silhouette(np.ones((2, 2), bool), c.K[3, 1], c.world_to_camera[3, 1])) for c in (rig.capture, small))
    assert np.allclose(large / 2, less)
    fine = hull_clouds(rig.capture, rig.masks, HullCloudNumbers(every=1, voxel_pixels=1.5, width=40))
    assert np.linalg.norm(np.median(fine.velocity, axis=0) - rig.velocity) < 0.5 * np.linalg.norm(rig.velocity)
