"""The robust static fit and what it leaves unexplained, on a wall and a disc whose images, masks and tracks are exact."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.priors.classical.track_evidence import judge_tracks, view_suspicion
from fourfold.priors.still.cut import CutNumbers, cut
from fourfold.priors.still.fit import FitNumbers, StillScene, explain, fit_still
from fourfold.priors.still.frames import StillFrame, still_frames
from fourfold.priors.still.start import StartNumbers, first_gaussians, inverse_depth, median_depth
from fourfold.render import cpu
from fourfold.render.api import rasterize
from still_scene import DEPTH, TIMES, cameras_of, exact_tracks, film

ONE = np.ones((TIMES, 3), np.float32)


def _started(root: Path) -> tuple[StillScene, list[StillFrame], np.ndarray]:
    capture, truth = film(root)
    tracks = {0: judge_tracks(capture, exact_tracks(truth), cameras_of(capture), 0)}
    usual = median_depth(tracks[0], capture.world_to_camera[0])
    assert usual == pytest.approx(DEPTH, rel=0.02)
    frames = still_frames(capture, [view_suspicion(capture, 0, tracks[0])], 320, 0.05 * usual)
    scene = StillScene(first_gaussians(frames, tracks, (1.0, usual), StartNumbers(frames=5)), FitNumbers(steps=120))
    return scene, frames, truth


def test_the_start_lies_on_the_wall(tmp_path: Path) -> None:
    capture, truth = film(tmp_path)
    tracks = judge_tracks(capture, exact_tracks(truth), cameras_of(capture), 0)
    frames = still_frames(capture, [view_suspicion(capture, 0, tracks)], 320, 0.1)
    inverse = inverse_depth(frames[4], tracks, (1.0, DEPTH), StartNumbers())
    assert np.median(np.abs(inverse * DEPTH - 1)) < 0.02
    start = first_gaussians(frames, {0: tracks}, (1.0, DEPTH), StartNumbers(frames=5))
    assert np.median(np.abs(start.means[:, 2].numpy() / DEPTH - 1)) < 0.05
    with torch.no_grad():
        assert all((rasterize(start, frame.camera).alpha > 0.5).float().mean() > 0.9 for frame in frames)


def test_the_wall_is_explained_and_the_disc_is_not(tmp_path: Path) -> None:
    scene, frames, truth = _started(tmp_path)
    fit_still(scene, frames, ONE, np.random.default_rng(0), (0, 1))
    behind = cv2.erode((~truth).astype(np.uint8).transpose(1, 2, 0), np.ones((5, 5), np.uint8)).transpose(2, 0, 1) > 0
    shown = [explain(scene, frame, ONE[n]) for n, frame in enumerate(frames)]
    ratio = np.stack([e.residual / e.scale for e in shown])
    error = np.stack([e.residual for e in shown])
    assert np.median(ratio[behind]) < 1.2
    assert np.median(ratio[truth]) > 4
    assert error[behind].mean() < 0.04


def test_each_gaussian_gathers_the_weighted_error_of_the_pixels_it_paints() -> None:
    """One image and three Gaussians; the blending weights of the pixels come from drawing one channel per Gaussian."""
    camera = Camera(torch.tensor([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]]), torch.eye(4), 24, 16)
    start = Gaussians(
        torch.tensor([[-0.3, 0, 2.0], [0.1, 0.05, 2.2], [0.0, 0.0, 3.0]]),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(3, 1),
        torch.full((3, 3), -1.2),
        torch.full((3,), 1.0),
        torch.rand(3, 3, generator=torch.Generator().manual_seed(0)),
    )
    image = np.random.default_rng(0).integers(0, 255, (16, 24, 3)).astype(np.uint8)
    suspicion = np.random.default_rng(1).uniform(0, 0.6, (16, 24)).astype(np.float32)
    frame = StillFrame(0, 0, image, camera, suspicion, True)
    numbers = FitNumbers(steps=1, coarse=0.0, trusting=1.0)
    scene = StillScene(start, numbers)
    drawn = rasterize(scene.gaussians(), camera, channels=torch.eye(3), background=torch.full((3,), 0.5))
    assert drawn.channels is not None
    residual = np.abs(drawn.color.numpy() - frame.color).mean(-1)
    weight = np.clip(1 - 1.2 * suspicion, 0.02, 1)
    expected = np.einsum("hwn,hw,hw->n", drawn.channels.numpy(), weight, residual)
    before = scene.error.copy()
    fit_still(scene, [frame], ONE, np.random.default_rng(0), (0, 1))
    assert np.allclose(scene.error - before * (1 - 1 / numbers.scale_memory), expected, rtol=1e-4)


def test_the_same_scene_on_any_number_of_threads(tmp_path: Path) -> None:
    found = []
    kernel, ours = cpu.get_threads(), torch.get_num_threads()
    try:
        for threads in (1, 2, 7):
            cpu.set_threads(threads)
            torch.set_num_threads(threads)
            scene, frames, _ = _started(tmp_path / str(threads))
            fit_still(scene, frames, ONE, np.random.default_rng(0), (0, 0.3))
            found.append((scene.parameters["means"].numpy().tobytes(), scene.log_residual.tobytes()))
    finally:
        cpu.set_threads(kernel)
        torch.set_num_threads(ours)
    assert found[0] == found[1] == found[2]


def test_a_cut_follows_the_colours_and_drops_what_is_small_or_unsure() -> None:
    image = np.full((60, 80, 3), (40, 120, 60), np.uint8)
    image[20:40, 30:55] = (200, 60, 60)
    image[5:8, 70:73] = (200, 60, 60)
    evidence = np.zeros((60, 80), np.float32)
    evidence[23:37, 33:52] = 0.95
    evidence[16:44, 26:59] = np.maximum(evidence[16:44, 26:59], 0.2)
    evidence[5:8, 70:73] = 0.9
    found = cut(image, evidence, CutNumbers(area=0.005))
    truth = np.zeros((60, 80), bool)
    truth[20:40, 30:55] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.95
    assert not cut(image, 0.5 * evidence).any()
