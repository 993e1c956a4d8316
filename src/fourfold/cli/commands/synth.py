"""Make a synthetic capture with known truth."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from fourfold.cli.arguments import Out
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Synth(Command):
    """Make a synthetic capture with its truth: cameras, depth, masks, 3D tracks."""

    kind: Positional[str]
    """Which scene; a name that is not there gives the list."""

    out: Out
    """Folder to write."""

    seed: int = 0
    """Seed of everything random; the same seed gives the same files."""

    frames: int | None = None
    """Number of moments; the kind's own if not given."""

    width: int | None = None
    """Image width in pixels, even; the kind's own if not given."""

    height: int | None = None
    """Image height in pixels, even; the kind's own if not given."""

    bare: bool = False
    """Write images only: cameras, depth and masks stay in the truth."""

    noise: bool = False
    """Also write spoilt depth, masks and tracks, to try what noisy priors do."""

    def run(self) -> Result:
        from fourfold.capture.synthetic import NoiseOptions, SyntheticOptions, generate
        from fourfold.options import check_seed

        check_seed(self.seed)
        noise = NoiseOptions() if self.noise else None
        options = SyntheticOptions(frames=self.frames, width=self.width, height=self.height, bare=self.bare, noise=noise)
        capture = generate(self.kind, self.out, seed=self.seed, options=options)
        return Result({"out": self.out, "kind": self.kind, "seed": self.seed, "views": capture.views, "times": capture.times})
