"""Download the weights of one model."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tyro.conf import Positional

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class WeightsGet(Command):
    """Download the weights of a model into $FOURFOLD_WEIGHTS or our cache, after telling its licence; what is here already stays."""

    name: Positional[str]
    """Which model, a name from `fourfold weights list`."""

    def run(self) -> Result:
        from fourfold.cli.progress import progress
        from fourfold.priors.foundation import weights
        from fourfold.priors.foundation.fetch import fetch

        row, path = weights.model(self.name), weights.locate(self.name)
        print(f"{row.name}: licence {row.licence}; source {row.source}", file=sys.stderr)
        if path is None:
            with progress() as report:
                fetch(row, lambda file, done, total: report(file, done // 10**6, None if total is None else total // 10**6, "MB"))
            path = weights.locate(self.name)
        return Result({"name": row.name, "path": path, "licence": row.licence, "package": row.package or None})
