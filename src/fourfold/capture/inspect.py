"""What a path holds, without changing anything: layout, views, moments, cameras, and what reconstruction will have to estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.capture.holdout import split
from fourfold.capture.shots import open_shot
from fourfold.capture.source import CaptureOptions, Source


def inspect(paths: Path | Sequence[Path], options: CaptureOptions | None = None, holdout: str | None = None) -> dict[str, Any]:
    """A JSON-able description of a video, several videos, a folder of images or a dataset folder.

    Raises:
        FourfoldError: nothing is there, it is not known, or it is broken.
    """
    several = [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
    source = open_shot(several, options or CaptureOptions())
    train, heldout, rule = split(source, holdout)
    sizes = sorted({v.frames.size for v in source.views}, reverse=True)
    duration = float(source.timestamps[-1] - source.timestamps[0])
    times = len(source.timestamps)
    return {
        "path": str(source.path),
        "layout": source.layout,
        "name": source.name,
        "views": len(source.views),
        "view_names": [v.name for v in source.views],
        "times": times,
        "images": int(sum(v.present.sum() for v in source.views)),
        "sizes": [list(s) for s in sizes],
        "fps": round((times - 1) / duration, 4) if duration > 0 else None,
        "duration_seconds": round(duration, 4),
        "cameras": source.cameras,
        "moving_cameras": moving_cameras(source),
        "metric": source.metric,
        "lens_distortion": sorted({lens.model for v in source.views for lens in v.lenses if lens.bends}),
        "masks": sum(v.masks is not None for v in source.views),
        "depth": sum(v.depth is not None for v in source.views),
        "holdout": rule,
        "train_images": int(train.sum()),
        "heldout_images": int(heldout.sum()),
        "will_estimate": missing(source),
        "facts": source.facts,
    }


def moving_cameras(source: Source) -> bool | None:
    """Whether any view's pose changes over time; None if poses are not given."""
    if source.cameras == "unknown":
        return None
    return any(bool(np.ptp(poses, axis=0).max() > 1e-6) for v in source.views if len(poses := v.world_to_camera[v.present]) > 1)


def missing(source: Source) -> list[str]:
    """What reconstruction will estimate because the input does not give it."""
    wanted = []
    if source.cameras == "unknown":
        wanted += ["camera poses", "focal length and lens distortion"]
    if not any(v.masks is not None for v in source.views):
        wanted.append("masks of what moves")
    if not any(v.depth is not None for v in source.views):
        wanted.append("depth")
    return [*wanted, "point tracks"]


def as_lines(found: Mapping[str, Any]) -> list[str]:
    """The description of `inspect` as plain lines for a person."""
    views, sizes = found["views"], ", ".join(f"{w} x {h}" for w, h in found["sizes"])
    rate = f" at {found['fps']:g} per second" if found["fps"] else ""
    moving = {True: ", moving", False: ", standing still", None: ""}[found["moving_cameras"]]
    unit = "metres" if found["metric"] else "units of unknown size"
    lens = f", {' and '.join(found['lens_distortion'])} distortion to remove" if found["lens_distortion"] else ""
    given = [f"{kind} for {found[kind]} of {views} views" for kind in ("masks", "depth") if found[kind]]
    lines = [
        f"{found['path']}: {found['layout']}",
        f"  views     {views}" + (f" ({', '.join(found['view_names'][:8])}{', ...' if views > 8 else ''})" if views > 1 else ""),
        f"  moments   {found['times']}{rate}, {found['duration_seconds']:.2f} s, {found['images']} images",
        f"  size      {sizes} pixels",
        f"  cameras   {found['cameras']}{moving}{lens}" + (f", in {unit}" if found["cameras"] != "unknown" else ""),
        f"  also      {', '.join(given) if given else 'no masks, no depth'}",
        f"  held out  {found['holdout']}: {found['heldout_images']} images, {found['train_images']} to train on",
        f"  estimated {', '.join(found['will_estimate'])}",
    ]
    lines += [f"  note      {sentence}" for sentence in found["facts"].get("notes", ())]
    notes = {k: v for k, v in found["facts"].items() if v and k not in ("fps", "pixel_format", "layout", "source", "shots", "notes")}
    return lines + ([f"  notes     {', '.join(f'{k.replace(chr(95), chr(32))}: {v}' for k, v in notes.items())}"] if notes else [])
