"""What MoSca's photometric stage does late: learned weights of nodes, cameras refined by the images, and movers copied into what stands."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fourfold.density.adaptive import AdaptiveControl
from fourfold.density.base import GrowthStatistics, Moment
from fourfold.density.scaffold_nodes import ScaffoldControl
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import quat_to_matrix
from fourfold.initialize.camera_poses import AddCameraPoses
from fourfold.initialize.join_static import CopyToStatic, ResetOpacity
from fourfold.initialize.learn_skinning import LearnSkinning
from fourfold.losses.scaffold import SmallSkinning
from fourfold.priors.contracts import Priors
from fourfold.recipes import mosca_ablations
from fourfold.recipes.published.scaffolds import MOSCA, RATES, SPARSE_DYNAMIC
from fourfold.recipes.recipe import QUALITIES
from fourfold.render.api import rasterize
from fourfold.scene.carriers import Followers, carriers, carriers_reference
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.motion.bounded import BoundedStatic
from fourfold.scene.motion.scaffold import Scaffold
from fourfold.scene.refined_cameras import as_seen
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene
from fourfold.training.schedule import rate_at

NOTHING = (Priors(), QUALITIES["normal"], np.random.default_rng(0))


def splats(count: int, generator: torch.Generator, spread: float = 0.5) -> dict[str, torch.Tensor]:
    return {
        "means": spread * torch.randn(count, 3, generator=generator) + torch.tensor([0.0, 0, 3]),
        "quat_wxyz": torch.randn(count, 4, generator=generator),
        "log_scale": torch.full((count, 3), -2.2) + 0.2 * torch.randn(count, 3, generator=generator),
        "opacity_logit": torch.randn(count, generator=generator),
        "color_logit": torch.randn(count, 3, generator=generator),
    }


def made_scene(seed: int = 0) -> Scene:
    """Eight standing Gaussians and six on two nodes, of which one stands and the other rises by 1 within 2 seconds."""
    generator = torch.Generator().manual_seed(seed)
    knots = torch.tensor([0.0, 1.0, 2.0])
    node = torch.tensor([[-0.5, 0, 3], [0.5, 0, 3]])
    xyz = node[None].repeat(3, 1, 1)
    xyz[:, 1, 1] = -knots / 2
    fixed = {
        "knots": knots,
        "anchors": torch.tensor([0]),
        "near": torch.tensor([[0, 1], [1, 0]]),
        "near_valid": torch.ones(2, 2, dtype=torch.bool),
        "radius_max": torch.tensor(2.0),
        "unit": torch.tensor(0.1),
    }
    moving = splats(6, generator) | {"node": torch.tensor([0, 0, 0, 1, 1, 1]), "anchor": torch.zeros(6, dtype=torch.int64)}
    shared = {"node_xyz": xyz, "node_quat": torch.tensor([1.0, 0, 0, 0]).repeat(3, 2, 1), "radius_logit": torch.zeros(2)}
    layers = [Layer("static", STATIC, BoundedStatic(0.3), splats(8, generator)), Layer("object", DYNAMIC, Scaffold(0.2), moving, shared, fixed)]
    return Scene(layers, (0.0, 2.0))


def test_weights_that_are_learned_start_where_distances_put_them() -> None:
    scene = made_scene()
    learned = LearnSkinning()(scene, None, *NOTHING)
    times = torch.tensor([0.5, 2.0])
    assert learned.layer("object").splats["skinning"].shape == (6, 2) and "skinning" not in learned.layer("static").splats
    before, after = (s.layer("object").means_at(times) for s in (scene, learned))
    assert torch.allclose(before, after, atol=1e-6)
    assert LearnSkinning()(learned, None, *NOTHING).layer("object") is learned.layer("object")


@pytest.mark.parametrize("pull", [True, False])
def test_learned_weights_have_the_gradient_of_finite_differences(pull: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    means, then = torch.randn(7, 3, generator=generator).double(), torch.randn(2, 5, 3, generator=generator).double()
    near = torch.stack([torch.randperm(5, generator=generator)[:3] for _ in range(5)])
    valid = torch.rand(5, 3, generator=generator) > 0.2
    valid[:, 0] = True
    points = Followers(means, torch.arange(7) % 2, torch.arange(7) % 5, then, near, valid)
    radius, change = torch.full((5,), 0.9).double(), (0.3 * torch.randn(7, 3, generator=generator).double()).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda c, r: carriers(points, r, pull, c)[1], (change, radius.requires_grad_(True)))
    weights = carriers(points, radius, pull, change)[1]
    assert torch.allclose(weights.sum(1), torch.ones(7).double())
    assert (weights[:, :3][~valid[points.node]] == 0).all(), "who is not believed carries nothing, whatever was learned"
    plain = carriers_reference(points, -0.5 / radius.square(), pull)[1]
    assert torch.allclose(carriers(points, radius, pull, torch.zeros(7, 3).double())[1], plain, atol=1e-9)


def test_images_can_hand_a_gaussian_to_another_node() -> None:
    """A Gaussian beside the standing node that truly rises with the other: weights alone make it rise."""
    layer = LearnSkinning()(made_scene(), None, *NOTHING).layer("object")
    target = layer.splats["means"][:1] + torch.tensor([0.0, -1.0, 0])
    change = layer.splats["skinning"].clone().requires_grad_(True)
    adam = torch.optim.Adam([change], lr=3e-2)
    end = torch.tensor([2.0])
    first = float((layer.means_at(end)[0, :1] - target).norm())
    for _ in range(150):
        layer.splats["skinning"] = change
        loss = (layer.means_at(end)[0, :1] - target).square().sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert float(loss.detach().sqrt()) < 0.1 * first
    step = SimpleNamespace(scene=Scene([layer], (0.0, 2.0)), gaussians=[])
    assert float(SmallSkinning()(step).detach()) == pytest.approx(float(change.detach().abs().mean()))  # type: ignore[arg-type]


def test_nodes_stay_once_weights_are_learned() -> None:
    layer = LearnSkinning()(made_scene(), None, *NOTHING).layer("object")
    control = ScaffoldControl(AdaptiveControl(start=0, stop=1), grow_at=(0.5,), prune_at=(0.6,), refresh=10)
    seen = GrowthStatistics.zeros(len(layer), torch.device("cpu"))
    assert all(control(layer, seen, Moment(step, 100, 1.0, 3), np.random.default_rng(0)) is None for step in (10, 50, 60))


def test_copies_of_movers_stand_where_these_were_at_one_moment() -> None:
    scene = made_scene()
    capture = SimpleNamespace(train=np.array([[False, True, False]]), timestamps=np.array([0.0, 1.0, 2.0]))
    joined = CopyToStatic()(scene, capture, *NOTHING)  # type: ignore[arg-type]
    assert [len(layer) for layer in joined.layers] == [14, 6], "all are copied, none goes"
    copies, moved = joined.at(0.0), scene.layer("object").motion.at(scene.layer("object"), torch.tensor([1.0]))[0]
    for name in ("means", "quat_wxyz", "log_scale", "opacity_logit", "color"):
        assert torch.allclose(getattr(copies, name)[8:14], getattr(moved, name), atol=1e-4), name
    assert torch.equal(copies.means[:8], scene.at(0.0).means[:8])
    alone = Scene([scene.layer("static")], (0.0, 2.0))
    assert CopyToStatic()(alone, capture, *NOTHING) is alone  # type: ignore[arg-type]


def test_opacities_are_lowered_and_never_raised() -> None:
    scene = made_scene()
    faint = ResetOpacity(0.01)(scene, None, *NOTHING)
    before, after = (s.at(0.0).opacity for s in (scene, faint))
    assert float(after.max()) <= 0.01 + 1e-6 and bool((after <= before + 1e-6).all())


def posed(scene: Scene) -> tuple[Scene, Camera]:
    """The scene in double precision with room for the poses of three images, and the camera of image 1."""
    pose = np.tile(np.eye(4), (1, 3, 1, 1))
    pose[0, :, 0, 3] = [0.0, 0.1, 0.2]
    capture = SimpleNamespace(views=1, times=3, train=np.array([[True, True, False]]), world_to_camera=pose)
    made = AddCameraPoses()(scene, capture, *NOTHING)  # type: ignore[arg-type]
    assert AddCameraPoses()(made, capture, *NOTHING) is made  # type: ignore[arg-type]
    K = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]])
    return made, Camera(K.double(), torch.from_numpy(pose[0, 1]), 32, 24)


def doubled(gaussians: Gaussians) -> Gaussians:
    values = {name: value.detach().double() for name, value in vars(gaussians).items() if isinstance(value, torch.Tensor)}
    return replace(gaussians, **values)


def test_moving_the_scene_before_a_camera_is_moving_the_camera() -> None:
    scene, camera = posed(made_scene())
    layer, still = scene.layer("poses"), doubled(made_scene().at(0.0))
    turn, shift = torch.tensor([0.02, -0.03, 0.05]).double(), torch.tensor([0.01, 0.02, -0.04]).double()
    values = {name: torch.zeros(1, 3, 3).double() for name in ("turn", "shift")}
    values["turn"][0, 1], values["shift"][0, 1] = 2 * turn, 2 * shift  # less the mean of two training images
    seen = as_seen(replace(scene, layers=[*scene.layers[:2], replace(layer, shared=values)]), still, 0, 1)
    angle = float(turn.norm())
    R = quat_to_matrix(torch.cat([torch.tensor([math.cos(angle / 2)]).double(), turn / angle * math.sin(angle / 2)]))
    centre = -camera.world_to_camera[:3, :3].T @ camera.world_to_camera[:3, 3]
    move = torch.eye(4).double()
    move[:3, :3], move[:3, 3] = R, centre + shift - R @ centre
    moved = replace(camera, world_to_camera=camera.world_to_camera @ move)
    ours, theirs = rasterize(seen, camera).color, rasterize(still, moved).color
    assert float((ours - theirs).abs().max()) < 1e-6 and float((ours - rasterize(still, camera).color).abs().max()) > 0.01
    assert as_seen(made_scene(), still, 0, 1) is still


def test_refined_cameras_have_the_gradient_of_finite_differences_and_come_back() -> None:
    scene, camera = posed(made_scene())
    layer, still = scene.layer("poses"), doubled(made_scene().at(0.0))
    generator = torch.Generator().manual_seed(2)
    weight = torch.rand(24, 32, 3, generator=generator).double()

    def value(turn: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        with_poses = replace(scene, layers=[replace(layer, shared={"turn": turn, "shift": shift})])
        return (rasterize(as_seen(with_poses, still, 0, 1), camera).color * weight).sum()

    start = [(0.01 * torch.randn(1, 3, 3, generator=generator)).double().requires_grad_(True) for _ in range(2)]
    assert torch.autograd.gradcheck(value, tuple(start), eps=1e-5, rtol=2e-3, atol=2e-3, check_undefined_grad=False)
    wrong = replace(camera, world_to_camera=camera.world_to_camera.clone())
    wrong.world_to_camera[:3, 3] += torch.tensor([0.02, -0.03, 0.0]).double()
    truth = rasterize(still, camera).color
    poses = {name: torch.zeros(1, 3, 3).double().requires_grad_(True) for name in ("turn", "shift")}
    adam = torch.optim.Adam(poses.values(), lr=2e-3)
    errors = []
    for _ in range(40):
        with_poses = replace(scene, layers=[replace(layer, shared=poses)])
        loss = (rasterize(as_seen(with_poses, still, 0, 1), wrong).color - truth).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.1 * errors[0]


def test_learned_weights_and_poses_survive_the_file(tmp_path) -> None:
    scene, _ = posed(LearnSkinning()(made_scene(), None, *NOTHING))
    scene.layer("object").splats["skinning"] += 0.3
    save_scene(scene, tmp_path / "scene.safetensors")
    again = load_scene(tmp_path / "scene.safetensors")
    assert torch.equal(again.layer("object").splats["skinning"], scene.layer("object").splats["skinning"])
    assert torch.allclose(again.at(1.3).means, scene.at(1.3).means)


def test_the_published_stage_is_one_schedule_in_parts() -> None:
    """Where the paper's events lie, and that rates fall from step 2000 to the last as if there were no parts."""
    begins = np.cumsum([0, *(stage.steps for stage in MOSCA.stages)])
    assert begins.tolist() == [0, 2000, 3000, 4000, 5000, 6000, 8000]
    entered = [{type(edit).__name__ for edit in stage.enter} for stage in MOSCA.stages]
    assert [int(b) for b, names in zip(begins, entered, strict=False) if "CopyToStatic" in names] == [3000, 4000, 5000]
    assert [int(b) for b, names in zip(begins, entered, strict=False) if "LearnSkinning" in names] == [6000]
    assert int(begins[[("poses.turn" in stage.rates) for stage in MOSCA.stages].index(True)]) == 2000
    assert not any("poses.turn" in stage.rates for stage in SPARSE_DYNAMIC.stages), "the paper's cameras stay as they are"
    for at in (0, 1999, 2000, 3500, 7999):
        number = int(np.searchsorted(begins, at, side="right")) - 1
        stage = MOSCA.stages[number]
        whole = RATES["*.means"].start * RATES["*.means"].final ** (max(0, at - 2000) / 6000)
        assert rate_at(stage.rates["*.means"], (at - begins[number]) / stage.steps, 1.0) == pytest.approx(whole, rel=1e-6)
    grown = [round(begins[n] + at * s.steps) for n, s in enumerate(MOSCA.stages) for at in s.density["object"].grow_at]
    assert grown == [4250, 5250]
    assert MOSCA.stages[-1].density["static"].stop == 1200 and MOSCA.stages[0].density["static"].start == 80


