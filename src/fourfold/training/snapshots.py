"""The newest scene of a run, also while it is being trained: what checkpoints hold of it, without the optimiser's state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fourfold.errors import FourfoldError
from fourfold.owner import worked_on
from fourfold.scene.file import load_scene
from fourfold.scene.scene import Scene
from fourfold.training.checkpoint import checkpoints, scene_of

Snapshot = tuple[str, Scene]
"""What tells it from others (name and time of writing), and the scene."""


def newest_scene(root: Path, known: str = "") -> Snapshot | None:
    """The scene of the run in `root` as it was last written, finished or not; None if that is the `known` one or there is none yet.

    Where nobody works on the run, its finished scene is the newest. What disappears or cannot be read gives way to what was written before
    it: a training removes old checkpoints meanwhile.

    Raises:
        FourfoldError: the finished scene, being the newest, is damaged.
    """
    finished = root / "scene.safetensors"
    going_on = [] if finished.exists() and not worked_on(root) else checkpoints(root / "checkpoints")
    written = [(stamp, path) for path in (*going_on, finished) if (stamp := _stamp(path))]
    for (_, name), path in sorted(written, reverse=True):
        if name == known:
            return None
        scene = load_scene(path) if path == finished else _scene_in(path)
        if scene is not None:
            return name, scene
    return None


def _stamp(path: Path) -> tuple[int, str] | None:
    try:
        moment = path.stat().st_mtime_ns
    except OSError:
        return None
    return moment, f"{path.stem} {moment}"


def _scene_in(path: Path) -> Scene | None:
    """The scene in a checkpoint, None if it has gone, is damaged, of another version, or not finite."""
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith("scene/")}  # noqa: SIM118
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point()):
            return None
        scene = scene_of(tensors, header)
        with torch.no_grad():
            scene.at(scene.time_range[0])
        return scene
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError, FourfoldError):
        return None
