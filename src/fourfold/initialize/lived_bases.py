"""Movers as Gaussians with lives: seeded on sheets in every training image, long-lived where other moments confirm them.

On shared SE(3) bases; before a camera that stays in place, each by itself (`swept_sheets.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.body_motion import ALONE, BodyMotion, BodyMotionNumbers, body_motion
from fourfold.initialize.confirmed_lives import LifeNumbers, Lives, confirmed_lives
from fourfold.initialize.flow_slip import flow_velocities
from fourfold.initialize.sheet_seeds import Density, SheetSeeds, sheet_seeds
from fourfold.initialize.splats import make_splats
from fourfold.initialize.static_scene import scene_with_movers
from fourfold.initialize.steady_movers import steady_movers
from fourfold.initialize.swept_sheets import SweepNumbers, seeds_within
from fourfold.kernels.cover import cover
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.lived_bases import REST, LivedBases
from fourfold.scene.scene import DYNAMIC, Layer, Scene

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LivedNumbers:
    """How the layer of movers starts.

    Attributes:
        candidates: seeds that are looked at, at most, at quality "normal"; some tenth of them is needed where most surfaces are seen again.
        cell: side in pixels of the cells of `longest_cover`; larger where `candidates` would not give each cell `crowd` of them, which may be fewer
            than one: chance leaves some cells empty, and their neighbours reach over.
        life: half of the shortest time a Gaussian is fully there, in frames; fade: sigma beyond it, in frames.
        spread: standard deviation in cells of `longest_cover`; square: the same as a share of a swept seed's square; opacity: at the start.
        new: see `longest_cover`.
        brief: a seed that lives for at most so many images belongs to a sheet that the flow moves from one image to the next, and to no motion
            that is guessed for a whole body.
    """

    candidates: int = 300_000
    cell: float = 1.0
    crowd: float = 0.6
    life: float = 0.5
    fade: float = 1.2
    spread: float = 0.8
    square: float = 0.5
    opacity: float = 0.7
    new: float = 0.5
    brief: int = 2
    motion: BodyMotionNumbers = BodyMotionNumbers()
    lives: LifeNumbers = LifeNumbers()
    sweep: SweepNumbers = SweepNumbers()


@dataclass(frozen=True)
class BackgroundAndLives:
    """Layers "static" and "object"; where no mask shows a mover, the static one alone."""

    background: BackgroundNumbers = BackgroundNumbers()
    object: LivedNumbers = LivedNumbers()

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene, in the capture's world coordinates."""
        still, moving = random.spawn(2)
        background = static_layer(capture, priors, quality, still, self.background)
        movers = lived_layer(capture, priors, quality, moving, self.object)
        return scene_with_movers(background, movers, "no moving object was found", capture, priors)


@dataclass(frozen=True)
class LivedMovers:
    """The layer "object" alone: a chunk of a long film, whose static layer is there already."""

    object: LivedNumbers = LivedNumbers()

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Layer | None:
        """The moving objects; None where no mask shows one whose depth is known."""
        return lived_layer(capture, priors, quality, random, self.object)


def lived_layer(
    capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator, numbers: LivedNumbers = LivedNumbers()
) -> Layer | None:
    """The moving objects; None where no mask shows one whose depth is known."""
    if capture.cameras in ("rotation", "fixed"):  # what bases know of depth is a guess there, and no other side is ever shown
        return _swept_layer(capture, steady_movers(capture, priors), quality, numbers)
    motion = body_motion(capture, priors, random, numbers.motion)
    if motion is None:
        return None
    most = numbers.candidates * quality.gaussians / max(1, int(capture.train.sum()))
    seeds = sheet_seeds(capture, priors, motion, Density(numbers.crowd / numbers.cell**2, round(most)), random, numbers.motion.bodies)
    if seeds is None:
        return None
    lives = confirmed_lives(capture, priors, motion, seeds, numbers.lives)
    cell = max(numbers.cell, float(np.sqrt(numbers.crowd * seeds.share.sum() / len(seeds))))
    chosen = longest_cover(lives, cell, random, numbers.new)
    return _layer(capture, priors, motion, seeds.rows(chosen), lives.rows(chosen), replace(numbers, spread=cell * numbers.spread))


