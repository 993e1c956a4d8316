"""Opens the live viewer on a scene and lets it run."""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from fourfold.capture.capture import Capture
from fourfold.live.edit_panel import EditPanel
from fourfold.live.edited import Edited
from fourfold.live.film import FilmPanel
from fourfold.live.filmed import FilmedPanel
from fourfold.live.panel import ShownPanel, TimePanel
from fourfold.live.serving import live_server, stop
from fourfold.live.trails import TrailPanel
from fourfold.live.viewer import LiveViewer, Newest
from fourfold.scene.scene import Scene

GIVES_WAY = 5  # niceness beside a training, which does not wait for who looks at it
SHARED = "everybody in this network who knows the address sees the scene and has all controls, also those that write into {out}"


@dataclass(frozen=True)
class Viewed:
    """What is looked at: a scene, what tells it from others, what was filmed (if known), where to write, and where a newer scene comes from."""

    scene: Scene
    stamp: str
    capture: Capture | None
    out: Path
    newest: Newest | None = None


def open_viewer(viewed: Viewed, host: str = "127.0.0.1", port: int = 7007) -> LiveViewer:
    """A live viewer that listens and does not run yet. FourfoldError if the address cannot be used or the library is missing."""
    server = live_server(host, port)
    viewer = LiveViewer(server, Edited(viewed.scene), viewed.capture, viewed.out, viewed.newest, viewed.stamp)
    TimePanel(viewer)
    ShownPanel(viewer)
    if viewed.capture is not None:
        FilmedPanel(viewer, viewed.capture)
    TrailPanel(viewer)
    FilmPanel(viewer)
    EditPanel(viewer, alone=host == "127.0.0.1")
    return viewer


def view(viewed: Viewed, host: str = "127.0.0.1", port: int = 7007, open_browser: bool = False) -> None:
    """Let people look at `viewed` until interrupted. FourfoldError if the address cannot be used or the library is missing."""
    if viewed.newest is not None:
        os.nice(GIVES_WAY)  # before there are threads, which inherit it
    viewer = open_viewer(viewed, host, port)
    address = f"http://{host}:{viewer.server.get_port()}/"
    print(f"viewer  {address}\n(stop with Ctrl-C)", file=sys.stderr)
    if host != "127.0.0.1":
        print(f"note: {SHARED.format(out=viewed.out)}", file=sys.stderr)
    if open_browser:
        webbrowser.open(address)
    try:
        viewer.run()
    except KeyboardInterrupt:
        return
    finally:
        stop(viewer.server)
