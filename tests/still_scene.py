"""A textured wall before a far one, filmed by a travelling camera, with a disc on a path of its own: exact images, masks and tracks."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras, LongTracks, Provenance

WIDTH, HEIGHT, TIMES, FOCAL = 128, 96, 10, 110.0
DEPTH = 4.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])


def texture(seed: int, height: int, width: int, mean: tuple[float, float, float]) -> NDArray[np.float32]:
    """(height, width, 3) smooth coloured noise."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    return np.clip(np.array(mean) + 180 * cv2.GaussianBlur(noise, (0, 0), 1.6) + 500 * cv2.GaussianBlur(noise, (0, 0), 8), 0, 255).astype(np.float32)


def poses(travel: float) -> NDArray[np.float64]:
    """(T, 4, 4) cameras that travel to the right by whole pixels of the wall when `travel` is DEPTH / FOCAL times a whole number."""
    result = np.tile(np.eye(4), (TIMES, 1, 1))
    result[:, 0, 3] = -travel * np.arange(TIMES)
    return result


def disc_at(t: int) -> tuple[int, int]:
    """Centre of the disc in image t."""
    return 30 + 7 * t, 34 + round(16 * np.sin(0.9 * t))


def film(root: Path, step: int = 3, moving: bool = True, gains: NDArray[np.float64] | None = None) -> tuple[Capture, NDArray[np.bool_]]:
    """The capture, whose wall moves by `step` pixels to the left per frame, and the true masks (T, H, W)."""
    wall, paint = texture(0, HEIGHT, WIDTH + step * TIMES, (90, 110, 120)), texture(1, HEIGHT, WIDTH, (200, 90, 50))
    frames, masks = [], []
    for t in range(TIMES):
        frame, mask = wall[:, step * t : step * t + WIDTH].copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
        if moving:
            x, y = disc_at(t)
            cv2.circle(mask, (x, y), 13, 1, -1)
            frame[mask > 0] = np.roll(paint, (y, x), (0, 1))[mask > 0]
        frames.append(np.clip(frame * (1.0 if gains is None else gains[t]), 0, 255).astype(np.uint8))
        masks.append(mask > 0)
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "frames_000.npy", np.stack(frames))
    every = np.ones((1, TIMES), bool)
    capture = Capture(
        root=root,
        K=np.broadcast_to(K, (1, TIMES, 3, 3)).copy(),
        world_to_camera=poses(step * DEPTH / FOCAL)[None],
        timestamps=np.arange(TIMES) / 10,
        sizes=np.array([[WIDTH, HEIGHT]]),
        present=every,
        train=every.copy(),
        heldout=~every,
        cameras="given",
        metric=False,
        name="disc",
        view_names=("a",),
    )
    return capture, np.stack(masks)


def exact_tracks(masks: NDArray[np.bool_], step: int = 3, moving: bool = True, noise: float = 0.05) -> LongTracks:
    """Points of the wall while they are in the image and not behind the disc, points of the disc always; a little noise."""
    random = np.random.default_rng(5)
    start = np.stack(np.meshgrid(np.arange(3, WIDTH + step * TIMES - 3, 6), np.arange(3, HEIGHT - 3, 6)), -1).reshape(-1, 2) + 0.5
    rows: list[tuple[float, float, int, int]] = []
    count = 0
    for point in start:
        places = [(point[0] - step * t, point[1], t) for t in range(TIMES) if 2 < point[0] - step * t < WIDTH - 2]
        seen = [(x, y, t) for x, y, t in places if not masks[t, int(y), int(x)]]
        rows += [(x, y, t, count) for x, y, t in seen]
        count += bool(seen)
    for angle in np.arange(0, 2 * np.pi, 0.35) if moving else ():
        for radius in (3.0, 7.0, 11.0):
            for t in range(TIMES):
                x, y = disc_at(t)
                rows.append((x + 0.5 + radius * np.cos(angle), y + 0.5 + radius * np.sin(angle), t, count))
            count += 1
    table = np.array(rows)
    xy = (table[:, :2] + noise * random.normal(size=(len(table), 2))).astype(np.float32)
    return LongTracks(Provenance("exact"), xy, table[:, 2].astype(np.int32), table[:, 3].astype(np.int32), np.zeros(count, np.int32))


def spinning(root: Path, step: int = 3) -> tuple[Capture, NDArray[np.bool_], LongTracks]:
    """A disc that stays at its place on the wall and turns about its middle: the capture, true masks and exact tracks."""
    capture, _ = film(root, step, moving=False)
    frames, masks = np.load(root / "frames_000.npy"), np.zeros((TIMES, HEIGHT, WIDTH), bool)
    paint = texture(1, 60, 60, (120, 100, 90))
    rows: list[tuple[float, float, int, int]] = []
    for t in range(TIMES):
        x, y, angle = 80 - step * t, 48, 40.0 * t
        around = cv2.getRotationMatrix2D((30, 30), angle, 1.0)
        around[:, 2] += (x - 30, y - 30)
        disc = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.circle(disc, (x, y), 18, 1, -1)
        masks[t] = disc > 0
        frames[t][masks[t]] = cv2.warpAffine(paint, around, (WIDTH, HEIGHT))[masks[t]]
        polar = [(r, a) for r in (6.0, 10.0, 14.0, 16.5) for a in np.arange(0, 2 * np.pi, 0.4)]
        for n, (radius, start) in enumerate(polar):
            turned = start - np.radians(angle)
            rows.append((x + 0.5 + radius * np.cos(turned), y + 0.5 + radius * np.sin(turned), t, n))
    np.save(root / "frames_000.npy", frames)
    wall = exact_tracks(masks, step, moving=False)
    table = np.array(sorted(rows, key=lambda r: (r[3], r[2])))
    track = np.concatenate([wall.track, table[:, 3].astype(np.int32) + len(wall.view)])
    xy, time = np.concatenate([wall.xy, table[:, :2].astype(np.float32)]), np.concatenate([wall.time, table[:, 2].astype(np.int32)])
    return capture, masks, LongTracks(Provenance("exact"), xy, time, track.astype(np.int32), np.zeros(int(track[-1]) + 1, np.int32))


def cameras_of(capture: Capture) -> Cameras:
    """The capture's cameras as a prior."""
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    return Cameras(Provenance("exact", figures={"source": "given"}), capture.K, capture.world_to_camera, *none)
