"""What is exactly known about a synthetic capture, kept in its folder `truth/`. Only evaluation and benchmarks may read it, and providers on which
ablations with an exact prior insist."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fourfold.errors import FourfoldError

TRUTH = "truth"


@dataclass(frozen=True)
class Truth:
    """Exact trajectories and cameras.

    Attributes:
        xyz: (P, T, 3) float64 positions of points on the movers, world frame, metres.
        visibility: (V, P, T) bool: inside the image and not hidden by anything (whether or not the view has an image at that time).
        xy: (V, P, T, 2) float64 projections, pixels, pixel centres at +0.5; NaN behind the camera.
        depth: (V, P, T) float64 depth of the points along the optical axis.
        color: (P, 3) float32 paint at the point, RGB in [0, 1], without shading.
        object_id: (P,) int32: 1 the figure, 2 the ball.
        part: (P,) int32 number of the rigid or affinely deforming piece of the point.
        local: (P, 3) float64 coordinates on that piece's canonical shape, the same at all times.
        objects: (O,) int32 the object ids.
        diameter: (O,) float64 largest distance between two tracked points of the object at any one time, metres.
        K: (V, T, 3, 3) float64 intrinsics. world_to_camera: (V, T, 4, 4) float64. timestamps: (T,) float64 seconds.
        shot: (T,) int32 number of the shot, counted from 0.
        gain: (V, T) float64, what the colours of each image were multiplied by.
    """

    xyz: NDArray[np.float64]
    visibility: NDArray[np.bool_]
    xy: NDArray[np.float64]
    depth: NDArray[np.float64]
    color: NDArray[np.float32]
    object_id: NDArray[np.int32]
    part: NDArray[np.int32]
    local: NDArray[np.float64]
    objects: NDArray[np.int32]
    diameter: NDArray[np.float64]
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    timestamps: NDArray[np.float64]
    shot: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    gain: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    def at(self, seconds: NDArray[np.float64]) -> Truth:
        """The truth of the moments nearest to `seconds` (K,) alone."""
        rows = np.abs(self.timestamps[:, None] - seconds[None]).argmin(0)
        every = {name: getattr(self, name)[:, rows] for name in ("xyz", "K", "world_to_camera")}
        every |= {name: getattr(self, name)[:, :, rows] for name in ("visibility", "xy", "depth")}
        shown = {"timestamps": self.timestamps[rows], "shot": self.shot[rows] if len(self.shot) else self.shot}
        return replace(self, **every, **shown, gain=self.gain[:, rows] if self.gain.size else self.gain)

    def save(self, root: Path) -> None:
        """Write `root/truth/truth.safetensors`."""
        arrays: dict[str, NDArray[Any]] = {k: np.ascontiguousarray(v) for k, v in vars(self).items()}
        arrays["visibility"] = arrays["visibility"].astype(np.uint8)
        (root / TRUTH).mkdir(parents=True, exist_ok=True)
        save_file(arrays, root / TRUTH / "truth.safetensors")

    @staticmethod
    def load(root: Path) -> Truth:
        """Read the truth of the capture in `root`. FourfoldError if it has none."""
        path = Path(root) / TRUTH / "truth.safetensors"
        try:
            arrays = load_file(path)
        except (OSError, SafetensorError) as error:
            raise FourfoldError(f"{root} holds no synthetic truth: make the capture with `fourfold synth KIND -o {root}`") from error
        return Truth(**{**arrays, "visibility": arrays["visibility"].astype(bool)})


def truth_image(root: Path, kind: str, view: int) -> NDArray[Any]:
    """The exact `depth` (T, H, W) float32 or `masks` (T, H, W) int8 of a view, from `truth/` for a bare capture and from the capture otherwise."""
    for folder in (Path(root) / TRUTH, Path(root)):
        path = folder / f"{kind}_{view:03d}.npy"
        if path.exists():
            return np.load(path, mmap_mode="r", allow_pickle=False)
    raise FourfoldError(f"{root} holds no true {kind} of view {view}: make the capture with `fourfold synth KIND -o {root}`")
