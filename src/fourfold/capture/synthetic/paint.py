"""What is painted on the faces: coloured noise, posters with writing-like marks, planks, stripes and a friendly face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.synthetic.solids import Shape, surface_points
from fourfold.capture.synthetic.textures import Image, SolidNoise, Texture, atlas, face_directions, plane_noise

Array = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]

GLYPHS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789&?#@"
INK = [(0.90, 0.31, 0.24), (0.16, 0.42, 0.66), (0.97, 0.77, 0.22), (0.20, 0.58, 0.42), (0.96, 0.94, 0.88), (0.22, 0.20, 0.26), (0.62, 0.33, 0.58)]


@dataclass(frozen=True)
class Cover:
    """How a round or box-shaped thing is painted.

    Attributes:
        base, second: the two colours its noise blends.
        grain: longest wavelength of the noise, metres.
        contrast: strength of its fine octaves.
        stripes: distance between stripes along the local axis `stripe_axis`, metres; 0 for none.
        stripe_colour: their colour.
        dots: number of dots per face.
    """

    base: Colour
    second: Colour
    grain: float = 0.12
    contrast: float = 0.16
    stripes: float = 0.0
    stripe_axis: int = 1
    stripe_colour: Colour = (0.95, 0.93, 0.86)
    dots: int = 0


def octaves(rng: np.random.Generator, size_m: tuple[float, float], texel: float, wavelengths: tuple[float, ...]) -> Image:
    """(H, W) noise in about [0, 1], the mean of several octaves, each contrast-stretched."""
    total = [plane_noise(rng, size_m, texel, w) for w in wavelengths]
    return np.clip((np.mean(total, axis=0) - 0.5) * 1.8 + 0.5, 0, 1).astype(np.float32)


def wall(rng: np.random.Generator, size_m: tuple[float, float], texel: float, base: Colour, second: Colour, marks: int) -> Image:
    """(H, W, 3) plaster of two colours with fine grain and `marks` posters, shapes and glyphs, nowhere repeating."""
    blend = octaves(rng, size_m, texel, (1.6, 0.7, 0.3))[..., None]
    image = blend * np.float32(base) + (1 - blend) * np.float32(second)
    image = np.ascontiguousarray(image * (0.74 + 0.52 * octaves(rng, size_m, texel, (0.24, 0.12, 0.06)))[..., None])
    for _ in range(marks):
        _mark(rng, image, size_m, texel)
    return np.clip(cv2.GaussianBlur(darkened(image, size_m, texel), (0, 0), 0.8), 0, 1)


def darkened(image: Image, size_m: tuple[float, float], texel: float) -> Image:
    """The (H, W, 3) image with softly shaded borders, as corners of a room and edges of boxes have them."""
    reach = 0.08 * min(size_m)
    x, y = ((np.arange(n, dtype=np.float32) + 0.5) * texel for n in image.shape[1::-1])
    across, down = (1 - 0.3 * np.exp(-np.minimum(d, s - d) / reach) for d, s in zip((x, y), size_m, strict=True))
    return image * np.float32(down[:, None] * across[None])[..., None]


def floor(rng: np.random.Generator, size_m: tuple[float, float], texel: float, footprints: Array) -> Image:
    """(H, W, 3) planks of unequal tone with grain, a round rug, and soft shade where furniture stands: footprints (F, 4, 2) metres, u and v."""
    height, width = round(size_m[1] / texel), round(size_m[0] / texel)
    plank = 0.23
    row = (np.arange(height) * texel / plank).astype(int)
    tone = np.zeros((height, width), np.float32)
    for r in np.unique(row):
        edges = np.sort(rng.random(5)) * size_m[0]
        tones = rng.random(6).astype(np.float32)
        tone[row == r] = tones[np.searchsorted(edges, np.arange(width) * texel)]
    grain = octaves(rng, size_m, texel, (0.5, 0.2, 0.09))
    image = np.float32((0.62, 0.45, 0.30)) * (0.55 + 0.35 * tone + 0.5 * grain)[..., None]
    image[((np.arange(height) * texel) % plank) < 0.02] *= 0.6
    _rug(rng, image, texel)
    shade = np.zeros((height, width), np.uint8)
    for corners in footprints:
        cv2.fillPoly(shade, [np.int32(corners / texel)], 255)
    image *= 1 - 0.55 / 255 * cv2.GaussianBlur(shade, (0, 0), 0.09 / texel).astype(np.float32)[..., None]
    return np.clip(cv2.GaussianBlur(darkened(image, size_m, texel), (0, 0), 0.8), 0, 1)


def _rug(rng: np.random.Generator, image: Image, texel: float) -> None:
    """A round rug with petals in the middle of the floor; every petal has its own colour."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (x - width / 2) * texel, (y - height / 2) * texel
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    inside = radius < 1.55
    ring = np.digitize(radius, [0.35, 0.75, 1.15, 1.42])
    petal = ((angle / (2 * np.pi) + 0.5) * (6 + 5 * ring)).astype(int) % 40
    colours = np.float32(INK)[rng.integers(0, len(INK), (5, 40))]
    fine = octaves(rng, (width * texel, height * texel), texel, (0.16, 0.07))
    rug = (0.72 * colours[ring, petal] + 0.28 * np.float32((0.78, 0.66, 0.52))) * (0.66 + 0.5 * fine)[..., None]
    image[inside] = rug[inside]


