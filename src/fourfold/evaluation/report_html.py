"""`report.html`: the report as one page that opens without a server and without the rest of the run."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.evaluation.advice import side_words
from fourfold.evaluation.plots import camera_path_svg, line_plot_svg
from fourfold.files import replacing
from fourfold.pages import jpeg_address, with_policy

HELDOUT = "heldout"
SIDE = "What moves, from -20, 0 and +20 degrees"
QUALITY = 90  # of JPEG
MOST_VIDEO_BYTES = 12_000_000  # a larger video is linked, not put into the page
FIGURES = {"psnr": "PSNR, dB", "psnr_dynamic": "moving parts, dB", "psnr_static": "still parts, dB", "ssim": "SSIM", "lpips": "LPIPS"}
ROWS = {"this scene": "This scene", "static3d": "Static scene, same images", "nearest_frame": "Copy of the nearest filmed frame"}
CAMERAS = {
    "given": "cameras given",
    "estimated": "cameras estimated",
    "rotation": "a camera that only turned",
    "fixed": "a camera that stood still",
}


def write_html(path: Path, report: Mapping[str, Any], capture: Capture, pictures: Mapping[str, Path]) -> None:
    """Write the page. Videos that `report["outputs"]` names are looked for beside it and put into it.

    Args:
        report: what `write_report` returned.
        pictures: caption -> PNG/JPEG to show; "heldout" may name the directory of held-out renders with its `truth`.
    """
    name = html.escape(report["capture"]["name"])
    body = [
        _head(report, path.parent),
        _videos(report.get("outputs", {}), path.parent),
        _cards(report),
        _section("What to know", _advice(report)),
        _section("Held-out frames", _held_out(report, pictures.get(HELDOUT))),
        *(_section(caption, _about(caption, report) + _picture(file)) for caption, file in pictures.items() if caption != HELDOUT and file.exists()),
        _section("Camera path, seen from above", camera_path_svg(capture)),
        _section("Where the time went", _stages(report["timing"])),
        _section("Who estimated what", _priors(report.get("priors", {}))),
        _section("How this was made", _origin(report)),
    ]
    style = resources.files("fourfold.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title><style>{style}</style>'
    page = f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(part for part in body if part)}</body></html>\n'
    with replacing(path) as temporary:
        temporary.write_text(with_policy(page), encoding="utf-8")


def verdict(report: Mapping[str, Any]) -> str:
    """The result in one sentence: the score and by how much it beats the baselines."""
    ours, baselines = report["metrics"]["heldout"].get("psnr"), report["baselines"]
    if ours is None:
        return "Nothing was held out, so the result is not measured."
    parts: list[str] = []
    for key, words in (("static3d", "a static scene from the same images"), ("nearest_frame", "copying the nearest filmed frame")):
        other = (baselines.get(key) or {}).get("psnr")
        if other is not None:
            parts.append(f"{abs(ours - other):.1f} dB {'better' if ours >= other else 'worse'} than {words}")
    count = len(report["metrics"].get("heldout_frames", {}).get("this scene", []))
    against = f", {' and '.join(parts)}" if parts else ""
    return f"On {count} frames that were kept out of training it scores {ours:.1f} dB{against}."


def _head(report: Mapping[str, Any], folder: Path) -> str:
    player = report.get("outputs", {}).get("player")
    link = f' <a class="button" href="{html.escape(player)}">Open the player</a>' if player and (folder / player).exists() else ""
    because = html.escape(report.get("recipe_because", ""))
    return (
        f"<header><h1>{html.escape(report['capture']['name'])}</h1>{link}</header>"
        f'<p class="lead">{html.escape(verdict(report))}</p><p class="soft">Recipe {html.escape(report["recipe"])}: {because}</p>'
    )


def _videos(outputs: Mapping[str, str], folder: Path) -> str:
    figures: list[str] = []
    for key, caption in (("video_orbit", "Moving round the object"), ("video_input", "Along the filmed path")):
        file = folder / outputs.get(key, "")
        if key not in outputs or not file.is_file():
            continue
        small = file.stat().st_size <= MOST_VIDEO_BYTES
        source = f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}" if small else html.escape(outputs[key])
        figures.append(f'<figure><video autoplay loop muted playsinline controls src="{source}"></video><figcaption>{caption}</figcaption></figure>')
    return f'<div class="two">{"".join(figures)}</div>' if figures else ""


def _cards(report: Mapping[str, Any]) -> str:
    capture, scene = report["capture"], report["scene"]
    views = f"{capture['views']} views, " if capture["views"] > 1 else ""
    cameras = CAMERAS.get(capture.get("camera_model", ""), "cameras " + capture["cameras"])
    cards = (
        (f"{scene['gaussians_static'] + scene['gaussians_dynamic']:,}", f"Gaussians, {scene['gaussians_dynamic']:,} of them moving"),
        (f"{scene['bytes'] / 1e6:.1f} MB", "the scene as one file"),
        (f"{capture['times']} moments", f"{views}{capture['width']} × {capture['height']}, {cameras}"),
        (duration(report["timing"]["total_s"]), f"of the last call, {(report.get('peak_rss_bytes') or 0) / 1e9:.1f} GB of memory at most"),
    )
    page = report.get("packed", {}).get("player")
    if page:
        cards += ((f"{page['bytes'] / 1e6:.1f} MB", f"the player, within {page['pixels']:.2f} pixels and {page['decibels']:.0f} dB of the scene"),)
    return (
        f'<div class="cards">{"".join(f"<div><b>{html.escape(figure)}</b><span>{html.escape(words)}</span></div>" for figure, words in cards)}</div>'
    )


def duration(seconds: float) -> str:
    """`75 s` or `12 min 30 s`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _advice(report: Mapping[str, Any]) -> str:
    said = [f"<li>{html.escape(s)}</li>" for s in report["advice"]]
    also = [*report["capture"].get("notes", ()), *report["fallbacks"]]
    said += [f'<li class="soft">{html.escape(s)}</li>' for s in dict.fromkeys(also) if s not in report["advice"]]
    return f"<ul>{''.join(said)}</ul>" if said else "<p>Nothing weak was noticed.</p>"


