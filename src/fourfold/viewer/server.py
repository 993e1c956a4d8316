"""A small file server for one run's folder, on this machine only unless told otherwise."""

from __future__ import annotations

import functools
import sys
import webbrowser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fourfold.errors import FourfoldError

_SHOWN = {".html", ".mp4", ".png", ".json", ".jpg"}


class _Handler(SimpleHTTPRequestHandler):
    """Serves pages, pictures and videos of the folder; lists nothing and writes nothing."""

    def send_head(self):  # type: ignore[no-untyped-def]
        if self.path.split("?")[0] == "/":
            self.path = "/player.html"
        target, root = Path(self.translate_path(self.path)).resolve(), Path(self.directory).resolve()
        if target.suffix.lower() not in _SHOWN or not target.is_relative_to(root):
            self.send_error(404)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def serve(folder: Path, host: str = "127.0.0.1", port: int = 7007, open_browser: bool = False) -> None:
    """Serve `folder` until interrupted. FourfoldError if the address cannot be used."""
    try:
        server = ThreadingHTTPServer((host, port), functools.partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise FourfoldError(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port") from error
    address = f"http://{host}:{server.server_port}/"
    print(f"player  {address}player.html\nreport  {address}report.html\n(stop with Ctrl-C)", file=sys.stderr)
    if open_browser:
        webbrowser.open(address)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