def _mark(rng: np.random.Generator, image: Image, size_m: tuple[float, float], texel: float) -> None:
    """One poster, disc, triangle, stripe field or glyph at a random place."""
    ink = [tuple(float(c) for c in INK[i]) for i in rng.permutation(len(INK))[:3]]
    size = float(rng.uniform(0.16, 0.62)) / texel
    x, y = (float(rng.uniform(0, s)) / texel for s in size_m)
    kind, turn = int(rng.integers(0, 5)), float(rng.uniform(-25, 25))
    if kind == 0:
        _rectangle(image, (x, y), (size, size * 1.3), turn, ink[0])
        _rectangle(image, (x, y), (size * 0.82, size * 1.1), turn, ink[1])
        _glyph(rng, image, (x, y), size * 0.55, turn, ink[2])
    elif kind == 1:
        for part, colour in zip((0.5, 0.36, 0.18), ink, strict=True):
            cv2.circle(image, (int(x * 16), int(y * 16)), int(size * part * 16), colour, -1, cv2.LINE_AA, 4)
    elif kind == 2:
        angles = np.radians(turn) + np.array([0, 2.1, 4.2]) + rng.uniform(-0.3, 0.3, 3)
        corners = np.stack([x + np.cos(angles) * size / 2, y + np.sin(angles) * size / 2], -1)
        cv2.fillPoly(image, [np.int32(corners * 16)], ink[0], cv2.LINE_AA, 4)
    elif kind == 3:
        for i in range(5):
            shift = (i - 2) * size * 0.2
            _rectangle(image, (x + shift, y), (size * 0.11, size * float(rng.uniform(0.5, 1.1))), turn, ink[i % 3])
    else:
        _glyph(rng, image, (x, y), size, turn, ink[0])


def _rectangle(image: Image, centre: tuple[float, float], size: tuple[float, float], turn: float, colour: tuple[float, ...]) -> None:
    corners = cv2.boxPoints((centre, size, turn))
    cv2.fillPoly(image, [np.int32(corners * 16)], colour, cv2.LINE_AA, 4)


