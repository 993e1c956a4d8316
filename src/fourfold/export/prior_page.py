"""All priors of a run as one page of pictures and films, for a person to look at."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.pictures import frame_rate
from fourfold.export.prior_films import Film, films_of, fitted, renamed
from fourfold.export.video import write_mp4, write_png
from fourfold.files import replacing
from fourfold.pages import with_policy
from fourfold.priors.contracts import Cameras, Prior
from fourfold.priors.describe import describe_prior
from fourfold.priors.pictures import Picture, sheet
from fourfold.priors.providers import CONTRACTS

CELLS = 8  # pictures of a sheet
CELL_WIDTH = 320  # pixels
STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:84rem;margin:2rem auto;padding:0 1rem}"
    "h2{border-bottom:1px solid #8883;margin-top:2.5rem}"
    "figure{margin:0 0 1.4rem;display:grid;grid-template-columns:1fr 2fr;gap:.8rem;align-items:start}"
    "img,video{width:100%;border-radius:.4rem;background:#000}figcaption{grid-column:1/-1;color:#777;font-size:.9rem}"
    "pre{white-space:pre-wrap;background:#8881;padding:.6rem .8rem;border-radius:.4rem;font-size:.8rem}@media(max-width:45rem){figure{display:block}}"
)


def kept_priors(folder: Path) -> list[tuple[str, Prior]]:
    """(provider's folder, prior) of everything below a run's `priors/`, in the order of the contracts. FourfoldError if there is nothing."""
    found = []
    for name, contract in CONTRACTS.items():
        files = (p for p in folder.glob(f"*/{name}.safetensors") if not p.parent.name.startswith("."))
        found += [(p.parent.name, contract.load(p.parent)) for p in sorted(files, key=lambda p: p.stat().st_mtime)]
    if not found:
        raise FourfoldError(f"{folder} holds no priors: run `fourfold prepare` first")
    return found


def write_prior_page(capture: Capture, priors: list[tuple[str, Prior]], out: Path) -> Path:
    """Write `out/index.html` with a sheet (PNG) and a film (MP4) of every prior beside it, all or nothing; returns the page.

    Args:
        capture: the prepared capture; the newest of the estimated cameras are put into it where it has none.
        priors: (what to call it, prior).
    """
    posed = capture
    for _, prior in priors:
        if isinstance(prior, Cameras):
            posed = capture.with_cameras(prior.K, prior.world_to_camera, prior.provenance.figures.get("source", "estimated"))
    if out.exists() and not (out.is_dir() and ((out / "index.html").exists() or not any(out.iterdir()))):
        raise FourfoldError(f"{out} exists and is no page of priors: choose another output folder")
    with replacing(out) as folder:
        folder.mkdir()
        parts = [_section(posed, called, prior, folder) for called, prior in priors]
        title = f"Priors of {html.escape(capture.name)}"
        head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style>'
        page = f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{title}</h1>{"".join(parts)}</body></html>\n'
        (folder / "index.html").write_text(with_policy(page), encoding="utf-8")
    return out / "index.html"


def _section(capture: Capture, called: str, prior: Prior, folder: Path) -> str:
    films = [renamed(film, f"{prior.name}_{called}") for film in films_of(capture, prior)]
    figures = "".join(_figure(film, folder, frame_rate(capture.timestamps)) for film in films)
    facts = html.escape(json.dumps(describe_prior(prior), indent=1, default=str, ensure_ascii=False))
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in prior.provenance.notes)
    made = f"{html.escape(prior.name)} <small>by {html.escape(prior.provenance.provider)}</small>"
    return f"<h2>{made}</h2>{notes}{figures}<details><summary>figures</summary><pre>{facts}</pre></details>"


def _figure(film: Film, folder: Path, fps: float) -> str:
    frames = list(film.frames())
    if not frames:
        return ""
    write_png(folder / f"{film.name}.png", contact_sheet(frames))
    write_mp4(folder / f"{film.name}.mp4", (fitted(frame) for frame in frames), fps)
    video = f'<video src="{film.name}.mp4" controls loop muted playsinline></video>'
    return f'<figure>{video}<img src="{film.name}.png" alt="{html.escape(film.name)}"><figcaption>{html.escape(film.caption)}</figcaption></figure>'


def contact_sheet(frames: list[Picture]) -> Picture:
    """At most `CELLS` of the frames, evenly spread, as one picture."""
    import cv2

    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, min(len(frames), CELLS)).astype(int))]
    height = max(1, round(chosen[0].shape[0] * CELL_WIDTH / chosen[0].shape[1]))
    shrinks = chosen[0].shape[1] > CELL_WIDTH
    return sheet([cv2.resize(f, (CELL_WIDTH, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC) for f in chosen])
