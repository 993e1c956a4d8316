"""The movers: a walking, waving, breathing figure made of balls and capsules, and a hopping ball that squashes where it lands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.synthetic.paint import Cover, cover, with_smile
from fourfold.capture.synthetic.solids import Shape, Solid
from fourfold.capture.synthetic.textures import SolidNoise

Array = NDArray[np.floating[Any]]

FIGURE, BALL = 1, 2
"""Object ids of the two movers."""

STRIDE_HZ = 1.1
WALK_RADIUS, WALK_SPEED = 0.5, 0.45  # metres, metres per second
BALL_PATH_RADIUS, BALL_RADIUS = 0.85, 0.17  # metres

SHIRT = Cover((0.93, 0.42, 0.25), (0.97, 0.66, 0.28), 0.14, stripes=0.13, stripe_axis=1, stripe_colour=(0.97, 0.93, 0.82))
SKIN = Cover((0.98, 0.80, 0.54), (0.94, 0.70, 0.45), 0.12, contrast=0.12)
SLEEVE = Cover((0.20, 0.48, 0.62), (0.36, 0.70, 0.66), 0.09, stripes=0.075, stripe_axis=2, stripe_colour=(0.95, 0.88, 0.55))
TROUSER = Cover((0.24, 0.28, 0.52), (0.40, 0.34, 0.62), 0.10, stripes=0.11, stripe_axis=2, stripe_colour=(0.62, 0.74, 0.88))
SHOE = Cover((0.78, 0.20, 0.26), (0.95, 0.50, 0.36), 0.08, dots=2)
PACK = Cover((0.22, 0.52, 0.40), (0.55, 0.70, 0.36), 0.12, dots=4)
BEACH = Cover((0.14, 0.46, 0.80), (0.28, 0.66, 0.92), 0.16, stripes=0.15, stripe_axis=0, stripe_colour=(0.98, 0.84, 0.26), dots=2)


@dataclass(frozen=True)
class Part:
    """One piece of a mover before it is painted: shape, local_to_world (T, 4, 4), half sizes at rest (3,) metres, style, capsule half length."""

    name: str
    shape: Shape
    local_to_world: Array
    size: Array
    style: Cover
    half_length: float = 0.0


def walk(seconds: Array) -> tuple[Array, Array]:
    """Ground position (T, 3) of the figure and its walking direction (T, 3), unit, at `seconds` (T,).

    It goes round a circle about the origin, and comes straight towards -z one second after the start.
    """
    angle = np.pi + (seconds - 1.0) * WALK_SPEED / WALK_RADIUS
    zero = np.zeros_like(angle)
    position = WALK_RADIUS * np.stack([np.cos(angle), zero, np.sin(angle)], -1)
    return position, np.stack([-np.sin(angle), zero, np.cos(angle)], -1)


def figure(rng: np.random.Generator, seconds: Array, resolution: int, arms_at: Array | None = None) -> list[Solid]:
    """All solids of the figure at `seconds` (T,), its arms at `arms_at` (T,) if they go by a clock of their own, with `resolution` texels a face."""
    return painted(figure_parts(seconds, arms_at), FIGURE, rng, resolution)


def hopping_ball(rng: np.random.Generator, seconds: Array, resolution: int) -> list[Solid]:
    """The ball at `seconds` (T,), painted with `resolution` texels across a face."""
    return painted([ball_part(seconds)], BALL, rng, resolution)


def painted(parts: list[Part], object_id: int, rng: np.random.Generator, resolution: int) -> list[Solid]:
    """The solids of `parts`, all of one object, with `resolution` texels across a face."""
    noise, solids = SolidNoise(rng), list[Solid]()
    for part in parts:
        texture = cover(rng, noise, part.shape, part.size, part.style, resolution, part.half_length)
        texture = with_smile(texture, face=5) if part.name == "head" else texture
        solids.append(Solid(part.name, part.shape, part.local_to_world, texture, object_id, part.half_length))
    return solids


def ball_part(seconds: Array) -> Part:
    """A ball hopping round the circle opposite the figure, rolling about the vertical, flat while it touches the floor."""
    angle = (seconds - 1.0) * 0.8
    hop = np.abs(np.sin(np.pi * seconds / 0.75))
    squash = 1 - 0.28 * np.exp(-((hop / 0.22) ** 2)) + 0.08 * hop
    centre = np.stack([BALL_PATH_RADIUS * np.cos(angle), -BALL_RADIUS * squash - 0.42 * hop, BALL_PATH_RADIUS * np.sin(angle)], -1)
    flatten = np.zeros((seconds.size, 3, 3))
    flatten[:, 0, 0] = flatten[:, 2, 2] = BALL_RADIUS / np.sqrt(squash)
    flatten[:, 1, 1] = BALL_RADIUS * squash
    spin = turn(0, 0.5 + 1.3 * seconds) @ turn(2, 0.35 + 0.9 * seconds)
    return Part("ball", "ball", placed(flatten @ spin, centre), np.full(3, BALL_RADIUS), BEACH)


def figure_parts(seconds: Array, arms_at: Array | None = None) -> list[Part]:
    """All pieces of the figure; built in its body frame (x to its left, y down, z ahead, origin between the hips), then put on the ground."""
    phase = 2 * np.pi * STRIDE_HZ * seconds
    breath = 1 + 0.07 * np.sin(phase * 2 + 0.4)
    twist = 0.16 * np.sin(phase)
    parts = _trunk(breath, twist, phase)
    parts += _arms(breath, twist, phase if arms_at is None else 2 * np.pi * STRIDE_HZ * arms_at)
    legs = _legs(phase)
    parts += legs
    lowest = np.max([p.local_to_world[:, 1, 3] + 0.05 for p in legs if p.name.startswith("shoe")], axis=0)
    position, ahead = walk(seconds)
    stand = np.zeros((seconds.size, 4, 4))
    stand[:, :3, 0] = np.cross([0.0, 1.0, 0.0], ahead)
    stand[:, :3, 1] = [0.0, 1.0, 0.0]
    stand[:, :3, 2] = ahead
    stand[:, :3, 3] = position
    stand[:, 1, 3] = -lowest
    stand[:, 3, 3] = 1
    return [Part(p.name, p.shape, stand @ p.local_to_world, p.size, p.style, p.half_length) for p in parts]


def _trunk(breath: Array, twist: Array, phase: Array) -> list[Part]:
    """Torso (breathing: taller and thinner, then shorter and wider), bag, neck, nodding head with two ears."""
    wide = 1 / np.sqrt(breath)
    body = turn(1, twist)
    torso = _ellipsoid("torso", body, _at(0, -0.24 * breath, 0), (0.205, 0.30, 0.165), SHIRT, np.stack([wide, breath, wide], -1))
    bag_centre = np.einsum("tij,tj->ti", body, _at(0, -0.28 * breath, -0.19))
    bag = Part("bag", "cube", placed(body * np.array([0.115, 0.15, 0.06]), bag_centre), np.array([0.115, 0.15, 0.06]), PACK)
    nod = turn(1, 0.25 * np.sin(phase / 2 + 0.6)) @ turn(2, 0.10 * np.sin(phase)) @ turn(0, 0.08 * np.sin(2 * phase) - 0.06)
    top = _at(0, -0.24 * breath - 0.30 * breath, 0)
    centre = top + np.einsum("tij,j->ti", nod, [0, -0.17, 0.01])
    parts = [torso, bag, _ellipsoid("head", nod, centre, (0.20, 0.19, 0.185), SKIN)]
    for side, name in ((1, "ear_left"), (-1, "ear_right")):
        root = centre + np.einsum("tij,j->ti", nod, [side * 0.11, -0.14, 0])
        tip = centre + np.einsum("tij,j->ti", nod, [side * 0.19, -0.30, 0]) + _at(0.02 * np.sin(2 * phase), 0, 0)
        parts.append(_capsule(name, root, tip, 0.045, 0.179, SHIRT))
    return parts


def _arms(breath: Array, twist: Array, phase: Array) -> list[Part]:
    """The left arm swings with the walk, the right one is up and waves."""
    parts = []
    for side, name in ((1, "left"), (-1, "right")):
        shoulder = np.einsum("tij,tj->ti", turn(1, twist), _at(side * 0.195, -0.40 * breath, 0))
        if side > 0:
            upper = _swing(0.55 * np.sin(phase), 0.30)
            lower = _swing(0.55 * np.sin(phase) + 0.5, 0.12)
        else:
            upper = _swing(0.25 + 0.08 * np.sin(phase), -1.75 + 0.12 * np.sin(phase))
            lower = _swing(0.2 + 0 * phase, -2.75 + 0.55 * np.sin(1.9 * phase))
        elbow, hand = shoulder + 0.23 * upper, shoulder + 0.23 * upper + 0.23 * lower
        parts += [_capsule(f"upper_arm_{name}", shoulder, elbow, 0.062, 0.23, SLEEVE), _capsule(f"forearm_{name}", elbow, hand, 0.052, 0.23, SLEEVE)]
        parts.append(_ellipsoid(f"hand_{name}", np.repeat(np.eye(3)[None], phase.size, 0), hand, (0.075, 0.075, 0.075), SKIN))
    return parts


def _legs(phase: Array) -> list[Part]:
    """Thigh and shin that bend at the knee while the leg goes forward, and a shoe that follows the shin."""
    parts = []
    for side, name in ((1, "left"), (-1, "right")):
        step = phase + (np.pi if side > 0 else 0.0)
        thigh = 0.42 * np.sin(step) + 0.10
        bend = 0.18 + 0.75 * np.maximum(np.cos(step - 0.4), 0) ** 2
        hip = _at(side * 0.10 + 0 * phase, 0.0, 0.0)
        knee = hip + 0.27 * _swing(thigh, side * 0.04)
        ankle = knee + 0.27 * _swing(thigh - bend, side * 0.02)
        parts += [_capsule(f"thigh_{name}", hip, knee, 0.082, 0.27, TROUSER), _capsule(f"shin_{name}", knee, ankle, 0.066, 0.27, TROUSER)]
        pitch = turn(0, -0.45 * (thigh - bend))
        parts.append(_ellipsoid(f"shoe_{name}", pitch, ankle + np.einsum("tij,j->ti", pitch, [0, 0.02, 0.055]), (0.078, 0.062, 0.135), SHOE))
    return parts


def _swing(forward: Array, sideways: Array | float) -> Array:
    """(T, 3) unit direction of a limb that hangs down when both angles (radians) are 0: towards +z by `forward`, towards +x by `sideways`."""
    sideways = np.broadcast_to(np.asarray(sideways, float), forward.shape)
    return np.stack([np.sin(sideways), np.cos(sideways) * np.cos(forward), np.cos(sideways) * np.sin(forward)], -1)


def _at(x: Array | float, y: Array | float, z: Array | float) -> Array:
    return np.stack(np.broadcast_arrays(*np.atleast_1d(x, y, z)), -1)


def turn(axis: int, angle: Array) -> Array:
    """(T, 3, 3) rotations about a coordinate axis by `angle` (T,) radians, right-handed."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((angle.size, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, i, i], out[:, i, j], out[:, j, i], out[:, j, j] = c, -s, s, c
    return out


