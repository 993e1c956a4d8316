"""A few fixed cameras 90 degrees apart: MonoFusion against its baselines and its own ablations (Tables 1 to 3 of the paper).

Captures, at 320x180: four cameras of Panoptic basketball with held-out cameras between them ("45 degrees"), three of them with the fourth
held out ("90 degrees", four folds), and the synthetic `sparse_fixed`. Results are one JSON object a line; what is there is not run again. Run:
    python benchmarks/sparse_fixed.py --data ../shared/data --out OUT [--cases NAME...] [--methods NAME...] [--seeds 3] [--quality normal]
    python benchmarks/sparse_fixed.py --out OUT --print
Nothing is fitted to a held-out camera. "foreground" are the held-out cameras' pixels that the hull of all other 27 cameras' masks covers
(basketball) or the exact masks (synthetic). The rates were chosen on "45 degrees" of basketball with seed 0.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.synthetic import generate
from fourfold.evaluation import heldout, metrics
from fourfold.evaluation.novel_views import novel_time
from fourfold.evaluation.published.reader import load_published
from fourfold.priors.depth.rig import stage_of
from fourfold.priors.providers import prepare_priors
from fourfold.priors.rigs.hull import carve, projected, silhouette
from fourfold.recipes import find_recipe
from fourfold.recipes.monofusion_ablations import ABLATIONS
from fourfold.recipes.recipe import Recipe
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene
from fourfold.training.trainer import TrainConfig, train

TRAINED = ("3", "20", "29", "23")  # azimuths 41, 139, -149 and -32 degrees
BETWEEN = ("0", "15", "30")
FRAMES = 30
METHODS: dict[str, Recipe] = {
    "monofusion": ABLATIONS["full"],
    **{name: recipe for name, recipe in ABLATIONS.items() if name not in ("full", "baseline")},
    **{name: find_recipe(name) for name in ("mv_shape_of_motion", "point_maps", "splat3d")},
    "shape_of_motion_one_camera": ABLATIONS["baseline"],
}


@dataclass(frozen=True)
class Case:
    """A capture whose training views come first, and the regions (view, index) -> (H, W) bool in which something moves."""

    name: str
    capture: Capture
    regions: dict[tuple[int, int], NDArray[np.bool_]]


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", nargs="*", default=["basketball_45", "sparse_fixed", *(f"basketball_90_{c}" for c in TRAINED)])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--quality", default="normal")
    parser.add_argument("--novel-times", action="store_true", help="train without every third moment and score the training cameras there")
    parser.add_argument("--print", action="store_true", help="print what is there, run nothing")
    options = parser.parse_args()
    results = options.out / "results.jsonl"
    for name in () if options.print else options.cases:
        case = make_case(name, options.data, options.out, options.novel_times)
        for method in options.methods:
            for seed in options.seeds:
                wanted = {"case": case.name, "method": method, "seed": seed, "quality": options.quality}
                if any(all(row[k] == v for k, v in wanted.items()) for row in read(results)):
                    continue
                row = wanted | measure(case, METHODS[method], method, seed, options.quality, options.out)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    print_tables(list(read(results)))


def read(results: Path) -> Iterator[dict[str, Any]]:
    """Rows that were measured before."""
    if results.exists():
        yield from (json.loads(line) for line in results.read_text().splitlines())


def make_case(name: str, data: Path, out: Path, novel_times: bool) -> Case:
    """The capture called `name`, prepared under `out`, without the depth that a synthetic one brings."""
    if name == "sparse_fixed":
        root = out / "synthetic"
        whole = Capture.load(root) if root.exists() else generate(name, root)
        names = whole.view_names
        train, test = tuple(n for v, n in enumerate(names) if whole.train[v].any()), tuple(n for v, n in enumerate(names) if whole.heldout[v].any())
        frames = whole.times
        regions = {(v, t): np.asarray(whole.mask(v, t) > 0) for v in range(whole.views) for t in range(frames)}  # type: ignore[operator]
    else:
        whole = prepare_capture([data / "panoptic_basketball"], out / "panoptic", pixels=60_000)
        fold = name.removeprefix("basketball_90_")
        train, test = (TRAINED, BETWEEN) if name == "basketball_45" else (tuple(c for c in TRAINED if c != fold), (fold,))
        frames = FRAMES
        regions = basketball_regions(whole, out / "regions.npz", (*TRAINED, *BETWEEN), frames)
    capture = part_of(whole, out / "captures" / name, train, test, frames)
    places = {whole.view_names.index(n): v for v, n in enumerate(capture.view_names)}
    moving = {(places[v], t): region for (v, t), region in regions.items() if v in places}
    if novel_times:
        skipped = np.arange(frames) % 3 == 1
        trained = capture.train.any(axis=1)[:, None]
        capture = replace(capture, train=capture.train & ~skipped, heldout=trained & skipped[None])
    return Case(name + ("_novel_time" if novel_times else ""), capture, moving)


def part_of(whole: Capture, root: Path, train: tuple[str, ...], test: tuple[str, ...], frames: int) -> Capture:
    """Some views and the first moments of a capture as one of its own; masks for training views only, no depth."""
    views = [whole.view_names.index(n) for n in (*train, *test)]
    shown = np.zeros((len(views), frames), bool)
    shown[: len(train)] = True
    root.mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(views):
        for kind in ("frames", "masks") if number < len(train) else ("frames",):
            if not (root / f"{kind}_{number:03d}.npy").exists():
                np.save(root / f"{kind}_{number:03d}.npy", np.load(whole.root / f"{kind}_{view:03d}.npy", mmap_mode="r")[:frames])
    present = whole.present[views, :frames]
    K, poses, times = whole.K[views, :frames], whole.world_to_camera[views, :frames], whole.timestamps[:frames]
    kept = Capture(
        root, K, poses, times, whole.sizes[views], present, shown & present, ~shown & present, "given", whole.metric, root.name, (*train, *test)
    )
    kept.save()
    return kept


def basketball_regions(whole: Capture, file: Path, names: tuple[str, ...], frames: int) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Foreground of the views `names`: their masks, or what the hull of all cameras' masks covers where there are none."""
    views = [whole.view_names.index(n) for n in names]
    if not file.exists():
        stage = stage_of(whole)
        drawn = np.zeros((len(views), frames, *whole.image(0, 0).shape[:2]), np.uint8)
        for t in range(frames):
            seen = [int(v) for v in np.flatnonzero(whole.train[:, t])]
            outlines = [silhouette(np.asarray(whole.mask(v, t) >= 0), whole.K[v, t], whole.world_to_camera[v, t]) for v in seen]  # type: ignore[operator]
            _, body = carve(outlines, stage.center, stage.radius, 0.03)  # type: ignore[union-attr]
            for number, view in enumerate(views):
                drawn[number, t] = np.asarray(whole.mask(view, t) > 0) if whole.train[view, t] else covered(body, whole, view, t)  # type: ignore[operator]
        np.savez_compressed(file, regions=drawn)
    stack = np.load(file)["regions"] > 0
    return {(view, t): stack[number, t] for number, view in enumerate(views) for t in range(frames)}


