"""Say what a video, a folder of images or a dataset holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.frame import Result
from fourfold.cli.reading import ReadingCommand


@dataclass(frozen=True, kw_only=True)
class Inspect(ReadingCommand):
    """Say what a capture holds and what would have to be estimated, without changing anything; or draw the priors of a run."""

    paths: Positional[tuple[Path, ...]]
    """A video, several synchronised videos, an image folder or a dataset folder; with --priors a run's folder."""

    holdout: str | None = None
    """Which images would measure the result: every:8, moments:3, cameras:NAME,NAME, standing or none."""

    priors: bool = False
    """Draw what was estimated in a run: RUN/exports/priors/index.html with pictures and films."""

    def run(self) -> Result:
        if self.priors:
            return Result(draw_priors(self.paths))
        from fourfold.capture.inspect import inspect
        from fourfold.capture.source import CaptureOptions
        from fourfold.errors import FourfoldError
        from fourfold.export.scene_files import is_scene_file

        for path in self.paths:
            if is_scene_file(path):
                raise FourfoldError(f"{path} is a scene, not a capture: `fourfold view {path}` shows it")
        found = inspect(self.paths, CaptureOptions(**self.part()), self.holdout)
        return Result(found | {"run": of_run(self.paths[0])} if len(self.paths) == 1 and (self.paths[0] / "config.json").is_file() else found)

    def show(self, result: Result) -> None:
        if not self.priors:
            super().show(result)
            return
        for name, made in result.value["priors"].items():
            print(f"{name:<32} {made}")
        print(f"page  {result.value['page']}")


def of_run(root: Path) -> dict[str, object]:
    """What the run in `root` has done so far: its command, the priors that are kept, and what it made."""
    from fourfold.run_config import read_config

    made = [name for name in ("scene.safetensors", "report.html", "player.html") if (root / name).is_file()]
    priors = sorted(p.name for p in (root / "priors").iterdir() if p.is_dir()) if (root / "priors").is_dir() else []
    config = read_config(root)
    return {"command": config.get("command"), "sources": config.get("sources"), "priors": priors, "made": made or "nothing yet"}


def draw_priors(paths: tuple[Path, ...]) -> dict[str, object]:
    """Write the page of a run's priors; returns where it is and who made what. FourfoldError if `paths` is not one run's folder."""
    from fourfold.capture.capture import Capture
    from fourfold.errors import FourfoldError
    from fourfold.export.prior_page import kept_priors, write_prior_page

    if len(paths) != 1 or not (paths[0] / "capture").is_dir():
        raise FourfoldError(
            f"{', '.join(map(str, paths))} is not one run's folder: --priors draws what `fourfold prepare` or `reconstruct` left there"
        )
    root = paths[0]
    found = kept_priors(root / "priors")
    page = write_prior_page(Capture.load(root / "capture"), found, root / "exports" / "priors")
    return {"page": page, "priors": {f"{prior.name} in {folder}": prior.provenance.provider for folder, prior in found}}
