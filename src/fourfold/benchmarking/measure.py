"""One benchmark run: reconstruct in a process of its own, measure by a protocol, and keep the row."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fourfold import __version__
from fourfold.benchmarking.hidden import with_heldout_cameras
from fourfold.benchmarking.keypoint_scores import with_keypoints
from fourfold.benchmarking.scene_tracks import track_figures
from fourfold.errors import FourfoldError
from fourfold.evaluation.protocols.run import score_run
from fourfold.files import write_json
from fourfold.options import Options, command_line
from fourfold.pipeline import Run

KEYS = (
    *("psnr", "ssim", "lpips", "psnr_dynamic", "psnr_static", "psnr_foreground", "mask_iou"),
    *("epe_3d", "delta_3d_05", "delta_3d_10", "aj", "delta_avg", "oa", "clip_i", "clip_t"),
)
"""Metric keys that every row has; null where a figure cannot be had."""

MADE = "bench_made.json"
PATIENCE = 4.0  # a run may take this many times its budget (and ten minutes more) before it is given up


@dataclass(frozen=True)
class Task:
    """One run: `capture` with `options` into `folder`, measured by `protocol`."""

    capture: Path
    folder: Path
    options: Options
    protocol: str

    @property
    def command(self) -> str:
        """The command that makes this run."""
        return command_line([self.capture], self.folder, self.options)


def measured(task: Task) -> dict[str, Any]:
    """The row of `task`: made where it is not kept in the run's folder yet. What fails becomes a row with `error` and empty figures."""
    kept = task.folder / f"bench_{task.protocol}.json"
    if kept.exists():
        row = json.loads(kept.read_text())
        if row.get("command") == task.command:
            return row
    empty = {"metrics": dict.fromkeys(KEYS), "seconds": None, "gaussians": None, "command": task.command, "run": str(task.folder)}
    try:
        _reconstruct(task)
        row = {**empty, **_figures(task)}
    except FourfoldError as error:
        return {**empty, "error": str(error)}
    write_json(kept, row)
    return row


def _reconstruct(task: Task) -> None:
    """Run the command unless its report is there."""
    if (task.folder / "report.json").exists() and (task.folder / "scene.safetensors").exists():
        return
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    limit = None if task.options.time_budget is None else PATIENCE * task.options.time_budget + 600
    words = [sys.executable, "-m", "fourfold", *_words(task), "--json"]
    log = task.folder.with_name(task.folder.name + ".log")
    made = {"device": device(), "commit": commit()}  # before the run: the tree may move on meanwhile
    with log.open("w") as out:
        try:
            done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=out, timeout=limit, check=False)
        except subprocess.TimeoutExpired as error:
            raise FourfoldError(f"{task.command} took more than {limit:.0f} s and was stopped; the same benchmark continues it") from error
    if done.returncode:
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise FourfoldError(f"{task.command} failed with exit code {done.returncode}: {said[-1] if said else 'it said nothing'}")
    write_json(task.folder / MADE, made)


def _words(task: Task) -> list[str]:
    import shlex

    return shlex.split(task.command)[1:]


def _figures(task: Task) -> dict[str, Any]:
    run = Run(task.folder)
    outcome = score_run(task.protocol, run.scene, with_heldout_cameras(run.capture, task.capture), task.folder)
    outcome = with_keypoints(outcome, task.protocol, run.scene, run.capture)
    tracks = track_figures(run.scene, run.capture, task.capture)
    report = run.report
    facts = report["scene"]
    return {
        "metrics": {**dict.fromkeys(KEYS), **outcome.metrics, **tracks.figures},
        "variants": outcome.variants | tracks.variants,
        "unavailable": outcome.unavailable,
        "size": list(outcome.size),
        "as_published": outcome.as_published,
        "images": len(outcome.frames),
        "seconds": round(report["timing"]["total_s"], 1),
        "gaussians": facts["gaussians_static"] + facts["gaussians_dynamic"],
        "megabytes": round(facts["bytes"] / 1e6, 2),
        "peak_memory_megabytes": round(report["peak_rss_bytes"] / 1e6),
        "recipe_used": report["recipe"],
        "quality": task.options.quality,
        "budget_seconds": task.options.time_budget,
        "holdout": task.options.holdout,
        **_made(task.folder),
    }


def _made(folder: Path) -> dict[str, Any]:
    """The device and the commit a run was made with; unknown for a run that this benchmark did not make."""
    file = folder / MADE
    return json.loads(file.read_text()) if file.exists() else {"device": None, "commit": None}


def commit() -> str:
    """The commit of the source tree that runs, with a "+" where files of the package differ from it, or the version where there is no git."""
    here = Path(__file__).parents[1]
    if shutil.which("git") is None:
        return __version__
    head, changes = (
        subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "--", "."))
    )
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "") if head.returncode == 0 else __version__


@cache
def device() -> str:
    """The processor's and the graphics card's names."""
    import os
    import platform

    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} core{'' if cores == 1 else 's'}"
