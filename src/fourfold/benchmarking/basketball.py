"""Four cameras of a Panoptic Sports scene about 90 degrees apart, and a fifth half-way between two of them, as a capture of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.evaluation.novel_views import look_at_point
from fourfold.files import replacing, write_json

SCENE = "panoptic_basketball"


def four_cameras(data: Path | None, generated: Path) -> Path | None:
    """The folder `generated/panoptic_basketball_sparse`, whose images are links into `data/panoptic_basketball`; None if that is not there."""
    if data is None or not (data / SCENE / "train_meta.json").is_file():
        return None
    source, out = (data / SCENE).resolve(), generated / f"{SCENE}_sparse"
    if (out / "train_meta.json").is_file():
        return out
    meta = json.loads((source / "train_meta.json").read_text())
    train, test = choose(np.array(meta["w2c"][0], np.float64))
    generated.mkdir(parents=True, exist_ok=True)
    with replacing(out) as folder:
        folder.mkdir()
        for name, columns in (("train_meta.json", train), ("test_meta.json", [test])):
            write_json(folder / name, {**meta, **{k: [[row[c] for c in columns] for row in meta[k]] for k in ("k", "w2c", "fn", "cam_id")}})
        for part in ("ims", "seg"):
            if (source / part).is_dir():
                (folder / part).symlink_to(source / part, target_is_directory=True)
    return out


def choose(world_to_camera: NDArray[np.float64]) -> tuple[list[int], int]:
    """Of C cameras (C, 4, 4) around a place: four whose azimuths are nearest to 90 degrees apart, and the one nearest to half-way between two.

    Azimuths are about the point that the cameras look at, in the plane in which the centres spread most; ties go to lower numbers.
    """
    centres = -np.einsum("cji,cj->ci", world_to_camera[:, :3, :3], world_to_camera[:, :3, 3])
    plane = np.linalg.svd(centres - centres.mean(0), full_matrices=False)[2][:2]
    around = (centres - look_at_point(world_to_camera)) @ plane.T
    azimuth = np.degrees(np.arctan2(around[:, 1], around[:, 0]))

    def near(angle: float, taken: tuple[int, ...] = ()) -> tuple[float, int]:
        off: Any = np.abs((azimuth - angle + 180) % 360 - 180)
        off[list(taken)] = np.inf
        return float(off.min()), int(off.argmin())

    best = min(range(len(azimuth)), key=lambda c: sum(near(azimuth[c] + turn)[0] for turn in (90, 180, 270)))
    train = [best, *(near(azimuth[best] + turn)[1] for turn in (90, 180, 270))]
    middle = min((near(azimuth[best] + turn, tuple(train)) for turn in (45, 135, 225, 315)), key=lambda found: found[0])
    return train, middle[1]
