"""The player: a moving scene as one HTML file that any browser opens, without a server or the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.export.packing import PackingError
from fourfold.files import replacing
from fourfold.pages import as_json, with_policy
from fourfold.scene.scene import Scene
from fourfold.viewer.cameras import focus_of, paths_of, seen_from
from fourfold.viewer.packing.config import PackConfig
from fourfold.viewer.packing.measure import measured
from fourfold.viewer.packing.write import Pack, pack
from fourfold.viewer.pictures import poster, strip, write_trails

WORKER = ("both", "tables", "groups", "films", "words", "places", "order", "worker")
PAGE = ("both", "algebra", "cameras", "shaders", "screen", "parts", "hands", "trails", "panel", "player", "together")


@dataclass(frozen=True)
class Page:
    """A written page: its text in pieces, and what packing the scene lost."""

    pieces: list[str]
    error: PackingError


def write_player(path: Path, scene: Scene, capture: Capture, config: PackConfig = PackConfig()) -> PackingError:
    """Write the player of `scene` with the cameras of `capture`, as `viewer.packing` packs it; returns what that lost."""
    page = make_page(scene, capture, config)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(page.pieces)
    return page.error


def player_page(scene: Scene, capture: Capture, config: PackConfig = PackConfig()) -> str:
    """The text of that page."""
    return "".join(make_page(scene, capture, config).pieces)


def make_page(scene: Scene, capture: Capture, config: PackConfig = PackConfig()) -> Page:
    """The page of `scene`."""
    packed = pack(scene, capture, config)
    write_trails(packed.lasting.block, scene)
    texts = [part.block.text() for part in packed.parts]
    error = measured(packed, texts, scene, capture)
    header = packed.header() | _about(scene, capture, packed, error)
    view = int(np.flatnonzero(capture.train.any(axis=1))[0])
    pictures = {"__POSTER__": poster(scene, capture, view), "__STRIP__": strip(scene, capture, view)}
    return Page(list(_pieces(template(), header, pictures, texts)), error)


def template() -> str:
    """The page with its code and policy, without a scene."""
    page = _read("player.html")
    for mark, names in (("__WORKER__", WORKER), ("__SCRIPT__", PAGE)):
        page = page.replace(mark, "\n".join(_read(f"web/{name}.js") for name in names))
    return with_policy(page)


def _pieces(page: str, header: dict[str, Any], pictures: dict[str, str], texts: list[str]) -> Iterator[str]:
    """The page, piece after piece: the parts are most of it."""
    for mark, text in pictures.items():
        page = page.replace(mark, text)
    before, after = page.replace("__HEADER__", as_json(header)).split("__PARTS__")
    yield before
    for number, text in enumerate(texts):
        yield f'<script id="part{number}" type="application/octet-stream">{text}</script>\n'
    yield after


def _about(scene: Scene, capture: Capture, packed: Pack, error: PackingError) -> dict[str, Any]:
    """What the header says beside the parts."""
    begin, end = (float(t) for t in scene.time_range)
    focus = focus_of(scene)
    steps = np.diff(capture.timestamps)
    count = sum(len(layer) for layer in scene.layers)
    return {
        "name": capture.name,
        "told": f"{count:,} Gaussians; packed within {error.pixels:.2f} pixels and {error.decibels:.0f} dB of the scene",
        "times": [begin, end],
        "interval": float(np.median(steps)) if len(steps) else 0.04,
        "background": list(scene.background),
        "near": scene.near,
        "layers": [layer.name for layer in scene.layers],
        "terms": packed.terms,
        "motions": any(part.motions for part in packed.parts),
        "paths": paths_of(scene, capture),
        "focus": focus,
        "seen": seen_from(capture, focus),
    }


def _read(name: str) -> str:
    return resources.files("fourfold.viewer").joinpath(name).read_text(encoding="utf-8")
