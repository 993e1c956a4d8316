"""SpatialTracker: 3D tracks of one camera, as pixels and depth.

Repository henry123-boy/SpaTracker, commit 77f1fec (2025-07-08); code and weights CC-BY-NC-4.0, not for commercial use. It is no package: its
folder must be on the Python path; its splatting needs cupy and CUDA. The network itself is called, with our depth in place of its own
estimate and with the capture's cameras to go from pixel and depth to the world. Pixel centres there are whole numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Depth, Masks, Priors, Tracks3D
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.tracks3d import as_tracks, joined, lifted_queries, usable_times
from fourfold.priors.foundation.video import Array, Both, both_ways, device_here, frames_of, from_network, resized, to_network
from fourfold.priors.foundation.weights import load_state, missing, require
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.lift import unproject_points

SIZE = (384, 512)
WINDOW = 12
ITERATIONS = 6


def load_network() -> Any:
    """The released network."""
    module: Any = research_module("models.spatracker.models.build_spatracker", "models")
    network = module.build_spatracker_from_cfg(checkpoint=None, seq_length=WINDOW)
    saved: Any = load_state(require("spatialtracker"))
    state = saved.get("model", saved)
    network.load_state_dict({**network.state_dict(), **{k: v for k, v in state.items() if k in network.state_dict()}})
    return network.eval().to(device_here())


@torch.no_grad()
def track_view(network: Any, capture: Capture, depth: Depth, view: int, times: list[int], queries: Array) -> tuple[Array, Array]:
    """Queries (N, 4) row of `times`, x, y, depth -> xyz (N, T, 3) world and visibility (N, T)."""
    device, size = device_here(), (int(capture.sizes[view, 1]), int(capture.sizes[view, 0]))
    rgb = resized(frames_of(capture, view, times), *SIZE, device).clamp(0, 255)
    known = torch.from_numpy(np.asarray(depth.depth[view])[times].astype(np.float32))[:, None]
    video = torch.cat([rgb, F.interpolate(known, SIZE, mode="nearest-exact").to(device)], dim=1)
    count = len(times)

    def ahead(part: Tensor, points: Tensor) -> Both:
        whole = torch.cat([part, part[-1:].expand(max(0, WINDOW - count), -1, -1, -1)])
        found, _, seen = network(rgbds=whole[None], queries=points[None], iters=ITERATIONS, wind_S=WINDOW)
        return found[0, :count], seen[0, :count], seen[0, :count]

    start = torch.from_numpy(np.asarray(queries)).float().to(device)
    start[:, 1:3] = to_network(start[:, 1:3], size, SIZE)
    found, seen, _ = both_ways(ahead, video, start)
    xy, z = from_network(found[..., :2], size, SIZE).double().cpu().numpy(), found[..., 2].double().cpu().numpy()
    world = [unproject_points(xy[i], z[i], capture.K[view, t], capture.world_to_camera[view, t]) for i, t in enumerate(times)]
    return np.stack(world, axis=1), seen.T.cpu().numpy()


def track(capture: Capture, masks: Masks | None, depth: Depth) -> Tracks3D:
    """3D tracks of every view's moving points."""
    network, parts = load_network(), []
    for view in range(capture.views):
        times = usable_times(capture, view)
        if len(times) < 2:
            continue
        queries, z, xyz = lifted_queries(capture, masks, depth, view, times)
        start = np.concatenate([queries, z[:, None]], axis=1)
        found = track_view(network, capture, depth, view, times, start) if len(queries) else (xyz[:, None], xyz[:, :1])
        parts.append(as_tracks(capture, "spatialtracker", view, times, queries, *found))
    if not parts:
        raise FourfoldError(f"SpatialTracker needs two frames of one camera, {capture.name} has none")
    return joined(parts)


def _missing(_: Capture) -> str | None:
    absent = missing("spatialtracker")
    return absent if absent is not None or torch.cuda.is_available() else "SpatialTracker's splatting needs a CUDA device"


def _make(capture: Capture, priors: Priors) -> list[Tracks3D]:
    return [track(capture, priors.masks, priors.require(Depth))]


PROVIDERS = (Provider("spatialtracker", ("tracks3d",), ("masks", "depth"), 28, _missing, _make),)
