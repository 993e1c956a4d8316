"""A capture of three cameras that walk through a rig and one that stands still, cut from Panoptic basketball.

Each walking camera shows one real camera of its third of the rig at a time and hops to the next one every few moments.
Run: python benchmarks/basketball_walk.py --data ../shared/data --out FOLDER
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture

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


def walk(capture: Capture, out: Path, fixed: str = "0", arc: float = 100.0, dwell: int = 8, moments: int = 48) -> Capture:
    """Write the capture: views "left", "middle", "right" to train on, "fixed" held out."""
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


def main(out: Path, data: Path = Path("../shared/data"), pixels: int = 57_600, dwell: int = 8, moments: int = 48) -> None:
    """Write OUT/rig and OUT/walk.

    Args:
        out: folder; data: folder of the real captures; pixels: per image; dwell: moments between hops; moments: length.
    """
    rig = prepare_capture([data / "panoptic_basketball"], out / "rig", pixels=pixels)
    made = walk(rig, out / "walk", dwell=dwell, moments=moments)
    print(made.name, made.views, made.times, made.sizes[0].tolist())


if __name__ == "__main__":
    tyro.cli(main)
