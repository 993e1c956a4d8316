"""The static layer from a fitted static scene: the same picture from more Gaussians."""

import numpy as np
import pytest
import torch

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.initialize.still_start import apparent_size, from_still, split
from fourfold.priors.contracts import Provenance, Still
from fourfold.render.api import rasterize

CAMERA = Camera(torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]), torch.eye(4), 64, 48)


def _still(count: int = 60) -> Still:
    random = np.random.default_rng(0)
    z = random.uniform(2, 4, count)
    means = np.stack([random.uniform(-0.4, 0.4, count) * z, random.uniform(-0.3, 0.3, count) * z, z], 1)
    quat = random.normal(size=(count, 4))
    log_scale = np.log(random.uniform(0.05, 0.25, (count, 3)))
    color = random.uniform(0.1, 0.9, (count, 3)).astype(np.float32)
    means, quat, log_scale = means.astype(np.float32), quat.astype(np.float32), log_scale.astype(np.float32)
    return Still(Provenance("test"), means, quat, log_scale, np.full(count, 0.5, np.float32), color, np.full(count, -3.5, np.float32))


def _picture(arrays: dict[str, torch.Tensor]) -> torch.Tensor:
    shape = {name: arrays[name] for name in ("means", "quat_wxyz", "log_scale", "opacity_logit")}
    with torch.no_grad():
        return rasterize(Gaussians(**shape, color=torch.sigmoid(arrays["color_logit"])), CAMERA).color


def test_enough_gaussians_stay_as_they_were_fitted() -> None:
    still = _still()
    arrays = from_still(still, np.zeros((1, 3)), 50)
    assert np.array_equal(arrays["means"].numpy(), still.means)
    assert np.allclose(torch.sigmoid(arrays["color_logit"]).numpy(), still.color, atol=1e-5)


def test_splitting_reaches_the_number_and_keeps_the_picture() -> None:
    still = _still()
    before, after = (from_still(still, np.zeros((1, 3)), n) for n in (60, 150))
    assert len(after["means"]) == 150
    change = (_picture(before) - _picture(after)).abs().mean()
    spread = _picture(before).std()
    assert change < 0.25 * spread


def test_the_two_halves_lie_on_the_longest_axis_about_the_old_centre() -> None:
    still = _still(5)
    arrays = {n: np.asarray(getattr(still, n)) for n in ("means", "quat_wxyz", "log_scale", "opacity_logit")}
    largest = np.argsort(-apparent_size(arrays, np.zeros((1, 3))))[:1]
    halves = split(arrays, largest)
    n = int(largest[0])
    assert np.allclose(halves["means"][[n, 5]].mean(0), arrays["means"][n], atol=1e-6)
    assert np.exp(halves["log_scale"][n]).prod() == pytest.approx(0.8 * np.exp(arrays["log_scale"][n]).prod(), rel=1e-5)
    assert np.array_equal(np.sort(halves["log_scale"][n])[:2], np.sort(halves["log_scale"][5])[:2])
