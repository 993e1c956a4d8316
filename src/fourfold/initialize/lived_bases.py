"""Movers as Gaussians with lives on shared SE(3) bases: seeded on a sheet in every training image, long-lived where other moments confirm them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.confirmed_lives import LifeNumbers, Lives, confirmed_lives
from fourfold.initialize.object_layer import ObjectMotion, ObjectNumbers, object_motion
from fourfold.initialize.sheet_seeds import SheetNumbers, SheetSeeds, sheet_seeds
from fourfold.initialize.splats import make_splats
from fourfold.initialize.static_scene import scene_of
from fourfold.notices import fallback
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.lived_bases import LivedBases
from fourfold.scene.scene import DYNAMIC, Layer, Scene


@dataclass(frozen=True)
class LivedNumbers:
    """How the layer of movers starts.

    Attributes:
        count: Gaussians at quality "normal".
        candidates: seeds that are looked at for every Gaussian that is kept; of those that other moments confirm fewer are needed.
        life: half of the shortest time a Gaussian is fully there, in frames; fade: sigma beyond it, in frames (lived.py's .5 and 1.2).
        spread: standard deviation in units of the root of the area that a seed stands for; opacity: at the start.
        longest: largest number of knots in a life.
    """

    count: int = 30_000
    candidates: float = 3.0
    life: float = 0.5
    fade: float = 1.2
    spread: float = 0.8
    opacity: float = 0.7
    longest: int = 1_000_000
    motion: ObjectNumbers = ObjectNumbers()
    sheet: SheetNumbers = SheetNumbers()
    lives: LifeNumbers = LifeNumbers()


@dataclass(frozen=True)
class BackgroundAndLives:
    """Layers "static" and "object"; without tracks or masks of movers the static one alone."""

    background: BackgroundNumbers = BackgroundNumbers()
    object: LivedNumbers = LivedNumbers()

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene, in the capture's world coordinates."""
        still, moving = random.spawn(2)
        layers = [static_layer(capture, priors, quality, still, self.background)]
        mover = lived_layer(capture, priors, quality, moving, self.object)
        if mover is None:
            fallback("no 3D tracks of a moving object were found: the scene starts without an object layer")
        else:
            layers.append(mover)
        return scene_of(layers, capture, priors)


def lived_layer(
    capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator, numbers: LivedNumbers = LivedNumbers()
) -> Layer | None:
    """The moving objects; None without usable tracks or without moving pixels of known depth."""
    motion = object_motion(capture, priors, random, numbers.motion)
    if motion is None:
        return None
    count = round(numbers.count * quality.gaussians)
    seeds = sheet_seeds(capture, priors, motion, round(numbers.candidates * count), random, numbers.sheet)
    if seeds is None:
        return None
    lives = confirmed_lives(capture, priors, motion, seeds, numbers.lives)
    chance = 1.0 / lives.confirmed
    chosen = np.sort(random.choice(len(seeds), min(count, len(seeds)), replace=False, p=chance / chance.sum()))
    kept = seeds.rows(chosen)
    life = Lives(lives.first[chosen], lives.last[chosen], lives.confirmed[chosen])
    return _layer(capture, motion, kept, life, _area(capture, motion, seeds, kept, life), numbers)


def _area(capture: Capture, motion: ObjectMotion, seeds: SheetSeeds, kept: SheetSeeds, life: Lives) -> np.ndarray:
    """(P,) pixels that each kept seed stands for at its own moment: moving pixels over seeds that were confirmed then or before or after."""
    frames = capture.train_frames()
    knots = np.searchsorted(motion.tracks.indices, [index for _, index in frames])
    alive = np.zeros(len(motion.tracks.indices))
    for first, last, confirmed in zip(life.first, life.last, life.confirmed, strict=True):
        alive[first : last + 1] += confirmed / (last - first + 1)
    moving = np.zeros(len(frames))
    for number, share in zip(*np.unique(np.stack([seeds.frame, seeds.share]), axis=1), strict=True):
        moving[int(number)] = share * (seeds.frame == number).sum()
    return np.maximum(1.0, moving[kept.frame] / np.maximum(alive[knots[kept.frame]], 1.0))


def _layer(capture: Capture, motion: ObjectMotion, seeds: SheetSeeds, life: Lives, area: np.ndarray, numbers: LivedNumbers) -> Layer:
    splats = make_splats(seeds.means, seeds.color, numbers.spread * np.sqrt(area) * seeds.pixel, numbers.opacity)
    spacing = float(np.median(np.diff(capture.timestamps))) if capture.times > 1 else 1.0
    begin, end = motion.tracks.knots[life.first], motion.tracks.knots[life.last]
    radius = numbers.life * spacing + (end - begin) / 2
    splats |= {
        "motion_logits": torch.from_numpy(seeds.logits).float(),
        "time_center": torch.from_numpy((begin + end) / 2).float(),
        "log_duration": torch.full((len(seeds),), float(np.log(numbers.fade * spacing))),
        "log_radius": torch.from_numpy(np.log(radius)).float(),
    }
    return Layer("object", DYNAMIC, LivedBases(), splats, *motion.tensors())
