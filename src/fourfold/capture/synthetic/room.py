"""The static part: a room with painted walls, a rug, and box-shaped furniture along the walls."""

from __future__ import annotations

import numpy as np

from fourfold.capture.synthetic.paint import INK, floor, wall
from fourfold.capture.synthetic.solids import Solid
from fourfold.capture.synthetic.textures import Texture, atlas

HALF_WIDTH, HEIGHT, HALF_DEPTH = 4.2, 3.0, 4.0
"""Half extent along x, height, and half extent along z of the room, metres."""

# name, centre x and z, half sizes (x, height / 2, z), turn about the vertical in degrees; heights stay low inside the ring where cameras go
FURNITURE = (
    ("cupboard", (1.55, 3.45), (0.55, 0.85, 0.28), 6),
    ("shelf", (-2.3, 3.4), (0.75, 0.55, 0.25), -8),
    ("crate", (-0.35, 2.75), (0.28, 0.26, 0.28), 27),
    ("bench", (2.05, 1.75), (0.5, 0.2, 0.24), -35),
    ("stool", (-1.85, 1.45), (0.22, 0.23, 0.22), 18),
    ("chest", (-3.55, -0.6), (0.3, 0.42, 0.7), 5),
    ("wardrobe", (3.7, -1.0), (0.3, 0.95, 0.6), -4),
    ("box", (1.3, -3.45), (0.5, 0.35, 0.3), 12),
    ("desk", (-1.7, -3.4), (0.8, 0.45, 0.32), -6),
    ("cube", (1.75, -1.45), (0.2, 0.18, 0.2), 40),
)
WALLS = (
    ((0.86, 0.74, 0.58), (0.55, 0.62, 0.60)),
    ((0.60, 0.72, 0.78), (0.84, 0.72, 0.62)),
    ((0.74, 0.80, 0.62), (0.50, 0.56, 0.66)),
    ((0.88, 0.66, 0.56), (0.62, 0.62, 0.70)),
)


def room(rng: np.random.Generator, times: int, texel: float) -> list[Solid]:
    """The room and its furniture, standing still for `times` moments; `texel` is the size of a wall texel, metres."""
    streams = rng.spawn(1 + len(FURNITURE))
    half = np.array([HALF_WIDTH, HEIGHT / 2, HALF_DEPTH])
    placement = np.diag([*half, 1.0])
    placement[1, 3] = -HEIGHT / 2
    solids = [Solid("room", "room", np.repeat(placement[None], times, 0), _room_texture(streams[0], texel))]
    for (name, (x, z), size, turn), stream in zip(FURNITURE, streams[1:], strict=True):
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        placement = np.eye(4)
        placement[:3, :3] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) * np.array(size)
        placement[:3, 3] = (x, -size[1], z)
        solids.append(Solid(name, "cube", np.repeat(placement[None], times, 0), _box_texture(stream, size, texel * 0.7)))
    return solids


def _room_texture(rng: np.random.Generator, texel: float) -> Texture:
    across, deep = 2 * HALF_WIDTH, 2 * HALF_DEPTH
    sizes = [(deep, HEIGHT), (deep, HEIGHT), (across, deep), (across, deep), (across, HEIGHT), (across, HEIGHT)]
    streams = rng.spawn(6)
    faces = [wall(streams[i], sizes[i], texel, *WALLS[i % 4], marks=int(sizes[i][0] * sizes[i][1] * 2.2)) for i in (0, 1)]
    faces.append(wall(streams[2], sizes[2], texel, (0.92, 0.90, 0.86), (0.72, 0.74, 0.78), marks=40))
    faces.append(floor(streams[3], sizes[3], texel, _footprints()))
    faces += [wall(streams[i], sizes[i], texel, *WALLS[i - 2], marks=int(sizes[i][0] * sizes[i][1] * 2.2)) for i in (4, 5)]
    return atlas(faces, np.full(6, texel), inside=True)


def _footprints() -> np.ndarray:
    """(F, 4, 2) corners of the furniture on the floor image, metres from its corner; seen from inside, u runs against x."""
    corners = []
    for _, centre, (half_x, _, half_z), turn in FURNITURE:
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        square = np.array([(-half_x, -half_z), (half_x, -half_z), (half_x, half_z), (-half_x, half_z)])
        corners.append(np.array(centre) + square @ np.array([[c, -s], [s, c]]))
    return np.array([HALF_WIDTH, HALF_DEPTH]) + np.array(corners) * (-1, 1)


def _box_texture(rng: np.random.Generator, half: tuple[float, float, float], texel: float) -> Texture:
    x, y, z = (2 * h for h in half)
    sizes = [(z, y), (z, y), (x, z), (x, z), (x, y), (x, y)]
    first, second = (INK[int(i)] for i in rng.choice(len(INK), 2, replace=False))
    faces = [wall(stream, size, texel, first, second, marks=2 + int(size[0] * size[1] * 9)) for size, stream in zip(sizes, rng.spawn(6), strict=True)]
    return atlas(faces, np.full(6, texel))
