"""How fast a whole training step is, where its time goes, and how time and memory grow (`fourfold bench training`)."""

from __future__ import annotations

import math
import multiprocessing
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from fourfold.losses.base import Sample, Step
from fourfold.recipes.recipe import Stage
from fourfold.render.api import rasterize
from fourfold.training.batch import SampleStore, Source
from fourfold.training.benchmark_case import Case, CaseSize, make_case
from fourfold.training.loop import active, asked_of, gather_growth, render_step, rows_seen, train_stage
from fourfold.training.optimizer import gradients_finite, update, watch
from fourfold.training.safety import keep_sane
from fourfold.training.state import TrainingState, drawn, lengths_of, scene_to
from fourfold.training.trainer import one_torch_thread

STANDARD = CaseSize()
GROWTH = (
    STANDARD,
    replace(STANDARD, gaussians=60_000),
    replace(STANDARD, gaussians=120_000),
    replace(STANDARD, width=640, height=360),
    replace(STANDARD, frames=600),
)
"""What the growth is shown by: twice and four times the Gaussians, four times the pixels, ten times the frames."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class BenchNumbers:
    """How long to measure.

    Attributes:
        steps: of every measurement, after `warmup` others.
        psnr: the held-out PSNR in dB to be reached by a training of at most `most_steps`, told to `check_every` steps.
    """

    steps: int = 40
    warmup: int = 10
    psnr: float = 27.9
    most_steps: int = 400
    check_every: int = 10


@dataclass
class Clock:
    """Milliseconds by name, one entry per step."""

    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block as `name`."""
        started = perf_counter()
        yield
        self.taken[name].append((perf_counter() - started) * 1e3)

    def medians(self) -> dict[str, float]:
        """The median of every name, milliseconds."""
        return {name: median(values) for name, values in self.taken.items()}


def bench_training(stage: Stage, numbers: BenchNumbers = BenchNumbers(), growth: Sequence[CaseSize] = GROWTH) -> dict[str, Any]:
    """Measure the steps of `stage` on generated clips, with all its losses switched on all the time.

    Returns:
        {"case", "threads", "stages": [{"stage", "ms"}], "step_ms", "raster_ms", "rest_over_raster", "steps_per_second", "to_psnr":
        {"psnr", "steps", "seconds"} (null where it was not reached), "growth": [{"case", "gaussians", "width", "height", "frames",
        "step_ms", "peak_memory_mb"}]}. Every growth case runs in a process of its own; its memory is the private one, without the
        memory-mapped frames, which the system may drop at any time (null where the system does not tell).
    """
    stage = replace(stage, terms=tuple(replace(term, begin=0.0, end=1.0) for term in stage.terms))
    with one_torch_thread(CPU), tempfile.TemporaryDirectory(prefix="fourfold-bench-") as folder:
        case = make_case(STANDARD, Path(folder))
        stages, step = _stage_table(case, stage, numbers)
        result = {"case": STANDARD.name, "threads": {"torch": torch.get_num_threads(), "kernel": _kernel_threads()}, "stages": stages}
        raster = sum(row["ms"] for row in stages if row["stage"].startswith("raster"))
        result |= {"step_ms": round(step, 2), "raster_ms": round(raster, 2), "rest_over_raster": round((step - raster) / raster, 2)}
        result |= {"steps_per_second": round(1e3 / step, 1), "to_psnr": _to_psnr(case, stage, numbers)}
    return result | {"growth": [_in_own_process(size, stage, numbers) for size in growth]}


def _kernel_threads() -> int | None:
    from fourfold.render import cpu

    return cpu.get_threads() if cpu.available() else None


def _state(case: Case, stage: Stage, steps: int) -> TrainingState:
    lengths = lengths_of(case.start, case.capture)
    return TrainingState(scene=scene_to(case.start, CPU), steps=steps, extent=lengths.extent, pixels=dict(lengths.pixels))


def _store(case: Case) -> SampleStore:
    return SampleStore(Source(case.capture, case.priors, CPU, case.start.background, case.start.near))


def _stage_table(case: Case, stage: Stage, numbers: BenchNumbers) -> tuple[list[dict[str, Any]], float]:
    """Rows of the table, and the milliseconds of a step as the training loop does it, both as medians."""
    steps = numbers.warmup + numbers.steps
    store, state, clock = _store(case), _state(case, stage, steps), Clock()
    for step in range(steps):
        with clock("batch, on a second thread"):
            batch = store.batch(stage, 0, 0, step, steps)
        _timed_step(state, stage, batch, clock)
        state.step += 1
        if step < numbers.warmup:
            clock.taken.clear()
    ms = clock.medians()
    ms["motion and channels"] = ms.pop("_render") - ms["raster forward"]
    ms["gradients beside the raster"] = ms.pop("_backward") - ms["raster backward"]
    rows = [{"stage": name, "ms": round(value, 2)} for name, value in sorted(ms.items(), key=lambda item: -item[1])]
    return rows, _step_milliseconds(case, stage, numbers)


def _timed_step(state: TrainingState, stage: Stage, batch: list[Sample], clock: Clock) -> None:
    """The step of `loop.train_stage` in pieces. The rasterizer is timed by drawing the same Gaussians once more."""
    scene = drawn(state.scene, stage.layers)
    with clock("preparing parameters"):
        watch(state.scene, stage.rates)
    with clock("_render"):
        step = render_step(scene, batch, stage.terms, state)
    weighted = []
    for term in stage.terms:
        if active(term, step.progress):
            with clock(f"loss {term.name}"):
                weighted.append(term.weight * term.loss(step))
    total = torch.stack(weighted).sum()
    with clock("_backward"):
        total.backward()
    _time_raster(step, stage, clock)
    with clock("looking for bad gradients"):
        gradients_finite(scene)
    with clock("optimiser"):
        update(scene, state.moments, stage.rates, rows_seen(scene, step.renders), step.progress, state.lengths)
    with clock("bounds and growth statistics"):
        keep_sane(scene, stage.rates, state.step, state.extent, len(batch))
        gather_growth(state, stage, [step])


