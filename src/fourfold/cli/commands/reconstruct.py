"""Turn video into a 4D scene: the whole job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from fourfold.cli.arguments import Out, seconds
from fourfold.cli.frame import Result
from fourfold.cli.reading import ReadingCommand

if TYPE_CHECKING:
    from fourfold.pipeline import Run


@dataclass(frozen=True, kw_only=True)
class Reconstruct(ReadingCommand):
    """Turn one clip, several synchronised videos, an image folder or a dataset into a moving 3D scene, with a report and a player.

    The same command again continues where it was.
    """

    paths: Positional[tuple[Path, ...]]
    """A video, several videos, an image folder or a dataset folder."""

    out: Out
    """The run's folder."""

    recipe: str = "auto"
    """Which system; "auto" chooses by what the capture is and says why."""

    quality: Literal["draft", "normal", "best", "full"] = "normal"
    """How much work to do."""

    time_budget: str | None = None
    """How long the whole job may take, for example 10m."""

    holdout: str | None = None
    """Images that measure the result and are never trained on: every:8, moments:3, cameras:NAME,NAME, standing or none. With /train:2 behind it two
    of the others train."""

    seed: int = 0
    """Seed of everything random."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""

    baselines: bool = True
    """Also train a static scene on the same images, for comparison; --no-baselines leaves it out."""

    priors: Path | None = None
    """Folder with priors that you supply, in a public layout: tracks, depth, masks or cameras."""

    synchronise: Literal["auto", "audio", "motion", "none"] = "auto"
    """How to find when several videos began; none if they began together."""

    offsets: str | None = None
    """Seconds by which each of several videos began after the first one, for example 0,0.35."""

    export: str | None = None
    """Formats in which the scene is also written into OUT/exports, for example 4dgs or 4dgs,ply (`fourfold export --help` lists them)."""

    all_shots: bool = False
    """Reconstruct each shot of a film that cuts, in OUT/shot_1, OUT/shot_2, ..."""

    def run(self) -> Result:
        from fourfold.cli.progress import progress
        from fourfold.options import Options
        from fourfold.pipeline import reconstruct, reconstruct_shots

        budget = None if self.time_budget is None else seconds(self.time_budget)
        supplied = None if self.priors is None else str(self.priors)
        common = (self.recipe, self.quality, budget, self.holdout, self.seed, self.device, self.baselines)
        options = Options(*common, priors=supplied, synchronise=self.synchronise, offsets=self.offsets, export=self.export, **self.part())
        with progress() as report:
            if self.all_shots:
                return Result({"shots": [run_value(run) for run in reconstruct_shots(self.paths, self.out, options=options, report=report)]})
            return Result(run_value(reconstruct(self.paths, self.out, options=options, report=report)))

    def show(self, result: Result) -> None:
        shots = result.value.get("shots")
        for value in [result.value] if shots is None else shots:
            if shots is not None:
                print(f"{value['run'].name}:")
            show_run(value)


def run_value(run: Run) -> dict[str, Any]:
    """What a finished run tells: where it lies, its page, its video, and its report."""
    return {"run": run.root, "report": run.root / "report.html", "video": run.root / "renders" / "orbit.mp4", **run.report}


def show_run(value: dict) -> None:
    """Print the verdict of a run: its figures beside the baselines, what is weak, and where the files are."""
    heldout, static, nearest = value["metrics"]["heldout"], value["baselines"]["static3d"], value["baselines"]["nearest_frame"]
    print(f"{value['capture']['name']}: {value['recipe']}, {value['timing']['total_s']:.0f} s")
    for name, row in (("this scene", heldout), ("static 3D", static), ("nearest frame", nearest)):
        figures = "  ".join(f"{k} {row[k]:.2f}" for k in ("psnr", "psnr_dynamic", "psnr_static", "ssim") if row.get(k) is not None)
        print(f"  {name:<14} {figures or 'not measured'}")
    for sentence in dict.fromkeys([*value["advice"], *value["capture"].get("notes", ()), *value["fallbacks"]]):
        print(f"  - {sentence}")
    root = value["run"]
    print(f"report  {root}/report.html\nplayer  {root}/player.html\nvideo   {value['video']}")
