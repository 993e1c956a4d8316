"""A long film as a scene: what stands still from keyframes, what moves chunk after chunk, joined as one scene.

Only one chunk's priors, images and movers are in memory at a time. What all chunks share is trained before any of them and stays as it is, so the
still part has no seam; a mover is handed over at one moment which both chunks have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.chunks import Chunk, ChunkNumbers, chunks_of, is_long, keyframes
from fourfold.evaluation.heldout import moving_regions
from fourfold.notices import fallback
from fourfold.options import Clock, Options, Report, follow
from fourfold.priors.contracts import Cameras, Priors, Provenance
from fourfold.priors.providers import Preparation, prepare_priors
from fourfold.recipes.recipe import QUALITIES, InChunks, Recipe, Stage
from fourfold.scene.motion.chunks import joined
from fourfold.scene.scene import Layer, Scene
from fourfold.training.samplers import generator
from fourfold.training.schedule import Length, planned_steps
from fourfold.training.trainer import TrainConfig, made_by, train

FOLDER = "chunks"
KEYFRAMES = "keyframes"


class Regions(Mapping[tuple[int, int], NDArray[np.bool_]]):
    """(view, time index) -> (H, W) bool, where an image shows something moving; a bit per pixel."""

    def __init__(self) -> None:
        self._bits: dict[tuple[int, int], tuple[NDArray[np.uint8], tuple[int, ...]]] = {}

    def add(self, view: int, index: int, region: NDArray[np.bool_]) -> None:
        """Keep one image's region."""
        self._bits[view, index] = np.packbits(region), region.shape

    def __getitem__(self, key: tuple[int, int]) -> NDArray[np.bool_]:
        bits, shape = self._bits[key]
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._bits)

    def __len__(self) -> int:
        return len(self._bits)


@dataclass(frozen=True)
class Training:
    """One training of several: the folder with its metrics, its stages, and its length."""

    folder: Path
    stages: tuple[Stage, ...]
    length: Length


@dataclass(frozen=True)
class LongFilm:
    """What was made.

    Attributes:
        scene: all chunks over what they share.
        capture: the whole film with its cameras.
        keyframes: what is shared was made of, with its priors.
        chunks: in order.
        regions: where held-out images show something moving.
        trainings: of what is shared, and of each chunk.
        told: who made the priors of the keyframes and, where chunks alone have one, of the last chunk, by name.
    """

    scene: Scene
    capture: Capture
    keyframes: Preparation
    chunks: tuple[Chunk, ...]
    regions: Regions
    trainings: tuple[Training, ...]
    told: dict[str, Provenance]

    @property
    def sentence(self) -> str:
        """How the film was made, for the report."""
        shown = max(chunk.end - chunk.begin for chunk in self.chunks)
        return (
            f"A long film, made in {len(self.chunks)} chunks of {shown} moments over what stands still in {self.keyframes.capture.times} keyframes."
        )


@dataclass(frozen=True)
class _Making:
    """What stays the same while a film is made; `budget` are the seconds for all trainings, None without one."""

    posed: Preparation
    recipe: Recipe
    way: InChunks
    root: Path
    options: Options
    report: Report
    clock: Clock
    budget: float | None
    told: dict[str, Provenance] = field(default_factory=dict)


def in_chunks(capture: Capture, recipe: Recipe, numbers: ChunkNumbers = ChunkNumbers()) -> bool:
    """Whether the film is made in chunks; says where it is long and the recipe knows no way."""
    if not is_long(capture, numbers):
        return False
    if recipe.in_chunks is None:
        fallback(f"{capture.times} moments are a long film, and {recipe.name} makes any film in one piece: its memory grows with the length")
    return recipe.in_chunks is not None


def make_long_film(
    posed: Preparation,
    recipe: Recipe,
    root: Path,
    told: tuple[Options, Report, Clock],
    budget: float | None,
    numbers: ChunkNumbers = ChunkNumbers(),
) -> LongFilm:
    """The scene of a long film by a recipe that knows how to make it in chunks; everything is kept in `root/chunks`.

    Args:
        posed: the whole film with its cameras and, of one view, its tracks.
        budget: seconds for all trainings, or None.
    """
    assert recipe.in_chunks is not None
    job = _Making(posed, recipe, recipe.in_chunks, root, *told, budget)
    film, chunks = posed.capture, chunks_of(posed.capture.times, numbers)
    (shared, still), trained = _still(job, film.moments(keyframes(film, numbers)), len(chunks))
    trainings, layers, regions = [trained], list[list[Layer]](), Regions()
    for chunk in chunks:
        job.report(f"chunk {chunk.number + 1} of {len(chunks)}", 0, None)
        movers, training = _chunk(job, still, chunk, regions, len(chunks))
        layers.append(movers)
        trainings.append(training)
        film.release()
    names = dict.fromkeys(layer.name for movers in layers for layer in movers)
    begins = [_begin(film, chunk) for chunk in chunks]
    moving = [joined([next((y for y in movers if y.name == name), None) for movers in layers], begins) for name in names]
    scene = replace(still, layers=[*still.layers, *(layer for layer in moving if layer is not None)])
    shared.priors.advice[:] = posed.priors.advice
    makers = job.told | made_by(shared.priors)
    return LongFilm(scene, film, shared, chunks, regions, tuple(trainings), makers)