def covered(body: NDArray[np.float64], capture: Capture, view: int, t: int) -> NDArray[np.uint8]:
    """(H, W) 1 where the projected voxels lie."""
    pixel, depth = projected(body, capture.K[view, t], capture.world_to_camera[view, t])
    width, height = capture.sizes[view]
    image = np.zeros((height, width), np.uint8)
    column, row = np.floor(pixel[(depth > 0.3) & (pixel >= 0).all(1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)]).astype(int).T
    image[row, column] = 1
    return np.asarray(cv2.morphologyEx(image, cv2.MORPH_CLOSE, np.ones((5, 5))))


def measure(case: Case, recipe: Recipe, method: str, seed: int, quality: str, out: Path) -> dict[str, Any]:
    """Train and score one method; the one-camera method trains on another camera with each seed."""
    began = time.perf_counter()
    prepared = prepare_priors(case.capture, recipe.priors, out / "priors" / case.name)
    capture = prepared.capture
    if method == "shape_of_motion_one_camera":
        chosen = np.flatnonzero(capture.train.any(axis=1))[seed % int(capture.train.any(axis=1).sum())]
        capture = replace(capture, train=capture.train & (np.arange(capture.views) == chosen)[:, None])
    priors_s = time.perf_counter() - began
    began = time.perf_counter()
    folder = out / "runs" / f"{case.name}_{method}_{seed}_{quality}"
    scene = train(recipe, None, capture, prepared.priors, folder, TrainConfig(seed=seed, quality=quality))  # type: ignore[arg-type]
    row: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 1), "priors_s": round(priors_s, 1)}
    row["gaussians"] = sum(len(layer) for layer in scene.layers)
    row |= scores(scene, case, capture.heldout_frames(), folder)
    row |= {f"train_{k}": v for k, v in scores(scene, case, capture.train_frames()[::7], None).items()}
    if case.name.endswith("_novel_time"):
        row |= {f"halfway_{k}": v for k, v in halfway_scores(scene, case).items()}
    return row


