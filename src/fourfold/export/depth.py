"""Depth along a camera path: 16-bit PNG in steps that a JSON beside them tells, or EXR in scene units."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.export.options import ExportOptions, views
from fourfold.export.paths import View
from fourfold.files import refuse_to_replace, replacing, write_json
from fourfold.geometry.projection import project
from fourfold.render.api import RasterOptions, rasterize
from fourfold.scene.scene import Scene

HALF_THERE = 0.5  # accumulated opacity below which a pixel has no depth
MOST_STEPS = 65535
MILLIMETRE = 0.001


def export_depth(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """`frame_00000.png`, ...: whole steps, 0 where nothing is; millimetres where the scene's scale is known and nothing is farther than 65 m."""
    seen = views(scene, capture, options)
    step = depth_step(scene, seen)
    refuse_to_replace(out, "*.*")
    with replacing(out) as temporary:
        temporary.mkdir()
        for index, depth in enumerate(_depths(scene, seen)):
            steps = np.clip(np.rint(depth / step), 0, MOST_STEPS).astype(np.uint16)
            Image.fromarray(steps).save(temporary / f"frame_{index:05d}.png")
        metres = None if scene.scale is None else step * scene.scale
        write_json(temporary / "depth.json", {"units_per_step": step, "metres_per_step": metres, "zero": "nothing is there"})


def export_depth_exr(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """`frame_00000.exr`, ...: channel Z in scene units, 0 where nothing is."""
    refuse_to_replace(out, "frame_*.exr")
    with replacing(out) as temporary:
        temporary.mkdir()
        for index, depth in enumerate(_depths(scene, views(scene, capture, options))):
            (temporary / f"frame_{index:05d}.exr").write_bytes(encode_exr(depth))


def depth_step(scene: Scene, seen: list[View]) -> float:
    """Scene units per step of a 16-bit number: a millimetre where that is known and reaches, otherwise what just reaches the farthest Gaussian."""
    farthest = 0.0
    with torch.no_grad():
        for time, camera in seen:
            _, depth = project(scene.at(time).means, camera.K.float(), camera.world_to_camera.float())
            farthest = max(farthest, float(depth[depth.isfinite()].max())) if bool(depth.isfinite().any()) else farthest
    wanted = 0.0 if scene.scale is None else MILLIMETRE / scene.scale
    return max(wanted, farthest / MOST_STEPS, 1e-12)


def _depths(scene: Scene, seen: list[View]) -> Iterator[NDArray[np.float32]]:
    for time, camera in seen:
        with torch.no_grad():
            drawn = rasterize(scene.at(time), replace(camera, near=scene.near), options=RasterOptions(depth="median"))
            yield torch.where(drawn.alpha >= HALF_THERE, drawn.depth, 0.0).float().numpy()


def encode_exr(depth: NDArray[np.float32]) -> bytes:
    """A single-part OpenEXR file of 32-bit numbers (H, W), one uncompressed line after the other. Source: openexr.com, "OpenEXR File Layout"."""
    height, width = depth.shape
    window = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    channel = b"Z\0" + struct.pack("<iBBBBii", 2, 0, 0, 0, 0, 1, 1) + b"\0"
    attributes = [
        (b"channels", b"chlist", channel),
        (b"compression", b"compression", b"\0"),
        (b"dataWindow", b"box2i", window),
        (b"displayWindow", b"box2i", window),
        (b"lineOrder", b"lineOrder", b"\0"),
        (b"pixelAspectRatio", b"float", struct.pack("<f", 1.0)),
        (b"screenWindowCenter", b"v2f", struct.pack("<ff", 0.0, 0.0)),
        (b"screenWindowWidth", b"float", struct.pack("<f", 1.0)),
    ]
    head = struct.pack("<ii", 20000630, 2)
    head += b"".join(name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value for name, kind, value in attributes) + b"\0"
    first, size = len(head) + 8 * height, 8 + 4 * width
    table = np.arange(height, dtype="<u8") * size + first
    lines = np.zeros(height, np.dtype([("y", "<i4"), ("bytes", "<i4"), ("values", "<f4", (width,))]))
    lines["y"], lines["bytes"], lines["values"] = np.arange(height), 4 * width, depth
    return head + table.tobytes() + lines.tobytes()
