"""Read a capture and estimate its priors, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fourfold.cli.arguments import Out
from fourfold.cli.frame import Result
from fourfold.cli.reading import ReadingCommand


@dataclass(frozen=True, kw_only=True)
class Prepare(ReadingCommand):
    """Read a capture and estimate cameras, masks, depth and tracks; `reconstruct` or `train` with the same folder continues from there."""

    paths: Positional[tuple[Path, ...]]
    """A video, several videos, an image folder or a dataset folder."""

    out: Out
    """The run's folder."""

    recipe: str = "auto"
    """Whose priors to estimate."""

    only: str | None = None
    """Estimate only these priors and what they need, for example tracks or depth,masks; NAME:PROVIDER insists on a provider."""

    quality: Literal["draft", "normal", "best", "full"] = "normal"
    """Sets the size of the images."""

    holdout: str | None = None
    """Images that measure the result: every:8, moments:3, cameras:NAME,NAME, standing or none."""

    priors: Path | None = None
    """Folder with priors that you supply, in a public layout: tracks, depth, masks or cameras."""

    synchronise: Literal["auto", "audio", "motion", "none"] = "auto"
    """How to find when several videos began; none if they began together."""

    offsets: str | None = None
    """Seconds by which each of several videos began after the first one, for example 0,0.35."""

    def run(self) -> Result:
        from fourfold import pipeline
        from fourfold.cli.progress import progress
        from fourfold.options import Clock, Options
        from fourfold.owner import owned
        from fourfold.priors.describe import describe_prior
        from fourfold.priors.providers import CONTRACTS, prepare_priors, prior_names
        from fourfold.priors.supplied.layout import recognised

        folder = None if self.priors is None else str(self.priors)
        clock = Clock()
        options = Options(
            self.recipe, self.quality, holdout=self.holdout, priors=folder, synchronise=self.synchronise, offsets=self.offsets, **self.part()
        )
        asked = () if self.only is None else prior_names(self.only)
        with progress() as report, owned(self.out):
            capture = pipeline.prepare(list(self.paths), self.out, options, report, clock)
            capture = pipeline.straight(capture, list(self.paths), self.out, options, report, clock)
            if self.only is not None:
                names = asked
            else:
                posed = pipeline.estimate(capture, (), self.out, report, clock).capture
                names = pipeline.priors_of_whole(posed, pipeline.pick_recipe(posed, options)[0])
            done = prepare_priors(capture, names, self.out / "priors", lambda what, done, total: report(f"estimating {what}", done, total))
        known = {name: getattr(done.priors, name) for name in CONTRACTS}
        value = {name: describe_prior(p) for name, p in known.items() if p is not None}
        supplied = {} if folder is None else {"supplied": recognised(capture)}
        clocks = {key: value for key, value in capture.facts.items() if "offset" in key or key == "largest_time_difference_seconds"}
        return Result(
            {
                "run": self.out,
                **({"synchronised": clocks} if clocks else {}),
                **supplied,
                "priors": value,
                "advice": done.priors.advice,
                "seconds": done.seconds,
            }
        )
