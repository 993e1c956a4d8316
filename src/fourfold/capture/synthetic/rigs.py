"""Where the cameras stand: functions from times (T,), the ground positions (T, 3) of the figure and a generator to a `Rig`.

Azimuth 0 looks from -z towards +z and grows towards +x. Every rig watches the walking figure or the middle of the room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

GAZE_HEIGHT = -0.78
"""y of what cameras look at, metres: the figure's chest."""


@dataclass(frozen=True)
class Rig:
    """Camera poses of V views.

    Attributes:
        world_to_camera: (V, T, 4, 4) float64, OpenCV axes.
        heldout: (V,) bool, the views that measure the result.
        names: (V,) view names.
        cuts: moments at which a new shot begins.
    """

    world_to_camera: Array
    heldout: NDArray[np.bool_]
    names: tuple[str, ...]
    cuts: tuple[int, ...] = ()


def look_at(eye: Array, target: Array, roll: Array | float = 0.0) -> Array:
    """(T, 4, 4) world_to_camera of cameras at `eye` (T, 3) looking at `target` (T, 3), upright (y is down) up to `roll` (T,) radians."""
    z = target - eye
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    x = np.cross(np.array([0.0, 1.0, 0.0]), z)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    y = np.cross(z, x)
    c, s = np.cos(roll)[..., None], np.sin(roll)[..., None]
    rotation = np.stack([c * x + s * y, c * y - s * x, z], -2)
    out = np.zeros((*eye.shape[:-1], 4, 4))
    out[..., :3, :3] = rotation
    out[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, eye)
    out[..., 3, 3] = 1
    return out


def casual(seconds: Array, subject: Array, rng: np.random.Generator) -> Rig:
    """One hand-held clip on an arc of 44 degrees about the figure; a second, held-out path 14 degrees beside it."""
    along = _eased(seconds)
    azimuth = np.radians(-24 + 44 * along)
    centre = 0.5 * subject
    radius = 2.95 - 0.25 * np.sin(np.pi * along)
    eye = _around(centre, azimuth, radius, -1.25 - 0.2 * np.sin(2 * np.pi * along)) + _shake(seconds, rng, 0.018)
    target = 0.6 * subject + np.array([0.1, GAZE_HEIGHT, 0]) + _shake(seconds, rng, 0.022)
    roll = _shake(seconds, rng, 0.009)[:, 0]
    beside = _turned(eye, subject, np.radians(14.0))
    return Rig(np.stack([look_at(eye, target, roll), look_at(beside, target)]), np.array([False, True]), ("hand", "beside"))


def close(seconds: Array, subject: Array, rng: np.random.Generator) -> Rig:
    """One hand-held clip at arm's length, walking with the figure, which fills half the picture; a held-out path 14 degrees beside it."""
    azimuth = np.radians(-20 + 40 * _eased(seconds))
    eye = _around(subject, azimuth, 0.84 + 0 * azimuth, -1.0 - 0.05 * np.sin(azimuth)) + _shake(seconds, rng, 0.012)
    target = subject + np.array([0.0, -0.85, 0.0]) + _shake(seconds, rng, 0.012)
    beside = _turned(eye, subject, np.radians(14.0))
    return Rig(np.stack([look_at(eye, target), look_at(beside, target)]), np.array([False, True]), ("hand", "beside"))


def two_shots(seconds: Array, subject: Array, rng: np.random.Generator) -> Rig:
    """The casual clip, cut after two fifths of its frames to a shot from the figure's left, nearer by; each with its own path beside it."""
    cut = max(1, round(0.4 * seconds.size))
    first = casual(seconds, subject, rng)
    rest, later = seconds[cut:], subject[cut:]
    azimuth = np.radians(62 + 26 * np.linspace(0, 1, rest.size))
    eye = _around(0.5 * later, azimuth, 2.5 + 0 * azimuth, -1.05 - 0.1 * np.sin(azimuth)) + _shake(rest, rng, 0.018)
    target = 0.6 * later + np.array([0.0, GAZE_HEIGHT, 0.0]) + _shake(rest, rng, 0.022)
    second = np.stack([look_at(eye, target), look_at(_turned(eye, later, np.radians(14.0)), target)])
    return Rig(np.concatenate([first.world_to_camera[:, :cut], second], 1), first.heldout, first.names, (cut,))


def orbit360(seconds: Array, subject: Array, rng: np.random.Generator) -> Rig:
    """One hand-held clip once round the figure; held-out cameras on the same circle, 45, 90 and 135 degrees ahead of it."""
    azimuth = 2 * np.pi * np.arange(seconds.size) / max(seconds.size, 1)
    radius = 2.75 + 0.15 * np.sin(3 * azimuth)
    eye = _around(0 * subject, azimuth, radius, -1.3 - 0.2 * np.sin(2 * azimuth)) + _shake(seconds, rng, 0.012)
    target = 0.7 * subject + np.array([0, GAZE_HEIGHT, 0])
    poses = [look_at(eye, target + _shake(seconds, rng, 0.015), _shake(seconds, rng, 0.006)[:, 0])]
    poses += [look_at(_turned(eye, 0 * subject, np.radians(a)), target) for a in (45.0, 90.0, 135.0)]
    return Rig(np.stack(poses), np.array([False, True, True, True]), ("orbit", "ahead_045", "ahead_090", "ahead_135"))


