"""Hidden points of `orbit360`: anchored 3D tracking against the same tracker without anchors and against lifted 2D tracks.

Inputs: exact depth, masks and cameras; 2D tracks are the exact ones with jitter and jumps (`capture/synthetic/noise.py`), drift that grows
from the query on, points that are lost for good when they are hidden, and hidden points taken for visible. Run:
    python benchmarks/anchored_tracking.py [--seeds 3] [--tracks 1600] [--width 320]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.noise import noisy_tracks2d
from fourfold.capture.synthetic.options import NoiseOptions
from fourfold.capture.synthetic.truth import Truth
from fourfold.priors.anchored_tracking.anchors import AnchorNumbers, ImageTracks, find_anchors
from fourfold.priors.anchored_tracking.bodies import BodyNumbers
from fourfold.priors.anchored_tracking.cat3d import Cat3D
from fourfold.priors.anchored_tracking.driver import track_anchored
from fourfold.priors.anchored_tracking.interface import Clip
from fourfold.priors.anchored_tracking.rigid_parts import PartNumbers
from fourfold.priors.tracking.lift import fill_between

FIGURE = 1


@dataclass(frozen=True)
class Flaws:
    """How the 2D tracks are spoilt.

    Attributes:
        drift: deviation of the random walk per frame away from the query, pixels. lost: share of tracks that are never found again once hidden.
        imagined: share of hidden entries that are told as visible, as surely as a jump: with a random certainty.
    """

    drift: float = 0.15
    lost: float = 0.5
    imagined: float = 0.03
    noise: NoiseOptions = NoiseOptions()


def clip_of(capture: Capture, view: int = 0) -> Clip:
    """The training view with its exact depth and masks."""
    frames = range(capture.times)
    rgb = np.stack([capture.image(view, t) for t in frames])
    depth, mask = (np.stack([read(view, t) for t in frames]) for read in (capture.depth, capture.mask))
    return Clip(rgb, depth, capture.K[view], capture.world_to_camera[view], mask > 0)


def spoilt_tracks(truth: Truth, flaws: Flaws, rng: np.random.Generator, size: tuple[int, int]) -> tuple[ImageTracks, np.ndarray]:
    """Tracks of every truth point that is ever seen, each marked in a random frame in which it is seen, and their truth rows."""
    rows = np.flatnonzero(truth.visibility[0].any(1))
    seen, exact = truth.visibility[0, rows], truth.xy[0, rows]
    query = np.array([rng.choice(np.flatnonzero(s)) for s in seen])
    times = np.arange(seen.shape[1])
    walk = np.cumsum(rng.standard_normal((*seen.shape, 2)) * flaws.drift, axis=1)
    drift = walk - walk[np.arange(len(rows)), query][:, None]
    xy = noisy_tracks2d(np.nan_to_num(exact) + drift, flaws.noise, rng, size)
    jumped = np.linalg.norm(xy - np.nan_to_num(exact) - drift, axis=2) > 6 * flaws.noise.track_pixels
    imagined = ~seen & (rng.random(seen.shape) < flaws.imagined)
    told = seen | imagined
    for p in np.flatnonzero(rng.random(len(rows)) < flaws.lost):
        after, before = times > query[p], times < query[p]
        for side in (np.flatnonzero(after & ~seen[p])[:1], np.flatnonzero(before & ~seen[p])[-1:]):
            if len(side):
                told[p] &= times < side[0] if side[0] > query[p] else times > side[0]
    sure = np.exp(-np.linalg.norm(drift, axis=2) / 3) * np.where(jumped | imagined, rng.random(seen.shape), 1)
    xy[np.arange(len(rows)), query] = exact[np.arange(len(rows)), query]
    told[np.arange(len(rows)), query], sure[np.arange(len(rows)), query] = True, 1
    return ImageTracks(xy, (told * sure).astype(np.float32), query), rows


def methods(tracks: ImageTracks, clip: Clip) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Name -> positions (T, N, 3) of the tracks, which tracks are kept (N,) bool, and seconds."""
    none = replace(tracks, confidence=np.zeros_like(tracks.confidence))
    still = Cat3D(bodies=BodyNumbers(parts=()))
    plain, parts = AnchorNumbers(), PartNumbers()
    chosen = {
        "anchored": (tracks, Cat3D(), plain, parts),
        "anchored, tau by rule": (tracks, Cat3D(), AnchorNumbers(tau=None), parts),
        "anchored, taken up at the query": (tracks, Cat3D(), AnchorNumbers(gap=-1), parts),
        "anchored, no rigid parts of the clip": (tracks, Cat3D(), plain, PartNumbers(parts=0)),
        "anchored, no rigid motions at all": (tracks, still, plain, PartNumbers(parts=0)),
        "without anchors": (none, Cat3D(), plain, parts),
        "without anchors, no rigid parts of the clip": (none, Cat3D(), plain, PartNumbers(parts=0)),
    }
    result = {}
    for name, (given, tracker, numbers, settle) in chosen.items():
        started = time.perf_counter()
        anchors, rows = find_anchors(given, clip, numbers)
        found = track_anchored(clip, tracker, anchors, numbers, settle)
        result[name] = (*_spread(found.xyz, rows, found.kept, len(tracks.xy)), time.perf_counter() - started)
    anchors, rows = find_anchors(tracks, clip, AnchorNumbers())
    started = time.perf_counter()
    lifted = fill_between(anchors.xyz.transpose(1, 0, 2), anchors.strong.T).transpose(1, 0, 2)
    result["lifted 2D tracks"] = (*_spread(lifted, rows, np.ones(len(rows), bool), len(tracks.xy)), time.perf_counter() - started)
    return result


