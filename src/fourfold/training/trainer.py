"""`train`: all stages of a recipe in order, resumed from the newest checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import torch

from fourfold.capture.capture import Capture
from fourfold.capture.cutout import backdrop, opacity_given
from fourfold.errors import FourfoldError
from fourfold.files import checksum, key_of
from fourfold.interruption import Interrupted, unbroken
from fourfold.kernels.blas import one_blas_thread
from fourfold.notices import fallback
from fourfold.priors.contracts import Prior, Priors, Provenance
from fourfold.recipes.recipe import QUALITIES, QualityName, Recipe, Stage
from fourfold.render.backends import fast_on
from fourfold.room import SMALLER, out_of_memory
from fourfold.scene.scene import Scene
from fourfold.training.batch import SampleStore, Source
from fourfold.training.checkpoint import clear_checkpoints, load_newest, save_checkpoint
from fourfold.training.loop import StepReport, train_stage
from fourfold.training.metrics_log import MetricsLog
from fourfold.training.optimizer import trainable
from fourfold.training.room import check_going_on, check_stage, eased
from fourfold.training.samplers import generator
from fourfold.training.schedule import Length, planned_steps, steps_within
from fourfold.training.state import TrainingState, drawn, lengths_of, parameters, scene_to
from fourfold.training.together import ALONE, Together

MOST_CAUTION = 1 / 8  # of the rates: with less, training is given up
CODE_VERSION = 2
"""Raised when a change makes older checkpoints meaningless."""


def _silent(report: StepReport) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        seed: of every random choice.
        quality: how much work to do.
        time_budget: seconds that training may take, or None; stages are shortened to fit, never lengthened.
        device: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:1", "mps", ...
        checkpoint_every: steps between checkpoints; one is also written at the beginning of every stage.
        patience: steps in a row that may be left out as not finite; then training goes back to its last good state with half the rates.
        progress: told after every step.
        together: the processes that train this scene; with several the batch is as many times larger.
    """

    seed: int = 0
    quality: QualityName = "normal"
    time_budget: float | None = None
    device: str = "auto"
    checkpoint_every: int = 250
    patience: int = 20
    progress: Callable[[StepReport], None] = _silent
    together: Together = ALONE


