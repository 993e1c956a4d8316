"""Score a run's scene on its held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """Render a run's held-out images again, score them, and keep renders, truth and masks as PNGs."""

    run_folder: Positional[Path]
    """The run's folder."""

    protocol: str | None = None
    """Measure as a benchmark does, for example nvidia_rodynrf or dycheck_iphone; a wrong name shows all of them."""

    def run(self) -> Result:
        from fourfold.benchmarking.keypoint_scores import with_keypoints
        from fourfold.evaluation import heldout
        from fourfold.evaluation.protocols.run import evidence_of, score_run
        from fourfold.evaluation.report import scores_object
        from fourfold.pipeline import Run

        run = Run(self.run_folder)
        if self.protocol is not None:
            outcome = score_run(self.protocol, run.scene, run.capture, self.run_folder)
            outcome = with_keypoints(outcome, self.protocol, run.scene, run.capture)
            head = {"protocol": self.protocol, "size": outcome.size, "as_published": outcome.as_published}
            return Result({**outcome.metrics, **head, "variants": outcome.variants, "unavailable": outcome.unavailable, "frames": outcome.frames})
        regions = heldout.moving_regions(run.capture, evidence_of(run.capture, self.run_folder / "priors").masks)
        scores = heldout.score(heldout.scene_renderer(run.scene, run.capture), run.capture, regions, self.run_folder / "renders" / "heldout")
        return Result({**scores_object(scores), "frames": scores.frames})
