"""How well a scene follows points: its tracks against the exact ones of a generated capture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import Truth
from fourfold.capture.synthetic.truth import TRUTH
from fourfold.evaluation.track_metrics import pixel_distance, score_tracks, score_tracks3d
from fourfold.export.tracking import track_points
from fourfold.scene.scene import Scene

QUERIES = (0.25, 0.5, 0.75)  # where in the clip points are asked for, as fractions of it
VARIANTS = {
    "epe_3d": "epe_3d:metres",
    "delta_3d_05": "delta_3d:5 cm",
    "delta_3d_10": "delta_3d:10 cm",
    **{key: f"{key}:TAP-Vid, 256 x 256, 1 to 16 px" for key in ("aj", "delta_avg", "oa")},
}


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
    truth = Truth.load(source)
    reduced = float(capture.K[0, 0, 0, 0] / truth.K[0, 0, 0, 0])
    times = range(capture.times)
    cameras = [replace(capture.camera_at(0, t), near=scene.near) for t in times]
    seconds = [float(capture.timestamps[t]) for t in times]
    parts: list[list[np.ndarray]] = [[], [], [], [], []]
    for query in sorted({round(q * (capture.times - 1)) for q in QUERIES}):
        rows = np.flatnonzero(truth.visibility[0, :, query])
        if not len(rows):
            continue
        pixels = torch.tensor(truth.xy[0, rows, query] * reduced, dtype=torch.float32)
        found = track_points(scene, (seconds[query], cameras[query]), pixels, list(zip(seconds, cameras, strict=True)))
        judged = np.broadcast_to(np.arange(capture.times) != query, (len(rows), capture.times))
        size = int(capture.sizes[0, 0]), int(capture.sizes[0, 1])
        error = np.linalg.norm(found.xyz - truth.xyz[rows], axis=-1)
        distance = pixel_distance(found.xy, truth.xy[0, rows] * reduced, size)
        for part, value in zip(parts, (error, distance, found.visibility > 0.5, truth.visibility[0, rows], judged), strict=True):
            part.append(value)
    if not parts[0]:
        return TrackFigures()
    error, distance, seen, true, judged = (np.concatenate(part) for part in parts)
    image, space = score_tracks(distance, seen, true, judged), score_tracks3d(error, true & judged)
    if image is None or space is None:
        return TrackFigures()
    figures = {"epe_3d": space.epe, "delta_3d_05": space.near_5, "delta_3d_10": space.near_10}
    return TrackFigures({**figures, "aj": image.aj, "delta_avg": image.delta_avg, "oa": image.oa}, VARIANTS)
