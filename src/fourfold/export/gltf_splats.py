"""The moving scene as binary glTF with KHR_gaussian_splatting: what stands once, what moves once per moment, shown one after the other.

The extension (release candidate of 2026) holds standing Gaussians only. Each moment of what moves is a node of its own that is scaled to
nothing at all other times: an animation that any glTF player can follow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.axes import metres, y_up
from fourfold.export.glb import Glb
from fourfold.export.options import ExportOptions, moments
from fourfold.files import replacing
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import matrix_to_quat
from fourfold.scene.flights import stands
from fourfold.scene.scene import Layer, Scene
from fourfold.splats.convention import SH_DC, degree_of
from fourfold.splats.drawn import drawn

EXTENSION = "KHR_gaussian_splatting"
MOST_BYTES = 2 << 30  # glTF counts bytes in 32 bits


def export_gltf(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A `.glb` in metres, y up; numbers are 32-bit floating-point, so at its moments nothing is lost."""
    data = encode_gltf(scene, moments(scene, capture, options))
    with replacing(out) as temporary:
        temporary.write_bytes(data)


def encode_gltf(scene: Scene, times: NDArray[np.float64]) -> bytes:
    """The file of a scene whose movers are shown at `times` (T,), seconds. FourfoldError if that is more than a file can hold."""
    still, moving = [y for y in scene.layers if stands(y)], [y for y in scene.layers if not stands(y)]
    glb = Glb({"extensionsUsed": [EXTENSION], "scenes": [{"nodes": [0]}]})
    turn = matrix_to_quat(y_up(scene)[None])[0, [1, 2, 3, 0]].tolist()
    root: dict[str, Any] = {"name": "scene", "rotation": turn, "scale": [metres(scene)] * 3, "children": []}
    nodes, meshes, channels, samplers = [root], [], [], []

    def add(name: str, layers: list[Layer], time: float) -> bool:
        _, shown = drawn(Scene(layers, scene.time_range).at(time))
        if len(shown) == 0:
            return False
        root["children"].append(len(nodes))
        nodes.append({"name": name, "mesh": len(meshes)})
        meshes.append({"name": name, "primitives": [_primitive(glb, shown)]})
        return True

    with torch.no_grad():
        if still:
            add("still", still, scene.time_range[0])
        edges = [*(times - times[0]).tolist(), float(times[-1] - times[0]) + _step(times)] if len(times) else []
        _check_size(sum(map(len, moving)) * len(times) * 100)
        for index, time in enumerate(times.tolist() if moving else []):
            if add(f"moment {index}", moving, time):
                first, last = edges[index], edges[index + 1]
                keys = [(0.0, 0.0)] if first > 0 else []
                keys += [(first, 1.0), *([(last, 0.0)] if index + 1 < len(times) else [])]
                shown = glb.add(np.array([k for k, _ in keys]), bounds=True), glb.add(np.array([[v] * 3 for _, v in keys]))
                samplers.append({"input": shown[0], "output": shown[1], "interpolation": "STEP"})
                channels.append({"sampler": len(samplers) - 1, "target": {"node": len(nodes) - 1, "path": "scale"}})
    if not root["children"]:
        del root["children"]
    glb.document |= {"nodes": nodes} | ({"meshes": meshes} if meshes else {})
    if channels:
        glb.document["animations"] = [{"name": "time", "channels": channels, "samplers": samplers}]
    return glb.encode()


def _primitive(glb: Glb, g: Gaussians) -> dict[str, Any]:
    """Points with the extension's attributes, and colours for viewers that do not know it."""
    opacity = g.opacity[:, None]
    attributes = {
        "POSITION": glb.add(g.means.numpy(), bounds=True, vertices=True),
        "COLOR_0": glb.add(torch.cat([_linear(g.color), opacity], dim=1).numpy(), vertices=True),
        f"{EXTENSION}:ROTATION": glb.add(g.quat_wxyz[:, [1, 2, 3, 0]].numpy(), vertices=True),
        f"{EXTENSION}:SCALE": glb.add(g.scale.numpy(), vertices=True),
        f"{EXTENSION}:OPACITY": glb.add(opacity.numpy(), vertices=True),
        f"{EXTENSION}:SH_DEGREE_0_COEF_0": glb.add(((g.color - 0.5) / SH_DC).numpy(), vertices=True),
    }
    if g.sh_rest is not None:
        for degree in range(1, degree_of(g.sh_rest.shape[1]) + 1):
            for place in range(2 * degree + 1):
                values = g.sh_rest[:, degree * degree - 1 + place]
                attributes[f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{place}"] = glb.add(values.numpy(), vertices=True)
    about = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "sortingMethod": "cameraDistance", "projection": "perspective"}
    return {"mode": 0, "attributes": attributes, "extensions": {EXTENSION: about}}


def _linear(color: torch.Tensor) -> torch.Tensor:
    """Linear light of sRGB, which plain glTF colours are."""
    c = color.clamp(0, 1)
    return torch.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _step(times: NDArray[np.float64]) -> float:
    return float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise FourfoldError(f"the movers would take {size >> 20} MB as glTF, at most {MOST_BYTES >> 20} can be written: give fewer --frames")
