"""MVTracker: 3D tracks from several cameras with depth.

Repository ethz-vlg/mvtracker, commit ceea8ad (2025-09-06), weights Apache-2.0. Its predictor only looks ahead of a query, so it is run in both
directions; visibility is its probability. Cameras of one job share an image size; pixel centres there are whole numbers. Images go in as
0 .. 255: the network divides by 255 itself (the demo in the repository's README divides before that as well).
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
from fourfold.priors.foundation.video import Array, Both, both_ways, device_here, frames_of, network_intrinsics, resized
from fourfold.priors.foundation.weights import load_state, missing, require
from fourfold.priors.providers import Provider

SIZE = (384, 512)
SETTINGS = {
    "sliding_window_len": 12,
    "stride": 4,
    "normalize_scene_in_fwd_pass": False,
    "fmaps_dim": 128,
    "add_space_attn": True,
    "num_heads": 6,
    "hidden_size": 256,
    "space_depth": 6,
    "time_depth": 6,
    "num_virtual_tracks": 64,
    "corr_n_groups": 1,
    "corr_n_levels": 4,
    "corr_neighbors": 16,
    "corr_add_neighbor_offset": True,
    "corr_add_neighbor_xyz": False,
    "corr_filter_invalid_depth": False,
}
"""Of the released network."""
WINDOW = SETTINGS["sliding_window_len"]


def load_predictor() -> Any:
    """The released network in its predictor, without resizing of its own."""
    core: Any = research_module("mvtracker.models.core.mvtracker.mvtracker")
    outer: Any = research_module("mvtracker.models.evaluation_predictor_3dpt")
    saved: Any = load_state(require("mvtracker"))
    state = saved.get("state_dict", saved.get("model", saved))
    network = core.MVTracker(**SETTINGS, use_flash_attention=torch.cuda.is_available())
    network.load_state_dict({k.removeprefix("model."): v for k, v in state.items()})
    return outer.EvaluationPredictor(multiview_model=network.to(device_here()), interp_shape=None, grid_size=4, n_grids_per_view=1, n_iters=6)


@torch.no_grad()
def track_world(predictor: Any, capture: Capture, depth: Depth, views: list[int], times: list[int], queries: Array) -> tuple[Array, Array]:
    """Queries (N, 4) row of `times`, x, y, z -> xyz (N, T, 3) and visibility (N, T)."""
    device = device_here()
    rgb, z, K, poses = [], [], [], []
    for view in views:
        size = (int(capture.sizes[view, 1]), int(capture.sizes[view, 0]))
        rgb.append(resized(frames_of(capture, view, times), *SIZE, device).clamp(0, 255))
        near = torch.from_numpy(np.asarray(depth.depth[view])[times].astype(np.float32))[:, None]
        z.append(F.interpolate(near, SIZE, mode="nearest-exact").to(device))
        K.append(torch.from_numpy(network_intrinsics(capture.K[view, times], size, SIZE)).float().to(device))
        poses.append(torch.from_numpy(capture.world_to_camera[view, times, :3]).float().to(device))
    scene = [torch.stack(part) for part in (rgb, z, K, poses)]
    count = len(times)

    def ahead(order: Tensor, points: Tensor) -> Both:
        kept = torch.cat([order, order[-1:].expand(max(0, WINDOW - count))]).long()  # the predictor needs a whole window
        images, depths, intrinsics, extrinsics = (part[:, kept][None] for part in scene)
        out = predictor(rgbs=images, depths=depths, intrs=intrinsics, extrs=extrinsics, query_points_3d=points[None])
        xyz, seen = out["traj_e"], out["vis_e_as_prob"]
        xyz, seen = (part[0] if part.ndim == rank else part for part, rank in ((xyz, 4), (seen, 3)))
        return xyz[:count], seen[:count], seen[:count]

    start = torch.from_numpy(np.asarray(queries)).float().to(device)
    found, seen, _ = both_ways(ahead, torch.arange(count, device=device), start)
    return found.transpose(0, 1).cpu().numpy(), seen.T.cpu().numpy()


def track(capture: Capture, masks: Masks | None, depth: Depth) -> Tracks3D:
    """3D tracks of the moving points of every view, followed by all cameras together at the moments all of them know."""
    usable = [usable_times(capture, view) for view in range(capture.views)]
    views = [v for v, times in enumerate(usable) if len(times) > 1]
    times = sorted(set.intersection(*(set(usable[v]) for v in views))) if views else []
    if len(times) < 2:
        raise FourfoldError(f"MVTracker needs two moments that all cameras saw, {capture.name} has {len(times)}")
    predictor = load_predictor()
    parts = []
    for view in views:
        queries, _, xyz = lifted_queries(capture, masks, depth, view, times)
        start = np.concatenate([queries[:, :1], xyz], axis=1)
        found = track_world(predictor, capture, depth, views, times, start) if len(queries) else (xyz[:, None], xyz[:, :1])
        parts.append(as_tracks(capture, "mvtracker", view, times, queries, *found))
    return joined(parts)


def _missing(capture: Capture) -> str | None:
    return "" if capture.views < 2 else missing("mvtracker")


def _make(capture: Capture, priors: Priors) -> list[Tracks3D]:
    return [track(capture, priors.masks, priors.require(Depth))]


PROVIDERS = (Provider("mvtracker", ("tracks3d",), ("masks", "depth"), 31, _missing, _make),)
