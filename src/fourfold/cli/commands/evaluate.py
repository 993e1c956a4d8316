"""Score a run's scene on its held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Render a run's held-out images again, score them, and keep renders and truth as PNGs."""

    run_folder: Positional[Path]
    """The run's folder."""

    def run(self) -> Result:
        from fourfold.evaluation import heldout
        from fourfold.evaluation.report import scores_object
        from fourfold.pipeline import Run
        from fourfold.priors.contracts import Masks

        run = Run(self.run_folder)
        found = sorted((self.run_folder / "priors").glob("*/masks.safetensors"))
        masks = dict(enumerate(Masks.load(found[0].parent).mask)) if found else {}
        regions = heldout.moving_regions(run.capture, {v: m for v, m in masks.items() if m.any()})
        scores = heldout.score(heldout.scene_renderer(run.scene, run.capture), run.capture, regions, self.run_folder / "renders" / "heldout")
        return Result({**scores_object(scores), "frames": scores.frames})
