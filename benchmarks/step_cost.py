"""What a training step of each recipe costs beside one of Shape of Motion with as many Gaussians, on one generated capture in one run.

Every recipe starts from the same priors, is brought to the same number of static and of moving Gaussians (its first layer of either role; what
is added for the residue is left out; one without a static layer gets all of them) and does the steps of its longest stage, half of them a quarter
and half of them three quarters through, since losses come and go. Recipes take turns in short blocks, so that a busy machine slows all alike.
Density control is timed apart over the steps of the whole stage and spread over them: it acts seldom and would change the counts. Prints
Markdown. Run:
    python benchmarks/step_cost.py [--recipes NAME...] [--static 22000] [--moving 5600] [--width 256] [--threads 1]
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
import tyro

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.density.base import GrowthStatistics, Moment
from fourfold.losses.base import Sample
from fourfold.priors.contracts import Priors
from fourfold.priors.providers import prepare_priors
from fourfold.recipes import find_recipe
from fourfold.recipes.recipe import QUALITIES, Recipe, Stage
from fourfold.render import cpu
from fourfold.scene.scene import DYNAMIC, STATIC, Scene
from fourfold.training.batch import SampleStore, Source
from fourfold.training.loop import gather_growth, render_step, rows_seen, weigh
from fourfold.training.optimizer import gradients_finite, update, watch
from fourfold.training.safety import keep_sane
from fourfold.training.state import TrainingState, drawn, lengths_of, scene_to

REFERENCE = "shape_of_motion"
PARTS = ("motion and drawing", "losses", "gradients", "the rest")
MOMENTS = (0.25, 0.75)
"""How far through the stage the steps are that are timed."""


@dataclass
class Runner:
    """A recipe about to do steps of its longest stage, and the milliseconds of those it did: moment -> part -> one entry a step."""

    name: str
    stage: Stage
    store: SampleStore
    state: TrainingState
    frames: int
    images: list[int] = field(default_factory=list)
    taken: dict[float, dict[str, list[float]]] = field(default_factory=lambda: {at: defaultdict(list) for at in MOMENTS})
    done: int = 0

    def step(self, at: float, keep: bool) -> None:
        """One step of the training loop as it is `at` (0..1) through the stage, in pieces."""
        self.state.step = round(at * self.state.steps) + self.done % 100 + 1
        self.done += 1
        batch = self.store.batch(self.stage, 0, 0, self.state.step, self.state.steps)
        clock: dict[str, float] = {}
        self._pieces(batch, clock)
        if keep:
            self.images.append(len(batch))
            for part, value in clock.items():
                self.taken[at][part].append(value)

    def _pieces(self, batch: list[Sample], clock: dict[str, float]) -> None:
        state, stage = self.state, self.stage
        scene = drawn(state.scene, stage.layers)
        with timed(clock, PARTS[3]):
            watch(state.scene, stage.rates)
        with timed(clock, PARTS[0]):
            step = render_step(scene, batch, stage.terms, state)
        with timed(clock, PARTS[1]):
            total, _ = weigh(stage.terms, step)
        with timed(clock, PARTS[2]):
            total.backward()
        with timed(clock, PARTS[3]):
            gradients_finite(scene)
            update(scene, state.moments, stage.rates, rows_seen(scene, step.renders), step.progress, state.lengths)
            keep_sane(scene, stage.rates, state.step, state.extent, self.frames)
            gather_growth(state, stage, [step])
        clock["all"] = sum(clock.values())

    def part(self, name: str) -> float:
        """Milliseconds of a part: the mean over the moments of the median over steps."""
        return sum(median(self.taken[at][name]) for at in MOMENTS) / len(MOMENTS)

    def control(self) -> float:
        """Milliseconds of density control, spread over the steps of the stage; its edits are not made."""
        started = perf_counter()
        for layer in self.state.scene.layers:
            control = self.stage.density.get(layer.name)
            for number in range(self.state.steps if control is not None else 0):
                statistics = self.state.growth.get(layer.name) or GrowthStatistics.zeros(len(layer), torch.device("cpu"))
                control(layer, statistics, Moment(number, self.state.steps, self.state.extent, self.frames), np.random.default_rng(0))  # type: ignore[misc]
        return (perf_counter() - started) * 1e3 / self.state.steps


@contextmanager
def timed(clock: dict[str, float], name: str) -> Iterator[None]:
    """Add the milliseconds of the block to `clock[name]`."""
    started = perf_counter()
    yield
    clock[name] = clock.get(name, 0.0) + (perf_counter() - started) * 1e3


def of_size(scene: Scene, static: int, moving: int) -> Scene:
    """The first layer of each role with so many Gaussians, drawn at random and repeated where there are fewer; a lonely layer gets them all."""
    random, first = np.random.default_rng(0), {layer.role: layer for layer in reversed(scene.layers) if len(layer)}
    wanted = {STATIC: static, DYNAMIC: moving} if len(first) > 1 else dict.fromkeys(first, static + moving)
    layers = []
    for role, layer in first.items():
        rows = torch.from_numpy(np.resize(random.permutation(len(layer)), wanted[role]))
        layers.append(replace(layer, splats={name: value[rows] for name, value in layer.splats.items()}))
    return replace(scene, layers=sorted(layers, key=lambda layer: layer.role != STATIC))


def runner(recipe: Recipe, capture: Capture, priors: Priors, static: int, moving: int) -> Runner:
    """The recipe's scene as its longest stage gets it, untrained, with the given numbers of Gaussians."""
    quality, random = QUALITIES["draft"], np.random.default_rng(0)
    scene = recipe.initialize(capture, priors, quality, random)
    for stage in recipe.stages:
        for edit in stage.enter:
            scene = edit(scene, capture, priors, quality, random)
    scene = replace(of_size(scene, static, moving), background=recipe.background)
    last = replace(recipe.longest_stage, resolution=((0.0, 1),))
    device = torch.device("cpu")
    lengths = lengths_of(scene, capture)
    state = TrainingState(scene_to(scene, device), steps=last.steps, extent=lengths.extent, pixels=dict(lengths.pixels))
    return Runner(recipe.name, last, SampleStore(Source(capture, priors, device, recipe.background, scene.near)), state, int(capture.train.sum()))


