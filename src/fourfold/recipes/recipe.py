"""A recipe: a published system as data, composed of parts. Nothing here runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.density.base import DensityControl
from fourfold.losses.base import Loss
from fourfold.priors.contracts import Priors
from fourfold.scene.scene import Layer, Scene

QualityName = Literal["draft", "normal", "best", "full"]


@dataclass(frozen=True)
class Quality:
    """How much work to do.

    Attributes:
        pixels: images are stored at 1/n of their size, n the smallest whole number that leaves at most this many pixels.
        steps: factor on the optimisation steps of every stage.
        gaussians: factor on the number of Gaussians.
    """

    pixels: int
    steps: float
    gaussians: float


QUALITIES: Mapping[QualityName, Quality] = {
    "draft": Quality(pixels=45_000, steps=0.4, gaussians=0.4),
    "normal": Quality(pixels=150_000, steps=1.0, gaussians=1.0),
    "best": Quality(pixels=600_000, steps=3.0, gaussians=2.5),
    "full": Quality(pixels=1_000_000_000, steps=1.0, gaussians=1.0),  # the recipe's own numbers, images as filmed: for `RECIPE/as_published`
}


@dataclass(frozen=True)
class Rate:
    """A learning rate per step that goes exponentially from `start` to `start * final` at the fraction `until` of the stage, then stays.

    For lengths, `per_extent` multiplies it by the scene's extent, and `per_pixel` by the size of a pixel where the layer's Gaussians are: what
    is near or filmed from afar then moves by as many pixels as anything else.
    """

    start: float
    final: float = 1.0
    until: float = 1.0
    per_extent: bool = False
    per_pixel: bool = False


@dataclass(frozen=True)
class Term:
    """One loss with its weight, switched on between the fractions `begin` and `end` of the stage."""

    name: str
    loss: Loss
    weight: float
    begin: float = 0.0
    end: float = 1.0


class Sampler(Protocol):
    """Which images make the batch of a step: depends on its arguments alone."""

    def __call__(self, capture: Capture, step: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """(view, time index) of each image of the batch of `step`; `random` is seeded by (seed, stage, step), its entropy's first words."""
        ...


class SceneEdit(Protocol):
    """Something done to the scene when a stage begins: adding a layer, filling holes, splitting bases."""

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The changed scene."""
        ...


class Initializer(Protocol):
    """Priors become a scene."""

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene, in the capture's world coordinates."""
        ...


class Movers(Protocol):
    """Priors become what moves."""

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Layer | None:
        """The layer of movers, in the capture's world coordinates; None where nothing that moves was found."""
        ...


@dataclass(frozen=True)
class Stage:
    """A part of the optimisation.

    Attributes:
        steps: optimisation steps at quality "normal", at least.
        per_frame: so many are taken for each training image where that is more than `steps`; most: but never more than these (0: no limit);
            most_alone: the same for one camera, of which no other sees the same moment.
        terms: the losses.
        rates: "layer.parameter" patterns (fnmatch) -> rate; the first match counts, what matches nothing stays frozen.
        sampler: what a batch is.
        density: layer name pattern -> density control.
        resolution: (fraction of the stage, divisor of the image size) pairs, coarse to fine, first fraction 0.
        enter: edits of the scene when the stage begins.
        track_targets: how many target times a sample's tracks have; 0 for none.
        layers: patterns (fnmatch) of the layers that are drawn in this stage.
    """

    name: str
    steps: int
    terms: tuple[Term, ...]
    rates: Mapping[str, Rate]
    sampler: Sampler
    per_frame: float = 0.0
    most: int = 0
    most_alone: int = 0
    density: Mapping[str, DensityControl] = field(default_factory=dict)
    resolution: tuple[tuple[float, int], ...] = ((0.0, 1),)
    enter: tuple[SceneEdit, ...] = ()
    track_targets: int = 0
    layers: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Suits:
    """Which captures `--recipe auto` gives to a recipe: the suiting recipe of the highest rank wins.

    Attributes:
        views: smallest and largest number of training cameras.
        moving: True if the cameras must move, False if they must stand still, None for either.
        arc: smallest angle in degrees that the cameras must go round the scene.
        video: True if a camera must film, False if each must jump from moment to moment (one image a moment from all around), None for either.
        steady: True if none of several cameras may hop to another place in the midst of its film.
        images: smallest and largest number of training images.
        alone: True if the images must show an object before nothing, with opacity.
        rank: 0 is never chosen.
        because: how the choice is explained, following "N cameras ...: ".
    """

    views: tuple[int, int] = (1, 1_000_000)
    moving: bool | None = None
    arc: float = 0.0
    video: bool | None = None
    steady: bool = False
    images: tuple[int, int] = (1, 1_000_000)
    alone: bool = False
    rank: int = 0
    because: str = ""


@dataclass(frozen=True)
class InChunks:
    """How a film too long for one piece is made: what all chunks of time share from keyframes, then what moves, chunk after chunk.

    Attributes:
        priors: names of the priors that keyframes need; a chunk needs the recipe's.
        initialize: priors of the keyframes -> the scene that all chunks share.
        shared: the stages that train it, on keyframes.
        movers: priors of a chunk -> its layer of movers.
        stages: those of a chunk, over what is shared and its movers; rates that match what is shared would tear chunks apart.
    """

    priors: tuple[str, ...]
    initialize: Initializer
    shared: tuple[Stage, ...]
    movers: Movers
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Recipe:
    """A system. `replace(recipe, ...)` makes an ablation.

    Attributes:
        name: what `--recipe` calls it; the module in `recipes/` has the same name and holds it as `RECIPE`.
        summary: one line for `--help`; source: where its numbers come from.
        priors: names of the priors it needs, fields of `Priors`.
        initialize: priors -> scene.
        stages: the optimisation, in order.
        suits: which captures it is chosen for.
        background: RGB behind everything.
        in_chunks: how a long film is made, or None: in one piece whatever its length.
    """

    name: str
    summary: str
    source: str
    priors: tuple[str, ...]
    initialize: Initializer
    stages: tuple[Stage, ...]
    suits: Suits = Suits()
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    in_chunks: InChunks | None = None

    @property
    def longest_stage(self) -> Stage:
        """The stage with the most steps: what benchmarks measure."""
        return max(self.stages, key=lambda stage: stage.steps)


__all__ = [
    "QUALITIES",
    "InChunks",
    "Initializer",
    "Movers",
    "Quality",
    "QualityName",
    "Rate",
    "Recipe",
    "Sampler",
    "SceneEdit",
    "Stage",
    "Suits",
    "Term",
    "replace",
]
