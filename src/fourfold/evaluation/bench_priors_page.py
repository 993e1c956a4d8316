"""The table of `fourfold bench priors` as Markdown: one section per prior, noise in the second half of each cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fourfold.evaluation.bench_priors import GIVEN, SAME_FROM_IMAGES, Choice, Row
from fourfold.evaluation.bench_priors_inputs import DRAFTS, IMAGE_NOISE
from fourfold.files import replacing

COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "cameras": (
        ("rotation", "rotation, deg"), ("rotation_max", "largest, deg"), ("ate", "ATE, m"), ("rpe_rotation", "RPE, deg"), ("focal", "focal, %"),
    ),
    "masks": (("iou", "IoU"), ("iou_full", "IoU, 0 = background"), ("unused", "called 0, %")),
    "flow": (
        ("epe", "EPE, px"), ("epe_moving", "EPE moving, px"), ("outliers", "outliers, %"),
        ("epipolar_median", "epipolar median, px"), ("epipolar_within_1px", "epipolar within 1 px, %"),
    ),
    "depth": (
        ("abs_rel", "abs rel"), ("abs_rel_scaled", "abs rel, scaled"), ("delta_125_scaled", "delta 1.25, scaled, %"),
        ("abs_rel_moving", "abs rel, moving"), ("abs_rel_scaled_moving", "moving, scaled"), ("known", "known, %"),
    ),
    "disparity": (("abs_rel", "abs rel"), ("delta_125", "delta 1.25, %"), ("abs_rel_moving", "abs rel, moving")),
    "pointmaps": (("abs_rel_scaled", "abs rel, scaled"), ("delta_125_scaled", "delta 1.25, scaled, %"), ("abs_rel_scaled_moving", "moving, scaled")),
    "matches": (("median", "median, px"), ("within_2px", "within 2 px, %"), ("matches", "matches")),
    "longtracks": (
        ("error_5_10", "error after 5 to 9, px"), ("error_20_40", "after 20 to 39, px"), ("near_still", "within 1.5 px, still, %"),
        ("near_moving", "moving, %"), ("hidden", "hidden, %"), ("links", "found again"), ("links_right", "of these right, %"),
        ("longest_tenth", "a tenth are longer than"), ("tracks", "tracks"),
    ),
    "tracks2d": (
        ("aj", "AJ"), ("delta_avg", "delta"), ("oa", "OA"), ("aj_points", "AJ, truth's points"), ("oa_points", "OA, truth's points"),
        ("aj_still", "AJ, still"), ("aj_4_64", "AJ, 4-64 px"), ("tracks", "tracks"),
    ),
    "tracks3d": (
        ("epe", "EPE, m"), ("median", "median, m"), ("near_5cm", "delta 5 cm, %"), ("near_10cm", "delta 10 cm, %"),
        ("epe_hidden", "EPE hidden, m"), ("median_share", "median, % of diameter"),
    ),
}  # fmt: skip
"""Figures shown per prior: name in the rows, and heading. The JSON holds all of them."""

NOTES = {
    "cameras": "After the similarity of the centres (of the orientations where the centres do not span a plane).",
    "masks": (
        "IoU leaves out pixels that the estimate calls 0 (the band along outlines, which training does not use); the second figure counts "
        "them as background."
    ),
    "flow": (
        "Mean end-point error over pixels seen in both frames; outliers are off by more than 3 px and 5 %. On real clips: distance from the "
        "epipolar geometry of the given cameras, over vectors that pass the forward-backward check."
    ),
    "depth": (
        "Scaled: after one scale for the whole capture (median of truth over estimate). Cameras estimated from images have a scale of their own."
    ),
    "matches": "Distance from where the point of the first image truly is in the second.",
    "longtracks": (
        "Distance, in pixels of an image 640 px wide, from the exact path of the pixel where the track began; the first two are medians of "
        "what stands still, so many moments after that. Right: within 2 px after a gap."
    ),
    "tracks2d": (
        "AJ, delta, OA as TAP-Vid defines them: thresholds 1 to 16 px of a 256 x 256 raster, query moments left out. The first three judge "
        "the provider's own tracks on movers against the exact path of the pixel each was started at; the truth's points are spread evenly "
        "over the movers, asked at every fifth moment and answered by the nearest track."
    ),
    "tracks3d": (
        "Errors while some training camera sees the point, and while none does (hidden). Scenes are metric; delta is the share within 5 and 10 cm."
    ),
}
"""What the figures of a section mean, said above its table."""


def write_page(rows: Sequence[Row], path: Path, choice: Choice, real: bool) -> None:
    """Write the page to `path`, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*_head(choice, path, real), *(line for prior in COLUMNS for line in _section(prior, rows))]) + "\n")


