"""Starts, density control and losses of the systems for rigs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from exact_priors import exact
from fourfold.capture.synthetic import SyntheticOptions
from fourfold.density import lifespan_relocation, scored_relocation
from fourfold.density.annealed_time import AnnealedTime
from fourfold.density.base import GrowthStatistics, Moment
from fourfold.density.lifespan_relocation import LifespanRelocation
from fourfold.density.scored_relocation import ScoredRelocation, move_dead, useful
from fourfold.geometry.camera import Camera
from fourfold.initialize.baseline_scenes import DeformableStart, FourDStart, KeyframeStart, PerFrameStart, PolynomialStart
from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.initialize.lifespan_clouds import LifespanClouds
from fourfold.initialize.neighbours import FixNeighbours
from fourfold.initialize.timed_clouds import TimedClouds
from fourfold.losses.base import Sample, Step
from fourfold.losses.camera_colors import AsCameraSees, SimilarCameras, camera_colors
from fourfold.losses.error_watch import blamed
from fourfold.losses.neighbours import local_loss
from fourfold.losses.photometric import Photometric
from fourfold.priors.contracts import Priors
from fourfold.priors.rigs.hull_clouds import HullCloudNumbers, hull_clouds
from fourfold.recipes import find_recipe
from fourfold.recipes.recipe import QUALITIES, Quality
from fourfold.render.api import Render, rasterize
from fourfold.scene.motion.lifespan import Lifespan
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene
from fourfold.training.online import FirstMoment, Forward
from fourfold.training.samplers import generator
from fourfold.training.trainer import TrainConfig, train
from rig_scene import make_rig

SMALL = Quality(pixels=10_000, steps=0.01, gaussians=0.02)
STARTS = [TimedClouds(), LifespanClouds(), DeformableStart(), PolynomialStart(), KeyframeStart(), PerFrameStart(), FourDStart()]


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    rig = make_rig(tmp_path_factory.mktemp("rig"), width=64, height=48)
    clouds = hull_clouds(rig.capture, rig.masks, HullCloudNumbers(every=1, voxel_pixels=1.5))
    return rig, Priors(masks=rig.masks, clouds=clouds)


def splats(count: int, **more) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "means": torch.randn(count, 3, generator=g) * 0.3,
        "quat_wxyz": torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        "log_scale": torch.full((count, 3), -2.5),
        "opacity_logit": torch.zeros(count),
        "color_logit": torch.randn(count, 3, generator=g),
        **more,
    }


@pytest.mark.parametrize("start", STARTS, ids=lambda s: type(s).__name__)
def test_every_start_shows_the_ball_where_it_is(rig, start):
    scene, priors = rig
    made = start(scene.capture, priors, SMALL, np.random.default_rng(0))
    for layer in made.layers:
        assert {len(value) for value in layer.splats.values()} == {len(layer)}
    for index in (0, 3):
        gaussians = made.at(float(scene.capture.timestamps[index]))
        rows = made.slices()["free"]
        points = gaussians.means[rows].detach()
        near = (points - torch.from_numpy(scene.centers[1]).float()).norm(dim=1) < 0.8
        assert near.sum() > 50
        assert torch.isfinite(gaussians.means).all()


def test_moving_points_are_carried_by_the_flow(rig):
    scene, priors = rig
    made = TimedClouds(spread=1.0)(scene.capture, priors, SMALL, np.random.default_rng(0))
    free = made.layer("free").splats
    assert (free["velocity"].mean(0) - torch.from_numpy(scene.velocity).float()).norm() < 0.4 * np.linalg.norm(scene.velocity)
    off = free["time_center"].numpy()[:, None] - scene.capture.timestamps
    assert np.abs(off).min(1).max() <= 0.5 / 30 + 1e-6


def test_lifespans_cover_three_frames_and_undo_the_divisor(rig):
    scene, priors = rig
    made = LifespanClouds()(scene.capture, priors, SMALL, np.random.default_rng(0))
    free = made.layer("free")
    moment = float(free.splats["time_center"].min())
    rows = (free.splats["time_center"] - moment).abs() < 1e-6
    for shift, seen in ((-1, 1.0), (0, 1.0), (1, 1.0), (2, math.exp(-4))):
        visibility = made.at(moment + shift / 30).visibility[made.slices()["free"]][rows]
        assert float(visibility.min()) == pytest.approx(seen, abs=2e-3)
    speed = (made.at(moment + 0.01).means - made.at(moment).means)[made.slices()["free"]][rows] / 0.01
    assert (speed.mean(0) - torch.from_numpy(scene.velocity).float()).norm() < 0.4 * np.linalg.norm(scene.velocity)


def test_a_still_scene_stays_still_and_does_not_grow_with_the_clip(tmp_path):
    counts = []
    for times in (4, 12):
        rig = make_rig(tmp_path / str(times), views=6, times=times, width=48, height=36)
        nothing = replace(rig.masks, mask=tuple(np.full_like(m, -1) for m in rig.masks.mask))
        priors = Priors(masks=nothing, clouds=hull_clouds(rig.capture, nothing))
        for start in (TimedClouds(), LifespanClouds(), TimedClouds(split=False), LifespanClouds(split=False)):
            made = start(rig.capture, priors, SMALL, np.random.default_rng(0))
            first, last = made.at(0.0), made.at(float(rig.capture.timestamps[-1]))
            assert torch.equal(first.means, last.means)
            assert float((first.opacity - last.opacity).abs().max()) < 0.02
            counts.append(sum(len(layer) for layer in made.layers))
    assert counts[4:] == pytest.approx(counts[:4], rel=0.05)  # only what rounding leaves


def layer_of(count: int = 40) -> Layer:
    more = {
        "velocity": torch.zeros(count, 3),
        "time_center": torch.linspace(0, 1, count),
        "log_duration": torch.full((count,), -2.0),
        "log_radius": torch.full((count,), -3.0),
    }
    return Layer("free", DYNAMIC, Lifespan(), splats(count, **more))


def statistics_of(count: int) -> GrowthStatistics:
    return GrowthStatistics.zeros(count, torch.device("cpu"))


def test_relocation_keeps_the_number_and_the_picture():
    layer = layer_of(3)
    layer.splats["means"] = torch.tensor([[0.0, 0, 3], [50, 0, 3], [51, 0, 3]])
    layer.splats["opacity_logit"] = torch.tensor([0.0, -9.0, -9.0])
    camera = Camera(torch.tensor([[60.0, 0, 20], [0, 60, 20], [0, 0, 1]]), torch.eye(4), 40, 40)
    before = rasterize(layer.canonical(), camera).color
    alive = torch.sigmoid(layer.splats["opacity_logit"]) > 0.005
    edit = move_dead(layer, alive, torch.ones(3, dtype=torch.float64), np.random.default_rng(0))
    assert edit is not None and edit.source.tolist() == [0, 0, 0] and edit.fresh.all()
    moved = {name: edit.changes.get(name, value[edit.source]) for name, value in layer.splats.items()}
    after = rasterize(replace(layer, splats=moved).canonical(), camera).color
    assert float((after - before).abs().max()) < 0.03 * float(before.max())
    assert abs(float((after - before).mean())) < 0.06 * float(before.mean())  # exact along a line through the middle, not over the area


def test_relocation_goes_where_gradient_and_opacity_are():
    control = ScoredRelocation()
    statistics = statistics_of(4)
    statistics.gradient, statistics.count = torch.tensor([4.0, 2.0, 2.0, 0.0]), torch.tensor([1.0, 1, 2, 0])
    score = control.score(torch.tensor([0.2, 0.2, 0.4, 0.2], dtype=torch.float64), statistics)
    assert score.tolist() == pytest.approx([0.5 * 4 / 7 + 0.1, 0.5 * 2 / 7 + 0.1, 0.5 * 1 / 7 + 0.2, 0.1])
    assert float(score.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "module"), [("freetimegs", scored_relocation), ("sharptimegs", lifespan_relocation)])
def test_events_of_the_recipes_move_rows(name, module, tmp_path, monkeypatch):
    """As the recipes are, every event finds Gaussians to move, and their number stays: with the threshold of 30 000 steps none ever is."""
    capture, priors = exact("dense_rig", tmp_path, SyntheticOptions(frames=4, width=48, height=32, supersample=1, tracks=60))
    moved: list[tuple[int, int]] = []
    real = module.move_dead

    def counted(layer, alive, *more):
        edit = real(layer, alive, *more)
        moved.append((int((~alive).sum()) if edit is not None else 0, len(layer)))
        return edit

    monkeypatch.setattr(module, "move_dead", counted)
    recipe = find_recipe(name)
    short = replace(recipe, stages=tuple(replace(stage, steps=min(stage.steps, 260)) for stage in recipe.stages))
    monkeypatch.setitem(QUALITIES, "full", Quality(pixels=1_000_000_000, steps=1.0, gaussians=0.02))
    train(short, None, capture, priors, tmp_path / "run", TrainConfig(quality="full", device="cpu"))
    assert len(moved) == 2 and moved[0][1] == moved[1][1]
    assert all(rows >= int(0.02 * count) > 0 for rows, count in moved)


def test_the_faintest_are_the_least_useful():
    opacity = torch.linspace(0.04, 1, 50).flip(0)
    assert useful(opacity, 0.005, 0.0).all()
    assert torch.nonzero(~useful(opacity, 0.005, 0.04))[:, 0].tolist() == [48, 49]
    assert torch.nonzero(~useful(opacity, 0.07, 0.0))[:, 0].tolist() == [48, 49]


def test_lifespan_score_prefers_the_fast_the_short_and_the_wrong():
    layer = layer_of(4)
    control = LifespanRelocation()
    layer.splats["velocity"][0, 0] = 5.0
    layer.splats["log_radius"][1] = 2.0
    layer.splats["watched_error"] = torch.tensor([[0.1, 1.0], [0.1, 1], [0.8, 1], [0.1, 1]])
    fast, long, wrong, plain = control.score(layer, statistics_of(4), 1.0).tolist()
    assert wrong > plain > long and fast > plain
    f = 1 + (math.exp(-2) + math.exp(2)) ** 2
    assert long == pytest.approx(0.5 * 0.125 + 0.5 + 0.5 * (1 - math.exp(-1 / f)), rel=1e-5)
    layer.splats["velocity"][:2] = torch.tensor([[-5.0, 0, 0], [0, 3, 4]])
    layer.splats["log_radius"][:2] = 0.0
    assert control.score(layer, statistics_of(4), 1.0)[0] == control.score(layer, statistics_of(4), 1.0)[1], "directions do not count"


def test_refinement_keeps_canonical_times_and_forgets_old_errors():
    layer = layer_of(40)
    layer.splats["opacity_logit"][:5] = -9.0
    layer.splats["watched_error"] = torch.ones(40, 2)
    edit = LifespanRelocation()(layer, statistics_of(40), Moment(100, 1000, 1.0, 10), np.random.default_rng(0))
    assert edit is not None and len(edit.source) == 40
    assert "time_center" not in edit.changes and bool((edit.source[:5] >= 5).all())
    assert not layer.splats["watched_error"].any()
    assert LifespanRelocation()(layer, statistics_of(40), Moment(101, 1000, 1.0, 10), np.random.default_rng(0)) is None


def test_blame_is_the_blended_error():
    gaussians = layer_of(6).canonical()
    gaussians = replace(gaussians, means=gaussians.means + torch.tensor([0.0, 0, 3]))
    camera = Camera(torch.tensor([[30.0, 0, 10], [0, 30, 10], [0, 0, 1]]), torch.eye(4), 20, 20)
    wrong = torch.rand(20, 20, generator=torch.Generator().manual_seed(1))
    found = blamed(gaussians, camera, wrong)
    for row in range(6):
        indicator = torch.zeros(6, 1)
        indicator[row] = 1
        weight = rasterize(gaussians, camera, channels=indicator).channels[..., 0]
        assert float(found[row, 0]) == pytest.approx(float((weight * wrong).sum()), rel=1e-4, abs=1e-5)
        assert float(found[row, 1]) == pytest.approx(float(weight.sum()), rel=1e-4, abs=1e-5)


def colored_step(scene: Scene, colors: list[torch.Tensor], images: list[torch.Tensor], views: list[int]) -> Step:
    camera = Camera(torch.eye(3), torch.eye(4), 12, 12)
    samples = [Sample(view, 0, 0.0, camera, image) for view, image in zip(views, images, strict=True)]
    renders = [Render(color, color[..., 0], color[..., 0], None) for color in colors]
    return Step(scene, samples, [scene.at(0.0)] * len(samples), renders, [{} for _ in samples], 0, 0.0, 1.0)


def test_camera_colors_are_relative_to_the_mean_training_camera(rig):
    scene = Scene([Layer("static", STATIC, Static(), splats(3))], (0.0, 1.0))
    capture = replace(rig[0].capture, train=np.array([[True] * 4] * 7 + [[False] * 4]))
    made = AddCameraColors()(scene, capture, Priors(), SMALL, np.random.default_rng(0))
    assert [layer.name for layer in made.layers] == ["static", "cameras"] and len(made.at(0.0)) == 3
    assert AddCameraColors()(made, capture, Priors(), SMALL, np.random.default_rng(0)) is made
    g = torch.Generator().manual_seed(2)
    shared = made.layer("cameras").shared
    shared["log_gain"], shared["offset"] = torch.randn(8, 3, generator=g), torch.randn(8, 3, generator=g)
    gain, offset = camera_colors(made)
    assert float(gain[:7].log().mean(0).abs().max()) < 1e-6 and float(offset[:7].mean(0).abs().max()) < 1e-6
    assert [layer.name for layer in Drop()(made, capture, Priors(), SMALL, np.random.default_rng(0)).layers] == ["static"]
    color = torch.rand(12, 12, 3, generator=g)
    step = colored_step(made, [color], [color * gain[2] + offset[2]], [2])
    assert float(AsCameraSees(Photometric(ssim=0.0))(step)) == pytest.approx(0.0, abs=1e-6)
    assert float(Photometric(ssim=0.0)(step)) > 0.05
    plain = colored_step(scene, [color], [color], [0])
    assert float(AsCameraSees(Photometric(ssim=0.0))(plain)) == 0 and float(SimilarCameras()(plain)) == 0


def test_camera_colors_are_found_without_moving_the_mean(rig):
    """Cameras that differ by known factors: descent finds the factors, up to the mean that is the scene's own."""
    scene = Scene([Layer("static", STATIC, Static(), splats(3))], (0.0, 1.0))
    made = AddCameraColors()(scene, rig[0].capture, Priors(), SMALL, np.random.default_rng(0))
    truth = torch.exp(torch.linspace(-0.15, 0.15, 8))
    color = torch.rand(12, 12, 3, generator=torch.Generator().manual_seed(3)) * 0.6 + 0.2
    shared = made.layer("cameras").shared
    for value in shared.values():
        value.requires_grad_()
    descent = torch.optim.Adam(shared.values(), lr=5e-3)
    for _ in range(400):
        step = colored_step(made, [color] * 8, [color * t for t in truth], list(range(8)))
        loss = AsCameraSees(Photometric(ssim=0.0))(step) + 1e-2 * SimilarCameras()(step)
        descent.zero_grad()
        loss.backward()
        descent.step()
    gain, offset = camera_colors(made)
    shown = color.mean() * gain.mean(1) + offset.mean(1)
    assert (shown / color.mean() - truth).abs().max() < 0.02


