"""The web server of the live viewer: viser's, which answers to its own address and its own page only and hands nothing on to the world."""

from __future__ import annotations

import contextlib
import http
import importlib.util
import io
import logging
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fourfold.errors import FourfoldError
from fourfold.viewer.callers import meant_for, of_own_page

if TYPE_CHECKING:
    from viser import ViserServer

HOW_TO_INSTALL = 'the live viewer needs the library viser: pip install "fourfold[viewer]"'
# Pages may load what they are made of and talk to where they came from; the browser itself keeps them from anything else.
POLICY = "; ".join(
    (
        "default-src 'self' data: blob:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "connect-src 'self' ws: data: blob:",
    )
)


def available() -> bool:
    """Whether the library of the live viewer is installed."""
    return importlib.util.find_spec("viser") is not None


def live_server(host: str, port: int) -> ViserServer:
    """A server that listens on `host` and `port`; port 0 takes a free one.

    Raises:
        FourfoldError: the library is not there, or the address cannot be used.
    """
    if not available():
        raise FourfoldError(HOW_TO_INSTALL)
    _check_free(host, port)
    import viser

    class Local(viser.ViserServer):
        def request_share_url(self, verbose: bool = True) -> str | None:
            """Nothing leaves this machine: the library would ask a server of its makers to make the page public."""
            return None

    _quiet()
    with _guarded(host), contextlib.redirect_stdout(io.StringIO()):  # it prints a table of its addresses
        server = Local(host=host, port=port, label="Fourfold", verbose=False)
    if port and server.get_port() != port:  # taken in between: it went on to the next one
        server.stop()
        raise FourfoldError(f"cannot listen on {host}:{port}: choose another --port")
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    server.gui.main_panel.dock_right()
    server.scene.configure_environment_map(None)
    return server


def stop(server: ViserServer) -> None:
    """End the server without a word."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


@contextlib.contextmanager
def _guarded(own: str) -> Iterator[None]:
    """Servers that begin to listen meanwhile look at who calls before they answer; the library has no hook for that."""
    import websockets.asyncio.server as module

    usual: Callable[..., Any] = module.serve

    def serve(handler: Any, *address: Any, process_request: Callable[[Any, Any], Any], **rest: Any) -> Any:
        def checked(connection: Any, request: Any) -> Any:
            hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin") or [None]
            if len(hosts) != 1 or not meant_for(hosts[0], own) or not all(of_own_page(origin, hosts[0]) for origin in origins):
                return connection.respond(http.HTTPStatus.FORBIDDEN, "this server answers to its own address and its own page only\n")
            response = process_request(connection, request)
            if response is not None:
                response.headers["Content-Security-Policy"] = POLICY
                response.headers["X-Content-Type-Options"] = "nosniff"
                response.headers["Referrer-Policy"] = "no-referrer"
                response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
            return response

        return usual(handler, *address, process_request=checked, **rest)

    module.serve = serve  # type: ignore[assignment]
    try:
        yield
    finally:
        module.serve = usual  # type: ignore[assignment]


class _BrokenConnections(logging.Filter):
    """Connections that break before they are any are no news."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "opening handshake failed" not in record.getMessage()


def _quiet() -> None:
    logger = logging.getLogger("websockets.server")
    if not any(isinstance(f, _BrokenConnections) for f in logger.filters):
        logger.addFilter(_BrokenConnections())


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        raise FourfoldError(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port") from error
    except OverflowError as error:
        raise FourfoldError(f"there is no port {port}: give a number from 0 to 65535") from error
