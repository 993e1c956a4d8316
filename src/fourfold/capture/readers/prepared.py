"""A capture of our own: what `prepare_capture` or `fourfold synth` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.frames import ArrayFrames
from fourfold.capture.source import CaptureOptions, Reader, Source, ViewSource


def recognises(path: Path) -> bool:
    """A folder with `capture.json` and `cameras.safetensors`, or a run's folder with one."""
    return _folder(path) is not None


def _folder(path: Path) -> Path | None:
    places = (path, path / "capture") if (path / "config.json").is_file() else (path,)
    return next((p for p in places if (p / "capture.json").is_file() and (p / "cameras.safetensors").is_file()), None)


def read(paths: Sequence[Path], options: CaptureOptions) -> Source:
    """The capture's own views, times, cameras and split."""
    capture = Capture.load(_folder(paths[0]) or paths[0])
    views = tuple(_view(capture, v) for v in range(capture.views))
    held = bool(capture.heldout.any())
    protocol = str(capture.facts.get("holdout", "the capture's own held-out frames")) if held else None
    return Source("prepared", paths[0], capture.name, views, capture.timestamps, capture.cameras, capture.metric, protocol, dict(capture.facts))


def _view(capture: Capture, view: int) -> ViewSource:
    present = capture.present[view]

    def array(kind: str) -> ArrayFrames | None:
        path = capture.root / f"{kind}_{view:03d}.npy"
        return ArrayFrames(path) if path.exists() else None

    return ViewSource(
        name=capture.view_names[view],
        frames=ArrayFrames(capture.root / f"frames_{view:03d}.npy"),
        frame_of_time=np.where(present, np.arange(capture.times), -1).astype(np.int64),
        K=capture.K[view],
        world_to_camera=capture.world_to_camera[view],
        heldout=capture.heldout[view],
        unused=present & ~capture.train[view] & ~capture.heldout[view],
        alpha="valid",
        valid=array("alpha"),
        masks=array("masks"),
        depth=array("depth"),
        focal_hint=float(capture.focal_hint[view]),
    )


READER = Reader("prepared", 0, recognises, read)
