"""How long the whole job takes, stage by stage, in units that hold on a busy machine and compare between machines (`fourfold bench pipeline`).

The unit is one pass of the rasterizer, forward and backward, on one thread in the same run: seconds of processors over its seconds. Captures are
generated, so that nothing has to be fetched, and every case runs in a process of its own, as people start it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fourfold.benchmarking.measure import commit, device
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.errors import FourfoldError
from fourfold.evaluation.bench_rasterizer import SceneSpec, build
from fourfold.files import read_object
from fourfold.render import cpu
from fourfold.render.api import rasterize

UNIT = SceneSpec("synth", 20_000, 256, 256)
PASSES = 20  # of which the fastest counts


@dataclass(frozen=True)
class JobCase:
    """One capture that is reconstructed.

    Attributes:
        name: in the table; kind: of the generated scene.
        size: width and height, pixels; frames: moments.
        bare: images alone, as a phone films, without cameras.
        quality: how much work.
    """

    name: str
    kind: str
    size: tuple[int, int]
    frames: int
    bare: bool
    quality: str = "draft"


CASES = (
    JobCase("clip", "casual", (256, 144), 24, bare=True),
    JobCase("rig", "dense_rig", (160, 90), 8, bare=False),
)
"""One moving camera as the duck was filmed, and a rig of calibrated cameras around people as basketball was; small enough for a minute each."""


def bench_whole_job(cases: Sequence[JobCase] = CASES, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Reconstruct every case and measure its stages.

    Returns:
        {"commit", "device", "raster_ms", "cases": {name: {"psnr", "wall_s", "cpu_s", "cpu_in_passes", "stages": [{"stage", "wall_s", "cpu_s",
        "cpu_in_passes"}]}}}, stages in their order.

    Raises:
        FourfoldError: a case fails.
    """
    raster, found = raster_seconds(), dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="fourfold-bench-") as folder:
        for case in cases:
            say(case.name)
            root = Path(folder) / case.name
            options = SyntheticOptions(frames=case.frames, width=case.size[0], height=case.size[1], bare=case.bare)
            generate(case.kind, root / "capture", options=options)
            _reconstruct(case, root)
            raster = min(raster, raster_seconds())
            found[case.name] = read_object(root / "run" / "report.json")
    rows = {name: row_of(report, raster) for name, report in found.items()}
    return {"commit": commit(), "device": device(), "raster_ms": round(1e3 * raster, 3), "cases": rows}


def raster_seconds(passes: int = PASSES) -> float:
    """Seconds of the processor that one pass of the rasterizer takes on one thread, forward and backward: the fastest of so many."""
    scene = build(UNIT)
    assert scene is not None
    before, best = cpu.get_threads() if cpu.available() else 0, float("inf")
    if before:
        cpu.set_threads(1)
    try:
        for _ in range(passes):
            since = time.process_time()
            rasterize(scene.gaussians, scene.camera, background=scene.background).color.sum().backward()
            best = min(best, time.process_time() - since)
    finally:
        if before:
            cpu.set_threads(before)
    return best


def _reconstruct(case: JobCase, root: Path) -> None:
    words = [sys.executable, "-m", "fourfold", "reconstruct", str(root / "capture"), "-o", str(root / "run"), "--quality", case.quality, "--json"]
    threads = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=threads)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise FourfoldError(f"the benchmark's {case.name} could not be reconstructed ({last}): run `{' '.join(words[1:])}` to see more")


def row_of(report: dict[str, Any], raster: float) -> dict[str, Any]:
    """Figures of one case from its report, and seconds of one pass of the rasterizer."""
    wall, taken = report["timing"]["stages"], report["timing"]["cpu"]
    stages = [{"stage": name, **_figures(wall[name], taken[name], raster)} for name in wall]
    whole = _figures(report["timing"]["total_s"], sum(taken.values()), raster)
    return {"psnr": report["metrics"]["heldout"].get("psnr"), **whole, "stages": stages}


def _figures(wall: float, taken: float, raster: float) -> dict[str, float]:
    return {"wall_s": round(wall, 2), "cpu_s": round(taken, 2), "cpu_in_passes": round(taken / raster, 1)}


def remembered(history: Path, machine: str) -> dict[str, Any] | None:
    """The newest row of `history` that the same machine wrote, None without one."""
    lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
    try:
        rows = [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise FourfoldError(f"{history} is not one JSON object a line ({error}): mend it or give another file") from error
    return next((row for row in reversed(rows) if row["device"] == machine), None)


def remember(history: Path, row: dict[str, Any]) -> None:
    """Add a row to `history`."""
    with history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def table(row: dict[str, Any], before: dict[str, Any] | None) -> str:
    """The ratios to the rasterizer's pass as text, and what each is of the same stage `before`."""
    lines = [f"{row['commit']}, {row['device']}; one pass of the rasterizer takes {row['raster_ms']:.2f} ms of a processor"]
    lines.append("" if before is None else f"compared with {before['commit']} on the same machine, {before['raster_ms']:.2f} ms a pass")
    for name, case in row["cases"].items():
        old = {} if before is None else before["cases"].get(name, {})
        earlier = {one["stage"]: one["cpu_in_passes"] for one in old.get("stages", ())} | {"whole": old.get("cpu_in_passes")}
        lines.append(f"{name + ', stage':<36}{'seconds':>9}{'of processors':>15}{'in passes':>11}{'of before':>11}")
        for stage in (*case["stages"], {"stage": "whole", **case}):
            then = earlier.get(stage["stage"])
            share = f"{stage['cpu_in_passes'] / then:.2f}" if then else ""
            lines.append(f"{stage['stage']:<36}{stage['wall_s']:>9.1f}{stage['cpu_s']:>15.1f}{stage['cpu_in_passes']:>11.0f}{share:>11}")
    return "\n".join(line for line in lines if line)