def _glyph(rng: np.random.Generator, image: Image, centre: tuple[float, float], size: float, turn: float, colour: tuple[float, ...]) -> None:
    """A letter or digit about `size` pixels high, turned by `turn` degrees."""
    side, reach = 96, int(np.ceil(size))
    stamp = np.zeros((side, side), np.uint8)
    cv2.putText(stamp, GLYPHS[int(rng.integers(len(GLYPHS)))], (18, 78), cv2.FONT_HERSHEY_DUPLEX, 2.9, 255, 9, cv2.LINE_AA)
    left, top = round(centre[0]) - reach, round(centre[1]) - reach
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, size / 66)
    matrix[:, 2] += np.array(centre) - side / 2 - (left, top)
    alpha = cv2.warpAffine(stamp, matrix, (2 * reach + 1, 2 * reach + 1), flags=cv2.INTER_LINEAR).astype(np.float32) / 255
    height, width = image.shape[:2]
    rows, columns = slice(max(0, top), min(height, top + 2 * reach + 1)), slice(max(0, left), min(width, left + 2 * reach + 1))
    share = alpha[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, None]
    image[rows, columns] += share * (np.float32(colour) - image[rows, columns])


def cover(
    rng: np.random.Generator, noise: SolidNoise, shape: Shape, size_m: Array, style: Cover, resolution: int, half_length: float = 0.0
) -> Texture:
    """Paint a solid of half sizes size_m (3,) metres (for capsules the radius on each axis) from noise in space, stripes and dots."""
    extent = np.array([1.0, 1.0, 1.0 + half_length])
    offsets = rng.uniform(0, 32, (4, 3))
    faces = []
    for face in range(6):
        points = surface_points(shape, half_length, face_directions(face, resolution, extent)) * np.asarray(size_m)[:, None]
        blend = 1 / (1 + np.exp(-2.5 * noise(points, style.grain, offsets[0])))
        detail = 0.6 * noise(points, style.grain / 2, offsets[1]) + 0.5 * noise(points, style.grain / 4, offsets[2])
        colours = blend[:, None] * np.array(style.base) + (1 - blend[:, None]) * np.array(style.second)
        if style.stripes:
            wobble = 0.12 * style.stripes * noise(points, style.grain, offsets[3])
            wave = np.sin(2 * np.pi * (points[style.stripe_axis] + wobble) / style.stripes)
            share = 1 / (1 + np.exp(-9 * wave))
            colours = share[:, None] * np.array(style.stripe_colour) + (1 - share[:, None]) * colours
        image = np.clip(colours * (1 + style.contrast * detail)[:, None], 0, 1).reshape(resolution, resolution, 3).astype(np.float32)
        faces.append(_dots(rng, image, style.dots))
    return atlas(faces, np.full(6, 2 * float(np.mean(size_m)) / resolution))


def _dots(rng: np.random.Generator, image: Image, number: int) -> Image:
    image = np.ascontiguousarray(image)
    side = image.shape[0]
    for _ in range(number):
        x, y = (int(n) for n in rng.uniform(0.15, 0.85, 2) * side * 16)
        colour = tuple(float(c) for c in INK[int(rng.integers(len(INK)))])
        cv2.circle(image, (x, y), int(rng.uniform(0.05, 0.11) * side * 16), colour, -1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(image, (0, 0), 0.7)


def with_smile(texture: Texture, face: int) -> Texture:
    """The same texture with two eyes, cheeks and a smile on `face`, drawn into every mip level."""
    sheet = texture.atlas.copy()
    big = 256
    for level in range(texture.size.shape[1]):
        (x, y), (w, h) = texture.corner[face, level], texture.size[face, level]
        image = cv2.resize(sheet[y : y + h, x : x + w], (big, big), interpolation=cv2.INTER_LINEAR)
        for side in (-1, 1):
            cv2.ellipse(image, (128 + side * 50, 104), (25, 33), 0, 0, 360, (250, 250, 246), -1, cv2.LINE_AA)
            cv2.ellipse(image, (128 + side * 46, 108), (13, 18), 0, 0, 360, (34, 30, 44), -1, cv2.LINE_AA)
            cv2.circle(image, (128 + side * 84, 156), 17, (232, 112, 104), -1, cv2.LINE_AA)
        cv2.ellipse(image, (128, 150), (42, 38), 0, 20, 160, (92, 30, 40), 12, cv2.LINE_AA)
        sheet[y : y + h, x : x + w] = cv2.resize(image, (int(w), int(h)), interpolation=cv2.INTER_AREA)
    return Texture(sheet, texture.corner, texture.size, texture.texel, texture.sign)
