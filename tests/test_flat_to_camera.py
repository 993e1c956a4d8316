"""Gaussians squeezed along the rays of a camera that stays in place: its images stay, and nothing points at it any more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fourfold.geometry.camera import Camera
from fourfold.geometry.rotations import quat_to_matrix
from fourfold.initialize.flat_to_camera import FlatToCamera, bounded, flattened
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.render.api import rasterize
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer, Scene
from test_recipes_auto import film

EYE = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)


def needles(count: int = 300) -> Layer:
    random = torch.Generator().manual_seed(0)
    splats = {
        "means": torch.rand(count, 3, generator=random) * torch.tensor([2.0, 1.2, 1.0]) + torch.tensor([-0.8, -0.8, 2.0]),
        "quat_wxyz": torch.randn(count, 4, generator=random),
        "log_scale": torch.rand(count, 3, generator=random) * 3 - 5,
        "opacity_logit": torch.randn(count, generator=random),
        "color_logit": torch.randn(count, 3, generator=random),
    }
    return Layer("static", STATIC, Static(), splats)


def camera(degrees: float, eye: torch.Tensor = EYE) -> Camera:
    angle = np.radians(degrees)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    pose[:3, 3] = -pose[:3, :3] @ eye
    return Camera(torch.tensor([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]]), pose.float(), 80, 60)


def extents(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard deviations along the rays, and the smaller across them."""
    ray = torch.nn.functional.normalize(layer.splats["means"].double() - EYE, dim=1)
    turn = quat_to_matrix(torch.nn.functional.normalize(layer.splats["quat_wxyz"].double(), dim=1))
    covariance = turn @ torch.diag_embed(layer.splats["log_scale"].double().mul(2).exp()) @ turn.mT
    along = torch.einsum("ni,nij,nj->n", ray, covariance, ray).sqrt()
    basis = torch.linalg.svd(ray[:, None])[2][:, 1:]
    return along, torch.linalg.eigvalsh(basis @ covariance @ basis.mT)[:, 0].sqrt()


def test_no_image_from_there_changes_and_one_from_the_side_does() -> None:
    before, after = Scene([needles()], (0.0, 1.0)), Scene([flattened(needles(), EYE)], (0.0, 1.0))

    def difference(one: Camera) -> float:
        return float((rasterize(before.at(0.0), one).color - rasterize(after.at(0.0), one).color).abs().max())

    assert max(difference(camera(degrees)) for degrees in (-8.0, 0.0, 15.0)) < 2e-3
    assert difference(camera(0.0, EYE + torch.tensor([1.0, 0, 0]))) > 0.05


def test_nothing_reaches_farther_along_a_ray_than_across_and_what_did_not_stays() -> None:
    along, across = extents(needles())
    new_along, new_across = extents(flattened(needles(), EYE))
    assert (along > 1.5 * across).sum() > 100
    torch.testing.assert_close(new_along, torch.minimum(along, across), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(new_across, across, rtol=1e-4, atol=1e-7)
    flat = flattened(flattened(needles(), EYE), EYE)
    torch.testing.assert_close(extents(flat)[0], new_along, rtol=1e-4, atol=1e-7)


def test_nothing_is_larger_than_a_share_of_its_distance() -> None:
    layer = bounded(needles(), EYE, 0.02)
    share = layer.splats["log_scale"].exp() / (layer.splats["means"] - EYE.float()).norm(dim=1, keepdim=True)
    assert float(share.max()) <= 0.02 + 1e-6
    small = needles().splats["log_scale"].exp() / (needles().splats["means"] - EYE.float()).norm(dim=1, keepdim=True) < 0.02
    assert small.any() and not small.all()
    assert torch.equal(layer.splats["log_scale"][small], needles().splats["log_scale"][small])


def test_a_camera_that_travels_keeps_what_it_has_seen_from_two_sides() -> None:
    scene, capture, quality = Scene([needles()], (0.0, 1.0)), film((0.0,), 0.0), Quality(1, 1, 1)
    random = np.random.default_rng(0)
    moved = FlatToCamera()(scene, replace(capture, cameras="estimated"), Priors(), quality, random)
    stood = FlatToCamera()(scene, replace(capture, cameras="fixed"), Priors(), quality, random)
    assert moved is scene
    assert (stood.layers[0].splats["log_scale"] < scene.layers[0].splats["log_scale"]).any()