def _spread(xyz: np.ndarray, rows: np.ndarray, kept: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    whole, all_kept = np.zeros((len(xyz), count, 3)), np.zeros(count, bool)
    whole[:, rows], all_kept[rows] = xyz, kept
    return whole, all_kept


def errors(xyz: np.ndarray, kept: np.ndarray, truth: Truth, rows: np.ndarray) -> dict[str, float]:
    """Mean error in per cent of the figure's diameter where the figure's points are hidden and where they are seen; share of tracks kept."""
    figure = (truth.object_id[rows] == FIGURE) & kept
    distance = np.linalg.norm(xyz[:, figure].transpose(1, 0, 2) - truth.xyz[rows[figure]], axis=2) / truth.diameter[truth.objects == FIGURE][0]
    seen = truth.visibility[0, rows[figure]]
    hidden = distance[~seen]
    return {
        "hidden": 100 * float(hidden.mean()),
        "hidden_median": 100 * float(np.median(hidden)),
        "seen": 100 * float(distance[seen].mean()),
        "kept": 100 * float(kept.mean()),
    }


def main() -> None:
    """Print one row per method: mean and range over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tracks", type=int, default=1600)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    table: dict[str, list[dict[str, float]]] = {}
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            height = 2 * round(given.width * 0.28125)
            options = SyntheticOptions(width=given.width, height=height, tracks=given.tracks)
            capture = generate("orbit360", Path(folder) / "capture", seed=seed, options=options)
            truth, clip = Truth.load(capture.root), clip_of(capture)
            tracks, rows = spoilt_tracks(truth, Flaws(), np.random.default_rng(seed), (given.width, height))
            for name, (xyz, kept, seconds) in methods(tracks, clip).items():
                table.setdefault(name, []).append(errors(xyz, kept, truth, rows) | {"seconds": seconds})
    if given.json:
        print(json.dumps({"name": "anchored_tracking", "rows": table}))
        return
    print("| method | hidden, % of diameter | median | seen | kept % | s |\n|---|---|---|---|---|---|")
    for name, runs in table.items():
        hidden = [r["hidden"] for r in runs]
        mean = {key: np.mean([r[key] for r in runs]) for key in runs[0]}
        print(
            f"| {name} | {mean['hidden']:.2f} ({min(hidden):.2f} to {max(hidden):.2f}) | {mean['hidden_median']:.2f} | {mean['seen']:.2f} "
            f"| {mean['kept']:.0f} | {mean['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()