def test_what_comes_late_differs_from_the_plain_second_part_by_itself_alone() -> None:
    plain, whole = mosca_ablations.ABLATIONS["in_two_parts"], mosca_ablations.ABLATIONS["full"]
    assert [sum(stage.steps for stage in recipe.stages) for recipe in (plain, whole)] == [3300, 3300]
    joint, (first, last) = whole.stages[1], plain.stages[1:]
    for name, rate in joint.rates.items():
        for at in (0.0, 0.5, 0.9):
            part, within = (first, at / 0.75) if at < 0.75 else (last, (at - 0.75) / 0.25)
            assert rate_at(part.rates[name], within, 1.0) == pytest.approx(rate_at(rate, at, 1.0)), name
    ends = {term.name: term.end * joint.steps for term in joint.terms}
    assert {t.name: t.end * first.steps for t in first.terms if t.end < 1} == {n: pytest.approx(e) for n, e in ends.items() if e < joint.steps}
    for name in ("learned_skinning", "refined_cameras", "copied_to_static"):
        recipe = mosca_ablations.ABLATIONS[name]
        assert recipe.stages[:2] == plain.stages[:2] and recipe.stages[2].rates.items() >= last.rates.items()
        assert recipe.stages[2].terms[: len(last.terms)] == last.terms and recipe.priors == plain.priors and len(recipe.stages[2].enter) == 1
