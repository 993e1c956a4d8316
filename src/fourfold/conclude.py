"""The end of a reconstruction: scores, baselines, videos, the player and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold import __version__
from fourfold.capture.capture import Capture
from fourfold.counting import counted, telling
from fourfold.evaluation import heldout, report_html
from fourfold.evaluation.advice import advice
from fourfold.evaluation.prior_sheets import masks_sheet, tracks_sheet
from fourfold.evaluation.report import capture_facts, peak_rss_bytes, scene_facts, scores_object, write_report
from fourfold.evaluation.side_view import SideScore, side_score, side_sheet
from fourfold.export.formats import export, find_format
from fourfold.export.packing import PackingError
from fourfold.export.paths import PathOptions, camera_path
from fourfold.export.pictures import draw, frame_rate
from fourfold.export.video import write_mp4
from fourfold.long_film import LongFilm, Training
from fourfold.notices import fallbacks
from fourfold.options import Clock, Options, Report, follow
from fourfold.priors.contracts import Masks
from fourfold.priors.providers import Preparation
from fourfold.recipes import find_recipe
from fourfold.recipes.recipe import QUALITIES, Recipe
from fourfold.scene.scene import Scene
from fourfold.spent import Spent
from fourfold.training.metrics_log import read_metrics
from fourfold.training.schedule import Length, planned_steps
from fourfold.training.trainer import TrainConfig, made_by, train
from fourfold.viewer.player import write_player

Regions = Mapping[tuple[int, int], NDArray[np.bool_]]


@dataclass(frozen=True)
class Job:
    """Everything about a reconstruction but its scene; of a long film `preparation` holds the keyframes."""

    root: Path
    command: str
    preparation: Preparation
    recipe: Recipe
    because: str
    options: Options
    clock: Clock
    long: LongFilm | None = None

    @property
    def capture(self) -> Capture:
        """All moments, with their cameras."""
        return self.preparation.capture if self.long is None else self.long.capture


@dataclass(frozen=True)
class Outputs:
    """Files of a run by name, relative to it, and what packing the scene into those that quantise it lost."""

    files: dict[str, str]
    lost: dict[str, PackingError]

    def and_also(self, other: Outputs) -> Outputs:
        """Both together."""
        return Outputs(self.files | other.files, self.lost | other.lost)

    def packed(self, root: Path) -> dict[str, dict[str, float]]:
        """The report's `packed` object: what was lost, and bytes."""
        return {name: {"bytes": (root / self.files[name]).stat().st_size, **asdict(error)} for name, error in self.lost.items()}


def conclude(job: Job, scene: Scene, report: Report) -> dict[str, Any]:
    """Score `scene`, compare it with the baselines, render it, and write player and report. Returns the report."""
    capture = job.capture
    report("scoring held-out frames", 0, None)
    since = Spent.now()
    regions = moving_regions_of(job.preparation) if job.long is None else job.long.regions
    with telling(report, "scoring held-out frames"):
        scores = evaluate(job, scene, regions)
    job.clock.lap("evaluation", since)
    since = Spent.now()
    baselines: dict[str, heldout.Scores] = {}
    if capture.heldout.any():
        baselines["nearest_frame"] = heldout.score(heldout.nearest_frame(capture), capture, regions)
        if job.options.baselines:
            baselines["static3d"] = train_static(job, regions, report)
    job.clock.lap("baselines", since)
    since = Spent.now()
    with telling(report, "rendering"):
        written = render_outputs(job.root, scene, capture).and_also(write_exports(job, scene, report))
    job.clock.lap("renders", since)
    report("looking from the side", 0, None)
    with telling(report, "looking from the side"):
        return write_reports(job, scene, scores, baselines, written)


def evaluate(job: Job, scene: Scene, regions: Regions) -> heldout.Scores:
    """Scores of the held-out frames, kept as PNGs under `renders/heldout`."""
    capture = job.capture
    return heldout.score(heldout.scene_renderer(scene, capture), capture, regions, job.root / "renders" / "heldout")


def moving_where_filmed(job: Job, scene: Scene) -> float | None:
    """PSNR of what moves in the training images beside the held-out ones, of a film of one camera: no measure of quality, but what is lost between
    filmed moments shows against it."""
    if job.long is not None or job.capture.views > 1:
        return None
    there = heldout.filmed_beside(job.capture)
    regions = moving_regions_of(replace(job.preparation, capture=there))
    return heldout.score(heldout.scene_renderer(scene, there), there, regions).mean["psnr_dynamic"]


def moving_regions_of(preparation: Preparation) -> Regions:
    """Where held-out images show something moving: for the regional figures only."""
    masks = preparation.priors.masks
    estimated = {} if masks is None else {v: m for v, m in enumerate(masks.mask) if m.any()}
    return heldout.moving_regions(preparation.capture, estimated)


def train_static(job: Job, regions: Regions, report: Report) -> heldout.Scores:
    """A static scene trained on the same images, scored on the same held-out frames."""
    capture, priors = job.preparation.capture, job.preparation.priors
    progress = follow(report, "training the static baseline")
    config = TrainConfig(seed=job.options.seed, quality="draft", device=job.options.device, progress=progress)
    static = train(find_recipe("splat3d"), None, capture, priors, job.root / "baselines" / "static3d", config)
    return heldout.score(heldout.scene_renderer(static, job.capture), job.capture, regions)