def table(runners: list[Runner]) -> str:
    """Markdown, one row a recipe; ratios are those of an image to an image of the reference, density control included."""
    rows = []
    for one in runners:
        control, images = one.control(), sum(one.images) / len(one.images)
        rows.append((one, one.part("all") + control, images, control))
    reference = next((ms / images for one, ms, images, _ in rows if one.name == REFERENCE), None)
    heads = ["recipe", "static + moving", "images a step", "ms a step", "ms an image", f"over {REFERENCE}", *PARTS, "density control"]
    text = f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|\n"
    for one, ms, images, control in rows:
        counts = " + ".join(f"{len(layer):,}" for layer in one.state.scene.layers)
        ratio = "" if reference is None else f"{ms / images / reference:.2f}"
        parts = " | ".join(f"{one.part(part) / images:.1f}" for part in PARTS)
        text += f"| {one.name} | {counts} | {images:.0f} | {ms:.1f} | {ms / images:.1f} | {ratio} | {parts} | {control / images:.1f} |\n"
    return text + f"\nParts in ms an image; medians of {len(runners[0].images)} steps.\n"


@dataclass(frozen=True)
class Options:
    """What is measured."""

    recipes: tuple[str, ...] = (REFERENCE, "himor", "fourdgs360", "mosca", "sparse_dynamic")
    """Which; the reference first."""

    kind: str = "casual"
    """Of generated capture, with its own depth and masks."""

    static: int = 22_000
    """Gaussians that stand still."""

    moving: int = 5_600
    """Gaussians that move."""

    width: int = 256
    """Of the images in pixels, 16:9."""

    frames: int = 48
    """Moments."""

    blocks: int = 6
    """Turns that each recipe takes; two more warm up."""

    block: int = 10
    """Steps of a turn."""

    threads: int = 1
    """Of the kernels; torch has one, as in training."""

    folder: Path | None = None
    """Where the capture and the priors are kept for the next time."""


def capture_of(options: Options, folder: Path) -> Capture:
    """The generated capture, made once."""
    root, width = folder / f"{options.kind}_{options.width}_{options.frames}", options.width
    if not root.exists():
        generate(options.kind, root, seed=0, options=SyntheticOptions(frames=options.frames, width=width, height=2 * round(width * 9 / 32)))
    return Capture.load(root)


def main(options: Options) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    cpu.set_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="fourfold-step-cost-") as temporary:
        capture = capture_of(options, options.folder or Path(temporary))
        prepared = prepare_priors(capture, find_recipe(options.recipes[0]).priors, capture.root / "priors")
        runners = [runner(find_recipe(name), prepared.capture, prepared.priors, options.static, options.moving) for name in options.recipes]
        for turn in range(-2, options.blocks):
            for one in runners:
                for _ in range(options.block):
                    one.step(MOMENTS[turn % len(MOMENTS)], turn >= 0)
        width, height = capture.sizes[0]
        print(f"{options.kind}, {width} x {height}, {options.frames} moments, kernel threads {options.threads}\n\n{table(runners)}")


if __name__ == "__main__":
    main(tyro.cli(Options))
