"""Look at a scene in the browser, also while it is being trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from fourfold.cli.frame import Command, Result

if TYPE_CHECKING:
    from fourfold.live.opening import Viewed


@dataclass(frozen=True, kw_only=True)
class View(Command):
    """Serve a scene to a browser on this machine until interrupted: live (docs/viewer.md), or with --page the player and report of a run."""

    scene: Positional[Path]
    """A run's folder, finished or in training; a scene file, a .4dgs file, or a PLY, SPZ or SOG of one moment."""

    page: bool = False
    """Serve the run's player and report instead: files that need neither this program nor its live viewer."""

    port: int = 7007
    """Port to listen on."""

    share_lan: bool = False
    """Let everybody in this network who knows the address look, and use all controls; otherwise only this machine can."""

    open_browser: bool = False
    """Also open the page."""

    def run(self) -> Result:
        from fourfold.live.serving import HOW_TO_INSTALL, available
        from fourfold.notices import fallback

        host = _own_address() if self.share_lan else "127.0.0.1"
        if self.page or (self.scene.is_dir() and not available()):
            if not self.page:
                fallback(f"{HOW_TO_INSTALL}; the run's player and report are served instead")
            return self._serve_page(host)
        from fourfold.live.opening import view

        view(self._viewed(), host, self.port, self.open_browser)
        return Result({"served": self.scene})

    def _viewed(self) -> Viewed:
        from functools import partial

        from fourfold.errors import FourfoldError
        from fourfold.export.scene_files import read_scene
        from fourfold.live.opening import Viewed
        from fourfold.pipeline import Run
        from fourfold.training.snapshots import newest_scene

        if not self.scene.is_dir():
            return Viewed(read_scene(self.scene), self.scene.stem, None, self.scene.parent)
        newest = partial(newest_scene, self.scene)
        found = newest()
        if found is None:
            raise FourfoldError(f"there is no scene in {self.scene} yet: run `fourfold reconstruct` first, or wait for its first training steps")
        stamp, scene = found
        return Viewed(scene, stamp, Run(self.scene).capture, self.scene / "exports", newest)

    def _serve_page(self, host: str) -> Result:
        from fourfold.pipeline import Run
        from fourfold.viewer.player import write_player
        from fourfold.viewer.server import serve

        player = self.scene / "player.html"
        if not player.exists():
            run = Run(self.scene)
            write_player(player, run.scene, run.capture)
        serve(self.scene, host, self.port, self.open_browser)
        return Result({"served": player})


def _own_address() -> str:
    """The address of this machine in its network: what a packet to elsewhere would be sent from (none is). All addresses if there is no network."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation: nobody is there
        except OSError:
            return "0.0.0.0"
        return str(probe.getsockname()[0])
