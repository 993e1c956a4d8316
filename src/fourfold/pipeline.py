"""`reconstruct`: the stages in order. Everything is kept in the run's folder, and the same call again continues."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import capture_key, prepare_capture
from fourfold.conclude import Job, conclude
from fourfold.errors import FourfoldError
from fourfold.files import write_json
from fourfold.options import Clock, Options, Report, follow, silent
from fourfold.priors.providers import Preparation, prepare_priors
from fourfold.recipes import all_recipes, find_recipe
from fourfold.recipes.auto import choose_recipe
from fourfold.recipes.recipe import QUALITIES, Recipe
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.scene import Scene
from fourfold.training.trainer import TrainConfig, train


@dataclass
class Run:
    """A run's folder: `config.json`, `capture/`, `priors/`, `checkpoints/`, `scene.safetensors`, `report.json`, `report.html`, ..."""

    root: Path

    @cached_property
    def capture(self) -> Capture:
        """The prepared capture with its cameras."""
        capture = Capture.load(self.root / "capture")
        return prepare_priors(capture, (), self.root / "priors").capture

    @cached_property
    def scene(self) -> Scene:
        """The trained scene."""
        return load_scene(self.root / "scene.safetensors")

    @cached_property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        import json

        try:
            return json.loads((self.root / "report.json").read_text())
        except FileNotFoundError as error:
            raise FourfoldError(f"{self.root} holds no report: run `fourfold reconstruct` to its end first") from error


def reconstruct(
    paths: str | Path | Sequence[str | Path], out: str | Path, *, options: Options | None = None, report: Report = silent, **settings: Any
) -> Run:
    """Video of a moving scene becomes a 4D Gaussian scene.

    Args:
        paths: a video, several videos, an image folder, or a data set's folder.
        out: the run's folder; the same call again continues what is there.
        options: settings as one object; or give its fields as keywords: `recipe="monofusion"`.
        report: is told how far the job is.

    Raises:
        FourfoldError: the input cannot be used, with what, where and what to do.
    """
    chosen = options or Options(**settings)
    if chosen.quality not in QUALITIES:
        raise FourfoldError(f"there is no quality {chosen.quality!r}: choose one of {', '.join(QUALITIES)}")
    sources = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    root, clock = Path(out), Clock()
    capture = prepare(sources, root, chosen, report, clock)
    recipe, because = pick_recipe(capture, root, chosen)
    report(f"recipe {recipe.name}: {because}", 0, None)
    preparation = estimate(capture, recipe, root, report, clock)
    scene = optimise(preparation, recipe, root, chosen, report, clock)
    conclude(Job(root, preparation, recipe, because, chosen, clock), scene, report)
    return Run(root)


def prepare(sources: Sequence[Path], root: Path, options: Options, report: Report, clock: Clock) -> Capture:
    """Stage 1: decode, undistort and keep the images under `root/capture`."""
    since = time.perf_counter()
    pixels = QUALITIES[options.quality].pixels
    key = capture_key(sources, pixels=pixels, holdout=options.holdout)
    config = {"capture_key": key, "sources": [str(s) for s in sources], "options": asdict(options), "command": " ".join(sys.argv)}
    claim(root, config)
    report("reading the images", 0, None)
    capture = prepare_capture(sources, root / "capture", pixels=pixels, holdout=options.holdout)
    clock.lap("capture", since)
    return capture


def claim(root: Path, config: dict[str, Any]) -> None:
    """Make `root` this run's folder. FourfoldError if it holds another capture's run or something else."""
    import json

    file = root / "config.json"
    if file.exists():
        before = json.loads(file.read_text())
        if before["capture_key"] != config["capture_key"]:
            raise FourfoldError(
                f"{root} holds a run of {', '.join(before['sources'])} with other settings: choose another output folder or delete it"
            )
    elif root.exists() and (not root.is_dir() or any(p.name != "capture" for p in root.iterdir())):
        raise FourfoldError(f"{root} exists and is not a run of fourfold: choose another output folder")
    write_json(file, config)


def pick_recipe(capture: Capture, root: Path, options: Options) -> tuple[Recipe, str]:
    """The asked recipe, or the one that suits the capture (for which its cameras must be known)."""
    if options.recipe != "auto":
        return find_recipe(options.recipe), "as asked"
    return choose_recipe(prepare_priors(capture, (), root / "priors").capture, all_recipes())


def estimate(capture: Capture, recipe: Recipe, root: Path, report: Report, clock: Clock) -> Preparation:
    """Stage 2: everything the recipe wants to know beforehand, under `root/priors`."""
    preparation = prepare_priors(capture, recipe.priors, root / "priors", lambda what: report(f"estimating {what}", 0, None))
    for name, seconds in preparation.seconds.items():
        clock.stages[f"priors: {name}"] = seconds
    return preparation


def optimise(preparation: Preparation, recipe: Recipe, root: Path, options: Options, report: Report, clock: Clock) -> Scene:
    """Stages 3 and 4: initialise and train; leaves `root/scene.safetensors`."""
    since = time.perf_counter()
    left = None if options.time_budget is None else max(20.0, 0.85 * options.time_budget - clock.total)
    config = TrainConfig(options.seed, options.quality, left, options.device, progress=follow(report))
    scene = train(recipe, None, preparation.capture, preparation.priors, root, config)
    save_scene(scene, root / "scene.safetensors")
    clock.lap("training", since)
    return scene