def may_move(masks: Masks | None) -> bool:
    """Whether the masks say that something moves, or there are none: where nothing does, what residual Gaussians look like says nothing."""
    return masks is None or any(bool((m > 0).any()) for m in masks.mask)


def judged_from_side(scene: Scene, capture: Capture, masks: Masks | None) -> SideScore | None:
    """The side score of the movers, or None where no mask shows one."""
    return side_score(scene, capture) if may_move(masks) else None


def training_steps(job: Job) -> dict[str, Any]:
    """How many steps the stages that were trained took, how many they take without a time budget, and that budget in seconds or None."""
    whole = Training(job.root, job.recipe.stages, Length.of(job.preparation.capture))
    quality, steps, planned = QUALITIES[job.options.quality], 0, 0
    for one in (whole,) if job.long is None else job.long.trainings:
        done = Counter(str(line.get("name")) for line in read_metrics(one.folder / "metrics.jsonl"))
        steps += sum(done.values())
        planned += sum(planned_steps(stage, quality, one.length) for stage in one.stages if done[stage.name])
    return {"steps": steps, "planned": planned, "time_budget_s": job.options.time_budget}


def render_outputs(root: Path, scene: Scene, capture: Capture) -> Outputs:
    """The filmed path and an orbit as MP4, side views as a picture, and the player, written below `root`."""
    files = {"scene": "scene.safetensors", "player": "player.html"}
    with ThreadPoolExecutor(1) as beside:  # the player is packed while videos are drawn
        player = beside.submit(copy_context().run, write_player, root / files["player"], scene, capture)
        files |= _render_pictures(root, scene, capture)
        return Outputs(files, {"player": player.result()})


def _render_pictures(root: Path, scene: Scene, capture: Capture) -> dict[str, str]:
    """Write the videos and the side views; their names."""
    files: dict[str, str] = {}
    for path in ("input", "orbit"):
        frames = camera_path(path, scene, capture, PathOptions())
        files[f"video_{path}"] = f"renders/{path}.mp4"
        write_mp4(root / files[f"video_{path}"], (draw(scene, view) for view in counted(frames, f"video {path}")), fps=frame_rate(capture.timestamps))
        if path == "orbit":
            files["side_views"] = "renders/side_views.png"
            shots = [draw(scene, frames[round(k * (len(frames) - 1))]) for k in (0.0, 0.25, 0.5, 0.75)]
            Image.fromarray(np.concatenate([np.concatenate(shots[:2], 1), np.concatenate(shots[2:], 1)])).save(root / files["side_views"])
    sheet = side_sheet(scene, capture)
    if sheet is not None:
        files["side"] = "renders/side.png"
        Image.fromarray(sheet).save(root / files["side"])
    return files


def write_exports(job: Job, scene: Scene, report: Report) -> Outputs:
    """Write the formats that were asked for."""
    written = Outputs({}, {})
    for name in job.options.exports:
        written.files[name] = f"exports/{find_format(name).default_name}"
        report(f"writing {name}", 0, None)
        lost = export(name, scene, job.capture, job.root / written.files[name])
        if lost is not None:
            written.lost[name] = lost
    return written


def write_reports(job: Job, scene: Scene, scores: heldout.Scores, baselines: dict[str, heldout.Scores], outputs: Outputs) -> dict[str, Any]:
    """Write `report.json` and `report.html`."""
    preparation, root = job.preparation, job.root
    side = judged_from_side(scene, job.capture, preparation.priors.masks)
    made = made_by(preparation.priors) if job.long is None else job.long.told
    told = ("cameras", "flow", "masks", "depth", "tracks2d", "tracks3d", "clouds")
    priors = {name: {"provider": p.provider, "notes": p.notes, "figures": p.figures} for name, p in made.items() if name in told}
    facts = capture_facts(job.capture)
    if job.long is not None:
        facts["notes"].append(job.long.sentence)
    parts = {
        "version": __version__,
        "command": job.command,
        "recipe": job.recipe.name,
        "recipe_because": job.because,
        "quality": job.options.quality,
        "seed": job.options.seed,
        "capture": facts,
        "metrics": {
            "heldout": scores_object(scores),
            "psnr_dynamic_trained_on": moving_where_filmed(job, scene),
            "heldout_frames": {"this scene": scores.frames, **{name: s.frames for name, s in baselines.items()}},
        },
        "baselines": {name: scores_object(baselines.get(name)) for name in ("static3d", "nearest_frame")},
        "training": training_steps(job),
        "side": None if side is None else asdict(side),
        "timing": {"total_s": job.clock.total, "stages": job.clock.stages, "cpu": job.clock.cpu},
        "scene": scene_facts(scene, root / "scene.safetensors"),
        "peak_rss_bytes": peak_rss_bytes(),
        "priors": priors,
        "outputs": outputs.files,
        "packed": outputs.packed(root),
        "fallbacks": fallbacks(),
        "advice": [],
    }
    parts["advice"] = advice(parts, preparation.priors.advice)
    written = write_report(root / "report.json", parts)
    pictures = {"heldout": root / "renders" / "heldout", "From the side": root / outputs.files["side_views"]}
    if "side" in outputs.files:
        pictures[report_html.SIDE] = root / outputs.files["side"]
    pictures |= {
        "Masks": masks_sheet(preparation, root / "renders" / "masks.png"),
        "Tracks": tracks_sheet(preparation, root / "renders" / "tracks.png"),
    }
    report_html.write_html(root / "report.html", written, job.capture, {k: v for k, v in pictures.items() if v is not None})
    return written
