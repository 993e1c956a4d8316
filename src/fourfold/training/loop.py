"""The training loop of one stage, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from math import isfinite
from time import perf_counter

import torch
from torch import Tensor

from fourfold.density.base import GrowthStatistics, Moment
from fourfold.errors import FourfoldError
from fourfold.geometry.host import sent
from fourfold.interruption import unbroken
from fourfold.kernels.heap import keep_freed_memory
from fourfold.losses.base import Sample, Step
from fourfold.recipes.recipe import Stage, Term
from fourfold.render.api import Render, draws_together, rasterize, rasterize_views
from fourfold.render.points import AtPoints
from fourfold.scene.refined_cameras import as_seen
from fourfold.scene.scene import Scene
from fourfold.training.columns import join_columns, split_columns
from fourfold.training.edits import apply_edit
from fourfold.training.optimizer import gradients_finite, not_finite, update, watch
from fourfold.training.safety import keep_sane
from fourfold.training.samplers import generator
from fourfold.training.state import TrainingState, drawn, parameters
from fourfold.training.together import ALONE, Together


@dataclass(frozen=True)
class StepReport:
    """What one step did: weighted losses by name, Gaussians by layer, its time, and where it was not finite if it was skipped for that."""

    stage: str
    number: int
    step: int
    steps: int
    losses: dict[str, float]
    counts: dict[str, int]
    milliseconds: float
    not_finite: str


def train_stage(
    state: TrainingState,
    stage: Stage,
    batches: Iterator[list[Sample]],
    frames: int,
    seed: int,
    after_step: Callable[[StepReport], None] = lambda report: None,
    together: Together = ALONE,
) -> None:
    """Do the remaining steps of `stage`, changing `state` in place.

    Args:
        batches: the batches of steps `state.step`, `state.step` + 1, ...
        frames: how many training images there are; seed: of the run.
        after_step: told after every step, when `state` is consistent and may be saved.
        together: the processes that take these steps, each with batches of its own.
    """
    keep_freed_memory()
    with together.steps():
        while state.step < state.steps:
            with unbroken():  # a signal waits for the end of the step, when `state` is consistent
                after_step(_one_step(state, stage, next(batches), frames, seed, together))
            if together.stopping():
                break


def _one_step(state: TrainingState, stage: Stage, batch: list[Sample], frames: int, seed: int, together: Together) -> StepReport:
    started = perf_counter()
    scene = drawn(state.scene, stage.layers)
    watch(state.scene, stage.rates)
    steps, losses, finite = [], [], True
    for part in together.turns(batch):  # one, but for a process that does the work of several
        steps.append(render_step(scene, part, stage.terms, state, together))
        total, parts = weigh(stage.terms, steps[-1])
        if total.requires_grad:
            total.backward()
        value, *each = torch.stack([total.detach(), *parts.values()]).tolist()  # read once, when all is under way
        losses.append(together.mean(dict(zip(parts, each, strict=True))))
        finite = finite and together.all(isfinite(value))
    losses = {name: sum(part[name] for part in losses) / len(losses) for name in losses[0]}
    if finite:
        together.average([group[name] for layer in scene.layers for _, group, name in parameters(layer) if group[name].requires_grad])
    where = "" if finite and gradients_finite(scene) else not_finite(losses, scene)
    if where:
        state.skipped, state.bad = state.skipped + 1, state.bad + 1
    else:
        state.bad = 0
        seen = together.any_row(rows_seen(scene, [render for step in steps for render in step.renders]))
        update(scene, state.moments, stage.rates, seen, steps[0].progress, state.lengths, state.caution)
        keep_sane(scene, stage.rates, state.step, state.extent, frames)
        gather_growth(state, stage, steps, together)
    change_density(state, stage, scene, frames, seed)
    state.step += 1
    elapsed = perf_counter() - started
    state.seconds += elapsed
    counts = {layer.name: len(layer) for layer in state.scene.layers}
    return StepReport(stage.name, state.stage, state.step - 1, state.steps, losses, counts, elapsed * 1e3, where)


def render_step(scene: Scene, samples: list[Sample], terms: tuple[Term, ...], state: TrainingState, together: Together = ALONE) -> Step:
    """Move the Gaussians to the samples' times and draw them with the channels that the active losses ask for."""
    progress = state.step / max(state.steps, 1)
    step = Step(scene, samples, [], [], [], state.step, progress, state.extent, summed=together.summed)
    wanted = [term for term in terms if active(term, progress)]
    move(step, wanted)
    gaussians = step.gaussians
    background = _on_device(tuple(scene.background), gaussians[0].means.dtype, gaussians[0].means.device)
    asked = [asked_of(wanted, step, item) for item in range(len(samples))]
    shown = [as_seen(scene, gaussians[item], sample.view, sample.index) for item, sample in enumerate(samples)]
    if len(samples) > 1 and draws_together(background):
        renders = rasterize_views(shown, [sample.camera for sample in samples], [a.stacked for a in asked], background, [a.points for a in asked])
    else:
        views = zip(shown, samples, asked, strict=True)
        renders = [rasterize(g, sample.camera, channels=a.stacked, background=background, points=a.points) for g, sample, a in views]
    step.extra.extend(a.told(render) for a, render in zip(asked, renders, strict=True))
    step.renders = renders
    return step


