"""Scene files: one safetensors file per scene with a JSON header. Nothing pickled; the same scene gives the same bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.files import checksum, replacing, text_checksum
from fourfold.scene.motion import motion_kinds
from fourfold.scene.scene import Layer, Scene

SCHEMA = 1
HEADER = "fourfold"  # the only metadata key: several would come in no fixed order
GROUPS = ("splats", "shared", "fixed")
REQUIRED = ("means", "quat_wxyz", "log_scale", "opacity_logit", "color_logit")


def save_scene(scene: Scene, path: Path) -> None:
    """Write `scene` to `path`, atomically. Tensors keep their dtype; gradients and devices are not kept."""
    tensors: dict[str, Tensor] = {}
    for index, layer in enumerate(scene.layers):
        for group in GROUPS:
            for name, value in getattr(layer, group).items():
                tensors[f"{index}.{group}.{name}"] = value.detach().cpu().contiguous().clone()
    layers = [{"name": y.name, "role": y.role, "motion": y.motion.kind, "numbers": asdict(y.motion)} for y in scene.layers]  # type: ignore[call-overload]
    header = {
        "schema": SCHEMA,
        "layers": layers,
        "time_range": list(scene.time_range),
        "scale": scene.scale,
        "background": list(scene.background),
        "up": list(scene.up),
        "near": scene.near,
        "checksum": _checksum(tensors),
    }
    header["header_checksum"] = text_checksum(json.loads(json.dumps(header, allow_nan=False)))
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={HEADER: json.dumps(header, sort_keys=True, allow_nan=False)})


def load_scene(path: Path, device: torch.device | str = "cpu") -> Scene:
    """Read a scene that `save_scene` wrote.

    Raises:
        FourfoldError: the file is missing, damaged, of another schema, uses a motion model this version does not have, or holds numbers
            that are not finite.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = json.loads((file.metadata() or {})[HEADER])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a safetensors file is not a dict
    except FileNotFoundError as error:
        raise FourfoldError(f"there is no scene at {path}: run `fourfold reconstruct` or `fourfold train` first") from error
    except KeyError as error:
        raise FourfoldError(f"{path} is a safetensors file but not a Fourfold scene: give the `scene.safetensors` of a run") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise FourfoldError(f"the scene {path} is damaged ({error}): copy it again or train it again") from error
    if not isinstance(header, dict):
        raise FourfoldError(f"the scene {path} is damaged (its header is no object): copy it again or train it again")
    if header.get("schema") != SCHEMA:
        raise FourfoldError(f"the scene {path} has schema {header.get('schema')}, this version reads {SCHEMA}: use the version that wrote it")
    try:
        layers = [_layer(index, entry, tensors, path) for index, entry in enumerate(header["layers"])]
        _check_numbers(header, tensors, path)
        (begin, end), (red, green, blue), (x, y, z) = (_finite(header[key]) for key in ("time_range", "background", "up"))
        scale, near = header["scale"] if header["scale"] is None else _finite([header["scale"]])[0], _finite([header["near"]])[0]
        scene = Scene(layers, time_range=(begin, end), scale=scale, background=(red, green, blue), up=(x, y, z), near=near)
        for layer in layers:
            _check_moves(layer, begin)
        return scene
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        raise FourfoldError(f"the scene {path} is damaged (its header lacks or misplaces {error}): copy it again or train it again") from error


def _checksum(tensors: dict[str, Tensor]) -> int:
    return checksum((name, tensors[name].cpu().numpy()) for name in sorted(tensors))


def _check_numbers(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> None:
    """FourfoldError if header or tensors are not those that were written (without checksums they are taken as they are), or not finite."""
    rest = {name: value for name, value in header.items() if name != "header_checksum"}
    if header.get("checksum") not in (None, _checksum(tensors)) or header.get("header_checksum") not in (None, text_checksum(rest)):
        raise FourfoldError(f"the scene {path} is damaged (its checksum is another): copy it again or train it again")
    wild = [name.split(".", 2)[2] for name, value in tensors.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if wild:
        raise FourfoldError(f"the scene {path} holds numbers that are not finite (in {wild[0]}): train it again")


def _check_moves(layer: Layer, time: float) -> None:
    """Let one Gaussian of the layer move: what its motion model lacks, or finds in another shape, shows. Raises what it raises."""
    one = replace(layer, splats={name: value[:1] for name, value in layer.splats.items()})
    with torch.no_grad():
        one.motion.at(one, torch.tensor([time], dtype=torch.float32, device=one.splats["means"].device))


def _layer(index: int, entry: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> Layer:
    kinds = motion_kinds()
    if entry["motion"] not in kinds:
        known = ", ".join(sorted(kinds))
        raise FourfoldError(
            f"the scene {path} uses the motion model {entry['motion']!r}, which this version does not have (it has {known}): update Fourfold"
        )
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in GROUPS}
    for key, value in tensors.items():
        number, group, name = key.split(".", 2)
        if number == str(index):
            groups[group][name] = value
    rows = {name: value.shape[0] for name, value in groups["splats"].items()}
    missing = [name for name in REQUIRED if name not in rows]
    if missing or len(set(rows.values())) != 1:
        raise FourfoldError(
            f"the scene {path} is damaged (layer {entry['name']!r} lacks {missing} or has unequal rows {rows}): copy it again or train it again"
        )
    motion = kinds[entry["motion"]](**{name: _tuple(value) if isinstance(value, list) else value for name, value in entry["numbers"].items()})
    return Layer(entry["name"], entry["role"], motion, **groups)


def _finite(values: list[Any]) -> list[float]:
    """`values` as numbers. ValueError if one is not finite."""
    if not all(isfinite(v) for v in values):
        raise ValueError(f"a number that is not finite among {values}")
    return [float(v) for v in values]


def _tuple(value: list[Any]) -> Any:
    return tuple(_tuple(item) if isinstance(item, list) else item for item in value)
