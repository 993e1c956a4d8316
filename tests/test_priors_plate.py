"""The plate against exact backgrounds: geometry of the sphere, colours and scales under what moves, and masks of generated films."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import still_scene
from fourfold.capture.capture import Capture
from fourfold.geometry.camera import Camera
from fourfold.priors.contracts import Cameras, Provenance
from fourfold.priors.masks.plate import PlateNumbers, filled_plate, fit_plate, unexplained
from fourfold.priors.masks.plate_frames import Standing, turned
from fourfold.priors.masks.plate_masks import plate_masks, travels, view_masks
from fourfold.priors.providers import choose
from fourfold.priors.tracking.long_tracks import long_tracks

SIZE, FOCAL, TURNS = (72, 128), 110.0, 9
K = np.array([[FOCAL, 0, SIZE[1] / 2], [0, FOCAL, SIZE[0] / 2], [0, 0, 1.0]])


def _rotations(step: float) -> np.ndarray:
    return np.stack([cv2.Rodrigues(np.array([0.02 * np.sin(t), step * t, 0.01 * t]))[0] for t in range(TURNS)])


def _painted(rays: np.ndarray, scales: tuple[float, ...] = (6, 12, 24, 40), seed: int = 0) -> np.ndarray:
    """(..., 3) colour of a far painted wall in the direction of `rays` (..., 3), as a closed form."""
    random = np.random.default_rng(seed)
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    waves = [np.sin(unit @ random.normal(scale=scale, size=3) + random.uniform(0, 6, 3)[:, None, None]) for scale in scales for _ in range(2)]
    return np.moveaxis(0.5 + 0.17 / np.sqrt(len(waves)) * np.sum(waves, axis=0), 0, -1)


def _image(rotation: np.ndarray) -> np.ndarray:
    x, y = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    rays = np.stack([(x - K[0, 2]) / FOCAL, (y - K[1, 2]) / FOCAL, np.ones_like(x)], -1)
    return np.clip(_painted(rays @ rotation), 0, 1).astype(np.float32)


def test_the_sphere_carries_every_turned_image_to_every_other() -> None:
    rotation = _rotations(0.06)
    sphere = turned(np.tile(K, (TURNS, 1, 1)), rotation, SIZE)
    images = [_image(r) for r in rotation]
    for a, b in ((0, 1), (3, 5), (6, 4)):
        reach = sphere.show(b, sphere.gather(a, np.ones(SIZE, np.float32))) > 0.999
        inner = cv2.erode(reach.astype(np.uint8), np.ones((5, 5))) > 0
        assert inner.mean() > 0.4
        error = np.abs(sphere.show(b, sphere.gather(a, images[a])) - images[b])[inner]
        assert error.max() < 0.03  # two bilinear samplings of waves that are a dozen pixels long


def test_the_sphere_looks_where_the_cameras_look() -> None:
    away = cv2.Rodrigues(np.array([0.3, 2.6, 0.0]))[0]  # behind the world's axes, where azimuth would jump
    sphere = turned(np.tile(K, (TURNS, 1, 1)), _rotations(0.02) @ away, SIZE)
    assert sphere.shape[1] < 1.6 * SIZE[1] and sphere.shape[0] < 1.6 * SIZE[0]
    assert all(sphere.reached(t).mean() > 0.5 for t in range(TURNS))


def _square_before(background: np.ndarray, times: int, noise: float) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Images of a square that crosses `background`, a suspicion that is too wide, and the true masks."""
    random, images, doubts, masks = np.random.default_rng(2), [], [], []
    for t in range(times):
        mask = np.zeros(SIZE, bool)
        mask[20:44, 10 + 5 * t : 30 + 5 * t] = True
        image = np.where(mask[..., None], np.array([0.8, 0.3, 0.2]), background) + noise * random.normal(size=(*SIZE, 3))
        images.append(image.astype(np.float32))
        doubts.append(cv2.GaussianBlur(cv2.dilate(mask.astype(np.float32), np.ones((9, 9))), (0, 0), 2))
        masks.append(mask)
    return images, doubts, np.stack(masks)


def test_the_plate_is_the_background_and_its_scale_the_noise() -> None:
    background = np.clip(
        _painted(np.stack([*np.meshgrid(np.linspace(-0.5, 0.5, SIZE[1]), np.linspace(-0.3, 0.3, SIZE[0])), np.ones(SIZE)], -1)), 0, 1
    )
    noise = 0.03
    images, doubts, masks = _square_before(background, 16, noise)
    plate = fit_plate(images, doubts, Standing(SIZE), np.arange(16), PlateNumbers(texture=0.0))
    crossed = masks.any(0)
    assert np.abs(plate.color - background)[crossed].mean() < 0.8 * 2 * noise / np.sqrt(10)  # some ten of sixteen images show the wall there
    assert np.median(plate.scale) == pytest.approx(noise * np.sqrt(2 / np.pi) * 1.1, rel=0.2)  # mean of three absolute errors, root mean square
    assert plate.known.min() > 0.9
    for image, mask in zip(images, masks, strict=True):
        over = unexplained(image, plate)
        assert np.median(over[~cv2.dilate(mask.astype(np.uint8), np.ones((13, 13))).astype(bool)]) < 1.3
        assert over[cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) > 0].min() > 4


