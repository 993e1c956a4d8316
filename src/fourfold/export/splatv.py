"""`.splatv` of antimatter15's splaTV and gsplat.js: every Gaussian flies along one cubic, turns linearly, and fades about one moment.

Time runs from 0 to 1 over the recording. Motion models that are such cubics lose only half precision; of others the file holds the best
cubic through the moments, and the error says how good that is.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.options import ExportOptions
from fourfold.export.packing import PackingError, packing_error
from fourfold.export.steady import steady_rows
from fourfold.files import replacing
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import Scene
from fourfold.splats.drawn import LEAST_OPAQUE, MOST_OPAQUE, plain

MAGIC, WORDS, PER_ROW = 0x674B, 16, 1024
EVER = 1e4  # the width of what never fades, recordings
LOOKED_AT = 65  # moments that the cubics are fitted to
ENOUGH = 4.0  # moments per coefficient of a polynomial; what is there more briefly gets a lower degree
SEEN = 0.02  # share of its opacity below which the players draw nothing


@dataclass(frozen=True)
class Cubics:
    """N Gaussians: `looks` at their own moments `center` (N,), `curve` (N, 3, 3) and `turn` (N, 4) per recording, fading by exp(-(d / width)^2)."""

    looks: Gaussians
    center: Tensor
    curve: Tensor
    turn: Tensor
    width: Tensor

    def at(self, time: float) -> Gaussians:
        """What the players draw at `time` in [0, 1]."""
        since = (time - self.center)[:, None]
        means = self.looks.means + self.curve[:, 0] * since + self.curve[:, 1] * since**2 + self.curve[:, 2] * since**3
        share = torch.exp(-(since[:, 0] / self.width).square())
        opacity = (self.looks.opacity * torch.where(share < SEEN, 0.0, share)).clamp(LEAST_OPAQUE, MOST_OPAQUE)
        quats = torch.nn.functional.normalize(self.looks.quat_wxyz + self.turn * since, dim=1)
        return Gaussians(means, quats, self.looks.log_scale, torch.logit(opacity), self.looks.color)


def export_splatv(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> PackingError:
    """The whole moving scene without spherical harmonics."""
    rows, cubics = fitted(scene)
    data = encode_splatv(cubics, capture)
    with replacing(out) as temporary:
        temporary.write_bytes(data)
    begin, end = scene.time_range
    held, length = decode_splatv(data), max(end - begin, 1e-9)
    return packing_error(scene, capture, lambda time: (rows, held.at((time - begin) / length)))


def fitted(scene: Scene) -> tuple[Tensor, Cubics]:
    """Rows of the scene that are ever visible, and the cubic of each that is nearest to its path while it is visible."""
    begin, end = scene.time_range
    length = max(end - begin, 1e-9)
    grid = np.linspace(begin, end, LOOKED_AT) if end > begin else np.array([begin])
    rows = steady_rows(scene, grid.tolist())
    with torch.no_grad():
        raw = [scene.at(time) for time in grid.tolist()]
        frames = [plain(g).select(rows) for g in raw]
    unit = torch.from_numpy((grid - begin) / length)
    opacity = torch.stack([g.opacity for g in frames]).double()
    top, center, width = _fading(opacity, unit)
    weight = opacity / top
    since = unit[:, None] - center
    paths, quats = torch.stack([g.means for g in frames]).double(), torch.stack([g.quat_wxyz.detach().cpu()[rows] for g in raw]).double()
    flips = torch.where((quats[1:] * quats[:-1]).sum(-1, keepdim=True) < 0, -1.0, 1.0).cumprod(0)
    quats = torch.cat([quats[:1], quats[1:] * flips])
    curve, turn = _as_far_as_seen(since, weight, paths, 3), _as_far_as_seen(since, weight, quats, 1)
    nearest = (since.abs() - 1e3 * (weight > 0.5)).argmin(0)
    size = torch.stack([g.log_scale for g in frames])[nearest, torch.arange(len(nearest))]
    color = torch.stack([g.color for g in frames])[nearest, torch.arange(len(nearest))]
    looks = Gaussians(curve[:, 0].float(), turn[:, 0].float(), size, torch.logit(top.float().clamp(LEAST_OPAQUE, MOST_OPAQUE)), color)
    return torch.nonzero(rows)[:, 0], Cubics(looks, center.float(), curve[:, 1:].float(), turn[:, 1].float(), width.float())


def encode_splatv(cubics: Cubics, capture: Capture) -> bytes:
    """The file."""
    looks, count = cubics.looks, len(cubics.center)
    words = np.zeros((max(1, math.ceil(count / PER_ROW)) * PER_ROW, WORDS), "<u4")
    words[:count, 0:3] = looks.means.numpy().astype("<f4").view("<u4")
    rgba = torch.cat([looks.color.clamp(0, 1), looks.opacity[:, None]], dim=1)
    none, c = torch.zeros(count, 1), cubics.curve
    halves = {
        3: looks.quat_wxyz,
        5: torch.cat([looks.scale, none], dim=1),
        8: torch.cat([c[:, 0], c[:, 1], c[:, 2], none], dim=1),
        13: cubics.turn,
        15: torch.stack([cubics.center, cubics.width], dim=1),
    }
    for place, values in halves.items():
        packed = np.ascontiguousarray(values.clamp(-65504, 65504).numpy().astype("<f2")).view("<u4")
        words[:count, place : place + packed.shape[1]] = packed
    words[:count, 7] = np.ascontiguousarray((rgba * 255).round().to(torch.uint8).numpy()).view("<u4")[:, 0]
    about = {"type": "splat", "size": words.nbytes, "texwidth": 4 * PER_ROW, "texheight": len(words) // PER_ROW, "cameras": [_camera(capture)]}
    head = json.dumps([about]).encode()
    return struct.pack("<ii", MAGIC, len(head)) + head + words.tobytes()


def decode_splatv(data: bytes) -> Cubics:
    """What `encode_splatv` wrote. FourfoldError for anything else."""
    magic, length = struct.unpack_from("<ii", data)
    if magic != MAGIC:
        raise FourfoldError("this is no .splatv file: export it again")
    words = np.frombuffer(data, "<u4", offset=8 + length).reshape(-1, WORDS)

    def half(place: int, count: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(words[:, place : place + count]).view("<f2").astype(np.float32))

    words = words[half(15, 1)[:, 1].numpy() > 0]  # the last row of the texture is filled up
    rgba = torch.from_numpy(np.ascontiguousarray(words[:, 7:8]).view(np.uint8).astype(np.float32) / 255)
    means = torch.from_numpy(np.ascontiguousarray(words[:, :3]).view("<f4").astype(np.float32))
    logit = torch.logit(rgba[:, 3].clamp(LEAST_OPAQUE, MOST_OPAQUE))
    looks = Gaussians(means, half(3, 2), half(5, 2)[:, :3].clamp_min(1e-9).log(), logit, rgba[:, :3])
    life = half(15, 1)
    return Cubics(looks, life[:, 0], half(8, 5)[:, :9].unflatten(1, (3, 3)), half(13, 2), life[:, 1])


def _fading(opacity: Tensor, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Top (N,), middle and width of the exp(-((t - middle) / width)^2) nearest to (T, N) opacities: a parabola through their logarithms."""
    top = opacity.amax(0)
    share = opacity / top
    weight = share * (share > SEEN)
    values = torch.log(share.clamp_min(1e-6))[..., None]
    a = _least_squares(unit[:, None] - torch.zeros_like(top), weight, values, 2)[..., 0]
    bent = a[:, 2] < -1e-3
    middle = torch.where(bent, -a[:, 1] / (2 * a[:, 2].clamp(max=-1e-9)), torch.full_like(top, 0.5)).clamp(-10, 10)
    width = torch.where(bent, (-a[:, 2].clamp(max=-1e-9)).rsqrt(), torch.full_like(top, EVER)).clamp(1e-3, EVER)
    best = torch.exp(a[:, 0] - torch.where(bent, a[:, 1] ** 2 / (4 * a[:, 2].clamp(max=-1e-9)), torch.zeros_like(top)))
    return torch.where(bent, (top * best).clamp(LEAST_OPAQUE, MOST_OPAQUE), top), middle, width


