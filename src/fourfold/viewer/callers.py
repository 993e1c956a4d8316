"""Who may call a local server: pages under another name, and pages of another origin, may not."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def meant_for(host: str, own: str) -> bool:
    """Whether a request for the header `host` is meant for a server that listens on `own`: an address in numbers, localhost, or that name.

    A page of somebody else's, whose name was made to lead here (DNS rebinding), calls us by that name.
    """
    name = _name(f"//{host}")
    if name in ("localhost", own.lower()):
        return bool(name)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def of_own_page(origin: str | None, host: str) -> bool:
    """Whether a websocket that a page of `origin` opens on `host` belongs to a page that came from there; programs send no origin.

    Browsers let every page open websockets to every address, and tell of it in this header alone.
    """
    return origin is None or origin in (f"http://{host}", f"https://{host}")


def _name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""
