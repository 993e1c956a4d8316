"""`report.json`: what was made of what, how well, how long it took and what was weak."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.evaluation.heldout import Scores
from fourfold.files import write_sealed
from fourfold.scene.scene import DYNAMIC, STATIC, Scene

if sys.platform != "win32":
    import resource

SCHEMA = 1


def peak_rss_bytes() -> int:
    """Peak resident memory of this process, bytes; 0 on Windows, which tells it another way."""
    if sys.platform == "win32":
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def capture_facts(capture: Capture) -> dict[str, Any]:
    """The report's `capture` object."""
    width, height = (int(n) for n in capture.sizes[0])
    return {
        "name": capture.name,
        "views": capture.views,
        "times": capture.times,
        "width": width,
        "height": height,
        "cameras": capture.cameras if capture.cameras in ("given", "fixed") else "fixed" if capture.cameras == "rotation" else "estimated",
        "camera_model": capture.cameras,
        "train_images": int(capture.train.sum()),
        "heldout_images": int(capture.heldout.sum()),
        "seconds": float(capture.timestamps[-1]),
        "metric": capture.metric,
        "camera_gap_degrees": camera_gap(capture),
        "heldout_beside_degrees": heldout_beside(capture),
        **{k: v for k, v in capture.facts.items() if isinstance(v, str | int | float | bool)},
        "notes": list(capture.facts.get("notes", ())),
    }


def camera_gap(capture: Capture) -> float | None:
    """How far apart neighbours are, in degrees: the largest angle between a training camera's view and the nearest other one's at the same moment;
    None for a single camera."""
    gaps = [_nearest(views, views, others=True).max() for t in range(capture.times) if len(views := _directions(capture, capture.train, t)) > 1]
    return round(float(np.median(gaps)), 1) if gaps else None


def heldout_beside(capture: Capture) -> float | None:
    """Median angle, in degrees, between a held-out view and the nearest view that was trained on, of any moment; None where nothing is held out."""
    trained = np.concatenate([_directions(capture, capture.train, t) for t in range(capture.times)])
    asked = np.concatenate([_directions(capture, capture.heldout, t) for t in range(capture.times)])
    return round(float(np.median(_nearest(asked, trained))), 1) if len(trained) and len(asked) else None


def _directions(capture: Capture, which: NDArray[np.bool_], time: int) -> NDArray[np.float64]:
    """(N, 3) viewing directions of the known cameras where `which` (V, T), at one moment."""
    axes = capture.world_to_camera[which[:, time], time, 2, :3]
    return axes[np.isfinite(axes).all(axis=1)]


def _nearest(views: NDArray[np.float64], trained: NDArray[np.float64], others: bool = False) -> NDArray[np.float64]:
    """(N,) degrees from each view (N, 3) to the nearest of `trained` (M, 3), itself left out with `others`."""
    cosine = np.clip(views @ trained.T, -1, 1) - (2.0 * np.eye(len(views)) if others else 0.0)
    return np.degrees(np.arccos(np.clip(cosine.max(axis=1), -1, 1)))


def scene_facts(scene: Scene, path: Path) -> dict[str, Any]:
    """The report's `scene` object; `path` is the scene file."""
    layers = [{"name": layer.name, "role": layer.role, "motion": layer.motion.kind, "gaussians": len(layer)} for layer in scene.layers]
    return {
        "gaussians_static": sum(len(layer) for layer in scene.layers if layer.role == STATIC),
        "gaussians_dynamic": sum(len(layer) for layer in scene.layers if layer.role == DYNAMIC),
        "bytes": path.stat().st_size if path.exists() else 0,
        "layers": layers,
    }


def write_report(path: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Complete `parts` with the schema and write `report.json`; numbers that are not finite become null."""
    report = _finite({"schema": SCHEMA, **parts})
    write_sealed(path, report)
    return report


def scores_object(scores: Scores | None) -> dict[str, float | None]:
    """The metrics object of a set of scores, all null if there is none."""
    names = ("psnr", "ssim", "psnr_dynamic", "psnr_static", "lpips")
    return dict.fromkeys(names) if scores is None else dict(scores.mean)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        return _finite(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