def quats(count: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


@pytest.mark.parametrize("what", ["rigid", "rotation", "isometry"])
def test_a_rigid_motion_costs_nothing_and_a_deformation_does(what):
    from fourfold.geometry.rotations import quat_multiply, quat_rotate

    g = torch.Generator().manual_seed(0)
    points, turns = torch.randn(30, 3, generator=g, dtype=torch.float64), quats(30, 1)
    near = torch.stack([torch.randperm(30, generator=g)[:5] for _ in range(30)])
    weight = torch.rand(30, 5, generator=g, dtype=torch.float64)
    turn = quats(1, 2).expand(30, 4)
    moved = (quat_rotate(turn, points) + torch.tensor([1.0, 2, 3], dtype=torch.float64), quat_multiply(turn, turns))
    assert float(local_loss(what, moved, (points, turns), points, near, weight)) < 1e-6
    bent = (moved[0] * torch.tensor([1.0, 1.2, 1], dtype=torch.float64), quats(30, 3))
    assert float(local_loss(what, bent, (points, turns), points, near, weight)) > 1e-2
    values = [v.clone().requires_grad_() for v in bent]
    assert torch.autograd.gradcheck(lambda a, b: local_loss(what, (a, b), (points, turns), points, near, weight), values, atol=1e-6)


def test_neighbours_are_the_nearest(rig):
    layer = Layer("free", DYNAMIC, Linear(), splats(50))
    scene = FixNeighbours("free", count=4, reach=0.2)(
        Scene([layer], (0.0, 1.0), scale=1.0), rig[0].capture, Priors(), SMALL, np.random.default_rng(0)
    )
    fixed = scene.layer("free").fixed
    distance = torch.cdist(layer.splats["means"], layer.splats["means"]).fill_diagonal_(9)
    assert torch.equal(fixed["neighbours"].sort(1).values, distance.topk(4, largest=False).indices.sort(1).values)
    assert float(fixed["neighbour_weight"].max()) <= 1 and float(fixed["neighbour_weight"].min()) > 0


def test_walking_through_time(rig):
    capture = rig[0].capture
    assert {t for s in range(30) for _, t in FirstMoment()(capture, s, generator(0, 0, s))} == {0}
    moments = [Forward().within(capture, s, 30, generator(0, 1, s))[0][1] for s in range(30)]
    assert moments == sorted(moments) and [moments.count(t) for t in (0, 1, 2, 3)] == [0, 10, 10, 10]


def test_annealed_time_shrinks_to_nothing():
    layer = Layer("free", DYNAMIC, Static(), splats(2), {}, {"time_shift": torch.zeros(()), "span": torch.tensor([0.0, 2.0])})
    sizes = []
    for step in (0, 100, 499, 900):
        draws = []
        for seed in range(40):
            AnnealedTime(until=0.5)(layer, statistics_of(2), Moment(step, 1000, 1.0, 21), np.random.default_rng(seed))
            draws.append(float(layer.fixed["time_shift"]))
        sizes.append(float(np.std(draws)))
    assert sizes[0] == pytest.approx(0.1 * 0.1, rel=0.4)
    assert sizes[0] > sizes[1] > sizes[2] and sizes[3] == 0


def test_recipes_for_rigs_name_what_their_scenes_have(rig):
    """Every rate of a recipe finds a parameter, every parameter that a motion model trains finds a rate, in the stage or before."""
    from fnmatch import fnmatch

    from fourfold.recipes import all_recipes

    names = (
        "freetimegs",
        "sharptimegs",
        "dynamic3dgs",
        "deformable3dgs",
        "spacetime",
        "fourdgs",
        "ex4dgs",
        "deformable3dgs_star",
        "spacetime_star",
        "fourdgs_star",
    )
    recipes = [recipe for recipe in all_recipes() if recipe.name in names]
    assert len(recipes) == len(names)
    scene, priors = rig
    for recipe in recipes:
        made = recipe.initialize(scene.capture, priors, SMALL, np.random.default_rng(0))
        made = AddCameraColors()(made, scene.capture, priors, SMALL, np.random.default_rng(0))
        keys = {f"{layer.name}.{name}" for layer in made.layers for group in (layer.splats, layer.shared) for name in group}
        patterns = {pattern for stage in recipe.stages for pattern in stage.rates} - {"*.sh_rest"}
        assert {p for p in patterns if not any(fnmatch(key, p) for key in keys)} == set(), recipe.name
        trained = {key for key in keys if any(fnmatch(key, p) for p in patterns)}
        assert keys - trained == set(), recipe.name
