"""Whether two processes that train together end where one process with both batches ends: parameters after 200 steps.

    python benchmarks/train_together.py --steps 200

Trains the recipe's own stages on a generated clip with cameras: in one process with the joined batch, and in two that exchange by gloo, with the same
seed. Prints the largest relative difference (norm of the difference over the norm) of any parameter, whether both processes hold the same
bits, and the seconds of a step for one process alone, one with the joined batch, and two together. The one process takes the two
batches in turn, as gradients are summed between processes. Rounding grows in training: `at_once` renders both batches at once, which sums in
another order, and `by_rounding` starts with all colours one rounding step larger. Exit code 1 above 1e-4.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.priors.contracts import Priors
from fourfold.priors.providers import prepare_priors
from fourfold.recipes import find_recipe
from fourfold.recipes.recipe import Initializer, Quality
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.scene import Scene
from fourfold.training.metrics_log import read_metrics
from fourfold.training.together import ALONE, Alone, InTurn, Share, Together, from_environment
from fourfold.training.trainer import TrainConfig, train


class Both(Alone):
    """One process that draws the batches of two and renders them at once: other sums of the same numbers."""

    share = Share((0, 1), 2)


@dataclass(frozen=True)
class Nudged:
    """The scene of another start with the colours of every Gaussian one rounding step larger."""

    start: Initializer

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        scene = self.start(capture, priors, quality, random)
        for layer in scene.layers:
            layer.splats["color_logit"] = torch.nextafter(layer.splats["color_logit"], torch.tensor(torch.inf))
        return scene


def run(folder: Path, out: Path, name: str, steps: int, together: Together, nudged: bool = False) -> None:
    """Train every stage of the recipe for its part of `steps` and keep the scene."""
    recipe = find_recipe(name)
    recipe = replace(recipe, initialize=Nudged(recipe.initialize)) if nudged else recipe
    each = steps // len(recipe.stages)
    stages = tuple(replace(stage, steps=each, per_frame=0.0) for stage in recipe.stages)
    prepared = prepare_priors(Capture.load(folder / "clip"), recipe.priors, folder / "priors")
    config = TrainConfig(seed=1, quality="normal", device="cpu", together=together)
    scene = train(replace(recipe, stages=stages), None, prepared.capture, prepared.priors, out, config)
    save_scene(scene, out / f"scene_{together.share.mine[0]}.safetensors")


def two(arguments: list[str]) -> None:
    """Run this program twice, to train together."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    command = [sys.executable, __file__, *arguments]
    for process in [subprocess.Popen(command, env=os.environ | place | {"RANK": str(rank)}) for rank in range(2)]:
        if process.wait():
            raise SystemExit("one of the two failed")


def compare(one: Scene, other: Scene) -> dict[str, float]:
    """Relative difference of every trained tensor, largest first."""
    found = {}
    for a, b in zip(one.layers, other.layers, strict=True):
        for group, theirs in ((a.splats, b.splats), (a.shared, b.shared)):
            for name, value in group.items():
                if value.is_floating_point() and value.numel():
                    found[f"{a.name}.{name}"] = float((value - theirs[name]).norm() / value.norm().clamp_min(1e-12))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def milliseconds(out: Path) -> float:
    """Median time of a step."""
    return round(median(line["ms"] for line in read_metrics(out / "metrics.jsonl")), 1)


def main() -> None:
    """Compare; exit code 1 above 1e-4."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="shape_of_motion")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.folder is not None:
        with from_environment() as together:
            run(chosen.folder, chosen.folder / "two", chosen.recipe, chosen.steps, together)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate("casual", folder / "clip", seed=0, options=SyntheticOptions(frames=12, width=96, height=64, supersample=1))
        run(folder, folder / "alone", chosen.recipe, chosen.steps, ALONE)
        run(folder, folder / "one", chosen.recipe, chosen.steps, InTurn(2))
        run(folder, folder / "at_once", chosen.recipe, chosen.steps, Both())
        run(folder, folder / "nudged", chosen.recipe, chosen.steps, InTurn(2), nudged=True)
        two(["--recipe", chosen.recipe, "--steps", str(chosen.steps), "--folder", str(folder)])
        one, first, second = (load_scene(folder / part) for part in ("one/scene_0.safetensors", "two/scene_0.safetensors", "two/scene_1.safetensors"))
        found = compare(one, first)
        at_once, rounding = (compare(one, load_scene(folder / name / "scene_0.safetensors")) for name in ("at_once", "nudged"))
        step = {name: milliseconds(folder / name) for name in ("alone", "one", "two")}
        worst = dict(list(found.items())[:3])
        rows = {layer.name: len(layer) for layer in one.layers}
        same = not any(compare(first, second).values())
        print(
            json.dumps(
                {
                    "recipe": chosen.recipe,
                    "steps": chosen.steps,
                    "gaussians": rows,
                    "largest": worst,
                    "at_once": dict(list(at_once.items())[:1]),
                    "by_rounding": dict(list(rounding.items())[:1]),
                    "same_bits": same,
                    "step_ms": step,
                },
                indent=2,
            )
        )
        raise SystemExit(int(not same or max(found.values()) > 1e-4))


if __name__ == "__main__":
    main()
