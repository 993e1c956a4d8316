"""`orbit360`: 4DGS360 against HiMoR and Shape of Motion, and its own ablations, seen from 45, 90 and 135 degrees beside the training camera.

Equal Gaussians and steps; exact cameras, depth and masks as they come with the capture, 2D tracks without weights. Scored as the paper's
appendix B.1 (protocol `iphone360`): foreground on white inside the enlarged box of the true mask. Results are one JSON object a line; what
is there is not run again. Run:
    python benchmarks/orbit360.py --out OUT [--methods NAME...] [--seeds 3] [--quality draft] [--width 200]
    python benchmarks/orbit360.py --out OUT --print
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.evaluation.heldout import save_png
from fourfold.evaluation.protocols.catalogue import find_protocol
from fourfold.evaluation.protocols.networks import networks_here
from fourfold.evaluation.protocols.regions import Evidence, regions_of
from fourfold.evaluation.protocols.score import score_protocol
from fourfold.priors.providers import prepare_priors
from fourfold.recipes.fourdgs360_ablations import ABLATIONS
from fourfold.recipes.recipe import Recipe
from fourfold.render.api import rasterize
from fourfold.scene.file import save_scene
from fourfold.scene.scene import Scene
from fourfold.training.trainer import TrainConfig, train
from kept_rows import kept_rows


def capture_of(seed: int, width: int, out: Path) -> Capture:
    """The generated capture, made once."""
    folder = out / f"capture_{width}_{seed}"
    if not folder.exists():
        height = 2 * round(width * 9 / 32)
        generate("orbit360", folder, seed=seed, options=SyntheticOptions(width=width, height=height))
    return Capture.load(folder)


def run(name: str, recipe: Recipe, capture: Capture, seed: int, quality: str, out: Path) -> dict[str, object]:
    """Train, score and keep a few renders."""
    started = time.perf_counter()
    preparation = prepare_priors(capture, recipe.priors, out / "priors" / capture.root.name / name)
    prepared = time.perf_counter()
    scene = train(recipe, None, preparation.capture, preparation.priors, out / f"run_{name}_{seed}", TrainConfig(seed, quality, device="cpu"))  # type: ignore[arg-type]
    trained = time.perf_counter()
    save_scene(scene, out / f"{name}_{seed}.safetensors")
    protocol = find_protocol("iphone360")
    outcome = score_protocol(protocol, scene, preparation.capture, regions_of(protocol, preparation.capture, Evidence()), networks_here())
    keep_renders(scene, preparation.capture, out / "renders" / f"{name}_{seed}")
    by_view: dict[str, dict[str, float]] = {}
    for view in sorted({row["view"] for row in outcome.frames}):
        rows = [row for row in outcome.frames if row["view"] == view]
        by_view[capture.view_names[view]] = {key: float(np.mean([r[key] for r in rows if r[key] is not None])) for key in ("psnr", "mask_iou")}
    return {
        "method": name,
        "seed": seed,
        "metrics": {key: value for key, value in outcome.metrics.items() if value is not None},
        "views": by_view,
        "gaussians": {layer.name: len(layer) for layer in scene.layers},
        "prior_seconds": round(prepared - started, 1),
        "train_seconds": round(trained - prepared, 1),
    }


def keep_renders(scene: Scene, capture: Capture, folder: Path) -> None:
    """Beside each other, truth and render, of three moments in every held-out camera."""
    import torch

    for view, index in [(v, t) for v, t in capture.heldout_frames() if t % 24 == 12]:
        camera = capture.camera_at(view, index)
        with torch.no_grad():
            gaussians = scene.at(float(capture.timestamps[index])).select(scene.foreground_rows() > 0)
            image = rasterize(gaussians, camera, background=torch.ones(3)).color.clamp(0, 1).numpy()
        save_png(folder / f"{view}_{index:03d}.png", np.concatenate([capture.image(view, index) / 255, image], axis=1))


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: mean and range over seeds."""
    found: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        found[str(row["method"])].append(row)
    text = "| method | seeds | PSNR in the box | SSIM | silhouette IoU | PSNR at 45 / 90 / 135 | IoU at 45 / 90 / 135 | s |\n" + "|---" * 8 + "|\n"
    for name, runs in found.items():
        mean = {key: [r["metrics"][key] for r in runs] for key in ("psnr", "ssim", "mask_iou")}
        views = {key: " / ".join(f"{np.mean([r['views'][v][key] for r in runs]):.2f}" for v in runs[0]["views"]) for key in ("psnr", "mask_iou")}
        psnr = f"{np.mean(mean['psnr']):.2f} ({min(mean['psnr']):.2f} to {max(mean['psnr']):.2f})"
        iou = f"{np.mean(mean['mask_iou']):.3f} ({min(mean['mask_iou']):.3f} to {max(mean['mask_iou']):.3f})"
        seconds = np.mean([r["train_seconds"] for r in runs])
        text += f"| {name} | {len(runs)} | {psnr} | {np.mean(mean['ssim']):.3f} | {iou} | {views['psnr']} | {views['mask_iou']} | {seconds:.0f} |\n"
    return text


def main() -> None:
    """Run what is missing, or print what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=["full", "himor", "shape_of_motion", "without_anchors", "without_3d_start"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--width", type=int, default=200)
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    wanted = [] if given.print else [(name, seed) for seed in given.seeds for name in given.methods]
    captures = cache(lambda seed: capture_of(seed, given.width, given.out))
    found = kept_rows(
        given.out / "results.jsonl", wanted, lambda name, seed: run(name, ABLATIONS[name], captures(seed), seed, given.quality, given.out)
    )
    print(table(found))


if __name__ == "__main__":
    main()
