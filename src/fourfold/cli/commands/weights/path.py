"""Where the weights of one model lie."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class WeightsPath(Command):
    """Print the file or folder with the weights of a model: in $FOURFOLD_WEIGHTS, our cache, or the caches of the hub and of torch."""

    name: Positional[str]
    """Which model, a name from `fourfold weights list`."""

    def run(self) -> Result:
        from fourfold.errors import FourfoldError
        from fourfold.priors.foundation import weights

        path = weights.locate(self.name)
        if path is None:
            raise FourfoldError(f"the weights {self.name} are not here: `fourfold weights get {self.name}` downloads them")
        return Result({"name": self.name, "path": path})

    def show(self, result: Result) -> None:
        """The path alone, for use in scripts."""
        print(result.value["path"])
