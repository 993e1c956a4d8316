"""A small file server for one run's folder, on this machine only unless told otherwise."""

from __future__ import annotations

import functools
import sys
import webbrowser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fourfold.errors import FourfoldError
from fourfold.viewer.callers import meant_for

_SHOWN = {".html", ".mp4", ".png", ".json", ".jpg"}
_SECONDS = 30.0  # a connection that says nothing for so long is closed


class _Handler(SimpleHTTPRequestHandler):
    """Serves pages, pictures and videos of the folder; lists nothing and writes nothing."""

    timeout = _SECONDS

    def send_head(self):  # type: ignore[no-untyped-def]
        if isinstance(self.server, _Server) and not self.server.may_be_called(self.headers.get("Host", "")):
            self.send_error(403, "this server answers to its own address only")
            return None
        path = urlsplit(self.path).path
        self.path = "/player.html" if path == "/" else path
        if "\0" in unquote(self.path):
            self.send_error(404)
            return None
        target, root = Path(self.translate_path(self.path)).resolve(), Path(self.directory).resolve()
        if target.suffix.lower() not in _SHOWN or not target.is_relative_to(root) or not target.is_file():
            self.send_error(404)
            return None
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class _Server(ThreadingHTTPServer):
    """Threads of its own for every request; quiet about browsers that go away."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        super().__init__(address, functools.partial(_Handler, directory=str(folder)))
        self.name = address[0]

    def may_be_called(self, host: str) -> bool:
        """Whether a request for `host` is meant for this server."""
        return meant_for(host, self.name)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def listening(folder: Path, host: str = "127.0.0.1", port: int = 7007) -> ThreadingHTTPServer:
    """A server of `folder` that listens and does not serve yet; port 0 takes a free one. FourfoldError if the address cannot be used."""
    try:
        return _Server((host, port), folder)
    except OSError as error:
        raise FourfoldError(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port") from error
    except OverflowError as error:
        raise FourfoldError(f"there is no port {port}: give a number from 0 to 65535") from error


def serve(folder: Path, host: str = "127.0.0.1", port: int = 7007, open_browser: bool = False) -> None:
    """Serve `folder` until interrupted. FourfoldError if the address cannot be used."""
    server = listening(folder, host, port)
    address = f"http://{host}:{server.server_port}/"
    print(f"player  {address}player.html\nreport  {address}report.html\n(stop with Ctrl-C)", file=sys.stderr)
    if open_browser:
        webbrowser.open(address)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