def scores(scene: Scene, case: Case, frames: list[tuple[int, int]], keep: Path | None) -> dict[str, float | None]:
    """Means over views of the means over frames."""
    found: dict[int, list[dict[str, float | None]]] = defaultdict(list)
    indicator = scene.dynamic_rows()[:, None]
    for number, (view, t) in enumerate(frames):
        camera = replace(case.capture.camera_at(view, t), near=scene.near)
        with torch.no_grad():
            drawn = rasterize(scene.at(float(case.capture.timestamps[t])), camera, channels=indicator, background=torch.tensor(scene.background))
        image, truth, moving = drawn.color.clamp(0, 1).numpy(), case.capture.image(view, t).astype(np.float32) / 255, case.regions[view, t]
        found[view].append(one_image(image, truth, moving, drawn.channels[..., 0].numpy()))  # type: ignore[index]
        if keep is not None and number % 10 == 0:
            heldout.save_png(keep / f"{case.capture.view_names[view]}_{t:03d}.png", np.concatenate([truth, image], axis=1))
    names = next(iter(found.values()))[0]
    mean = {k: metrics.mean_of([metrics.mean_of([r[k] for r in rows]) for rows in found.values()]) for k in names}
    return {k: None if v is None else round(v, 4) for k, v in mean.items()}


def one_image(image: NDArray[Any], truth: NDArray[Any], moving: NDArray[np.bool_], indicator: NDArray[Any] | None) -> dict[str, float | None]:
    """PSNR of the whole, the moving and the still part, SSIM, and the IoU of the moving part."""
    return {
        "psnr": metrics.psnr(image, truth),
        "psnr_foreground": metrics.psnr(image, truth, moving) if moving.sum() > 20 else None,
        "psnr_background": metrics.psnr(image, truth, ~moving),
        "ssim": metrics.ssim(image, truth),
        "mask_iou": None if indicator is None else metrics.mask_iou(indicator > 0.5, moving),
    }


def halfway_scores(scene: Scene, case: Case) -> dict[str, float | None]:
    """Held-out moments from the Gaussians at the moments before and after alone (spec monofusion.md section 9)."""
    seconds, rows = case.capture.timestamps, []
    for view, t in case.capture.heldout_frames():
        if 0 < t < case.capture.times - 1:
            camera = replace(case.capture.camera_at(view, t), near=scene.near)
            with torch.no_grad():
                between = novel_time(scene, (float(seconds[t - 1]), float(seconds[t + 1])))
                image = rasterize(between, camera, background=torch.tensor(scene.background)).color.clamp(0, 1).numpy()
            rows.append(one_image(image, case.capture.image(view, t).astype(np.float32) / 255, case.regions[view, t], None))
    mean = {k: metrics.mean_of([row[k] for row in rows]) for k in ("psnr", "psnr_foreground")}
    return {k: None if v is None else round(v, 3) for k, v in mean.items()}


def print_tables(rows: list[dict[str, Any]]) -> None:
    """Mean and spread over seeds (and folds) of every method, then the published rows, which were measured on other captures."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        case = "basketball_90" if row["case"].startswith("basketball_90") and not row["case"].endswith("time") else row["case"]
        groups[case, row["quality"], row["method"]].append(row)
    keys = ("psnr", "psnr_foreground", "psnr_background", "ssim", "mask_iou", "train_psnr", "train_psnr_foreground", "halfway_psnr", "seconds")
    print(f"{'case':26}{'quality':9}{'method':28}{'runs':5}" + "".join(f"{k:>23}" for k in keys))
    for (case, quality, method), found in sorted(groups.items()):
        cells = []
        for key in keys:
            values = [row[key] for row in found if row.get(key) is not None]
            cells.append(f"{np.mean(values):.3f} +- {np.std(values):.3f}" if values else "-")
        print(f"{case:26}{quality:9}{method:28}{len(found):<5}" + "".join(f"{c:>23}" for c in cells))
    for name in ("monofusion_depth", "monofusion_ablation", "exorecon"):
        table = json.loads((Path(load_published.__code__.co_filename).parent / "tables" / f"{name}.json").read_text())
        print(f"\npublished, ExoRecon: {table['title']}")
        for row in table["rows"]:
            print(f"  {row['method']:28}" + "  ".join(f"{k} {v}" for k, v in row["metrics"].items()))


if __name__ == "__main__":
    main()
