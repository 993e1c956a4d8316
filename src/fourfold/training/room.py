"""What a training stage needs in memory and on the disk, compared with what is free; and a stage that needs half as much."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.recipes.recipe import Stage
from fourfold.room import SMALLER, check_disk, check_memory, free_memory, said
from fourfold.training.schedule import divisor_at
from fourfold.training.state import TrainingState

COPIES = 4  # of every parameter: itself, its gradient and two moments
PER_PIXEL = 160  # bytes of an image in a batch: the image, its render with alpha and depth, their gradients and what the losses keep
KEPT_CHECKPOINTS = 2
LEAST_MEMORY = 64_000_000  # bytes below which training stops by itself rather than being ended by the system


def check_stage(state: TrainingState, stage: Stage, capture: Capture, out: Path, device: torch.device) -> None:
    """FourfoldError if the disk has no room for checkpoints of the scene as it is, or memory none for a step at full resolution."""
    parameters = parameter_bytes(state)
    pixels = int(capture.sizes.prod(axis=1).max()) // divisor_at(stage, 1.0) ** 2
    memory = COPIES * parameters + batch_of(stage) * pixels * PER_PIXEL
    what = f"training stage {stage.name} with {sum(len(layer) for layer in state.scene.layers):,} Gaussians"
    check_memory(memory, what, free_on(device))
    check_disk(out, (KEPT_CHECKPOINTS + 1) * (COPIES - 1) * parameters, what)  # a checkpoint holds no gradients; one more while it is written


def check_going_on(out: Path, device: torch.device) -> None:
    """FourfoldError if hardly any memory is left; called when a checkpoint has just been written."""
    free = free_on(device)
    if free is not None and free < LEAST_MEMORY:
        raise FourfoldError(f"training in {out} stopped with {said(free)} of memory left: {SMALLER}")


def parameter_bytes(state: TrainingState) -> int:
    """Bytes of all tensors of the scene."""
    return sum(value.nbytes for layer in state.scene.layers for group in (layer.splats, layer.shared, layer.fixed) for value in group.values())


def free_on(device: torch.device) -> int | None:
    """Free bytes of the device's memory, None where nothing tells."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free_memory()


def batch_of(stage: Stage) -> int:
    """Images in a batch, as far as the sampler says."""
    return int(getattr(stage.sampler, "batch", 1))


def eased(stage: Stage, times: int) -> tuple[Stage, str]:
    """`stage` with half as many images in a batch, or images of half the size where there is one only, so many `times`; and in words."""
    sampler: Any = stage.sampler
    if not times:
        return stage, ""
    if batch_of(stage) > 1 and is_dataclass(sampler) and any(f.name == "batch" for f in fields(sampler)):
        return replace(stage, sampler=replace(sampler, batch=max(1, sampler.batch >> times))), "half the images in a batch"  # type: ignore[type-var]
    return replace(stage, resolution=tuple((begin, divisor << times) for begin, divisor in stage.resolution)), "images of half the size"
