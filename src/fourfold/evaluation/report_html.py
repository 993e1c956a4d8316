"""`report.html`: the report as one page that opens without a server and without the rest of the run."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.files import replacing

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8888}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
th{font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}
img{max-width:100%;display:block}figure{margin:.5rem 0}figcaption{color:var(--soft);font-size:.85rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.4rem;margin-bottom:.4rem}
.bar{background:#48a;height:.8rem;display:inline-block;vertical-align:middle}li{margin:.2rem 0}svg{max-width:100%}
"""


def write_html(path: Path, report: Mapping[str, Any], capture: Capture, pictures: Mapping[str, Path]) -> None:
    """Write the page.

    Args:
        report: what `write_report` returned.
        pictures: caption -> PNG/JPEG to show; "heldout" may name the directory of held-out renders with its `truth`.
    """
    body = [
        f"<h1>{html.escape(report['capture']['name'])}</h1>",
        f"<p>{html.escape(report['recipe'])}: {html.escape(report.get('recipe_because', ''))}</p>",
        _figures(report),
        _section("What to know", _list([*report["advice"], *(f"Fallback: {s}" for s in report["fallbacks"])] or ["Nothing weak was noticed."])),
        _section("Held-out frames", _plot(report) + _pairs(pictures.get("heldout"))),
        *(_section(caption, _picture(file)) for caption, file in pictures.items() if caption != "heldout" and file.exists()),
        _section("Camera path, seen from above", camera_path_svg(capture)),
        _section("Where the time went", _stages(report["timing"])),
        _section("Who estimated what", _priors(report.get("priors", {}))),
        _section("How this was made", f"<pre>{html.escape(report['command'])}</pre>"),
    ]
    page = f"<!doctype html><meta charset=utf-8><title>{html.escape(report['capture']['name'])}</title><style>{_STYLE}</style>" + "\n".join(body)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def camera_path_svg(capture: Capture, size: int = 420) -> str:
    """Camera centres of every view seen along the mean up axis, as an SVG."""
    pose = capture.world_to_camera
    centers = -np.einsum("vtji,vtj->vti", pose[..., :3, :3], pose[..., :3, 3])
    forward = pose[..., 2, :3]
    known = np.isfinite(centers).all(axis=-1)
    if not known.any():
        return "<p>The cameras are not known.</p>"
    up = -pose[known][:, 1, :3].mean(axis=0)
    side = np.cross(up, forward[known].mean(axis=0))
    ahead = np.cross(side, up)
    axes = np.stack([-side / max(np.linalg.norm(side), 1e-9), ahead / max(np.linalg.norm(ahead), 1e-9)])
    flat, looks = centers @ axes.T, forward @ axes.T
    low, high = flat[known].min(axis=0), flat[known].max(axis=0)
    span = float(max((high - low).max(), 1e-9)) * 1.3
    middle = (low + high) / 2
    place = lambda p: ((p - middle) / span + 0.5) * size * [1, -1] + [0, size]  # noqa: E731 - used three lines below only
    marks: list[str] = []
    for view in range(capture.views):
        points = place(flat[view][known[view]])
        if len(points) == 0:
            continue
        color = f"hsl({view * 360 // max(capture.views, 1)} 60% 45%)"
        marks.append(f'<polyline fill=none stroke="{color}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
        for point, look in list(zip(points, looks[view][known[view]], strict=True))[:: max(1, len(points) // 12)]:
            tip = point + look * [14, -14]
            marks.append(f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r=2.5 fill="{color}"/>')
            marks.append(f'<line x1="{point[0]:.1f}" y1="{point[1]:.1f}" x2="{tip[0]:.1f}" y2="{tip[1]:.1f}" stroke="{color}"/>')
    return f'<svg width="{size}" height="{size}" viewBox="0 0 {size} {size}">{"".join(marks)}</svg>'


def line_plot_svg(series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str) -> str:
    """Lines with points over common axes; each series is a list of (x, y)."""
    values = [p for line in series.values() for p in line]
    if not values:
        return ""
    xs, ys = np.array(values).T
    left, right, low, high = xs.min(), max(xs.max(), xs.min() + 1e-9), np.floor(ys.min()), np.ceil(ys.max()) + 1e-9
    width, height, pad = 720, 240, 40
    to_x = lambda x: pad + (x - left) / (right - left) * (width - 2 * pad)  # noqa: E731
    to_y = lambda y: height - pad + (low - y) / max(high - low, 1e-9) * (height - 2 * pad)  # noqa: E731
    marks = [
        f'<text x="{width / 2}" y="{height - 6}" font-size=12 fill=currentColor>{x_label}</text>',
        f"<text x=2 y=14 font-size=12 fill=currentColor>{y_label}</text>",
    ]
    for tick in np.linspace(low, high, 5):
        marks.append(f'<line x1="{pad}" x2="{width - pad}" y1="{to_y(tick):.1f}" y2="{to_y(tick):.1f}" stroke="#8883"/>')
        marks.append(f'<text x=2 y="{to_y(tick) + 4:.1f}" font-size=11 fill=currentColor>{tick:.1f}</text>')
    for number, (name, line) in enumerate(series.items()):
        color = f"hsl({(205 + 115 * number) % 360} 65% 45%)"
        marks.append(f'<polyline fill=none stroke="{color}" points="{" ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in line)}"/>')
        marks += [f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r=2.5 fill="{color}"/>' for x, y in line]
        marks.append(f'<text x="{pad + 8 + 170 * number}" y=28 font-size=12 fill="{color}">{html.escape(name)}</text>')
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(marks)}</svg>'


def _figures(report: Mapping[str, Any]) -> str:
    rows = {
        "this scene": report["metrics"]["heldout"],
        "static 3D": report["baselines"]["static3d"],
        "nearest frame": report["baselines"]["nearest_frame"],
    }
    names = ("psnr", "ssim", "psnr_dynamic", "psnr_static", "lpips")
    head = "".join(f"<th>{n}</th>" for n in names)
    lines = "".join(f"<tr><th>{who}</th>{''.join(_cell((scores or {}).get(n)) for n in names)}</tr>" for who, scores in rows.items())
    scene = report["scene"]
    summary = (
        f"{scene['gaussians_static']:,} static and {scene['gaussians_dynamic']:,} moving Gaussians, {scene['bytes'] / 1e6:.1f} MB; "
        f"made in {report['timing']['total_s']:.0f} s; {report['capture']['views']} view(s), {report['capture']['times']} times, "
        f"{report['capture']['width']} x {report['capture']['height']} pixels, cameras {report['capture']['cameras']}."
    )
    return f"<p>{summary}</p><table><tr><th>held-out frames</th>{head}</tr>{lines}</table>"


def _plot(report: Mapping[str, Any]) -> str:
    series = {
        name: [(row["time"], row["psnr"]) for row in rows if row.get("psnr") is not None]
        for name, rows in report["metrics"]["heldout_frames"].items()
    }
    return line_plot_svg({k: v for k, v in series.items() if v}, "time (s)", "PSNR (dB)")


def _pairs(directory: Path | None, most: int = 6) -> str:
    if directory is None or not (directory / "truth").is_dir():
        return ""
    names = sorted(p.name for p in directory.glob("*.png"))
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int))] if names else []
    pairs = "".join(f'<div class=pair title="{name}">{_picture(directory / "truth" / name)}{_picture(directory / name)}</div>' for name in chosen)
    return f"<p>Truth left, render right.</p>{pairs}"


def _picture(file: Path, widest: int = 960) -> str:
    image = Image.open(file).convert("RGB")
    if image.width > widest:
        image = image.resize((widest, round(image.height * widest / image.width)), Image.Resampling.LANCZOS)
    return f'<img alt="{html.escape(file.stem)}" src="{data_uri(np.asarray(image))}">'


def data_uri(image: NDArray[np.uint8]) -> str:
    """A JPEG of `image` (H, W, 3) as a data address."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _stages(timing: Mapping[str, Any]) -> str:
    longest = max([*timing["stages"].values(), 1e-9])
    rows = "".join(
        f'<tr><th>{html.escape(name)}</th><td class=n>{seconds:.1f} s</td>'
        f'<td><span class=bar style="width:{seconds / longest * 20:.2f}rem"></span></td></tr>'
        for name, seconds in timing["stages"].items()
    )
    return f"<table>{rows}</table>"


def _priors(priors: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(p['provider'])}</td><td>{html.escape(' '.join(p['notes']))}</td></tr>"
        for name, p in priors.items()
    )
    return f"<table>{rows}</table>"


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>{body}" if body else ""


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def _cell(value: float | None) -> str:
    return f"<td class=n>{'-' if value is None else f'{value:.3f}' if value < 2 else f'{value:.2f}'}</td>"