def command_of(choice: Choice, path: Path, real: bool) -> str:
    """The command that makes the page."""
    parts = ["fourfold bench priors --json"]
    if tuple(choice.kinds) != tuple(DRAFTS):
        parts.append(f"--kinds {' '.join(choice.kinds)}")
    parts.append(f"--seeds {choice.seeds}")
    for name in ("priors", "providers"):
        if getattr(choice, name):
            parts.append(f"--{name} {' '.join(getattr(choice, name))}")
    if tuple(choice.inputs) != ("exact", "images"):
        parts.append(f"--inputs {' '.join(choice.inputs)}")
    return " ".join([*parts, *(["--noise"] if choice.noise else []), *(["--real"] if real else []), f"--markdown {path.as_posix()}"])


def _head(choice: Choice, path: Path, real: bool) -> list[str]:
    sizes = ", ".join(f"{kind} {d.width}x{d.height}, {d.frames} frames" for kind, d in DRAFTS.items() if kind in choice.kinds)
    given = "; ".join(f"{prior}: {' and '.join(names)}" for prior, names in GIVEN.items() if prior not in SAME_FROM_IMAGES)
    return [
        "# How good the priors are",
        "",
        "Every provider that serves on this machine, on synthetic captures, against their exact truth. Made by",
        "",
        f"    {command_of(choice, path, real)}",
        "",
        f"Captures: {sizes}. Inputs *exact*: the truth of what is read is given, so that a prior is judged alone ({given}).",
        "Inputs *images*: bare images, everything else is estimated first by whoever serves. A second figure after / is with noise: "
        f"grey levels off by {IMAGE_NOISE:g} of 255, given masks and depth spoilt (`capture/synthetic/noise.py`), given cameras exact. "
        "Seconds are the provider's own, on one core, without what it needs. "
        "Whoever is worse than another by every figure serves after it (`tests/test_priors_ranks.py` reads this page)."
        + (" Rows that were not measured yet are left out." if choice.finished else ""),
    ]


def _section(prior: str, rows: Sequence[Row]) -> list[str]:
    own = [r for r in rows if r.prior == prior]
    if not own:
        return []
    shown = [(key, title) for key, title in COLUMNS[prior] if any(r.metrics and r.metrics.get(key) is not None for r in own)]
    lines = ["", f"## {prior}", "", *([NOTES[prior], ""] if prior in NOTES else [])]
    if shown:
        lines += ["| capture | provider | inputs | " + " | ".join(t for _, t in shown) + " | s |", "|---" * (len(shown) + 4) + "|"]
        seen = dict.fromkeys((r.capture, r.provider, r.inputs) for r in own if r.metrics)
        for capture, provider, inputs in seen:
            pair = [
                next((r for r in own if (r.capture, r.provider, r.inputs, r.noise) == (capture, provider, inputs, n)), None) for n in (False, True)
            ]
            lines.append(_line((capture, provider, "images" if prior in SAME_FROM_IMAGES else inputs), pair, [key for key, _ in shown]))
    silent = dict.fromkeys(f"{r.provider}: {r.error}" for r in own if r.error and not any(o.metrics for o in own if o.provider == r.provider))
    return [*lines, *(["", "Did not serve: " + "; ".join(silent) + "."] if silent else [])]


def _line(names: tuple[str, str, str], pair: Sequence[Row | None], keys: Sequence[str]) -> str:
    cells = [" / ".join(_figure(r.metrics.get(key)) for r in pair if r is not None and r.metrics) for key in keys]
    seconds = next((r.seconds for r in pair if r is not None and r.seconds is not None), None)
    return "| " + " | ".join([*names, *cells, _figure(seconds)]) + " |"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
