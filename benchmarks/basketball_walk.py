"""Three cameras that walk through a rig and one that stands still and is held out, cut from Panoptic basketball: `sparse_dynamic`, its
baselines and its ablations.

Each walking camera shows one real camera of its third of an arc of 60 degrees at a time and hops to the next one every few moments; the walk is
the same for every seed. Nothing is fitted to the fixed camera. "dynamic" are its pixels that differ from their median over time. Results are one JSON
object a line; what is there is not run again. Run:
    python benchmarks/basketball_walk.py --data ../shared/data --out OUT [--methods NAME...] [--seeds 0 1 2] [--quality draft] [--moments 48]
    python benchmarks/basketball_walk.py --out OUT --print
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.benchmarking.ablation import judge, plan_of, published_rows, sentence
from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.evaluation.heldout import moving_regions, scene_renderer, score
from fourfold.priors.providers import prepare_priors
from fourfold.recipes import lived_bases
from fourfold.recipes.recipe import Recipe
from fourfold.recipes.sparse_dynamic_ablations import ABLATIONS
from fourfold.scene.file import save_scene
from fourfold.training.trainer import TrainConfig, train

Row = dict[str, Any]
METHODS: dict[str, Recipe] = {
    "sparse_dynamic": ABLATIONS["full"],
    "lived_bases": lived_bases.RECIPE,
    **{name: recipe for name, recipe in ABLATIONS.items() if name != "full"},
}
FIGURES = ("psnr_dynamic", "psnr_static", "psnr", "ssim")

WALKERS = 3


def azimuths(capture: Capture) -> NDArray[np.float64]:
    """(V,) degrees of each camera about the middle of the rig, seen from above (the world's y axis points down)."""
    pose = capture.world_to_camera[:, 0]
    centers = -np.einsum("vji,vj->vi", pose[:, :3, :3], pose[:, :3, 3])
    off = centers - centers.mean(axis=0)
    return np.degrees(np.arctan2(off[:, 0], off[:, 2]))


def paths(capture: Capture, fixed: int, arc: float, dwell: int) -> NDArray[np.int64]:
    """(3, T) real camera of each walking camera at each moment: there and back through a third of the `arc` degrees around camera `fixed`."""
    angle = (azimuths(capture) - azimuths(capture)[fixed] + 180) % 360 - 180
    able = [v for v in np.argsort(angle) if abs(angle[v]) <= arc / 2 and not capture.heldout[v].any()]
    result = np.zeros((WALKERS, capture.times), np.int64)
    for walker, part in enumerate(np.array_split(np.array(able), WALKERS)):
        tour = np.concatenate([part, part[-2:0:-1]])
        hop = (np.arange(capture.times) + walker * dwell // WALKERS) // dwell  # they do not hop at the same moment
        result[walker] = tour[hop % len(tour)]
    return result


def walk(capture: Capture, out: Path, fixed: str = "0", arc: float = 60.0, dwell: int = 8, moments: int = 48) -> Capture:
    """Write the capture: views "left", "middle", "right" to train on, "fixed" held out.

    60 degrees leave 25 between neighbouring cameras. Over 100 (40 between neighbours) matches on plain clothes are few: 661 tracks of five moments
    in the median instead of 1141 of eight.
    """
    still = capture.view_names.index(fixed)
    shown = np.concatenate([paths(capture, still, arc, dwell), np.full((1, capture.times), still)])[:, :moments]
    times = np.arange(shown.shape[1])
    out.mkdir(parents=True, exist_ok=True)
    for view, cameras in enumerate(shown):
        np.save(
            out / f"frames_{view:03d}.npy", np.stack([capture.image(int(v), int(t)) for v, t in zip(cameras, times, strict=True)]), allow_pickle=False
        )
        if view < WALKERS:
            masks = np.stack([np.asarray(capture.mask(int(v), int(t))) for v, t in zip(cameras, times, strict=True)])
            np.save(out / f"masks_{view:03d}.npy", masks, allow_pickle=False)
    train = np.zeros(shown.shape, bool)
    train[:WALKERS] = True
    made = replace(
        capture,
        root=out,
        K=capture.K[shown, times],
        world_to_camera=capture.world_to_camera[shown, times],
        timestamps=capture.timestamps[: shown.shape[1]],
        sizes=capture.sizes[shown[:, 0]],
        present=np.ones(shown.shape, bool),
        train=train,
        heldout=~train,
        name="basketball_walk",
        view_names=("left", "middle", "right", "fixed"),
        facts={"source": "Panoptic basketball, walking cameras", "cameras": [[capture.view_names[v] for v in row] for row in shown]},
    )
    made.save()
    return made


def capture_of(data: Path, out: Path, pixels: int, dwell: int, moments: int) -> Capture:
    """The walk, cut from the rig once."""
    folder = out / f"walk_{pixels}_{dwell}_{moments}"
    if not (folder / "capture.json").exists():
        walk(prepare_capture([data / "panoptic_basketball"], out / f"rig_{pixels}", pixels=pixels), folder, dwell=dwell, moments=moments)
    return Capture.load(folder)


def run(name: str, capture: Capture, seed: int, quality: str, out: Path) -> Row:
    """Train and score one method; the scene and its renders beside the truth are kept in `out`/runs."""
    started = time.perf_counter()
    prepared = prepare_priors(capture, METHODS[name].priors, out / "priors" / capture.root.name)
    ready = time.perf_counter()
    folder = out / "runs" / f"{capture.root.name}_{name}_{seed}_{quality}"
    scene = train(METHODS[name], None, prepared.capture, prepared.priors, folder, TrainConfig(seed=seed, quality=quality))  # type: ignore[arg-type]
    trained = time.perf_counter()
    save_scene(scene, folder / "scene.safetensors")
    found = score(scene_renderer(scene, prepared.capture), prepared.capture, moving_regions(prepared.capture, {}), folder / "heldout")
    return {
        "capture": capture.root.name,
        "method": name,
        "seed": seed,
        "quality": quality,
        "metrics": {key: round(value, 4) for key, value in found.mean.items() if value is not None},
        "gaussians": {layer.name: len(layer) for layer in scene.layers},
        "prior_seconds": round(ready - started, 1),
        "train_seconds": round(trained - ready, 1),
    }


def table(rows: Sequence[Row]) -> str:
    """Markdown: mean and range over seeds, then the published rows, then whether the expected orderings hold."""
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["capture"], row["quality"], row["method"]].append(row)
    text = "| capture | quality | method | seeds | dynamic PSNR | static | whole | SSIM | s |\n" + "|---" * 9 + "|\n"
    for key, runs in found.items():
        cells = [mean_and_range([r["metrics"].get(name) for r in runs], 3 if name == "ssim" else 2) for name in FIGURES]
        text += f"| {' | '.join(key)} | {len(runs)} | {' | '.join(cells)} | {np.mean([r['train_seconds'] for r in runs]):.0f} |\n"
    plan = plan_of("sparse_dynamic")
    methods = ["full" if m == "sparse_dynamic" else m for m in dict.fromkeys(row["method"] for row in rows)]
    for row in published_rows(plan, methods):
        metrics = row["metrics"]
        whole = f"{metrics['psnr']:.2f} | {metrics['ssim']:.3f}"
        text += f"| {row['dataset']} | published | {row['recipe']} | | {metrics['psnr_dynamic']:.2f} | | {whole} | |\n"
    return text + "\n" + "".join(f"- {line}\n" for line in orderings(rows))


def mean_and_range(values: Sequence[float | None], digits: int) -> str:
    """Text: mean, and lowest to highest where there are several; empty without any."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{np.mean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def orderings(rows: Sequence[Row]) -> list[str]:
    """A sentence for each ordering of the paper that was measured, in pairs of the same capture, quality and seed."""
    named = [{**row, "recipe": "x/" + row["method"].replace("sparse_dynamic", "full"), "dataset": (row["capture"], row["quality"])} for row in rows]
    judged = [judge(named, "x", ordering) for ordering in plan_of("sparse_dynamic").orderings]
    return [sentence(one) for one in judged if one["pairs"]]


def main() -> None:
    """Run what is missing, or print what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=["sparse_dynamic", "mosca_naive"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--moments", type=int, default=48, help="length of the walk")
    parser.add_argument("--dwell", type=int, default=8, help="moments between hops")
    parser.add_argument("--pixels", type=int, default=57_600, help="per image at most")
    parser.add_argument("--print", action="store_true", help="print what is there, run nothing")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(row["capture"], row["method"], row["seed"], row["quality"]) for row in rows}
    if not given.print:
        capture = capture_of(given.data, given.out, given.pixels, given.dwell, given.moments)
        for seed in given.seeds:
            for name in given.methods:
                if (capture.root.name, name, seed, given.quality) not in done:
                    rows.append(run(name, capture, seed, given.quality, given.out))
                    with file.open("a") as out:
                        out.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