def sparse_fixed(seconds: Array, subject: Array, rng: np.random.Generator) -> Rig:
    """Four fixed cameras 90 degrees apart, a fifth held out at 45 degrees."""
    return _fixed((0.0, 90.0, 180.0, 270.0, 45.0), (1.35, 1.45, 1.3, 1.5, 1.4), (False, False, False, False, True), seconds.size)


def sparse_moving(seconds: Array, subject: Array, rng: np.random.Generator) -> Rig:
    """Three hand-held cameras about 35 degrees apart, each swaying on an arc of 24 degrees; a fourth, fixed one held out between them."""
    along = _eased(seconds)
    target = 0.5 * subject + np.array([0, GAZE_HEIGHT, 0])
    poses = []
    for start, direction in ((-35.0, 1.0), (0.0, -1.0), (35.0, 1.0)):
        azimuth = np.radians(start + direction * (24 * along - 12))
        eye = _around(0 * subject, azimuth, 2.7 + 0.1 * np.cos(np.pi * along), -1.25 - 0.15 * direction * along) + _shake(seconds, rng, 0.015)
        poses.append(look_at(eye, target + _shake(seconds, rng, 0.02), _shake(seconds, rng, 0.008)[:, 0]))
    poses.append(_fixed((17.5,), (1.35,), (True,), seconds.size).world_to_camera[0])
    return Rig(np.stack(poses), np.array([False, False, False, True]), ("left", "middle", "right", "fixed"))


def dense_rig(seconds: Array, subject: Array, rng: np.random.Generator) -> Rig:
    """Twenty fixed cameras all round at two heights, 18 degrees apart; every fifth is held out."""
    azimuths = tuple(18.0 * i for i in range(20))
    order = [i for i in range(20) if i % 5 != 2] + [2, 7, 12, 17]
    heights = tuple(1.0 if i % 2 else 1.85 for i in order)
    return _fixed(tuple(azimuths[i] for i in order), heights, tuple(k >= 16 for k in range(20)), seconds.size)


def _fixed(azimuths: tuple[float, ...], heights: tuple[float, ...], heldout: tuple[bool, ...], times: int) -> Rig:
    """Cameras that stand still on a circle of 2.9 m, looking at its middle; degrees and metres."""
    angle = np.radians(azimuths)
    eye = _around(np.zeros((angle.size, 3)), angle, np.full(angle.size, 2.9), -np.array(heights))
    poses = look_at(eye, np.tile([0, GAZE_HEIGHT, 0], (angle.size, 1)))
    return Rig(np.repeat(poses[:, None], times, 1), np.array(heldout), tuple(f"at_{a:03.0f}" for a in azimuths))


def _around(centre: Array, azimuth: Array, radius: Array, y: Array) -> Array:
    """(T, 3) positions at `azimuth` (T,) and horizontal `radius` (T,) from `centre` (T, 3), at height `y` (T,)."""
    return np.stack([centre[:, 0] + radius * np.sin(azimuth), y + 0 * azimuth, centre[:, 2] - radius * np.cos(azimuth)], -1)


def _turned(eye: Array, pivot: Array, angle: float) -> Array:
    """`eye` (T, 3) turned by `angle` towards growing azimuth about the vertical through `pivot` (T, 3)."""
    x, z = (eye - pivot)[:, 0], (eye - pivot)[:, 2]
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([pivot[:, 0] + c * x - s * z, eye[:, 1], pivot[:, 2] + s * x + c * z], -1)


def _eased(seconds: Array) -> Array:
    """(T,) from 0 to 1 over the clip, slow at both ends."""
    along = np.linspace(0, 1, seconds.size)
    return 0.35 * along + 0.65 * along * along * (3 - 2 * along)


def _shake(seconds: Array, rng: np.random.Generator, amplitude: float) -> Array:
    """(T, 3) smooth hand tremor: five sinusoids between 0.4 and 3 Hz per axis, of deviation `amplitude`."""
    frequency = np.array([0.4, 0.9, 1.4, 2.1, 3.0])
    weight = np.array([1.0, 0.7, 0.5, 0.3, 0.15])
    phase = rng.uniform(0, 2 * np.pi, (5, 3))
    waves = np.sin(2 * np.pi * frequency[:, None] * seconds[:, None, None] + phase) * weight[:, None]
    return amplitude * np.sqrt(2) / np.linalg.norm(weight) * waves.sum(1)