def move(step: Step, terms: Sequence[Term]) -> None:
    """Bring the scene to the samples' times and its layers to those that the losses of `terms` told in advance, in one pass."""
    told: dict[tuple[str, str], Tensor] = {}
    for term in terms:
        times = getattr(term.loss, "further_times", None)
        told |= {} if times is None else times(step)
    further = {layer.name: [times for (name, _), times in told.items() if name == layer.name] for layer in step.scene.layers}
    step.gaussians, places = step.scene.at_and_means([sample.time for sample in step.samples], further)
    for name, found in places.items():
        keys = [place for place in told if place[0] == name]
        step.places |= dict(zip(keys, found, strict=True))


@dataclass(frozen=True)
class Asked:
    """What the losses want beside the image of one sample: `channels` by name over the image, and values at `points` under the name `at`."""

    channels: dict[str, Tensor]
    points: AtPoints | None
    at: str

    @property
    def stacked(self) -> Tensor | None:
        """All channels side by side, (N, C)."""
        return join_columns(list(self.channels.values())) if self.channels else None

    def told(self, render: Render) -> dict[str, Tensor]:
        """By name what was drawn."""
        widths = [value.shape[1] for value in self.channels.values()]
        parts = split_columns(render.channels, widths) if render.channels is not None else ()
        found = dict(zip(self.channels, parts, strict=True))
        return found if render.points is None else found | {self.at: render.points}


def asked_of(terms: Sequence[Term], step: Step, item: int) -> Asked:
    """What the losses of `terms` want of sample `item`.

    Raises:
        FourfoldError: values at points under more than one name.
    """
    wanted: dict[str, Tensor | AtPoints] = {}
    for term in terms:
        wanted |= {name: value for name, value in term.loss.channels(step, item).items() if name not in wanted}
    points = {name: value for name, value in wanted.items() if isinstance(value, AtPoints)}
    if len(points) > 1:
        raise FourfoldError(f"losses ask for values at points under the names {', '.join(points)}: one name has to serve all")
    name, at = next(iter(points.items()), ("", None))
    return Asked({name: value for name, value in wanted.items() if not isinstance(value, AtPoints)}, at, name)


def active(term: Term, progress: float) -> bool:
    """Whether `term` is switched on at `progress` (0..1) through its stage."""
    return term.begin <= progress < term.end or (progress >= 1.0 == term.end)


def weigh(terms: tuple[Term, ...], step: Step) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the active losses, and each weighted loss by name, outside the graph."""
    parts = {term.name: (term.weight, term.loss(step)) for term in terms if active(term, step.progress)}
    if not parts:
        return step.gaussians[0].means.new_zeros(()), {}
    losses = torch.stack([loss.reshape(()) for _, loss in parts.values()])
    weighted = losses * _on_device(tuple(weight for weight, _ in parts.values()), losses.dtype, losses.device)
    return weighted.sum(), dict(zip(parts, weighted.detach().unbind(), strict=True))


@lru_cache(maxsize=64)
def _on_device(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers that every step asks for anew, sent once."""
    return sent(torch.tensor(numbers, dtype=dtype), device)


def rows_seen(scene: Scene, renders: list[Render]) -> dict[str, Tensor]:
    """Layer name -> (N,) bool, the Gaussians that at least one of `renders` drew."""
    drawn_by = [render.screen.radius > 0 for render in renders]
    seen = drawn_by[0] if len(drawn_by) == 1 else torch.stack(drawn_by).any(0)
    return {name: seen[rows] for name, rows in scene.slices().items()}


@torch.no_grad()
def gather_growth(state: TrainingState, stage: Stage, steps: Sequence[Step], together: Together = ALONE) -> None:
    """Add the screen gradients of this step, done in one or several turns, to the growth statistics of the layers under density control."""
    scene = steps[0].scene
    slices = scene.slices()
    for layer in scene.layers:
        if not any(fnmatch(layer.name, pattern) for pattern in stage.density):
            continue
        kept = state.growth.setdefault(layer.name, GrowthStatistics.zeros(len(layer), layer.splats["means"].device))
        with together.growing(kept) as grown:
            for step in steps:
                _add_growth(grown, step, slices[layer.name])


def _add_growth(grown: GrowthStatistics, step: Step, rows: slice) -> None:
    for sample, render in zip(step.samples, step.renders, strict=True):
        screen, camera = render.screen, sample.camera
        visible = screen.radius[rows] > 0
        sides = (len(step.samples) * camera.width / 2, len(step.samples) * camera.height / 2)
        half = _on_device(sides, screen.radius.dtype, screen.radius.device)
        grown.count += visible
        grown.radius.copy_(torch.maximum(grown.radius, screen.radius[rows] / max(camera.width, camera.height)))
        if screen.gradient is not None:
            grown.gradient += (screen.gradient[rows] * half).norm(dim=1)
        if screen.absolute_gradient is not None:
            grown.absolute_gradient += (screen.absolute_gradient[rows] * half).norm(dim=1)


def change_density(state: TrainingState, stage: Stage, scene: Scene, frames: int, seed: int) -> None:
    """Ask density control about each layer it governs, and apply its answer."""
    for number, layer in enumerate(scene.layers):
        control = next((c for pattern, c in stage.density.items() if fnmatch(layer.name, pattern)), None)
        if control is None or layer.name not in state.growth:
            continue
        random = generator(seed, state.stage, state.step, purpose=2 + number)
        edit = control(layer, state.growth[layer.name], Moment(state.step, state.steps, state.extent, frames), random)
        if edit is not None:
            state.growth[layer.name] = apply_edit(layer, edit, state.moments)