def _swept_layer(capture: Capture, priors: Priors, quality: Quality, numbers: LivedNumbers) -> Layer | None:
    seeds = seeds_within(capture, priors, numbers.candidates * quality.gaussians, numbers.motion.bodies, numbers.sweep)
    if seeds is None:
        return None
    splats = make_splats(seeds.means, seeds.color, numbers.square * seeds.side, numbers.opacity)
    none = np.full((len(seeds), 1), ALONE)
    splats |= _lives(capture, none, seeds.velocities, seeds.begin, seeds.end, numbers)
    knots = torch.from_numpy(capture.timestamps[capture.train.any(axis=0)]).float()
    rest = torch.tensor(REST).expand(1, len(knots), 9)
    shared = {"rotation6d": rest[..., :6].clone(), "translation": rest[..., 6:].clone()}
    return Layer("object", DYNAMIC, LivedBases(rests=True), splats, shared, {"knots": knots, "pivot": splats["means"].mean(dim=0)})


def longest_cover(lives: Lives, cell: float, random: np.random.Generator, new: float = 0.5) -> NDArray[np.int64]:
    """Seeds that together explain what all seeds explain, the longest confirmed first: a sorted choice of rows.

    Each image is cut into cells of `cell` pixels. A seed is taken if in at least the share `new` of the images that confirm it, it is the first
    in its cell. So a surface that is seen again and again is explained by few long-lived seeds, and one that comes and goes by many short-lived.
    """
    height, width = (int(values.max() / cell) + 1 for values in (lives.row, lives.column))
    order = random.permutation(len(lives.row))
    order = order[np.argsort(-lives.confirmed[order], kind="stable")]
    there = lives.row >= 0
    images = np.nonzero(there)[1]
    cells = (images * height + (lives.row[there] / cell).astype(np.int64)) * width + (lives.column[there] / cell).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    return np.flatnonzero(cover(order, first, cells, 1, new, strictly=False))


def _layer(capture: Capture, priors: Priors, motion: BodyMotion, seeds: SheetSeeds, life: Lives, numbers: LivedNumbers) -> Layer:
    begin, end = motion.knots[life.first], motion.knots[life.last]
    brief = life.last - life.first < numbers.brief
    logits = np.pad(seeds.logits, ((0, 0), (0, 1)), constant_values=-ALONE)
    logits[brief] = np.append(np.full(seeds.logits.shape[1], -ALONE), ALONE)
    means, velocities = _sheets(capture, priors, seeds, (begin + end) / 2)
    splats = make_splats(np.where(brief[:, None], means, seeds.means), seeds.color, numbers.spread * seeds.pixel, numbers.opacity)
    splats |= _lives(capture, logits, np.where(brief[:, None, None], velocities, 0), begin, end, numbers)
    shared, fixed = motion.tensors()
    rest = torch.tensor(REST).expand(1, len(motion.knots), 9)
    shared = {"rotation6d": torch.cat([shared["rotation6d"], rest[..., :6]]), "translation": torch.cat([shared["translation"], rest[..., 6:]])}
    return Layer("object", DYNAMIC, LivedBases(rests=True), splats, shared, fixed)


def _lives(capture: Capture, logits: Array, velocities: Array, begin: Array, end: Array, numbers: LivedNumbers) -> dict[str, torch.Tensor]:
    """What tells where Gaussians go and how long they are there: from `begin` to `end` (P,) seconds, with velocities (P, 2, 3) before and after."""
    spacing = float(np.median(np.diff(capture.timestamps))) if capture.times > 1 else 1.0
    values = {
        "velocity_before": velocities[:, 0],
        "velocity_after": velocities[:, 1],
        "motion_logits": logits,
        "time_center": (begin + end) / 2,
        "log_duration": np.full(len(begin), np.log(numbers.fade * spacing)),
        "log_radius": np.log(numbers.life * spacing + (end - begin) / 2),
    }
    return {name: torch.from_numpy(value).float().contiguous() for name, value in values.items()}


def _sheets(capture: Capture, priors: Priors, seeds: SheetSeeds, center: Array) -> tuple[Array, Array]:
    """World places (P, 3) at `center` (P,), seconds, and velocities (P, 2, 3) before and after it, of seeds that the flow moves on their sheets."""
    trained = capture.train_frames()
    frames = [trained[number] for number in seeds.frame]
    K, pose = np.stack([capture.K[frame] for frame in frames]), np.stack([capture.world_to_camera[frame] for frame in frames])
    depth = seeds.pixel * K[:, 0, 0]
    rays = np.einsum("pij,pj->pi", np.linalg.inv(K), np.pad(seeds.xy, ((0, 0), (0, 1)), constant_values=1.0)) * depth[:, None]
    places = np.einsum("pji,pj->pi", pose[:, :3, :3], rays - pose[:, :3, 3])
    velocities = flow_velocities(capture, priors, seeds.frame, seeds.xy, depth)
    away = (center - capture.timestamps[[index for _, index in frames]])[:, None]
    return places + away * np.where(away < 0, velocities[:, 0], velocities[:, 1]), velocities