def test_what_is_never_trusted_is_not_known_and_taken_from_around() -> None:
    wall = np.full((*SIZE, 3), 0.6, np.float32) + 0.002 * np.random.default_rng(0).normal(size=(12, *SIZE, 3)).astype(np.float32)
    images, doubts = [], []
    for t, image in enumerate(wall):  # somebody who sways in place
        mask = np.zeros(SIZE, np.uint8)
        cv2.circle(mask, (60 + 2 * (t % 3), 40), 14, 1, -1)
        image[mask > 0] = (0.2 + 0.1 * (t % 3), 0.1 + 0.1 * (t % 3), 0.1)
        images.append(image)
        doubts.append(mask.astype(np.float32))
    plate = fit_plate(images, doubts, Standing(SIZE), np.arange(12))
    assert plate.known[40, 62] < 0.05 and plate.known[10, 10] == 1
    fill = filled_plate(plate)
    assert np.abs(fill.color - 0.6).max() < 0.02 and fill.scale.max() < 0.06


def test_what_is_put_down_here_and_there_is_not_mixed_with_what_it_covers():
    table = np.full((*SIZE, 3), 0.8, np.float32) + np.random.default_rng(4).normal(scale=0.004, size=(*SIZE, 3)).astype(np.float32)
    images, cups = [], []
    for t in range(30):
        cup = np.zeros(SIZE, bool)
        for n, column in enumerate((20, 60, 100)):  # each place is taken three fifths of the time, in other stretches
            cup[20:44, column : column + 14] |= (t + 10 * n) % 30 < 18
        images.append(np.where(cup[..., None], np.array([0.8, 0.05, 0.15], np.float32), table))
        cups.append(cup)
    plate = fit_plate(images, [np.zeros(SIZE, np.float32)] * 30, Standing(SIZE), np.arange(30))
    assert np.abs(plate.color - table).max() < 0.05
    for image, cup in zip(images[::7], cups[::7], strict=True):
        left = unexplained(image, plate)
        assert left[cv2.erode(cup.astype(np.uint8), np.ones((5, 5))) > 0].min() > 4
        assert left[cv2.dilate(cup.astype(np.uint8), np.ones((9, 9))) == 0].max() < 1.5


def test_what_never_changes_is_still_whatever_the_tracks_say() -> None:
    images = [np.full((*SIZE, 3), 0.5, np.float32)] * 8
    plate = fit_plate(images, [np.ones(SIZE, np.float32)] * 8, Standing(SIZE), np.arange(8))
    assert plate.known.min() == 1


def _given(capture: Capture) -> Cameras:
    none = np.zeros(0, np.float32)
    figures = {"source": capture.cameras}
    return Cameras(
        Provenance("given", figures=figures), capture.K, capture.world_to_camera, np.zeros((0, 3), np.float32), none, none.astype(np.int32)
    )


def _scores(capture: Capture, truth: np.ndarray) -> tuple[float, float]:
    found = plate_masks(capture, long_tracks(capture), _given(capture)).mask[0]
    sure = found != 0
    both = ((found > 0) & truth)[sure].sum()
    return both / ((found > 0) | truth)[sure].sum(), (found > 0).mean()


def test_masks_of_a_standing_camera(tmp_path: Path) -> None:
    capture, truth = still_scene.film(tmp_path / "film", step=0)
    assert not travels(capture, 0) and choose("masks", capture).name == "plate"
    assert _scores(capture, truth)[0] > 0.85
    still, _ = still_scene.film(tmp_path / "still", step=0, moving=False)
    assert _scores(still, truth)[1] < 0.005


def test_masks_are_the_same_on_any_number_of_threads(tmp_path: Path) -> None:
    capture, truth = still_scene.film(tmp_path / "film", step=0)
    suspicion = np.stack([cv2.GaussianBlur(m.astype(np.float32), (0, 0), 3) for m in truth]).astype(np.float16)
    before, found = cv2.getNumThreads(), []
    try:
        for threads in (1, 2, 7):
            cv2.setNumThreads(threads)
            found.append(view_masks(capture, 0, suspicion))
    finally:
        cv2.setNumThreads(before)
    assert (found[0] > 0).any() and all(np.array_equal(found[0], other) for other in found[1:])


def test_masks_of_a_turning_camera(tmp_path: Path) -> None:
    capture, _ = still_scene.film(tmp_path / "film", step=0)
    times = min(capture.times, TURNS)
    poses = capture.world_to_camera.copy()
    poses[0, :times, :3, :3] = _rotations(0.03)[:times]
    size = int(capture.sizes[0, 1]), int(capture.sizes[0, 0])
    K_film = capture.K[0, 0]
    x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K_film).T
    paint = still_scene.texture(1, *size, (200, 90, 50))
    frames, truth = [], np.zeros((capture.times, *size), bool)
    for t in range(capture.times):
        image = 255 * np.clip(_painted(rays @ poses[0, t, :3, :3], tuple(range(40, 130, 8))), 0, 1)
        mask = np.zeros(size, np.uint8)
        cv2.circle(mask, (30 + 6 * t, 40 + (t % 4) * 3), 13, 1, -1)
        truth[t] = mask > 0
        frames.append(np.where(truth[t][..., None], np.roll(paint, 6 * t, 1), image).astype(np.uint8))
    np.save(capture.root / "frames_000.npy", np.stack(frames))
    turning = replace(capture, world_to_camera=poses, cameras="rotation")
    if capture.times > times:
        turning.present[:, times:] = turning.train[:, times:] = False
    assert not travels(turning, 0)
    assert _scores(turning, truth & turning.present[0][:, None, None])[0] > 0.85
    assert isinstance(turning.camera_at(0, 0), Camera)


def test_a_travelling_camera_has_no_plate(tmp_path: Path) -> None:
    capture, _ = still_scene.film(tmp_path / "film", step=3)
    assert travels(capture, 0) and choose("masks", capture).name != "plate"
    assert travels(replace(capture, world_to_camera=np.full_like(capture.world_to_camera, np.nan)), 0)
