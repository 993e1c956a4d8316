"""Open a run's player in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class View(Command):
    """Serve a run's player and report to a browser on this machine until interrupted."""

    run_folder: Positional[Path]
    """The run's folder."""

    port: int = 7007
    """Port to listen on."""

    host: str = "127.0.0.1"
    """Address to listen on; only this machine can reach the default."""

    open_browser: bool = False
    """Also open the page."""

    def run(self) -> Result:
        from fourfold.pipeline import Run
        from fourfold.viewer.player import write_player
        from fourfold.viewer.server import serve

        player = self.run_folder / "player.html"
        if not player.exists():
            run = Run(self.run_folder)
            write_player(player, run.scene, run.capture)
        serve(self.run_folder, self.host, self.port, self.open_browser)
        return Result({"served": player})
