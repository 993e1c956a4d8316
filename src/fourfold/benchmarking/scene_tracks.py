"""How well a scene follows points: its tracks against the exact ones of a generated capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import Truth
from fourfold.capture.synthetic.truth import TRUTH
from fourfold.evaluation.track_metrics import pixel_distance, score_tracks, score_tracks3d
from fourfold.export.tracking import track_points
from fourfold.scene.scene import Scene

QUERIES = (0.25, 0.5, 0.75)  # where in the clip points are asked for, as fractions of it
VARIANTS = {
    "epe_3d": "epe_3d:metres",
    "epe_3d_median": "epe_3d_median:metres",
    "delta_3d_05": "delta_3d:5 cm",
    "delta_3d_10": "delta_3d:10 cm",
    **{key: f"{key}:TAP-Vid, 256 x 256, 1 to 16 px" for key in ("aj", "delta_avg", "oa")},
}

Answer = tuple[int, NDArray[np.intp], NDArray[Any], NDArray[Any], NDArray[np.bool_]]
"""To one question: its moment and rows of the truth (N,), then pixels (N, T, 2), distance to the true world points (N, T), seen (N, T)."""


@dataclass(frozen=True)
class TrackFigures:
    """Metric key -> value, and how each was measured; empty where there is no truth in the capture's own world."""

    figures: dict[str, float] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)


def track_figures(scene: Scene, capture: Capture, source: Path) -> TrackFigures:
    """Follow the true points of a generated capture that view 0 sees at three moments, and score them in space and in the image.

    Args:
        capture: as trained on, in the world of the truth (given cameras), images reduced at most.
        source: the generated capture's folder.

    Shares are in percent, the error in space is in metres over moments at which the point is truly visible.
    """
    if not (source / TRUTH / "truth.safetensors").exists() or capture.cameras != "given":
        return TrackFigures()
    truth = Truth.load(source).at(capture.timestamps)
    cameras = [replace(capture.camera_at(0, t), near=scene.near) for t in range(capture.times)]
    seconds = [float(capture.timestamps[t]) for t in range(capture.times)]
    parts: list[Answer] = []
    for query, rows, pixels in queried(capture, truth):
        asked = torch.tensor(pixels, dtype=torch.float32)
        found = track_points(scene, (seconds[query], cameras[query]), asked, list(zip(seconds, cameras, strict=True)))
        parts.append((query, rows, found.xy, np.linalg.norm(found.xyz - truth.xyz[rows], axis=-1), found.visibility > 0.5))
    return scored(parts, capture, truth)


def queried(capture: Capture, truth: Truth) -> list[tuple[int, NDArray[np.intp], NDArray[np.float64]]]:
    """The questions: (moment, rows of the truth (N,), pixels (N, 2) of the capture's view 0), of the points truly seen there."""
    moments = sorted({round(q * (capture.times - 1)) for q in QUERIES})
    asked = [(query, np.flatnonzero(truth.visibility[0, :, query])) for query in moments]
    return [(query, rows, truth.xy[0, rows, query] * _reduced(capture, truth)) for query, rows in asked if len(rows)]


def scored(parts: Sequence[Answer], capture: Capture, truth: Truth) -> TrackFigures:
    """Figures of the answers to all questions; query moments are left out.

    An answer whose error is not finite is none: it misses every threshold, and the mean error is of the others (`unanswered`: percent without).
    """
    size = int(capture.sizes[0, 0]), int(capture.sizes[0, 1])
    columns: list[list[NDArray[Any]]] = [[], [], [], [], []]
    for query, rows, xy, error, seen in parts:
        distance = pixel_distance(xy, truth.xy[0, rows] * _reduced(capture, truth), size)
        judged = np.broadcast_to(np.arange(capture.times) != query, distance.shape)
        for column, value in zip(columns, (error, distance, seen, truth.visibility[0, rows], judged), strict=True):
            column.append(value)
    if not parts:
        return TrackFigures()
    error, distance, seen, true, judged = (np.concatenate(column) for column in columns)
    answered = np.isfinite(error)
    image, space, near = (
        score_tracks(np.where(answered, distance, np.inf), seen & answered, true, judged),
        score_tracks3d(error, true & judged & answered),
        score_tracks3d(error, true & judged),
    )
    if image is None or space is None or near is None:
        return TrackFigures()
    unanswered = 100 * float((~answered[true & judged]).mean())
    figures = {"epe_3d": space.epe, "epe_3d_median": space.median, "delta_3d_05": near.near_5, "delta_3d_10": near.near_10, "unanswered": unanswered}
    return TrackFigures({**figures, "aj": image.aj, "delta_avg": image.delta_avg, "oa": image.oa}, VARIANTS)


def _reduced(capture: Capture, truth: Truth) -> float:
    """Size of the capture's images over the truth's."""
    return float(capture.K[0, 0, 0, 0] / truth.K[0, 0, 0, 0])
