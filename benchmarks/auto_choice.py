"""`auto` against every recipe that could take its place: foreground PSNR of held-out cameras on every generated kind and on basketball.

`auto` is a rule over the cameras, so what it takes is one of the recipes that are run anyway; all recipes of a capture share its priors. Generated
captures bring exact cameras and masks, and depth where `--depth`; they are filmed at the size that quality draft keeps. Basketball is read from
`--data` as `fourfold reconstruct` reads it, a part of its moments. Results are one JSON object a line; what is there is not run again. Run:
    python benchmarks/auto_choice.py --out OUT [--kinds casual dense_rig basketball] [--seeds 1 2 3] [--recipes NAME...] [--data ../shared/data]
    python benchmarks/auto_choice.py --out OUT --print
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.source import CaptureOptions
from fourfold.capture.synthetic import KINDS, SyntheticOptions, generate
from fourfold.recipes import all_recipes, find_recipe
from fourfold.recipes.auto import choose_recipe
from fourfold.recipes.recipe import QUALITIES
from kept_rows import kept_rows
from side_views import run

ONE = ("lived_bases", "himor", "mosca", "shape_of_motion")
RIVALS = {
    "orbit360": (*ONE, "fourdgs360"),
    "sparse_moving": ("sparse_dynamic", "mosca_naive", "mv_shape_of_motion"),
    "sparse_fixed": ("monofusion", "mv_shape_of_motion", "freetimegs"),
    "dense_rig": ("freetimegs", "sharptimegs", "dynamic3dgs"),
    "basketball": ("freetimegs", "sharptimegs", "dynamic3dgs"),
}
"""Recipes that are made for the cameras of each kind; `ONE` where none is named."""
SIZE = (160, 90)  # of generated images, pixels: what draft leaves of their usual size
MOMENTS = 30  # of basketball


def capture_of(kind: str, seed: int, out: Path, given: argparse.Namespace) -> Capture:
    """The capture at quality draft, made once; without its depth unless `--depth`, with `--frames` moments of the same length."""
    name, pixels = f"{named(kind, given)}_{seed}", QUALITIES["draft"].pixels
    if kind == "basketball":
        return prepare_capture(
            [given.data / "panoptic_basketball"], out / "capture_basketball", pixels=pixels, options=CaptureOptions(max_frames=MOMENTS)
        )
    made = out / f"synth_{name}"
    if not made.exists():
        rate = KINDS[kind].fps * (given.frames or KINDS[kind].frames) / KINDS[kind].frames
        generate(kind, made, seed=seed, options=SyntheticOptions(width=SIZE[0], height=SIZE[1], frames=given.frames, fps=rate))
        for file in () if given.depth else made.glob("depth_*.npy"):
            file.unlink()
    return prepare_capture([made], out / f"capture_{name}", pixels=pixels)


def named(kind: str, given: argparse.Namespace) -> str:
    """The kind with what was changed about it."""
    return kind + ("_depth" if given.depth else "") + (f"_{given.frames}" if given.frames else "")


def measured(name: str, capture: Capture, seed: int, out: Path) -> dict[str, Any]:
    """A row of one recipe, with what `auto` takes for this capture."""
    return run(name, find_recipe(name), capture, seed, "draft", out) | {"auto": choose_recipe(capture, all_recipes())[0].name}


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: foreground PSNR of every seed, and by how much each recipe is above (+) or below what `auto` takes."""
    text = "| capture | recipe | moving, each seed | moving / whole, mean | above `auto`, each seed | s |\n" + "|---" * 6 + "|\n"
    for kind, runs in rows.items():
        found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        for row in runs:
            found[row["method"]][row["seed"]] = row
        for name, by_seed in sorted(found.items(), key=lambda item: -float(np.mean([r["moving"] for r in item[1].values()]))):
            seeds = sorted(by_seed)
            each = "; ".join(f"{s}: {by_seed[s]['moving']:.2f}" for s in seeds)
            mean = " / ".join(f"{np.mean([by_seed[s][key] for s in seeds]):.2f}" for key in ("moving", "whole"))
            taken = {s: found.get(by_seed[s]["auto"], {}).get(s) for s in seeds}
            above = "; ".join(f"{s}: {by_seed[s]['moving'] - row['moving']:+.2f}" for s, row in taken.items() if row is not None)
            mark = "**auto**" if all(by_seed[s]["auto"] == name for s in seeds) else above
            text += f"| {kind} | {name} | {each} | {mean} | {mark} | {np.mean([by_seed[s]['train_seconds'] for s in seeds]):.0f} |\n"
    return text


def rows_of(kind: str, given: argparse.Namespace, recipes: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of a kind, those that lack run first."""
    captures = cache(lambda seed: capture_of(kind, seed, given.out, given))
    wanted = [] if given.print else [(name, seed) for seed in given.seeds for name in recipes]
    file = given.out / f"auto_{named(kind, given)}.jsonl"
    return kept_rows(file, wanted, lambda name, seed: measured(name, captures(seed), seed, given.out))


def main() -> None:
    """Run what is missing, or print what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", default=[*KINDS, "basketball"])
    parser.add_argument("--recipes", nargs="*", help="those named in RIVALS if not given")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--depth", action="store_true")
    parser.add_argument("--frames", type=int, help="moments of generated clips, which last as long as ever")
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    print(table({named(kind, given): rows_of(kind, given, given.recipes or RIVALS.get(kind, ONE)) for kind in given.kinds}))


if __name__ == "__main__":
    main()