@dataclass(frozen=True)
class _Run:
    """What stays the same through a training: the parts, where it writes, and the hash of what was asked."""

    recipe: Recipe
    capture: Capture
    priors: Priors
    out: Path
    config: TrainConfig
    device: torch.device
    key: str

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint, which all that train together wait for."""
        self.config.together.check_same("scene", lambda: _checksum(state.scene))
        if self.config.together.first:
            save_checkpoint(self.checkpoints, state, self.key)
        self.capture.release()  # images that were looked at
        self.config.together.wait()

    def newest(self) -> TrainingState | None:
        """The state of the newest checkpoint; nobody goes on, and writes another, before all have read it."""
        state = load_newest(self.checkpoints, self.key, self.device)
        self.config.together.wait()
        return state


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is CUDA where there is one that a fast rasterizer serves. FourfoldError if it is not there."""
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        rasterizer, why = fast_on(torch.device("cuda"))
        if rasterizer is None:
            fallback(f"there is a GPU but no rasterizer for it ({why}): training on the CPU, which is faster than the torch reference on a GPU")
        return torch.device("cpu" if rasterizer is None else "cuda")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise FourfoldError(f"there is no device {name!r}: use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise FourfoldError("this machine has no CUDA device that torch can use: use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise FourfoldError("this machine has no Apple GPU that torch can use: use --device cpu")
    return device


def train(recipe: Recipe, scene: Scene | None, capture: Capture, priors: Priors, out: Path, config: TrainConfig = TrainConfig()) -> Scene:
    """Optimise `scene` (or the recipe's own initial scene) on the training images of `capture`; the scene found is on the CPU.

    Writes `out/checkpoints/` and `out/metrics.jsonl`. Killed at any moment and called again, it continues from the newest checkpoint
    and gives bit for bit what an uninterrupted run gives (with a time budget: from the first checkpoint of each stage on).

    Raises:
        FourfoldError: there is no training image with a known camera, or the recipe's initialisation fails.
    """
    capture = with_known_cameras(capture)
    device = choose_device(config.device)
    behind = backdrop(capture)
    if behind is not None:  # nothing is behind the object, whatever the recipe puts behind what was not seen
        recipe = replace(recipe, background=behind)
    joined = config.together.share.joined
    asked = (CODE_VERSION, recipe, config.seed, config.quality, config.time_budget, *([joined] if joined > 1 else []))
    key = key_of(*asked, capture.name, capture.K, capture.world_to_camera, capture.train, made_by(priors))
    run = _Run(recipe, capture, priors, out, config, device, key)
    with one_torch_thread(device), one_blas_thread():
        state = run.newest() or _begin(run, scene)
        while True:
            try:
                _all_stages(run, state)
                return scene_to(state.scene, torch.device("cpu"))  # scores, players and exports read it there
            except _Stuck as stuck:
                back = partial(_step_back, run, state, scene, stuck.where)
            except (MemoryError, RuntimeError, OSError) as error:
                if not out_of_memory(error):
                    raise
                back = partial(_ease, run, state, scene)
            state = back()  # here, where no traceback holds what the step had made


class _Stuck(Exception):
    """Too many steps in a row were not finite; `where` says in what."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


def _all_stages(run: _Run, state: TrainingState) -> None:
    source = Source(run.capture, run.priors, run.device, run.recipe.background, state.scene.near, opacity_given(run.capture))
    store, first = SampleStore(source, share=run.config.together.share), run.config.together.first
    log = MetricsLog(run.out / "metrics.jsonl", state.stage, state.step) if first else None
    try:
        while state.stage < len(run.recipe.stages):
            _run_stage(run, run.recipe.stages[state.stage], state, store, log)
            with unbroken():
                state.next_stage()
                run.save(state)
    except Interrupted:
        if state.steps and not state.bad and first:  # within a stage: the step that was under way is finished
            save_checkpoint(run.checkpoints, state, run.key)
        raise
    finally:
        if log is not None:
            log.close()


def _step_back(run: _Run, state: TrainingState, scene: Scene | None, where: str) -> TrainingState:
    """The last good state with half the rates. FourfoldError if that was tried often enough."""
    place = f"stage {run.recipe.stages[state.stage].name}, step {state.step}: {run.config.patience} steps in a row were not finite {where}"
    if state.caution <= MOST_CAUTION:
        raise FourfoldError(f"training in {run.out} cannot go on ({place}): try another --seed, or leave out the prior that this loss reads")
    good = run.newest() or _begin(run, scene)
    good.caution = state.caution / 2
    fallback(f"{place}; training went back to stage {good.stage + 1}, step {good.step}, and continues at {good.caution:g} of its rates")
    if good.steps:
        run.save(good)
    return good


def _ease(run: _Run, state: TrainingState, scene: Scene | None) -> TrainingState:
    """The last kept state with half a batch. FourfoldError if that was tried before, or if others wait for this process."""
    stage = run.recipe.stages[state.stage]
    place = f"stage {stage.name}, step {state.step}: memory did not suffice"
    if state.eased or run.config.together.share.joined > 1:
        tried = f" even with {eased(stage, state.eased)[1]}" if state.eased else ""
        raise FourfoldError(f"training in {run.out} stopped ({place}{tried}): {SMALLER}")
    kept = run.newest() or _begin(run, scene)
    kept.eased = 1
    how = eased(stage, 1)[1]
    fallback(f"{place}; training went back to stage {kept.stage + 1}, step {kept.step}, and continues with {how}")
    if kept.steps:
        run.save(kept)
    return kept


@contextmanager
def one_torch_thread(device: torch.device) -> Iterator[None]:
    """Torch's own operations on one thread while training on the CPU.

    The compiled kernels have their own pool; torch's threads would wait for work by spinning beside it, which on a busy machine makes
    a step many times slower (spec cpu_rasterizer.md, traps). Sums also come out the same whatever the number of cores.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def made_by(priors: Priors) -> dict[str, Provenance]:
    """Provenance of every prior that is there, by name: other priors are another training."""
    values = {f.name: getattr(priors, f.name) for f in fields(priors)}
    return {name: prior.provenance for name, prior in values.items() if isinstance(prior, Prior)}


def with_known_cameras(capture: Capture) -> Capture:
    """`capture` with the training images whose camera is known. FourfoldError if there is none."""
    known = capture.posed
    train = capture.train & known
    if not train.any():
        raise FourfoldError(
            f"{capture.name} has no training image with a known camera: hold out fewer frames or estimate the cameras with `fourfold prepare`"
        )
    if train.sum() < capture.train.sum():
        fallback(f"{int(capture.train.sum() - train.sum())} training images without a known camera are left out")
    return replace(capture, train=train)


def _checksum(scene: Scene) -> int:
    """CRC-32 of all tensors of `scene`."""
    parts = ((f"{layer.name}/{name}", value) for layer in scene.layers for _, group, name in parameters(layer) for value in [group[name]])
    return checksum((name, value.detach().cpu().numpy()) for name, value in parts)


def _begin(run: _Run, scene: Scene | None) -> TrainingState:
    if run.config.together.first:
        clear_checkpoints(run.checkpoints)  # of other settings: they would be taken for newer ones
    quality = QUALITIES[run.config.quality]
    initial = scene if scene is not None else run.recipe.initialize(run.capture, run.priors, quality, generator(run.config.seed, -1 % 2**32, 0))
    return TrainingState(scene=replace(scene_to(initial, run.device), background=run.recipe.background))


def _run_stage(run: _Run, stage: Stage, state: TrainingState, store: SampleStore, log: MetricsLog | None) -> None:
    frames, seed = int(run.capture.train.sum()), run.config.seed
    stage = eased(stage, state.eased)[0]
    if state.steps == 0:
        _enter(run, stage, state, store)
        if state.steps == 0:  # nothing that this stage trains is in the scene
            return
        run.save(state)
    check_stage(state, stage, run.capture, run.out, run.device)

    def after_step(report: StepReport) -> None:
        if log is not None:
            log.write(_line_of(report))
        if state.bad >= run.config.patience:
            raise _Stuck(report.not_finite)
        if state.step % run.config.checkpoint_every == 0 and state.step < state.steps and not state.bad:
            run.save(state)
            check_going_on(run.out, run.device)
        run.config.progress(report)

    with store.prefetched(stage, state.stage, seed, state.step, state.steps) as batches:
        train_stage(state, stage, batches, frames, seed, after_step, run.config.together)


def _line_of(report: StepReport) -> dict[str, object]:
    """A step's line of `metrics.jsonl`."""
    return {
        "stage": report.number,
        "name": report.stage,
        "step": report.step,
        "losses": report.losses,
        "gaussians": report.counts,
        "ms": round(report.milliseconds, 2),
        "skipped": bool(report.not_finite),
    }


def _enter(run: _Run, stage: Stage, state: TrainingState, store: SampleStore) -> None:
    """Apply the stage's edits, measure the extent, plan the steps."""
    started = perf_counter()
    quality = QUALITIES[run.config.quality]
    for number, edit in enumerate(stage.enter):
        random = generator(run.config.seed, state.stage, 0, purpose=100 + number)
        state.scene = scene_to(edit(state.scene, run.capture, run.priors, quality, random), run.device)
    lengths = lengths_of(state.scene, run.capture)
    state.extent, state.pixels = lengths.extent, dict(lengths.pixels)
    if not trainable(drawn(state.scene, stage.layers), stage.rates):
        return
    length = Length.of(run.capture)
    steps = planned_steps(stage, quality, length)
    state.seconds += perf_counter() - started
    if run.config.time_budget is not None:
        later = sum(planned_steps(following, quality, length) for following in run.recipe.stages[state.stage + 1 :])
        steps = run.config.together.agreed(_fit_budget(run, stage, state, store, steps, later))
    state.steps = steps
    state.planned[stage.name] = steps


def _fit_budget(run: _Run, stage: Stage, state: TrainingState, store: SampleStore, steps: int, later: int) -> int:
    """Measure a few steps on a copy and shorten the stage to its share of what is left of the budget."""
    started = perf_counter()
    trial = TrainingState(scene=scene_to(state.scene, run.device), stage=state.stage, step=steps - 1, steps=steps)
    trial.extent, trial.pixels = state.extent, state.pixels

    def one(number: int) -> None:
        trial.step = trial.steps - 1  # at full resolution, with all late losses: the dearest step there is
        batch = store.batch(stage, state.stage, run.config.seed, trial.step + number, steps)
        train_stage(trial, replace(stage, density={}), iter([batch]), int(run.capture.train.sum()), run.config.seed)

    left = (run.config.time_budget or 0.0) - state.seconds
    fitted = steps_within(max(left, 0.0), steps, later, one)
    state.seconds += perf_counter() - started
    return fitted
