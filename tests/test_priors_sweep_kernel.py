"""The compiled plane sweep: exact where warps are whole pixels, its twin's costs between them, the same bits for any number of threads."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fourfold.priors.depth.sweep_cost import (
    UNSEEN,
    SweepConfig,
    SweepImage,
    cost_volume,
    cost_volume_reference,
    features_of,
    smooth_volume,
    smooth_volume_reference,
)
from fourfold.priors.tracking.track_step import grey_of
from fourfold.render.cpu import get_threads, set_threads

K = np.array([[100.0, 0, 45], [0, 100, 33], [0, 0, 1]])


def texture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(height + width).uniform(0, 255, (height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip((soft - soft.mean()) * 4 + 128, 0, 255).astype(np.uint8)


def image(colour: np.ndarray, valid: np.ndarray | None = None, shift: tuple[float, float, float] = (0, 0, 0), turn: float = 0.0) -> SweepImage:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose[:3, 3] = shift
    return SweepImage(features_of(colour, SweepConfig()), np.full(colour.shape[:2], 255, np.uint8) if valid is None else valid, K, pose)


@pytest.mark.parametrize("leaving", [None, 0.6])
def test_a_whole_pixel_shift_costs_nothing_at_its_plane_and_as_told_outside(each_isa, leaving):
    colour = texture(66, 90)
    reference = image(colour)
    moved = SweepImage(np.roll(reference.features, 3, axis=1), reference.valid.copy(), K, image(colour, shift=(0.03, 0, 0)).pose)
    moved.features[:, :3] = 0
    volume = cost_volume(reference, [moved], np.array([0.5, 1.0, 2.0]), SweepConfig(best_share=1.0), leaving)
    assert volume[1, :, :85].max() == 0
    assert volume[0, :, :80].mean() > 0.1 and volume[2, :, :80].mean() > 0.1
    # the last three columns leave the other image: alone in their patch they are unseen or cost what is told
    assert volume[1, 30, 89] == (UNSEEN if leaving is None else pytest.approx((3 + 2 * (leaving is not None)) / 5 * 153 / 255, abs=1e-5))


@pytest.mark.parametrize("leaving", [None, 0.6])
@pytest.mark.parametrize("size", [(37, 53), (66, 129), (5, 9)])
def test_costs_are_those_of_the_twin(each_isa, leaving, size):
    random = np.random.default_rng(3)
    hidden = np.where(np.arange(size[1]) % 17 < 4, 0, 255).astype(np.uint8)[None].repeat(size[0], axis=0)
    reference = image(texture(*size), hidden)
    others = [image(texture(size[0] + 3 * n, size[1] + n), None, tuple(random.normal(0, 0.1, 3)), 0.02 * n) for n in range(5)]
    planes = np.linspace(0.05, 1.5, 12)
    found, wanted = (of(reference, others, planes, SweepConfig(), leaving) for of in (cost_volume, cost_volume_reference))
    seen = (found < UNSEEN) & (wanted < UNSEEN)
    assert ((found < UNSEEN) != (wanted < UNSEEN)).mean() < 2e-3
    assert np.quantile(np.abs(found - wanted)[seen], 0.95) < 1e-4  # a fortieth of one of 255
    assert abs(float((found - wanted)[seen].mean())) < 1e-4


@pytest.mark.parametrize("size", [(2, 5, 7), (12, 40, 33), (20, 1, 70)])
def test_smoothing_is_that_of_the_twin(each_isa, size):
    volume = np.random.default_rng(1).uniform(0, 1.3, size).astype(np.float32)
    guide = texture(size[1], size[2])
    expected = smooth_volume_reference(volume, grey_of(guide).astype(np.float32), SweepConfig())
    np.testing.assert_array_equal(smooth_volume(volume, guide, SweepConfig()), expected)


def test_any_number_of_threads_gives_the_same_bits():
    reference, others = image(texture(66, 90)), [image(texture(66, 90), shift=(0.1 * n, 0.05, 0)) for n in (1, 2, 3)]
    before, found = get_threads(), []
    try:
        for threads in (1, 2, 7):
            set_threads(threads)
            volume = cost_volume(reference, others, np.linspace(0.1, 1, 9), SweepConfig())
            found.append((volume, smooth_volume(volume, texture(66, 90), SweepConfig())))
    finally:
        set_threads(before)
    for volume, smooth in found[1:]:
        np.testing.assert_array_equal(volume, found[0][0])
        np.testing.assert_array_equal(smooth, found[0][1])