def _time_raster(step: Step, stage: Stage, clock: Clock) -> None:
    """Draw the step's first image again, with as many channels, values at the same points and all gradients."""
    gaussians, drawn_before = step.gaussians[0].detach(), step.renders[0]
    leaves = [
        value.requires_grad_() for value in (gaussians.means, gaussians.quat_wxyz, gaussians.log_scale, gaussians.opacity_logit, gaussians.color)
    ]
    width = 0 if drawn_before.channels is None else drawn_before.channels.shape[2]
    channels = gaussians.means.new_ones(len(gaussians), width).requires_grad_() if width else None
    asked = asked_of(stage.terms, step, 0).points
    points = None if asked is None else replace(asked, values=asked.values.detach().requires_grad_())
    with clock("raster forward"):
        render = rasterize(gaussians, step.samples[0].camera, channels=channels, points=points)
    images = [image for image in (render.color, render.alpha, render.depth, render.channels, render.points) if image is not None]
    cotangents = [torch.full_like(image, 1e-3) for image in images]
    inputs = [*leaves, *([] if channels is None else [channels]), *([] if points is None else [points.values])]
    with clock("raster backward"):
        torch.autograd.grad(images, inputs, cotangents)


def _step_milliseconds(case: Case, stage: Stage, numbers: BenchNumbers, memory: list[float] | None = None) -> float:
    """Median milliseconds from one step to the next in the training loop itself, with prefetching; `memory` gathers megabytes."""
    steps = numbers.warmup + numbers.steps
    state, moments = _state(case, stage, steps), [perf_counter()]

    def after_step(report: object) -> None:
        moments.append(perf_counter())
        if memory is not None:
            memory.append(private_megabytes())

    with _store(case).prefetched(stage, 0, 0, 0, steps) as batches:
        train_stage(state, stage, batches, int(case.capture.train.sum()), 0, after_step)
    return median(1e3 * (later - earlier) for earlier, later in zip(moments[numbers.warmup :], moments[numbers.warmup + 1 :], strict=False))


def _to_psnr(case: Case, stage: Stage, numbers: BenchNumbers) -> dict[str, Any]:
    """Steps and seconds of the shortest training, its schedule gone through to the end, after which the held-out images are as good as asked."""
    first = best = heldout_psnr(case, _state(case, stage, 1))
    steps: int | None = None
    seconds: float | None = None
    too_short, enough = 0, numbers.most_steps // numbers.check_every + 1  # in units of `check_every` steps
    while enough - too_short > 1:
        tried = (too_short + enough) // 2
        reached, taken = _trained(case, stage, tried * numbers.check_every)
        best = max(best, reached)
        if reached >= numbers.psnr:
            enough, steps, seconds = tried, tried * numbers.check_every, round(taken, 2)
        else:
            too_short = tried
    return {"psnr": numbers.psnr, "at_start": round(first, 2), "reached": round(best, 2), "steps": steps, "seconds": seconds}


def _trained(case: Case, stage: Stage, steps: int) -> tuple[float, float]:
    """Held-out PSNR in dB after a training of so many steps, and its seconds."""
    state, store = _state(case, stage, steps), _store(case)
    started = perf_counter()
    with store.prefetched(stage, 0, 0, 0, steps) as batches:
        train_stage(state, stage, batches, int(case.capture.train.sum()), 0)
    seconds = perf_counter() - started
    return heldout_psnr(case, state), seconds


@torch.no_grad()
def heldout_psnr(case: Case, state: TrainingState, most: int = 8) -> float:
    """Mean PSNR in dB over up to `most` held-out images."""
    values = []
    for view, index in case.capture.heldout_frames()[:most]:
        camera, time = case.capture.camera_at(view, index), float(case.capture.timestamps[index])
        image = rasterize(state.scene.at(time), camera, background=torch.tensor(state.scene.background)).color
        truth = torch.from_numpy(case.capture.image(view, index).copy()).float() / 255
        values.append(-10 * math.log10(max(float((image - truth).square().mean()), 1e-12)))
    return sum(values) / max(len(values), 1)


def _in_own_process(size: CaseSize, stage: Stage, numbers: BenchNumbers) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_grown, size, stage, numbers, torch.get_num_threads()).result()


def _grown(size: CaseSize, stage: Stage, numbers: BenchNumbers, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="fourfold-bench-") as folder:
        memory: list[float] = []
        # as many steps as a long clip has images to fill what is kept of them
        steps = replace(numbers, steps=max(numbers.steps, min(size.frames, 120)))
        step = _step_milliseconds(make_case(size, Path(folder)), stage, steps, memory)
    told = round(max(memory)) if max(memory) > 0 else None
    found = {"case": size.name, "gaussians": size.gaussians, "width": size.width, "height": size.height, "frames": size.frames}
    return found | {"step_ms": round(step, 2), "peak_memory_mb": told}


def private_megabytes() -> float:
    """Memory of this process that belongs to no file, megabytes; 0 where /proc does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    return sum(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("RssAnon")) / 1024
