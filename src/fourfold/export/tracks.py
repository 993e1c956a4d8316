"""Tracks as .npz files that NumPy reads without pickle."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.options import ExportOptions, moments
from fourfold.files import replacing
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class PointTracks:
    """P points followed over T moments.

    Attributes:
        times: (T,) float64 seconds.
        xyz: (P, T, 3) float32 world positions, scene units.
        visibility: (P, T) float32 in [0, 1].
        xy: (P, T, 2) float32 pixels (centres at +0.5) in the target cameras, or None for tracks without cameras.
        color: (P, 3) float32 RGB in [0, 1], or None.
    """

    times: NDArray[np.float64]
    xyz: NDArray[np.float32]
    visibility: NDArray[np.float32]
    xy: NDArray[np.float32] | None = None
    color: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return self.xyz.shape[0]


def export_tracks(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """Where what moves is at each moment, as `.npz`."""
    save_tracks(out, scene_tracks(scene, moments(scene, capture, options)))


def save_tracks(path: Path, tracks: PointTracks) -> None:
    """Write `tracks` to `path` (.npz, compressed), atomically. Absent arrays are left out."""
    arrays = {f.name: getattr(tracks, f.name) for f in fields(tracks) if getattr(tracks, f.name) is not None}
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_tracks(path: Path) -> PointTracks:
    """Read what `save_tracks` wrote. FourfoldError if it is missing or something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return PointTracks(**{name: archive[name] for name in archive.files})
    except FileNotFoundError as error:
        raise FourfoldError(f"there are no tracks at {path}: make them with `fourfold track` or `fourfold export --format tracks`") from error
    except (BadZipFile, OSError, ValueError, TypeError) as error:
        raise FourfoldError(f"{path} does not hold tracks of this version ({error}): make them again") from error


def scene_tracks(scene: Scene, times: NDArray[np.float64], most: int = 20_000) -> PointTracks:
    """Where the moving Gaussians are at `times` (T,), seconds: the trajectories that make the scene.

    At most `most` of them are returned, the most opaque ones; visibility is their temporal opacity.
    """
    rows = scene.dynamic_rows().bool()
    with torch.no_grad():
        moments = [gaussians.select(rows) for gaussians in scene.at_times(torch.as_tensor(times))]
        strength = torch.stack([g.opacity for g in moments]).amax(0)
        kept = strength.argsort(descending=True, stable=True)[:most].sort().values
        xyz = torch.stack([g.means[kept] for g in moments], dim=1)
        visible = torch.stack([(torch.ones_like(g.opacity_logit) if g.visibility is None else g.visibility)[kept] for g in moments], dim=1)
        color = moments[0].color[kept]
    return PointTracks(np.asarray(times, np.float64), _numpy(xyz), _numpy(visible), color=_numpy(color))


def _numpy(value: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(value.detach().float().cpu().numpy())