def _begin(film: Capture, chunk: Chunk) -> float:
    """The second from which a chunk is shown: half-way between its first moment and the one before."""
    before = max(chunk.begin - 1, 0)
    return float(film.timestamps[before] + film.timestamps[chunk.begin]) / 2


def _still(job: _Making, capture: Capture, chunks: int) -> tuple[tuple[Preparation, Scene], Training]:
    """The keyframes with their priors, and the trained scene of what stands still."""
    preparation = _prepared(job, capture, job.way.priors, KEYFRAMES)
    recipe = replace(job.recipe, initialize=job.way.initialize, stages=job.way.shared, in_chunks=None)
    scene, training = _trained(job, recipe, None, preparation, KEYFRAMES, chunks)
    whole = job.posed.capture.timestamps
    return (preparation, replace(scene, time_range=(float(whole[0]), float(whole[-1])))), training


def _chunk(job: _Making, still: Scene, chunk: Chunk, regions: Regions, chunks: int) -> tuple[list[Layer], Training]:
    """What moves in one chunk, trained; its share of `regions` is added."""
    name = f"{chunk.number:03d}"
    preparation = _prepared(job, job.posed.capture.moments(chunk.moments), job.recipe.priors, name)
    capture, priors = preparation.capture, preparation.priors
    estimated = {} if priors.masks is None else {v: m for v, m in enumerate(priors.masks.mask) if m.any()}
    for (view, index), region in moving_regions(capture, estimated).items():
        if chunk.begin <= chunk.first + index < chunk.end:
            regions.add(view, chunk.first + index, region)
    random = generator(job.options.seed, chunk.number, 0, purpose=3)
    movers = job.way.movers(capture, priors, QUALITIES[job.options.quality], random)
    start = replace(still, layers=[*still.layers, *([] if movers is None else [movers])])
    scene, training = _trained(job, replace(job.recipe, stages=job.way.stages, in_chunks=None), start, preparation, name, chunks)
    shared = {layer.name for layer in still.layers}
    return [layer for layer in scene.layers if layer.name not in shared], training


def _prepared(job: _Making, capture: Capture, names: tuple[str, ...], folder: str) -> Preparation:
    """The priors of some moments of the film, whose cameras and tracks are those of the whole."""
    rows = capture.rows
    assert rows is not None
    whole = job.posed.priors
    known = Priors(cameras=_cameras_at(whole.cameras, rows), longtracks=None if whole.filmtracks is None else whole.filmtracks.at(rows))
    done = prepare_priors(
        capture, names, job.root / FOLDER / folder / "priors", lambda what, done, total: job.report(f"estimating {what}", done, total), known
    )
    job.clock.add_priors(done.spent)
    advice = job.posed.priors.advice
    advice += [sentence for sentence in done.priors.advice if sentence not in advice]
    job.told.update(made_by(done.priors))
    return done


def _cameras_at(cameras: Cameras | None, rows: NDArray[np.int64]) -> Cameras | None:
    return None if cameras is None else replace(cameras, K=cameras.K[:, rows], world_to_camera=cameras.world_to_camera[:, rows])


def _trained(job: _Making, recipe: Recipe, start: Scene | None, preparation: Preparation, folder: str, chunks: int) -> tuple[Scene, Training]:
    """One training of the film's, kept in its folder."""
    capture = preparation.capture
    length = Length.of(capture)
    all_steps = _steps(job, job.way.shared, length) + chunks * _steps(job, job.way.stages, length)
    left = None if job.budget is None else job.budget * _steps(job, recipe.stages, length) / all_steps
    config = TrainConfig(job.options.seed, job.options.quality, left, job.options.device, progress=follow(job.report))
    out = job.root / FOLDER / folder
    return train(recipe, start, capture, preparation.priors, out, config), Training(out, recipe.stages, length)


def _steps(job: _Making, stages: tuple[Stage, ...], length: Length) -> int:
    return sum(planned_steps(stage, QUALITIES[job.options.quality], length) for stage in stages)
