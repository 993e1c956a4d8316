"""One moving camera, looked at from the side: recipes against true side cameras of generated captures.

Exact cameras and masks come with the capture, depth does not, unless `--depth` keeps it. `casual` has a held-out path 14 degrees beside the filmed
one, `orbit360` cameras 45, 90 and 135 degrees ahead on the circle. PSNR of the held-out images: whole, where the true masks say that something
moves, and the rest. Results are one JSON object a line; what is there is not run again. Run:
    python benchmarks/side_views.py --out OUT [--kinds casual orbit360] [--methods NAME...] [--seeds 0 1 2] [--quality draft] [--depth]
    python benchmarks/side_views.py --out OUT --print
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.synthetic import generate
from fourfold.evaluation.heldout import moving_regions, save_png, scene_renderer, score
from fourfold.priors.providers import prepare_priors
from fourfold.recipes import find_recipe
from fourfold.recipes.recipe import QUALITIES, Recipe
from fourfold.scene.file import save_scene
from fourfold.scene.scene import DYNAMIC
from fourfold.training.trainer import TrainConfig, train
from kept_rows import kept_rows


def capture_of(kind: str, seed: int, quality: str, out: Path, depth: bool = False) -> Capture:
    """The generated capture, without its depth unless `depth`, at the quality's size; made once."""
    name = f"{kind}_depth_{seed}" if depth else f"{kind}_{seed}"
    made = out / f"synth_{name}"
    if not made.exists():
        generate(kind, made, seed=seed)
        for file in () if depth else made.glob("depth_*.npy"):
            file.unlink()
    return prepare_capture([made], out / f"capture_{name}_{quality}", pixels=QUALITIES[quality].pixels)  # type: ignore[index]


def run(name: str, recipe: Recipe, capture: Capture, seed: int, quality: str, out: Path) -> dict[str, Any]:
    """Train, score and keep a few renders; the priors of a capture serve all recipes."""
    started = time.perf_counter()
    preparation = prepare_priors(capture, recipe.priors, out / "priors" / capture.root.name)
    prepared = time.perf_counter()
    folder = out / "runs" / f"{capture.root.name}_{name}"
    scene = train(recipe, None, preparation.capture, preparation.priors, folder, TrainConfig(seed, quality, device="cpu"))  # type: ignore[arg-type]
    trained = time.perf_counter()
    save_scene(scene, folder / "scene.safetensors")
    render = scene_renderer(scene, preparation.capture)
    mean = score(render, preparation.capture, moving_regions(preparation.capture, {})).mean
    for view, index in preparation.capture.heldout_frames()[:: max(1, len(preparation.capture.heldout_frames()) // 6)]:
        pair = np.concatenate([preparation.capture.image(view, index) / 255, render(view, index)], axis=1)
        save_png(folder / "renders" / f"{view}_{index:03d}.png", pair)
    return {
        "kind": capture.facts.get("kind", capture.name),
        "method": name,
        "seed": seed,
        "whole": mean["psnr"],
        "moving": mean["psnr_dynamic"],
        "still": mean["psnr_static"],
        "dynamic_gaussians": sum(len(layer) for layer in scene.layers if layer.role == DYNAMIC),
        "prior_seconds": round(prepared - started, 1),
        "train_seconds": round(trained - prepared, 1),
    }


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown: whole / moving / still of every seed and their mean."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["kind"], row["method"]].append(row)
    text = "| capture | recipe | whole / moving / still | seeds | Gaussians that move | s |\n" + "|---" * 6 + "|\n"
    for (kind, name), runs in sorted(found.items()):
        mean = " / ".join(f"{np.mean([r[key] for r in runs]):.2f}" for key in ("whole", "moving", "still"))
        each = "; ".join(f"{r['seed']}: {r['whole']:.2f} / {r['moving']:.2f} / {r['still']:.2f}" for r in runs)
        count, seconds = (np.mean([r[key] for r in runs]) for key in ("dynamic_gaussians", "train_seconds"))
        text += f"| {kind} | {name} | {mean} | {each} | {count:.0f} | {seconds:.0f} |\n"
    return text


def main() -> None:
    """Run what is missing, or print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", default=["casual", "orbit360"])
    parser.add_argument("--methods", nargs="*", default=["shape_of_motion"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--depth", action="store_true")
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    captures = cache(lambda kind, seed: capture_of(kind, seed, given.quality, given.out, given.depth))
    rows: list[dict[str, Any]] = []
    for kind in given.kinds:
        wanted = [] if given.print else [(name, seed) for seed in given.seeds for name in given.methods]
        rows += kept_rows(
            given.out / f"results_{kind}{'_depth' if given.depth else ''}_{given.quality}.jsonl",
            wanted,
            lambda name, seed, kind=kind: run(name, find_recipe(name), captures(kind, seed), seed, given.quality, given.out),
        )
    print(table(rows))


if __name__ == "__main__":
    main()
