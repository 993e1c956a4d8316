"""Runs side by side on one static page: players with one clock and one camera, their figures, and the same held-out frames."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.files import replacing
from fourfold.pages import as_json, with_policy
from fourfold.scene.scene import Scene
from fourfold.viewer.player import player_page

FRAMES = 6  # held-out frames that are shown
LOWER_IS_BETTER = frozenset({"lpips", "epe_3d", "flip"})
HELDOUT = Path("renders") / "heldout"


@dataclass(frozen=True)
class Compared:
    """One run on the page: what to call it, its folder, its scene and capture, and the content of its report."""

    name: str
    root: Path
    scene: Scene
    capture: Capture
    report: dict[str, Any]


def write_comparison(path: Path, runs: Sequence[Compared]) -> list[str]:
    """Write the page; returns sentences on what the runs do not share.

    FourfoldError if there are fewer than two runs, or if they are not of the same moments and cameras.
    """
    if len(runs) < 2:
        raise FourfoldError(f"a comparison needs two or more runs: got {len(runs)}")
    for run in runs[1:]:
        if run.capture.views != runs[0].capture.views or abs(run.capture.timestamps[-1] - runs[0].capture.timestamps[-1]) > 1e-3:
            raise FourfoldError(f"{run.root} and {runs[0].root} are not runs of the same capture: their cameras or times differ in number")
    notes = _differences(runs)
    names, shown = _common_frames(runs)
    width, height = (int(n) for n in runs[0].capture.sizes[0])
    players = [player_page(run.scene, run.capture) for run in runs]
    page = resources.files("fourfold.viewer").joinpath("compare.html").read_text(encoding="utf-8")
    parts = {
        "__TITLE__": html.escape(f"{runs[0].capture.name}: " + " and ".join(run.name for run in runs)),
        "__ASPECT__": f"{width}/{height}",
        "__COLUMNS__": str(len(runs) + 1),
        "__PLAYERS__": "".join(
            f'<figure><iframe name="fourfold-compared"></iframe><figcaption>{html.escape(r.name)}</figcaption></figure>' for r in runs
        ),
        "__TABLE__": _table(runs) + "".join(f'<p class="quiet">{html.escape(note)}</p>' for note in notes),
        "__FRAMES__": _frames(runs, shown) if names else "<p>The runs kept no held-out frames in common.</p>",
        "__PAGES__": as_json(players),
    }
    page = with_policy(page, *players)
    for mark, text in parts.items():
        page = page.replace(mark, text)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return notes


def _differences(runs: Sequence[Compared]) -> list[str]:
    """Why figures of the runs may not be compared without thought."""
    first, notes = runs[0], []
    for run in runs[1:]:
        if not np.array_equal(run.capture.sizes, first.capture.sizes):
            notes.append(f"{run.name} has images of another size than {first.name}: their figures are of different pixels")
        if not np.array_equal(run.capture.heldout, first.capture.heldout):
            notes.append(f"{run.name} holds out other frames than {first.name}: their figures are of different frames")
        if not np.allclose(run.capture.world_to_camera, first.capture.world_to_camera, atol=1e-3, equal_nan=True):
            notes.append(f"{run.name} has other cameras than {first.name}: the shared view is only roughly the same")
    return notes


def _table(runs: Sequence[Compared]) -> str:
    """Held-out figures, Gaussians and seconds, the best of each line marked."""
    scores = [(run.report.get("metrics") or {}).get("heldout") or {} for run in runs]
    lines = [(key, [s.get(key) for s in scores]) for key in dict.fromkeys(k for s in scores for k in s)]
    lines = [(key, values) for key, values in lines if any(isinstance(v, int | float) for v in values)]
    lines.append(("gaussians", [len(run.scene.at(run.scene.time_range[0])) for run in runs]))
    lines.append(("seconds", [(run.report.get("timing") or {}).get("total_s") for run in runs]))
    head = "".join(f"<th>{html.escape(run.name)}</th>" for run in runs)
    return f"<table><tr><th></th>{head}</tr>{''.join(_line(key, values) for key, values in lines)}</table>"


def _line(key: str, values: list[Any]) -> str:
    numbers = [v for v in values if isinstance(v, int | float)]
    best = None if key in ("gaussians", "seconds") or not numbers else (min if key in LOWER_IS_BETTER else max)(numbers)
    cells = "".join(f"<td{' class=best' if v is not None and v == best else ''}>{_number(v)}</td>" for v in values)
    return f"<tr><th>{html.escape(key)}</th>{cells}</tr>"


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"


def _common_frames(runs: Sequence[Compared]) -> tuple[list[str], list[str]]:
    """Names of the held-out frames that all runs kept, and those to show."""
    kept = [{p.name for p in (run.root / HELDOUT).glob("*.png")} for run in runs]
    names = sorted(set.intersection(*kept))
    chosen = np.unique(np.linspace(0, len(names) - 1, min(len(names), FRAMES)).round().astype(int)) if names else []
    return names, [names[i] for i in chosen]


def _frames(runs: Sequence[Compared], names: Sequence[str]) -> str:
    head = "".join(f"<b>{html.escape(label)}</b>" for label in ("filmed", *(run.name for run in runs)))
    rows = []
    for name in names:
        files = [runs[0].root / HELDOUT / "truth" / name, *(run.root / HELDOUT / name for run in runs)]
        rows.append("".join(_image(file, name) for file in files))
    return "<h2>Held-out frames</h2><div id=frames>" + "".join(f"<div>{row}</div>" for row in (head, *rows)) + "</div>"


def _image(file: Path, name: str) -> str:
    if not file.is_file():
        return "<span></span>"
    return f'<img alt="{html.escape(name)}" src="data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}">'
