"""The player: a moving scene as one HTML file that any browser opens, without a server or the network."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.files import replacing
from fourfold.geometry.gaussians import Gaussians
from fourfold.pages import as_json, with_policy
from fourfold.scene.motion.chunks import Chunks
from fourfold.scene.scene import STATIC, Layer, Scene

_FAINT = 1 / 255


@dataclass(frozen=True)
class PlayerOptions:
    """`keyframes`: at most so many moments of the moving layers are stored, of each chunk of a long film; between them the player interpolates
    linearly."""

    keyframes: int = 40


def write_player(path: Path, scene: Scene, capture: Capture, options: PlayerOptions = PlayerOptions()) -> None:
    """Write the player of `scene` with the filmed camera path of `capture`.

    Static layers are stored once, moving ones at `options.keyframes` moments: positions as 16-bit fractions of their box, rotations as
    signed bytes, scales as float16, colours and opacities as bytes; everything gzipped into the page. What moves in a long film is a block for
    each chunk of time, which the page unpacks when it comes to it.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(_pieces(scene, capture, options))


def player_page(scene: Scene, capture: Capture, options: PlayerOptions = PlayerOptions()) -> str:
    """The text of that page."""
    return "".join(_pieces(scene, capture, options))


def _pieces(scene: Scene, capture: Capture, options: PlayerOptions) -> Iterator[str]:
    """The page, piece after piece."""
    header, blob = pack(scene, capture, options)
    template = resources.files("fourfold.viewer").joinpath("player.html").read_text(encoding="utf-8")
    before, after = with_policy(template).replace("__HEADER__", as_json(header)).split("__PARTS__")
    yield before.replace("__DATA__", _text(blob))
    for number in range(len(header.get("parts", ()))):
        _, part = pack_part(scene, number, options)
        yield f'<script id="part{number}" type="application/octet-stream">{_text(part)}</script>\n'
    yield after


def _text(blob: bytes) -> str:
    return base64.b64encode(gzip.compress(blob, 6, mtime=0)).decode()


def pack(scene: Scene, capture: Capture, options: PlayerOptions) -> tuple[dict[str, Any], bytes]:
    """The player's header (JSON-able) and its binary block: sections listed by name, offset, dtype and shape. The header of a long film lists its
    `parts`, each with what `pack_part` tells of it."""
    times = torch.linspace(scene.time_range[0], scene.time_range[1], max(1, min(options.keyframes, capture.times)))
    chunks = _chunks(scene)
    with torch.no_grad():
        still = [layer for layer in scene.layers if layer.role == STATIC]
        moving = [layer for layer in scene.layers if layer.role != STATIC] if chunks is None else []
        sections = {f"static_{k}": v for k, v in _pack_frames(still, times[:1]).items()}
        sections |= {f"moving_{k}": v for k, v in _pack_frames(moving, times).items()}
    entries, blob = _block(sections)
    header: dict[str, Any] = {
        "sections": entries,
        "times": [float(t) for t in times],
        "background": list(scene.background),
        "near": scene.near,
        "up": list(scene.up),
        "name": capture.name,
        "cameras": _path(capture),
        "focus": _focus(scene, capture),
    }
    if chunks is not None:
        header["parts"] = [pack_part(scene, number, options)[0] for number in range(len(chunks.begins))]
    return header, blob


def pack_part(scene: Scene, number: int, options: PlayerOptions) -> tuple[dict[str, Any], bytes]:
    """One chunk of what moves: its `times`, `sections` and `count` of Gaussians, and its binary block."""
    chunks = _chunks(scene)
    assert chunks is not None
    ends = [*chunks.begins[1:], scene.time_range[1]]
    times = torch.linspace(chunks.begins[number], ends[number], options.keyframes)
    moving = [y for y in scene.layers if y.role != STATIC]
    layers = [y.motion.part(y, number) if isinstance(y.motion, Chunks) else y for y in moving]
    with torch.no_grad():
        sections = {f"moving_{k}": v for k, v in _pack_frames([y for y in layers if len(y)], times).items()}
    entries, blob = _block(sections)
    count = sections["moving_means"].shape[1] if sections else 0
    return {"times": [float(t) for t in times], "sections": entries, "count": count}, blob


def _chunks(scene: Scene) -> Chunks | None:
    """How the scene of a long film is cut."""
    return next((layer.motion for layer in scene.layers if isinstance(layer.motion, Chunks)), None)


def _block(sections: Mapping[str, NDArray[Any]]) -> tuple[list[dict[str, Any]], bytes]:
    """Where each section lies, and all of them as one block."""
    entries, parts, offset = list[dict[str, Any]](), list[bytes](), 0
    for name, array in sections.items():
        data = np.ascontiguousarray(array).tobytes()
        data += b"\0" * (-len(data) % 8)
        entries.append({"name": name, "offset": offset, "dtype": array.dtype.name, "shape": list(array.shape)})
        parts.append(data)
        offset += len(data)
    return entries, b"".join(parts)


def _pack_frames(layers: list[Layer], times: torch.Tensor) -> dict[str, NDArray[Any]]:
    """Sections of `layers` at `times`, without Gaussians that are never visible."""
    frames = [Gaussians.concatenate([g[i] for g in [layer.motion.at(layer, times) for layer in layers]]) for i in range(len(times))] if layers else []
    if not frames or len(frames[0]) == 0:
        return {}
    opacity = torch.stack([g.opacity for g in frames])
    seen = opacity.amax(0) > _FAINT
    if not bool(seen.any()):
        return {}
    means = torch.stack([g.means for g in frames])[:, seen]
    low, high = means.amin((0, 1)), means.amax((0, 1))
    quats = torch.nn.functional.normalize(torch.stack([g.quat_wxyz for g in frames])[:, seen], dim=-1)
    as_u16 = ((means - low) / (high - low).clamp_min(1e-12) * 65535).round().to(torch.int32).numpy().astype(np.uint16)
    return {
        "box": torch.stack([low, high]).numpy().astype(np.float32),
        "means": as_u16,
        "quats": (quats * 127).round().to(torch.int8).numpy(),
        "opacity": (opacity[:, seen].clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
        "scales": frames[0].scale[seen].clamp_max(6e4).to(torch.float32).numpy(),
        "colors": (frames[0].color[seen].clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
    }


def _path(capture: Capture) -> list[dict[str, Any]]:
    """The filmed cameras of the first training view, at most 240 of them."""
    view = int(np.flatnonzero(capture.train.any(axis=1))[0])
    known = np.flatnonzero(np.isfinite(capture.world_to_camera[view]).all(axis=(1, 2)) & capture.present[view])
    chosen = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), 240)).astype(int))]
    width, height = (int(n) for n in capture.sizes[view])
    return [
        {
            "time": float(capture.timestamps[t]),
            "pose": [round(float(x), 7) for x in capture.world_to_camera[view, t].ravel()],
            "focal": [float(capture.K[view, t, 0, 0]) / width, float(capture.K[view, t, 1, 1]) / height],
            "aspect": width / height,
        }
        for t in chosen
    ]


def _focus(scene: Scene, capture: Capture) -> list[float]:
    """The point to look at: the middle of what moves, else of everything, at the middle of the clip."""
    middle = scene.at(sum(scene.time_range) / 2)
    rows = scene.dynamic_rows() > 0
    chosen = rows & (middle.opacity > 0.2) if bool((rows & (middle.opacity > 0.2)).any()) else middle.opacity > 0.2
    points = middle.means[chosen] if bool(chosen.any()) else middle.means
    return [float(x) for x in points.detach().median(dim=0).values] if len(points) else [0.0, 0.0, 0.0]