def _as_far_as_seen(since: Tensor, weight: Tensor, values: Tensor, degree: int) -> Tensor:
    """`_least_squares` of the highest degree, up to `degree`, that each Gaussian is there long enough for: others would fly off beyond."""
    there = weight.sum(0).square() / weight.square().sum(0).clamp_min(1e-12)
    result = values.new_zeros(values.shape[1], degree + 1, values.shape[2])
    for lower in range(degree + 1):
        long = there >= ENOUGH * (lower + 1) if lower else torch.ones_like(there, dtype=torch.bool)
        result[long, : lower + 1] = _least_squares(since[:, long], weight[:, long], values[:, long], lower)
    return result


def _least_squares(since: Tensor, weight: Tensor, values: Tensor, degree: int) -> Tensor:
    """(N, degree + 1, C) coefficients of the polynomials in `since` (T, N) nearest to `values` (T, N, C), weighted by `weight` (T, N)."""
    powers = torch.stack([since**k for k in range(degree + 1)], dim=-1)
    weighted = powers * weight[..., None]
    normal = torch.einsum("tna,tnb->nab", weighted, powers) + 1e-9 * torch.eye(degree + 1, dtype=since.dtype)
    return torch.linalg.solve(normal, torch.einsum("tna,tnc->nac", weighted, values))


def _camera(capture: Capture) -> dict[str, Any]:
    """The first filmed camera as splaTV writes it: centre, and rotation from camera to world."""
    camera = capture.camera_at(0, int(np.flatnonzero(np.isfinite(capture.world_to_camera[0]).all(axis=(1, 2)))[0]))
    size = {"width": camera.width, "height": camera.height, "fx": float(camera.K[0, 0]), "fy": float(camera.K[1, 1])}
    return (
        {"id": 0, "img_name": capture.view_names[0]}
        | size
        | {"position": camera.center.tolist(), "rotation": camera.world_to_camera[:3, :3].T.tolist()}
    )
