"""Tracker baselines: any 2D tracker lifted by any depth, any 3D tracker, and scenes, asked for the same points and scored alike.

The papers' rows "CoTracker + Depth Anything", "TAPIR + Depth Anything" are of this kind (spec evaluation_and_datasets.md, table T3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.benchmarking.scene_tracks import queried, scored, track_figures
from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import Truth
from fourfold.pipeline import Run
from fourfold.priors.contracts import Depth, Tracks2D, Tracks3D
from fourfold.priors.providers import all_providers, prepare_priors

Array = NDArray[np.float64]
Say = Callable[[str, int, int | None], None]
SEEN = 0.5  # visibility above which a track counts as seen
REACH = 0.03  # of the image's diagonal: a track farther from the queried pixel does not answer for it


@dataclass(frozen=True)
class Answers:
    """P tracks over T moments of one view: pixels xy (P, T, 2), world points xyz (P, T, 3), seen (P, T) bool."""

    xy: Array
    xyz: Array
    seen: NDArray[np.bool_]


def lift(tracks: Tracks2D, depth: Depth, capture: Capture, view: int) -> Answers:
    """Tracks of `view` at the depth of the pixel they lie in; where hidden or without depth, the straight line between known moments, ends held."""
    own = np.flatnonzero(tracks.view == view)
    xy, seen = tracks.xy[own].astype(np.float64), tracks.visibility[own] > SEEN
    width, height = (int(n) for n in capture.sizes[view])
    xyz = np.full((*xy.shape[:2], 3), np.nan)
    for t in np.flatnonzero(capture.present[view]):
        column, row = (np.clip(np.floor(xy[:, t, i]), 0, limit - 1).astype(int) for i, limit in ((0, width), (1, height)))
        z = depth.depth[view][t][row, column].astype(np.float64)
        rays = np.concatenate([xy[:, t], np.ones((len(xy), 1))], axis=1) @ np.linalg.inv(capture.K[view, t]).T
        to_world = np.linalg.inv(capture.world_to_camera[view, t])
        world = (rays * z[:, None]) @ to_world[:3, :3].T + to_world[:3, 3]
        good = seen[:, t] & (z > 0)
        xyz[good, t] = world[good]
    return Answers(xy, _filled(xyz, capture.timestamps), seen)


def of_space(tracks: Tracks3D, capture: Capture, view: int) -> Answers:
    """3D tracks as `view` sees them."""
    xyz = tracks.xyz.astype(np.float64)
    pose = capture.world_to_camera[view]
    local = np.einsum("tij,ptj->pti", pose[:, :3, :3], xyz) + pose[:, :3, 3]
    flat = np.einsum("tij,ptj->pti", capture.K[view], local)
    return Answers(flat[..., :2] / np.where(flat[..., 2:] > 1e-9, flat[..., 2:], np.nan), xyz, tracks.visibility > SEEN)


def _filled(xyz: Array, times: Array) -> Array:
    """NaN moments filled in along time; tracks without any moment stay NaN."""
    known = np.isfinite(xyz[..., 0])
    for row in np.flatnonzero(known.any(axis=1) & ~known.all(axis=1)):
        for axis in range(3):
            xyz[row, :, axis] = np.interp(times, times[known[row]], xyz[row, known[row], axis])
    return xyz


def answered(answers: Answers, capture: Capture, view: int, query: int, pixels: Array) -> Answers:
    """What the tracks say of `pixels` (N, 2) asked at moment `query`: the nearest seen track moved by its distance; without one, never seen."""
    diagonal = float(np.hypot(*capture.sizes[view]))
    live = np.flatnonzero(answers.seen[:, query] & np.isfinite(answers.xy[:, query]).all(axis=1) & np.isfinite(answers.xyz[:, query]).all(axis=1))
    times = answers.seen.shape[1]
    if not len(live):
        return Answers(np.repeat(pixels[:, None], times, 1), np.full((len(pixels), times, 3), np.nan), np.zeros((len(pixels), times), bool))
    away = np.linalg.norm(pixels[:, None] - answers.xy[None, live, query], axis=2)
    row, far = live[away.argmin(axis=1)], away.min(axis=1) > REACH * diagonal
    K, pose = capture.K[view, query], capture.world_to_camera[view, query]
    z = (answers.xyz[row, query] @ pose[:3, :3].T + pose[:3, 3])[:, 2:]
    step = (pixels - answers.xy[row, query]) / K[[0, 1], [0, 1]] * z
    shift = np.concatenate([step, np.zeros_like(z)], axis=1) @ pose[:3, :3]
    xyz = np.where(far[:, None, None], np.nan, answers.xyz[row] + shift[:, None])
    return Answers(answers.xy[row] + (pixels - answers.xy[row, query])[:, None], xyz, answers.seen[row] & ~far[:, None])


def figures(answers: Answers, capture: Capture, source: Path) -> dict[str, float]:
    """Metric key -> value by the same questions and rules as a scene's tracks; points that nobody answers for miss every threshold."""
    truth = Truth.load(source)
    parts: list[tuple[Any, ...]] = []
    for query, rows, pixels in queried(capture, truth):
        found = answered(answers, capture, 0, query, pixels)
        parts.append((query, rows, found.xy, np.linalg.norm(found.xyz - truth.xyz[rows], axis=-1), found.seen))
    return scored(parts, capture, truth).figures


def bench_trackers(source: Path, folder: Path, runs: Sequence[Path] = (), say: Say = lambda *_: None) -> dict[str, Any]:
    """Every 2D tracker with every depth, every 3D tracker, and the scenes of `runs`, on the generated capture in `source`.

    Estimates are kept in `folder`. Returns `{"name", "rows": [{"tracker", "depth", "source": "tracker"|"scene", "metrics"}]}`.
    FourfoldError if `source` has no truth.
    """
    Truth.load(source)
    capture = Capture.load(source)
    rows: list[dict[str, Any]] = []
    depths = {name: _made("depth", name, capture, folder, say) for name in _serving("depth", capture)}
    for name in _serving("tracks2d", capture):
        tracks = _made("tracks2d", name, capture, folder, say)
        for depth_name, depth in depths.items():
            found = figures(lift(tracks, depth, capture, 0), capture, source)
            rows.append({"tracker": name, "depth": depth_name, "source": "tracker", "metrics": found})
    for name in _serving("tracks3d", capture):
        found = figures(of_space(_made("tracks3d", name, capture, folder, say), capture, 0), capture, source)
        rows.append({"tracker": name, "depth": None, "source": "tracker", "metrics": found})
    for root in runs:
        run = Run(root)
        found = track_figures(run.scene, run.capture, source).figures
        rows.append({"tracker": f"{run.report['recipe']} ({root.name})", "depth": None, "source": "scene", "metrics": found})
    return {"name": f"trackers on {capture.name}", "rows": rows}


def _serving(prior: str, capture: Capture) -> list[str]:
    return [p.name for p in all_providers() if prior in p.makes and not p.named and p.missing(capture) is None]


def _made(prior: str, provider: str, capture: Capture, folder: Path, say: Say) -> Any:
    done = prepare_priors(capture, (f"{prior}:{provider}",), folder, lambda what, done, total: say(f"estimating {what}", done, total))
    return getattr(done.priors, prior)
