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

    def run(self) -> Result:
        from fourfold.capture.synthetic import generate

        generate(self.kind, self.out, self.seed)
        return Result({"kind": self.kind, "seed": self.seed, "out": self.out})
