"""A mover whose motion is hierarchical: a trunk that sways and turns, boughs that swing about it, and links that each bend a little more."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.synthetic.figure import PACK, SHIRT, SKIN, SLEEVE, TROUSER, Part, placed, turn, walk
from fourfold.capture.synthetic.paint import Cover

Array = NDArray[np.floating[Any]]

BOUGHS, LINKS = 5, 9
LINK = 0.085
"""Metres between the middles of neighbouring links."""
STYLES: tuple[Cover, ...] = (SHIRT, SLEEVE, TROUSER, PACK, SKIN)


def tree_parts(seconds: Array) -> list[Part]:
    """All pieces at `seconds` (T,): a trunk and `BOUGHS` times `LINKS` balls, each with its parent's motion and a small one of its own.

    The whole glides as the figure walks and turns as it does; no two links move alike, and neighbours move nearly so.
    """
    place, ahead = walk(seconds)
    heading = np.arctan2(ahead[:, 0], ahead[:, 2])
    sway = turn(2, 0.16 * np.sin(2 * np.pi * 0.55 * seconds)) @ turn(0, 0.10 * np.sin(2 * np.pi * 0.4 * seconds + 0.7))
    body = turn(1, heading) @ sway
    root = place + np.array([0.0, -0.30, 0.0])
    trunk = root + np.einsum("tij,j->ti", body, [0.0, -0.24, 0.0])
    parts = [Part("trunk", "ball", placed(body * np.array([0.17, 0.34, 0.17]), trunk), np.array([0.17, 0.34, 0.17]), SHIRT)]
    for number in range(BOUGHS):
        parts += _bough(number, seconds, body, root)
    return parts


def _bough(number: int, seconds: Array, body: Array, root: Array) -> list[Part]:
    """A chain of links from the trunk's upper half outwards; every link turns against the one before it by a wave that runs along the bough."""
    around, up = 2 * np.pi * number / BOUGHS + 0.4, -0.20 - 0.07 * number
    swing = 0.30 * np.sin(2 * np.pi * (0.5 + 0.06 * number) * seconds + number)
    frame = body @ turn(1, np.full_like(seconds, around)) @ turn(2, swing)
    at = root + np.einsum("tij,j->ti", body, [0.13 * np.cos(around), up, -0.13 * np.sin(around)])
    parts: list[Part] = []
    for link in range(LINKS):
        wave = 2 * np.pi * (0.8 * seconds - 0.09 * link) + 1.3 * number
        frame = frame @ turn(2, -0.10 + 0.13 * np.sin(wave)) @ turn(1, 0.10 * np.sin(wave + 1.1))
        at = at + LINK * frame[:, :, 0]
        size = 0.072 - 0.004 * link
        linear = frame * np.array([1.15 * size, size, size])
        parts.append(Part(f"bough_{number}_{link}", "ball", placed(linear, at), np.full(3, size), STYLES[number % len(STYLES)]))
    return parts
