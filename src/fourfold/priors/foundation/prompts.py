"""What a user points at for a segmentation network: points and boxes in `prompts.json`, or else what the classical masks say moves.

The file lies in the run folder or in its capture:

    {"objects": [{"id": 1, "view": 0, "time": 12, "points": [[320.5, 180.5]], "labels": [1], "box": [280, 100, 380, 260]}]}

Pixels are those of the capture's stored images, `time` is the time index; `labels` are 1 (on the object, the default) or 0 (not on it);
`box` is (left, top, right, bottom). Points or a box are needed; an object may be listed several times, for other views and times.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Masks

FILE = "prompts.json"


@dataclass(frozen=True)
class Prompt:
    """One object pointed at in one image: points (N, 2) pixels, labels (N,) 1 on it or 0 off it, box (4,) pixels or None."""

    id: int
    view: int
    time: int
    points: NDArray[np.float32]
    labels: NDArray[np.int32]
    box: NDArray[np.float32] | None


def prompts_file(capture: Capture) -> Path | None:
    """`prompts.json` beside the capture or in its folder, None if there is none."""
    return next((folder / FILE for folder in (capture.root.parent, capture.root) if (folder / FILE).is_file()), None)


def read_prompts(path: Path, capture: Capture) -> list[Prompt]:
    """The prompts in `path`. FourfoldError in one sentence if one of them is not complete or lies outside the capture."""
    try:
        entries = json.loads(path.read_text())["objects"]
        prompts = [_prompt(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FourfoldError(
            f"{path} is no list of prompts ({error!r}): write {{'objects': [{{'id', 'view', 'time', 'points' or 'box'}}]}}"
        ) from error
    for prompt in prompts:
        known = 0 <= prompt.view < capture.views and 0 <= prompt.time < capture.times
        if not known or not (capture.train & capture.present)[prompt.view, prompt.time]:
            raise FourfoldError(
                f"{path} points at view {prompt.view}, time {prompt.time}, which is no training image of this capture: choose another"
            )
        if prompt.box is None and not len(prompt.points):
            raise FourfoldError(f"{path} has neither points nor a box for object {prompt.id}: add one of them")
    return prompts


def automatic_prompts(masks: Masks, times: NDArray[np.bool_], least: float = 1e-3) -> list[Prompt]:
    """One prompt per view: the largest connected moving part in the image where it is largest, by its box and its innermost point.

    Args:
        times: (V, T) images that may be used.
        least: share of the image below which nothing is taken for an object.
    """
    prompts: list[Prompt] = []
    for view, stack in enumerate(masks.mask):
        best: tuple[int, int, NDArray[np.bool_]] | None = None
        for time in np.flatnonzero(times[view]):
            count, labels, stats, _ = cv2.connectedComponentsWithStats((stack[time] > 0).astype(np.uint8))
            part = int(stats[1:, cv2.CC_STAT_AREA].argmax()) + 1 if count > 1 else 0
            area = int(stats[part, cv2.CC_STAT_AREA]) if part else 0
            if area > max(least * labels.size, best[0] if best else 0):
                best = area, int(time), labels == part
        if best is not None:
            prompts.append(_of_region(view, best[1], best[2]))
    return prompts


def _of_region(view: int, time: int, region: NDArray[np.bool_]) -> Prompt:
    rows, columns = np.nonzero(region)
    depth = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    return Prompt(1, view, time, np.array([[column + 0.5, row + 0.5]], np.float32), np.ones(1, np.int32), box)


def _prompt(entry: dict[str, Any]) -> Prompt:
    points = np.asarray(entry.get("points", []), np.float32).reshape(-1, 2)
    labels = np.asarray(entry.get("labels", [1] * len(points)), np.int32)
    if len(labels) != len(points):
        raise ValueError(f"{len(points)} points with {len(labels)} labels")
    box = None if entry.get("box") is None else np.asarray(entry["box"], np.float32).reshape(4)
    return Prompt(int(entry["id"]), int(entry["view"]), int(entry["time"]), points, labels, box)
