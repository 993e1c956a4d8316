"""Downloading the weights of one model, only when the user asks for it: licence told, size and digest checked, nothing half-written."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from fourfold.errors import FourfoldError
from fourfold.files import replacing
from fourfold.priors.foundation.weights import own_cache
from fourfold.priors.foundation.weights_table import HUB, File, Model

BLOCK = 1 << 20
_DIGEST_HEADER, _SIZE_HEADER = "X-Linked-Etag", "X-Linked-Size"  # what the hub tells of a large file before it redirects


def fetch(row: Model, say: Callable[[str, int, int | None], None]) -> Path:
    """Download all files of `row` into `own_cache()/NAME`, which appears complete or not at all.

    Args:
        say: is told (file, bytes so far, bytes in all if known).

    Raises:
        FourfoldError: it has no address, cannot be reached, or what arrived is not what was announced.
    """
    folder = own_cache() / row.name
    addresses = {file: _address(row, file) for file in row.files}
    by_hand = [file.names[0] for file, url in addresses.items() if not url]
    if by_hand:
        raise FourfoldError(f"{row.name} has no address to download from: get {by_hand[0]} by hand from {row.source} and put it into {folder}")
    with replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        for file, url in addresses.items():
            _download(url, temporary / file.names[0], file.sha256, say)
    return folder


def _address(row: Model, file: File) -> str:
    if file.url or not row.hub:
        return file.url
    return f"{os.environ.get('HF_ENDPOINT', HUB).rstrip('/')}/{row.hub}/resolve/main/{file.names[0]}"


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps what the first answer said about the file."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def redirect_request(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> urllib.request.Request | None:
        self.told |= {key: headers[key] for key in (_DIGEST_HEADER, _SIZE_HEADER) if headers[key]}
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, path: Path, sha256: str, say: Callable[[str, int, int | None], None]) -> None:
    redirect, digest, done = _Redirect(), hashlib.sha256(), 0
    try:
        with urllib.request.build_opener(redirect).open(url, timeout=30) as answer, path.open("wb") as file:
            size = redirect.told.get(_SIZE_HEADER) or answer.headers["Content-Length"]
            total = int(size) if size else None
            while block := answer.read(BLOCK):
                file.write(block)
                digest.update(block)
                done += len(block)
                say(path.name, done, total)
    except urllib.error.HTTPError as error:
        raise FourfoldError(f"{url} answers {error.code} {error.reason}: get the file by hand or try again later") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise FourfoldError(f"{urlparse(url).netloc} cannot be reached ({reason}): get online and run the same command again") from error
    announced = sha256 or redirect.told.get(_DIGEST_HEADER, "").strip('"')
    if total is not None and done != total:
        raise FourfoldError(f"{url} broke off after {done} of {total} bytes: run the same command again")
    if announced and len(announced) in (8, 64) and not digest.hexdigest().startswith(announced):
        raise FourfoldError(f"{url} is not the file it should be (SHA-256 {digest.hexdigest()[:16]}, expected {announced[:16]}): it was not kept")
