"""Panoptic Sports as Dynamic 3D Gaussians packs it. Source: spec evaluation_and_datasets.md section 3."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.writers.writer import (
    Writer,
    first_reason,
    kind_losses,
    other_sizes,
    present_frames,
    save_image,
    save_json,
    save_masks,
    time_losses,
    unknown_cameras,
)

READ_AS = 30.0


def _numbers(capture: Capture) -> list[int]:
    """The cameras' numbers: their names where these are whole numbers, else their order."""
    names = capture.view_names
    return [int(n) for n in names] if all(n.isdigit() for n in names) and len({int(n) for n in names}) == len(names) else list(range(len(names)))


def write(capture: Capture, folder: Path) -> list[str]:
    """`train_meta.json`, `test_meta.json`, `ims/CAMERA/FRAME.png`, `seg/CAMERA/FRAME.png`."""
    numbers, whole = _numbers(capture), capture.heldout.any(axis=1) & ~capture.train.any(axis=1)
    width, height = (int(n) for n in capture.sizes[0])
    for v, t in present_frames(capture):
        save_image(folder / "ims" / str(numbers[v]) / f"{t:06d}.png", capture, v, t)
    for name, chosen in (("train", np.flatnonzero(~whole)), ("test", np.flatnonzero(whole))):
        meta: dict[str, Any] = {"w": width, "h": height, "k": [], "w2c": [], "fn": [], "cam_id": []}
        for t in range(capture.times):
            here = [int(v) for v in chosen if capture.present[v, t]]
            meta["k"].append([capture.K[v, t].tolist() for v in here])
            meta["w2c"].append([capture.world_to_camera[v, t].tolist() for v in here])
            meta["fn"].append([f"{numbers[v]}/{t:06d}.png" for v in here])
            meta["cam_id"].append([numbers[v] for v in here])
        if len(chosen):
            save_json(folder / f"{name}_meta.json", meta)
    lost = save_masks(capture, lambda v, t: folder / "seg" / str(numbers[v]) / f"{t:06d}.png", on=1)
    if (capture.heldout[~whole]).any():
        lost.append("held-out frames of cameras that are also trained on are not marked: give --holdout when it is read")
    if not capture.metric:
        lost.append("that a scene unit is not a metre: readers take this layout as metric")
    return lost + kind_losses(capture, "masks") + time_losses(capture, READ_AS)


WRITERS = (
    Writer(
        "panoptic",
        "Panoptic Sports: train_meta.json, test_meta.json, ims/, seg/",
        partial(first_reason, checks=(unknown_cameras, other_sizes)),
        write,
    ),
)
