"""`sparse_moving`: three hand-held cameras, a fourth fixed one held out; Tables 2 to 5 of "4D Reconstruction from Sparse Dynamic Cameras".

Exact cameras and masks; depth with the errors of a monocular network (scale and bend per image, blur at edges: `fourfold synth --noise`), as
the paper's comes from one too. PSNR in the moving region and outside it. Every seed is another capture. Results are one JSON object a line;
what is there is not run again. Run:
    python benchmarks/sparse_moving.py --out OUT [--methods NAME...] [--seeds 0 1 2] [--quality draft] [--exact-depth]
    python benchmarks/sparse_moving.py --out OUT --print
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.options import NoiseOptions
from fourfold.evaluation.heldout import moving_regions, scene_renderer, score
from fourfold.evaluation.published.reader import load_published
from fourfold.priors.providers import prepare_priors
from fourfold.recipes.sparse_dynamic_ablations import ABLATIONS
from fourfold.training.trainer import TrainConfig, train
from kept_rows import kept_rows

TABLES = ("letcamsgo", "sparse_dynamic_ablation", "sparse_dynamic_depth_loss", "sparse_dynamic_sampler")
PUBLISHED = {  # method -> its row in each table that has one
    "full": ("Sparse dynamic cameras", "both", "ordinal", "different views and times"),
    "mosca_naive": ("MoSca",),
    "mosca_m": ("MoSca-M",),
    "no_epipolar_no_triangulation": ("neither",),
    "no_triangulation": ("epipolar filter",),
    "no_epipolar": ("triangulation",),
    "no_depth_loss": ("none",),
    "normalised_depth": ("normalised",),
    "same_view": ("same view, different times",),
    "same_time": ("different views, same time",),
}


def published(method: str) -> str:
    """The paper's dynamic PSNR of the method, in every table that has it; Tables 4 and 5 take other masks than 2 and 3."""
    rows = [row for name in TABLES for row in load_published(name).rows if row.dataset in ("Average", "LetCamsGo")]
    return " / ".join(f"{row.figures['psnr_dynamic'].value:.2f}" for row in rows if row.method in PUBLISHED.get(method, ()))


def capture_of(seed: int, out: Path, frames: int, exact: bool) -> Capture:
    """The generated capture, made once."""
    folder = out / f"capture_{seed}{'_exact' if exact else ''}"
    if not folder.exists():
        made = out / f"making_{seed}"
        shutil.rmtree(made, ignore_errors=True)
        generate("sparse_moving", made, seed=seed, options=SyntheticOptions(frames=frames, width=256, height=144, noise=NoiseOptions()))
        for spoilt in () if exact else (made / "noisy").glob("depth_*.npy"):
            shutil.copy(spoilt, made / spoilt.name)
        made.rename(folder)
    return Capture.load(folder)


def run(name: str, capture: Capture, seed: int, quality: str, out: Path) -> dict[str, object]:
    """Train and score."""
    recipe = ABLATIONS[name]
    started = time.perf_counter()
    prepared = prepare_priors(capture, recipe.priors, out / "priors" / capture.root.name)
    ready = time.perf_counter()
    folder = out / f"run_{capture.root.name}_{name}"
    scene = train(recipe, None, prepared.capture, prepared.priors, folder, TrainConfig(seed, quality, device="cpu"))  # type: ignore[arg-type]
    seconds = time.perf_counter() - ready
    found = score(scene_renderer(scene, prepared.capture), prepared.capture, moving_regions(prepared.capture, {}), folder / "heldout")
    return {
        "method": name,
        "seed": seed,
        "quality": quality,
        **{key: round(value, 4) for key, value in found.mean.items() if value is not None},
        "gaussians": {layer.name: len(layer) for layer in scene.layers},
        "prior_seconds": round(ready - started, 1),
        "train_seconds": round(seconds, 1),
    }


def table(rows: list[dict]) -> str:
    """Markdown: means over seeds, the paper's row, and in how many seeds the method stays below the whole one."""
    found: dict[str, dict[int, dict]] = defaultdict(dict)
    for row in rows:
        found[row["method"]][row["seed"]] = row
    text = "| method | seeds | dynamic PSNR | of the seeds | below full in | static PSNR | PSNR | SSIM | s | published |\n" + "|---" * 10 + "|\n"
    for name, runs in found.items():
        mean = {key: np.mean([r[key] for r in runs.values()]) for key in ("psnr_dynamic", "psnr_static", "psnr", "ssim", "train_seconds")}
        each = " / ".join(f"{runs[seed]['psnr_dynamic']:.2f}" for seed in sorted(runs))
        paired = [seed for seed in runs if seed in found["full"]]
        below = sum(runs[seed]["psnr_dynamic"] < found["full"][seed]["psnr_dynamic"] for seed in paired)
        text += f"| {name} | {len(runs)} | {mean['psnr_dynamic']:.2f} | {each} | {'' if name == 'full' else f'{below} of {len(paired)}'} | "
        text += f"{mean['psnr_static']:.2f} | {mean['psnr']:.2f} | {mean['ssim']:.3f} | {mean['train_seconds']:.0f} | {published(name)} |\n"
    return text


def main() -> None:
    """Run what is missing, or print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=list(ABLATIONS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--frames", type=int, default=36)
    parser.add_argument("--exact-depth", action="store_true")
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    wanted = [] if given.print else [(name, seed) for name in given.methods for seed in given.seeds]
    captures = cache(lambda seed: capture_of(seed, given.out, given.frames, given.exact_depth))
    print(table(kept_rows(given.out / "results.jsonl", wanted, lambda name, seed: run(name, captures(seed), seed, given.quality, given.out))))


if __name__ == "__main__":
    main()
