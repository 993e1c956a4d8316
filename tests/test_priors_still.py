"""The robust static fit and what it leaves unexplained, on a wall and a disc whose images, masks and tracks are exact."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.priors.contracts import Masks, Provenance
from fourfold.priors.masks.cut import CutNumbers, cut, with_band
from fourfold.priors.masks.track_evidence import judge_tracks, view_suspicion
from fourfold.priors.providers import choose
from fourfold.priors.still.explained import masks_and_still, still_behind
from fourfold.priors.still.fit import FitNumbers, StillScene, explain, fit_still
from fourfold.priors.still.frames import StillFrame, still_frames
from fourfold.priors.still.gains import exposure_gains
from fourfold.priors.still.shadows import shadows
from fourfold.priors.still.start import StartNumbers, depth_range, first_gaussians, inverse_depth
from fourfold.render import cpu
from fourfold.render.api import rasterize
from still_scene import DEPTH, TIMES, cameras_of, exact_tracks, film, spinning, texture

ONE = np.ones((TIMES, 3), np.float32)


def _started(root: Path) -> tuple[StillScene, list[StillFrame], np.ndarray]:
    capture, truth = film(root)
    tracks = {0: judge_tracks(capture, exact_tracks(truth), cameras_of(capture), 0)}
    usual, nearest = depth_range(tracks[0], capture.world_to_camera[0])
    assert nearest == pytest.approx(DEPTH, rel=0.1)
    assert usual == pytest.approx(DEPTH, rel=0.02)
    frames = still_frames(capture, {0: view_suspicion(capture, 0, tracks[0])}, 320, 0.05 * usual)
    scene = StillScene(first_gaussians(frames, tracks, usual, StartNumbers(frames=5)), FitNumbers(steps=120))
    return scene, frames, truth


def test_the_start_lies_on_the_wall(tmp_path: Path) -> None:
    capture, truth = film(tmp_path)
    tracks = judge_tracks(capture, exact_tracks(truth), cameras_of(capture), 0)
    frames = still_frames(capture, {0: view_suspicion(capture, 0, tracks)}, 320, 0.1)
    inverse = inverse_depth(frames[4], tracks, DEPTH, StartNumbers())
    assert np.median(np.abs(inverse * DEPTH - 1)) < 0.02
    start = first_gaussians(frames, {0: tracks}, DEPTH, StartNumbers(frames=5))
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


def test_the_same_masks_and_scene_on_any_number_of_threads(tmp_path: Path) -> None:
    capture, truth = film(tmp_path)
    longtracks, found = exact_tracks(truth), set[tuple[bytes, bytes]]()
    kernel, ours, images = cpu.get_threads(), torch.get_num_threads(), cv2.getNumThreads()
    try:
        for threads in (1, 2, 7):
            cpu.set_threads(threads)
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            masks, still = masks_and_still(capture, longtracks, cameras_of(capture))
            found.add((masks.mask[0].tobytes(), still.means.tobytes()))
    finally:
        cpu.set_threads(kernel)
        torch.set_num_threads(ours)
        cv2.setNumThreads(images)
    assert len(found) == 1


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


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    sure = mask != 0
    return float(((mask > 0) & truth & sure).sum() / ((mask > 0) | (truth & sure)).sum())


def test_masks_are_what_the_static_scene_leaves_unexplained(tmp_path: Path) -> None:
    capture, truth = film(tmp_path)
    masks, still = masks_and_still(capture, exact_tracks(truth), cameras_of(capture))
    masks.check(capture.sizes, capture.times)
    still.check(capture.sizes, capture.times)
    assert _iou(masks.mask[0], truth) > 0.9
    again, _ = masks_and_still(capture, exact_tracks(truth), cameras_of(capture))
    assert np.array_equal(again.mask[0], masks.mask[0])
    assert "exposure" not in masks.provenance.figures
    assert np.median(np.abs(still.means[:, 2] / DEPTH - 1)) < 0.05


def test_where_nothing_moves_nothing_is_masked(tmp_path: Path) -> None:
    capture, truth = film(tmp_path, moving=False)
    masks, _ = masks_and_still(capture, exact_tracks(truth, moving=False), cameras_of(capture))
    assert (masks.mask[0] > 0).mean() < 0.005
    assert (masks.mask[0] < 0).mean() > 0.98


def test_held_out_images_are_explained_but_change_nothing(tmp_path: Path) -> None:
    capture, truth = film(tmp_path)
    train = np.ones((1, TIMES), bool)
    train[0, 5] = False
    capture = replace(capture, train=train, heldout=~train)
    masks, still = masks_and_still(capture, exact_tracks(truth), cameras_of(capture))
    assert _iou(masks.mask[0][5], truth[5]) > 0.8
    images = np.load(tmp_path / "frames_000.npy")
    images[5] = 255 - images[5]
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / "frames_000.npy", images)
    spoilt, same = masks_and_still(replace(capture, root=other), exact_tracks(truth), cameras_of(capture))
    assert np.array_equal(same.means, still.means)
    assert np.array_equal(np.delete(spoilt.mask[0], 5, 0), np.delete(masks.mask[0], 5, 0))


def test_the_scene_behind_given_masks_holds_nothing_that_moves(tmp_path: Path) -> None:
    capture, truth = film(tmp_path)
    given = Masks(Provenance("given"), (np.where(truth, 1, -1).astype(np.int8),))
    still = still_behind(capture, exact_tracks(truth), cameras_of(capture), given)
    wall = Gaussians(*(torch.from_numpy(getattr(still, n)) for n in ("means", "quat_wxyz", "log_scale", "opacity_logit", "color")))
    clean, _ = film(tmp_path / "clean", moving=False)
    with torch.no_grad():
        drawn = rasterize(wall, capture.camera_at(0, 5)).color.numpy()
    error = np.abs(drawn - clean.image(0, 5) / 255).mean(-1)
    assert error[truth[5]].mean() < 1.5 * error[~truth[5]].mean()
    assert error[truth[5]].mean() < 0.5 * np.abs(capture.image(0, 5)[truth[5]] / 255 - clean.image(0, 5)[truth[5]] / 255).mean()


def test_a_wandering_exposure_is_measured_and_is_no_motion(tmp_path: Path) -> None:
    gains = np.exp(0.25 * np.sin(0.8 * np.arange(TIMES)))
    capture, truth = film(tmp_path, gains=0.8 * gains)
    longtracks = exact_tracks(truth)
    tracks = judge_tracks(capture, longtracks, cameras_of(capture), 0)
    found = exposure_gains(capture, 0, tracks)
    true = gains / np.exp(np.log(gains).mean())
    assert np.abs(found / true[:, None] - 1).max() < 0.02
    masks, _ = masks_and_still(capture, longtracks, cameras_of(capture))
    assert _iou(masks.mask[0], truth) > 0.85
    assert len(masks.provenance.figures["exposure"]) == TIMES


def test_a_shadow_keeps_the_ground_s_texture_and_a_body_does_not() -> None:
    ground, body = (texture(seed, 80, 120, mean) / 255 for seed, mean in ((0, (120, 120, 110)), (1, (80, 75, 70))))
    image = ground.copy()
    image[20:60, 15:50] *= 0.6
    image[20:60, 70:105] = body[20:60, 70:105]
    found = shadows(image, ground)
    assert found[26:54, 21:44].mean() > 0.95
    assert found[20:60, 70:105].mean() < 0.05
    assert found[:12].mean() == 0


def test_a_mover_that_stays_in_its_place_is_not_absorbed(tmp_path: Path) -> None:
    """A disc that turns about its middle: the static scene blurs it, the tracks on it are sure."""
    capture, truth, longtracks = spinning(tmp_path)
    masks, _ = masks_and_still(capture, longtracks, cameras_of(capture))
    assert _iou(masks.mask[0], truth) > 0.7


def test_a_band_surrounds_the_outline() -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[10:20, 10:20] = 1
    banded = with_band(mask)
    assert banded[15, 15] == 1 and banded[10, 15] == 0 and banded[9, 15] == 0 and banded[8, 15] == -1 and banded[11, 15] == 1


def test_who_makes_masks_goes_by_how_the_cameras_move(tmp_path: Path) -> None:
    capture, truth = film(tmp_path)
    assert choose("masks", capture).name == "explained"
    standing = replace(capture, world_to_camera=np.broadcast_to(np.eye(4), (1, TIMES, 4, 4)))
    assert choose("masks", standing).name == "plate"
    assert choose("still", standing).name == "still_behind"
    np.save(tmp_path / "masks_000.npy", np.where(truth, 1, -1).astype(np.int8))
    assert choose("masks", capture).name == "given-masks"
    assert choose("still", capture).name == "still_behind"
