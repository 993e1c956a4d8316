"""A benchmark's result as JSON, Markdown and one HTML page with pictures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fourfold.files import replacing, write_json
from fourfold.pages import jpeg_address, with_policy

Result = dict[str, Any]
DECIMALS = {"ssim": 4, "ms_ssim": 4, "lpips": 4, "flip": 4, "flicker": 5, "mask_iou": 3, "epe_3d": 4, "clip_i": 4, "clip_t": 4}
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
td,th{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}
tr.ours{background:#eef6ee}figure{margin:1rem 0}img{max-width:100%}figcaption,small{color:#555}code{font-size:.85em}"""


def write_pages(result: Result, folder: Path) -> dict[str, str]:
    """Write `folder/NAME.json`, `.md` and `.html`; returns format -> path."""
    paths = {kind: folder / f"{result['name']}.{kind}" for kind in ("json", "md", "html")}
    write_json(paths["json"], result)
    for kind, text in (("md", markdown(result)), ("html", page(result))):
        with replacing(paths[kind]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return {kind: str(path) for kind, path in paths.items()}


def write_section(result: Result, file: Path) -> None:
    """Put the Markdown of `result` into `file` between the marks of its name, in the place of what stood there, or at the end."""
    begin, end = (f"<!-- {word} {result['name']} -->" for word in ("begin", "end"))
    text = file.read_text(encoding="utf-8") if file.exists() else "# Results\n"
    section = f"{begin}\n{markdown(result)}{end}\n"
    before, found, rest = text.partition(begin)
    after = rest.partition(end + "\n")[2]
    with replacing(file) as temporary:
        temporary.write_text(before + section + after if found else f"{text.rstrip()}\n\n{section}", encoding="utf-8")


def columns(result: Result) -> list[str]:
    """The metric keys of which any row has a value, those of a published table in any case."""
    keys = list(dict.fromkeys(k for row in result["rows"] for k in row["metrics"]))
    return [k for k in keys if any(row["metrics"].get(k) is not None for row in result["rows"])]


def markdown(result: Result) -> str:
    """The table, what is missing, what could not be measured or compared, and the commands."""
    keys = columns(result)
    head = ["data", "method", "seed", *keys, "seconds", "Gaussians", "memory, MB", "size"]
    lines = [f"### {result['title']}", "", _line(head), _line(["---"] * len(head))]
    for row in result["rows"]:
        lines.append(_line(cells(row, keys)))
    for dataset in result["missing"]:
        lines.append(_line([dataset, "ours", *[""] * (len(head) - 2)]))
    lines.append("")
    lines += _axes(result)
    lines += [f"- {sentence}" for sentence in remarks(result)]
    return "\n".join(lines) + "\n"


def _axes(result: Result) -> list[str]:
    """A table of the result's means along the data set's own taxonomy; nothing without one."""
    rows = result.get("by_axes") or []
    if not rows:
        return []
    keys = columns({"rows": rows})
    lines = [_line(["axis", "scenes", "method", *keys]), _line(["---"] * (3 + len(keys)))]
    for row in rows:
        name = f"**{row['recipe']}**" if row["source"] == "ours" else row["recipe"]
        figures = [number(key, row["metrics"].get(key)) for key in keys]
        lines.append(_line([f"{row['axis']}: {row['place']}", ", ".join(row["scenes"]), name, *figures]))
    return [*lines, ""]


def cells(row: dict[str, Any], keys: Sequence[str]) -> list[str]:
    """One row as text."""
    name = row["recipe"]
    if row["source"] == "ours":
        used = row.get("recipe_used")
        name = f"**{name}**" if used in (None, name) or "/" in name else f"**{name}: {used}**"
    size = f"{row['size'][0]} x {row['size'][1]}" if row.get("size") else ""
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
    gaussians = "" if row["gaussians"] is None else f"{row['gaussians']:,}"
    memory = "" if row.get("peak_memory_megabytes") is None else f"{row['peak_memory_megabytes']:,}"
    seed = "" if row["seed"] is None else str(row["seed"])
    return [row["dataset"], name, seed, *(number(k, row["metrics"].get(k)) for k in keys), seconds, gaussians, memory, size]


def number(key: str, value: float | None) -> str:
    """A figure with the decimals that its metric is told with; empty for None."""
    stem = next((s for s in DECIMALS if key.startswith(s)), "")
    return "" if value is None else f"{value:.{DECIMALS.get(stem, 2)}f}"


def remarks(result: Result) -> list[str]:
    """Plain sentences: differences, refusals, what could not be measured, failures, how to get data, commands."""
    said: list[str] = []
    for row in (r for r in result["rows"] if r["source"] == "ours"):
        who = f"{row['dataset']}, {row['recipe']}, seed {row['seed']}"
        if row.get("error"):
            said.append(f"{who}: {row['error']}")
        for other in row["against_published"]:
            if other["difference"]:
                told = ", ".join(f"{k} {v:+.{DECIMALS.get(k, 2)}f}" for k, v in other["difference"].items())
                said.append(f"{who}, less {other['method']}: {told}")
        refused = {reason: k for other in row["against_published"] for k, reason in other["refused"].items()}
        said += [f"{who}: {key} is not compared with the published one, it is {reason}" for reason, key in refused.items()]
        said += [f"{who}: `{run['command']}`" for run in row["runs"]]
        if row.get("device"):
            budget = f", budget {row['budget_seconds']:g} s" if row.get("budget_seconds") else ""
            said.append(f"{who}: {row['images']} images, quality {row['quality']}{budget}, {row['device']}, commit {row['commit']}")
    unavailable = {k: reason for r in result["rows"] for k, reason in (r.get("unavailable") or {}).items()}
    said += [f"{key} is not measured: {reason}" for key, reason in unavailable.items()]
    variants = {k: v for r in result["rows"] if r["source"] == "ours" for k, v in (r.get("variants") or {}).items()}
    if variants:
        said.append("measured as " + ", ".join(f"{k} = {v}" for k, v in variants.items()))
    if result["missing"]:
        said.append(f"no data for {', '.join(result['missing'])}; get it from {result['how_to_get']}, and name its folder with --data")
    if result.get("published_source"):
        said.append(f"published: {result['published_source']}")
    return list(dict.fromkeys([*said, *result["notes"]]))


def page(result: Result) -> str:
    """The same as HTML, with a picture of every run: truth, render and their difference in the middle held-out image."""
    keys = columns(result)
    head = ["data", "method", "seed", *keys, "seconds", "Gaussians", "memory, MB", "size"]
    body = ["<tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + "</tr>"]
    for row in result["rows"]:
        texts = (html.escape(c.replace("**", "")) for c in cells(row, keys))
        body.append(f"<tr class={row['source']}>" + "".join(f"<td>{t}</td>" for t in texts) + "</tr>")
    pictures: list[str] = []
    for row in (r for r in result["rows"] if r["source"] == "ours"):
        for run in row["runs"]:
            encoded = _picture(Path(run["run"]) / "renders" / f"protocol_{row['protocol']}")
            if encoded is not None:
                caption = html.escape(f"{row['dataset']}, {row['recipe']}, seed {row['seed']}: truth, render, difference")
                pictures.append(f'<figure><img alt="{caption}" src="{encoded}"><figcaption>{caption}</figcaption></figure>')
    items = "".join(f"<li>{html.escape(s)}</li>" for s in remarks(result))
    title = html.escape(result["title"])
    parts = [f"<h1>{title}</h1>", "<table>", *body, "</table>", *pictures, f"<ul><small>{items}</small></ul>"]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return with_policy(head + "\n".join(parts) + "</html>\n")


def _picture(folder: Path) -> str | None:
    names = sorted(p.name for p in folder.glob("*.png"))
    if not names:
        return None
    name = names[len(names) // 2]
    render, truth = (np.asarray(Image.open(p).convert("RGB")) for p in (folder / name, folder / "truth" / name))
    difference = np.abs(render.astype(np.int16) - truth).clip(0, 255).astype(np.uint8)
    return jpeg_address(np.concatenate([truth, render, difference], 1), 88)


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"
