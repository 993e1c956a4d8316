"""The size of a mover from its own motion: closed form, and images that do not change under the rescaling."""

import numpy as np
import pytest
import torch

from fourfold.geometry.camera import Camera
from fourfold.geometry.projection import project
from fourfold.initialize.settle_scale import least_motion_scale, rescale
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import DYNAMIC, Layer


def _camera_path(count: int) -> np.ndarray:
    t = np.linspace(0, 1, count)
    return np.stack([np.sin(3 * t), 0.2 * np.cos(5 * t), 0.3 * t], axis=1)


@pytest.mark.parametrize("true_scale", [0.8, 1.0, 1.2])
def test_a_standing_object_gets_its_size(true_scale: float) -> None:
    camera = _camera_path(20)
    standing = np.array([0.3, -0.2, 4.0])
    seen = camera + (standing - camera) / true_scale
    assert least_motion_scale(camera, seen) == pytest.approx(true_scale, rel=1e-9)


def test_a_camera_that_stands_still_tells_nothing() -> None:
    assert least_motion_scale(np.zeros((10, 3)), np.random.default_rng(0).normal(size=(10, 3))) is None


def test_images_stay_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    knots, count, bases = 6, 30, 3
    shape = {"rotation6d": (bases, knots, 6), "translation": (bases, knots, 3)}
    shared = {name: 0.3 * torch.randn(size, generator=generator, dtype=torch.float64) for name, size in shape.items()}
    shared["rotation6d"] += torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=torch.float64)
    splats = {
        "means": torch.randn(count, 3, generator=generator, dtype=torch.float64) + torch.tensor([0, 0, 5.0], dtype=torch.float64),
        "quat_wxyz": torch.randn(count, 4, generator=generator, dtype=torch.float64),
        "log_scale": torch.randn(count, 3, generator=generator, dtype=torch.float64),
        "opacity_logit": torch.zeros(count, dtype=torch.float64),
        "color_logit": torch.zeros(count, 3, dtype=torch.float64),
        "motion_logits": torch.randn(count, bases, generator=generator, dtype=torch.float64),
    }
    times = torch.arange(knots, dtype=torch.float64)
    layer = Layer("object", DYNAMIC, SE3Bases(), splats, shared, {"knots": times, "pivot": splats["means"].mean(0)})
    centers = _camera_path(knots)
    before, sizes = _pictures(layer, centers), layer.splats["log_scale"].clone()
    rescale(layer, centers, 1.3)
    assert torch.allclose(_pictures(layer, centers), before, atol=1e-9)
    assert torch.allclose(layer.splats["log_scale"] - sizes, torch.full_like(sizes, float(np.log(1.3))))


def _pictures(layer: Layer, centers: np.ndarray) -> torch.Tensor:
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]], dtype=torch.float64)
    pixels = []
    for moved, center in zip(layer.motion.at(layer, layer.fixed["knots"]), centers, strict=True):
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 3] = -torch.from_numpy(center)
        camera = Camera(K, pose, 100, 100)
        pixels.append(project(moved.means, camera.K, camera.world_to_camera)[0])
    return torch.stack(pixels)