def _about(caption: str, report: Mapping[str, Any]) -> str:
    side = report.get("side") if caption == SIDE else None
    return f"<p>{html.escape(side_words(side))} Score {side['score']:.2f} of 1.</p>" if side else ""


def _held_out(report: Mapping[str, Any], directory: Path | None) -> str:
    scores = {"this scene": report["metrics"]["heldout"], **report["baselines"]}
    if scores["this scene"].get("psnr") is None:
        return "<p>Nothing was held out, so nothing was measured.</p>"
    shown = [key for key in FIGURES if any((row or {}).get(key) is not None for row in scores.values())]
    head = "".join(f"<th>{FIGURES[key]}</th>" for key in shown)
    lines = "".join(
        f"<tr><th>{html.escape(ROWS.get(who, who))}</th>{''.join(_cell((row or {}).get(key)) for key in shown)}</tr>" for who, row in scores.items()
    )
    return f'<table class="figures"><tr><th></th>{head}</tr>{lines}</table>{_plot(report)}{_pairs(directory)}'


def _plot(report: Mapping[str, Any]) -> str:
    series = {str(ROWS.get(name, name)).partition(",")[0]: _over_time(rows) for name, rows in report["metrics"]["heldout_frames"].items()}
    return line_plot_svg({name: line for name, line in series.items() if line}, "time, s", "PSNR, dB")


def _over_time(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(time, mean PSNR of the frames of that time)."""
    times = sorted({row["time"] for row in rows if row.get("psnr") is not None})
    return [(t, float(np.mean([row["psnr"] for row in rows if row["time"] == t and row.get("psnr") is not None]))) for t in times]


def _pairs(directory: Path | None, most: int = 5) -> str:
    if directory is None or not (directory / "truth").is_dir():
        return ""
    names = sorted(p.name for p in directory.glob("*.png"))
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int))] if names else []
    rows = "".join(_compared(directory / "truth" / name, directory / name) for name in chosen)
    return f'<div class="three soft"><span>Filmed</span><span>Rendered</span><span>Difference, four times</span></div>{rows}' if rows else ""


def _compared(truth: Path, render: Path) -> str:
    one, two = (np.asarray(Image.open(file).convert("RGB")) for file in (truth, render))
    difference = np.clip(np.abs(one.astype(np.int16) - two.astype(np.int16)).max(axis=-1) * 4, 0, 255).astype(np.uint8)
    cells = "".join(
        f'<img alt="" src="{jpeg_address(_narrowed(image), QUALITY)}">' for image in (one, two, np.repeat(difference[..., None], 3, axis=-1))
    )
    return f'<div class="three" title="{html.escape(render.stem)}">{cells}</div>'


def _picture(file: Path) -> str:
    return f'<img alt="{html.escape(file.stem)}" src="{jpeg_address(_narrowed(np.asarray(Image.open(file).convert("RGB")), 1400), QUALITY)}">'


def _narrowed(image: NDArray[np.uint8], widest: int = 640) -> NDArray[np.uint8]:
    if image.shape[1] <= widest:
        return image
    return np.asarray(Image.fromarray(image).resize((widest, round(image.shape[0] * widest / image.shape[1])), Image.Resampling.LANCZOS))


def _stages(timing: Mapping[str, Any]) -> str:
    longest = max([*timing["stages"].values(), 1e-9])
    rows = "".join(
        f'<tr><th>{html.escape(name)}</th><td class="n">{seconds:.1f} s</td>'
        f'<td class="wide"><span class="bar" style="width:{100 * seconds / longest:.1f}%"></span></td></tr>'
        for name, seconds in timing["stages"].items()
    )
    return f"<table>{rows}</table>"


def _priors(priors: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(p['provider'])}</td><td>{html.escape(' '.join(p['notes']))}</td></tr>"
        for name, p in priors.items()
    )
    return f"<table>{rows}</table>" if rows else ""


def _origin(report: Mapping[str, Any]) -> str:
    facts = (
        f"Fourfold {html.escape(str(report.get('version', '')))}, quality {html.escape(str(report.get('quality', '')))}, seed {report.get('seed')}"
    )
    return f'<pre>{html.escape(report["command"])}</pre><p class="soft">{facts}</p>'


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>{body}" if body else ""


def _cell(value: float | None) -> str:
    return f'<td class="n">{"-" if value is None else f"{value:.3f}" if value < 2 else f"{value:.2f}"}</td>'