def placed(linear: Array, centre: Array) -> Array:
    """(T, 4, 4) affine maps from (T, 3, 3) and (T, 3)."""
    out = np.zeros((linear.shape[0], 4, 4))
    out[:, :3, :3], out[:, :3, 3], out[:, 3, 3] = linear, centre, 1
    return out


def _ellipsoid(name: str, rotation: Array, centre: Array, size: tuple[float, float, float], style: Cover, stretch: Array | None = None) -> Part:
    """An ellipsoid of half axes `size`, times `stretch` (T, 3) at each moment."""
    scale = np.array(size) * (1.0 if stretch is None else stretch[:, None, :])
    return Part(name, "ball", placed(rotation * scale, centre), np.array(size), style)


def _capsule(name: str, start: Array, end: Array, radius: float, rest_length: float, style: Cover) -> Part:
    """A limb between two moving points (T, 3); it stretches along itself where their distance is not `rest_length`."""
    axis = end - start
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    z = axis / length
    x = np.array([0.0, 0.0, 1.0]) - z * z[:, 2:]  # no limb ever points straight ahead, so this never vanishes
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    linear = np.stack([x * radius, np.cross(z, x) * radius, z * (radius * length / rest_length)], -1)
    half_length = rest_length / 2 / radius
    return Part(name, "capsule", placed(linear, (start + end) / 2), np.full(3, radius), style, half_length)
