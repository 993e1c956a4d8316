"""What a page of ours may do in a browser: run its own scripts, show what it carries, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SCRIPT = re.compile(r"<script(?![^>]*\btype=)[^>]*>(.*?)</script>", re.DOTALL)
_HEAD = re.compile(r"<meta charset=[^>]*>")


def jpeg_address(image: NDArray[np.uint8], quality: int) -> str:
    """A JPEG of `image` (H, W, 3) as a data address."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def as_json(value: Any) -> str:
    """`value` as JSON that may stand inside a `<script>` element: no text in it can end the element or open a comment."""
    return json.dumps(value).replace("<", "\\u003c")


def script_hashes(page: str) -> list[str]:
    """The hashes by which a policy allows the inline scripts of `page`, as they stand in it."""
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in _SCRIPT.findall(page)]


def with_policy(page: str, *frames: str) -> str:
    """`page` with a content security policy: its own inline scripts and those of the pages that it shows in frames, pictures and films
    that lie in it or beside it, styles, and no connection to anywhere.

    Source: Content Security Policy Level 3 (W3C), hash sources.
    """
    hashes = " ".join(dict.fromkeys(h for text in (page, *frames) for h in script_hashes(text))) or "'none'"
    rules = (
        "default-src 'none'",
        f"script-src {hashes}",
        "style-src 'unsafe-inline'",
        "img-src 'self' file: data: blob:",
        "media-src 'self' file: data: blob:",
        "frame-src 'self' blob: data:" if frames else "frame-src 'none'",
        "worker-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{html.escape("; ".join(rules))}">'
    return _HEAD.sub(lambda match: f"{match[0]}\n{meta}", page, count=1)
