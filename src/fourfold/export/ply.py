"""The PLY of 3D Gaussian Splatting (Kerbl et al. 2023), binary little endian: what every splat viewer reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.export.options import ExportOptions, moment
from fourfold.export.packing import INVISIBLE
from fourfold.files import replacing
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import Scene

SH_DC = 0.28209479177387814  # the constant spherical harmonic, 1 / (2 sqrt(pi))
MOST_OPAQUE = 1.0 - 1e-6  # keeps the logit finite


def export_ply(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """One moment; 32-bit floating-point numbers lose nothing."""
    with torch.no_grad():
        write_ply(out, scene.at(moment(scene, options)))


def write_ply(path: Path, gaussians: Gaussians) -> int:
    """Write `gaussians` (one moment) to `path`, atomically; returns how many were visible and therefore written."""
    names, table = ply_table(gaussians)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(encode(names, table))
    return len(table)


def ply_table(gaussians: Gaussians) -> tuple[list[str], NDArray[np.float32]]:
    """Property names and a row per Gaussian of those that are finite and visible.

    Position, an unused normal, `f_dc` = (colour - 0.5) / `SH_DC`, `f_rest` channel by channel (all of red first), the logit of
    opacity times visibility, log scales, unit quaternion wxyz.
    """
    g = gaussians.detach().to(torch.float32).to("cpu")
    opacity = g.opacity.clamp(max=MOST_OPAQUE)
    rest = g.means.new_zeros(len(g), 0, 3) if g.sh_rest is None else g.sh_rest
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * rest.shape[1])]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    parts = [
        g.means,
        torch.zeros_like(g.means),
        (g.color - 0.5) / SH_DC,
        rest.transpose(1, 2).flatten(1),
        torch.logit(opacity)[:, None],
        g.log_scale,
        torch.nn.functional.normalize(g.quat_wxyz, dim=-1),
    ]
    table = torch.cat(parts, dim=1)
    kept = (opacity >= INVISIBLE) & torch.isfinite(table).all(dim=1)
    return names, table[kept].numpy()


def encode(names: list[str], table: NDArray[np.float32]) -> bytes:
    """A binary little-endian PLY file with one float property per column of `table`."""
    properties = "".join(f"property float {name}\n" for name in names)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{properties}end_header\n"
    return header.encode("ascii") + np.ascontiguousarray(table, dtype="<f4").tobytes()
