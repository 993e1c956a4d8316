"""Checkpoints: one safetensors file each, written atomically, holding all that a bit-exact resume needs."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fourfold.density.base import GrowthStatistics
from fourfold.files import checksum, replacing, text_checksum
from fourfold.notices import fallback
from fourfold.scene.motion import motion_kinds
from fourfold.scene.scene import Layer, Scene
from fourfold.training.state import Moments, TrainingState

SCHEMA = 2
_GROUPS = ("splats", "shared", "fixed")


def save_checkpoint(directory: Path, state: TrainingState, key: str, keep: int = 2) -> Path:
    """Write `directory/stage_SS_step_NNNNNN.safetensors` and remove all but the newest `keep` checkpoints.

    Args:
        key: hash of what the run was asked to do; only a run with the same key resumes from it.
    """
    path = directory / f"stage_{state.stage:02d}_step_{state.step:06d}.safetensors"
    tensors, header = _pack(state)
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = json.loads(json.dumps(header | {"schema": SCHEMA, "key": key}, allow_nan=False))
    header["checksum"] = _checksum(stored, header)
    with replacing(path) as temporary:
        save_file(stored, temporary, metadata={"state": json.dumps(header, allow_nan=False)})
    for old in checkpoints(directory)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_newest(directory: Path, key: str, device: torch.device) -> TrainingState | None:
    """The state of the newest readable checkpoint with this `key`, on `device`; None if there is none."""
    for path in reversed(checkpoints(directory)):
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a safetensors file is not a dict
            if header["schema"] == SCHEMA and header.pop("checksum") != _checksum(tensors, header):
                raise ValueError("its checksum is another")
            if header["schema"] != SCHEMA or header["key"] != key:
                fallback("training starts from the beginning: the checkpoints belong to other settings")
                continue
            return _unpack({name: value.to(device) for name, value in tensors.items()}, header)
        except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, SafetensorError):
            fallback(f"the checkpoint {path.name} is damaged: training continues from what came before it")
    return None


def _checksum(tensors: dict[str, Tensor], header: dict[str, Any]) -> int:
    return checksum(((name, tensors[name].numpy()) for name in sorted(tensors)), text_checksum(header))


def clear_checkpoints(directory: Path) -> None:
    """Remove all checkpoints."""
    for path in checkpoints(directory):
        path.unlink(missing_ok=True)


def checkpoints(directory: Path) -> list[Path]:
    """The checkpoints in `directory`, oldest first."""
    return sorted(directory.glob("stage_*_step_*.safetensors"))


def scene_of(tensors: dict[str, Tensor], header: dict[str, Any]) -> Scene:
    """The scene of a checkpoint's `tensors` ("scene/LAYER/GROUP/NAME" among them) and header. KeyError, TypeError or IndexError if it is damaged."""
    parts = [(name.split("/"), value) for name, value in tensors.items()]
    layers: list[Layer] = []
    for entry in header["layers"]:
        groups: dict[str, dict[str, Tensor]] = {group: {} for group in _GROUPS}
        for path, value in parts:
            if path[0] == "scene" and path[1] == entry["name"]:
                groups[path[2]][path[3]] = value
        numbers = {name: tuple(value) if isinstance(value, list) else value for name, value in entry["numbers"].items()}
        layers.append(Layer(entry["name"], entry["role"], motion_kinds()[entry["motion"]](**numbers), **groups))
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header["scene"].items() if k != "layers"}
    return Scene(layers=layers, **plain)


def _pack(state: TrainingState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    layers: list[dict[str, Any]] = []
    for layer in state.scene.layers:
        layers.append({"name": layer.name, "role": layer.role, "motion": layer.motion.kind, "numbers": asdict(layer.motion)})  # type: ignore[call-overload]
        for group in _GROUPS:
            tensors |= {f"scene/{layer.name}/{group}/{name}": value for name, value in getattr(layer, group).items()}
    for name, moments in state.moments.items():
        tensors |= {f"moments/{name}/first": moments.first, f"moments/{name}/second": moments.second}
    for name, growth in state.growth.items():
        tensors |= {f"growth/{name}/{f.name}": getattr(growth, f.name) for f in fields(growth)}
    numbers = {f.name: getattr(state, f.name) for f in fields(state) if f.name not in ("scene", "moments", "growth")}
    plain = asdict(replace(state.scene, layers=[]))
    header = {"numbers": numbers, "scene": plain, "layers": layers, "adam_steps": {name: m.steps for name, m in state.moments.items()}}
    return tensors, header


def _unpack(tensors: dict[str, Tensor], header: dict[str, Any]) -> TrainingState:
    moments = {
        name: Moments(tensors[f"moments/{name}/first"], tensors[f"moments/{name}/second"], steps) for name, steps in header["adam_steps"].items()
    }
    grown = sorted({path[1] for path in (name.split("/") for name in tensors) if path[0] == "growth"})
    growth = {name: GrowthStatistics(**{f.name: tensors[f"growth/{name}/{f.name}"] for f in fields(GrowthStatistics)}) for name in grown}
    return TrainingState(scene=scene_of(tensors, header), moments=moments, growth=growth, **header["numbers"])
