"""Motion masks of a small disc moving before a panned and a still background."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.priors.classical.mask_refine import RefineConfig, lasting_components, refine_masks, with_band
from fourfold.priors.classical.motion_masks import motion_masks, still_background_evidence

HEIGHT, WIDTH, TIMES = 96, 160, 7


def _texture(seed: int, height: int, width: int, colour: tuple[float, float, float]) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    smooth = 150 * cv2.GaussianBlur(noise, (0, 0), 1.2) + 500 * cv2.GaussianBlur(noise, (0, 0), 6)
    return np.clip(np.array(colour) + smooth, 0, 255).astype(np.uint8)


def _clip(root: Path, pan: int, moving: bool = True, views: int = 1) -> tuple[Capture, np.ndarray]:
    """A pan of a far texture by whole pixels (a turn, as far as flow can tell) with a disc on a path of its own."""
    background, paint = _texture(0, HEIGHT, WIDTH + 60, (90, 110, 120)), _texture(1, HEIGHT, WIDTH, (200, 90, 50))
    frames, truth = [], []
    for t in range(TIMES):
        frame = background[:, pan * t : pan * t + WIDTH].copy()
        disc = np.zeros((HEIGHT, WIDTH), np.uint8)
        if moving:
            cv2.circle(disc, (40 + 9 * t, 40 + 3 * t), 14, 1, -1)
            shifted = np.roll(paint, (3 * t, 9 * t), (0, 1))
            frame[disc > 0] = shifted[disc > 0]
        frames.append(frame)
        truth.append(disc)
    for view in range(views):
        np.save(root / f"frames_{view:03d}.npy", np.stack(frames))
    focal = 400.0
    K = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1.0]])
    poses = np.tile(np.eye(4), (views, TIMES, 1, 1))
    for t in range(TIMES):
        angle = np.arctan(pan * t / focal)
        poses[:, t, :3, :3] = cv2.Rodrigues(np.array([0, -angle, 0]))[0]
    shape = (views, TIMES)
    capture = Capture(
        root=root,
        K=np.broadcast_to(K, (*shape, 3, 3)).copy(),
        world_to_camera=poses,
        timestamps=np.arange(TIMES) / 10,
        sizes=np.array([[WIDTH, HEIGHT]] * views),
        present=np.ones(shape, bool),
        train=np.ones(shape, bool),
        heldout=np.zeros(shape, bool),
        cameras="rotation",
        metric=False,
        name="disc",
        view_names=tuple("abc"[:views]),
    )
    return capture, np.stack(truth)


def _iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float(((found > 0) & (truth > 0)).sum() / max(1, ((found > 0) | (truth > 0) & (found != 0)).sum()))


@pytest.mark.parametrize("pan", [0, 3])
def test_a_moving_disc_is_found(tmp_path: Path, pan: int) -> None:
    capture, truth = _clip(tmp_path, pan)
    masks = motion_masks(capture)
    assert np.mean([_iou(m, t) for m, t in zip(masks.mask[0], truth, strict=True)]) > 0.7
    assert set(np.unique(masks.mask[0])) == {-1, 0, 1}


def test_nothing_moving_gives_empty_masks_and_says_so(tmp_path: Path) -> None:
    capture, _ = _clip(tmp_path, 3, moving=False)
    masks = motion_masks(capture)
    assert (masks.mask[0] == -1).all() and "nothing was found to move" in masks.provenance.notes[0]


def test_a_still_rig_uses_the_median_background(tmp_path: Path) -> None:
    capture, truth = _clip(tmp_path, 0, views=2)
    evidence = still_background_evidence(capture, 1)
    assert np.mean([_iou(e > 0.5, t) for e, t in zip(evidence, truth, strict=True)]) > 0.75
    assert motion_masks(capture).provenance.figures["evidence"] == ["still background"]


def test_masks_of_the_capture_are_kept(tmp_path: Path) -> None:
    capture, truth = _clip(tmp_path, 0)
    given = np.where(truth > 0, 1, -1).astype(np.int8)
    np.save(tmp_path / "masks_000.npy", given)
    masks = motion_masks(capture)
    assert np.array_equal(masks.mask[0], given) and masks.provenance.provider == "given"


def test_a_flash_of_noise_does_not_last() -> None:
    seeds = np.zeros((5, 40, 60), np.uint8)
    seeds[:, 5:15, 5:15] = 1
    seeds[2, 25:35, 40:50] = 1
    kept = lasting_components(seeds, RefineConfig())
    assert kept[:, 5:15, 5:15].all() and not kept[2, 25:35, 40:50].any()


def test_refinement_finds_the_coloured_outline() -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[:] = (40, 60, 90)
    truth = np.zeros((60, 90), np.uint8)
    cv2.ellipse(truth, (45, 30), (22, 13), 0, 0, 360, 1, -1)
    image[truth > 0] = (210, 160, 40)
    image = np.clip(image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    rough = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 4)
    found = refine_masks(np.stack([rough] * 3), [image] * 3, np.ones(3, bool))
    assert min(_iou(m, truth) for m in found) > 0.95


def test_band_surrounds_the_outline() -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[10:20, 10:20] = 1
    banded = with_band(mask)
    assert banded[15, 15] == 1 and banded[10, 15] == 0 and banded[9, 15] == 0 and banded[8, 15] == -1 and banded[11, 15] == 1
