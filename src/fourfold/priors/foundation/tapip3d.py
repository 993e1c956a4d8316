"""TAPIP3D: 3D tracks from images with depth and cameras, as an iterative tracker that can be anchored, and by itself.

Repository zbw001/TAPIP3D, commit 9359ae2 (2025-05-13), code Apache-2.0, no licence stated for the weights; it is no package: its folder must
be on the Python path, with its compiled `pointops2`, which needs CUDA. The public forward hides its iterations; this adapter calls the
image encoder, the correlation features and single iterations (spec himor_4dgs360.md section 5.1). Pixel centres there are whole numbers.
"""

from __future__ import annotations

import typing
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.anchored_tracking.interface import Clip, Iterate, Window
from fourfold.priors.contracts import Depth, Masks, Priors, Tracks3D
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.tracks3d import as_tracks, joined, lifted_queries, usable_times
from fourfold.priors.foundation.video import Array, both_ways, device_here, frames_of, network_intrinsics, resized
from fourfold.priors.foundation.weights import load_state, missing, require
from fourfold.priors.providers import Provider

TOP_LEVEL = ("models", "utils", "datasets", "training", "third_party", "annotation")
ENLARGE = 2.0
"""Pixels at which the network runs, as a multiple of those it was trained at (the release's resolution factor)."""


@dataclass(frozen=True)
class Encoded:
    """A clip as the network reads it, each with a leading batch of one: features, depth (T, h, w), K, poses, clouds (T, 3, h, w).

    roi: depths that count in the normalisation; known: rows of the points that an earlier window has tracked.
    """

    features: Tensor
    depth: Tensor
    K: Tensor
    poses: Tensor
    clouds: Tensor
    roi: tuple[float, float]
    known: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Opened:
    """A window: the correlation context, the projector of normalised points, centre (1, 3) and spread (1, 3), and which points (N,) are new.

    last: the latest result in the world and as the network had it. The network encodes differences of places with frequencies up to 2^14, so
    that places nobody changed must come back without the rounding of two changes of coordinates.
    """

    context: Any
    projector: Any
    centre: Tensor
    spread: Tensor
    fresh: NDArray[np.bool_]
    last: dict[str, Any] = field(default_factory=dict)


class Tapip3D:
    """An `IterTracker3D`. FourfoldError if weights or repository are not here.

    Args:
        model: a loaded network, else the registry's weights are.
        enlarge: see `ENLARGE`.
    """

    name = "tapip3d"
    iterations = 6
    bidirectional = True
    needs_weights = True

    def __init__(self, model: Any = None, enlarge: float = ENLARGE) -> None:
        self.model = load_model(require("tapip3d")) if model is None else model
        self.model.set_eval_mode("raw")
        self.model.eval().to(device_here())
        self.window = int(self.model.seq_len)
        self.stride = self.window // 2
        height, width = (int(n * enlarge**0.5) // 4 * 4 for n in self.model.image_size)
        self.size = (height, width)
        self.model.set_image_size(self.size)

    def inputs(self, clip: Clip) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """rgb (1, T, 3, h, w) in [0, 1], depth (1, T, h, w), K (1, T, 3, 3) for whole-number centres, poses (1, T, 4, 4)."""
        device, size = device_here(), clip.rgb.shape[1:3]
        rgb = (resized(clip.rgb, *self.size, device) / 255).clamp(0, 1)
        depth = torch.from_numpy(np.ascontiguousarray(clip.depth, np.float32))[:, None].to(device)
        K = torch.from_numpy(network_intrinsics(clip.K, size, self.size)).float().to(device)
        poses = torch.from_numpy(np.ascontiguousarray(clip.world_to_camera)).float().to(device)
        return rgb[None], F.interpolate(depth, self.size, mode="nearest-exact")[:, 0][None], K[None], poses[None]

    @torch.no_grad()
    def encode(self, clip: Clip) -> Encoded:
        """Features and clouds of all frames, one direction."""
        rgb, depth, K, poses = self.inputs(clip)
        common: Any = research_module("utils.common_utils", *TOP_LEVEL)
        features = self.model.encode_rgbs(rgb).float()
        return Encoded(features, depth, K, poses, common.batch_unproject(depth, K, poses), depth_range(depth))

    @torch.no_grad()
    def open_window(self, context: Encoded, window: Window) -> Opened:
        """Normalisation of the window's cloud and the points' correlation context."""
        model, device = self.model, context.depth.device
        centre, spread = self._normalisation(context, window.start, window.end)
        queries = torch.from_numpy(np.concatenate([window.query_time[:, None], window.query_xyz], axis=1)).float().to(device)[None]
        shared = model.corr_processor.prepare_shared(pcds=context.clouds, feats=context.features, queries=queries)
        projector = partial(model._project, intrinsics=context.K, extrinsics=context.poses, mean_coords=centre, std_coords=spread)
        normal = torch.cat([queries[..., :1], self._normal(queries[..., 1:], centre, spread)], dim=-1)
        eyes = torch.linalg.inv(context.poses)[..., :3, 3]
        prepared = model.corr_processor.prepare_window(
            feats=context.features,
            camera_locs=(eyes - centre) / spread,
            pcds=(context.clouds - centre[..., None, None]) / spread[..., None, None] * self._scale,
            queries=normal,
            projector=projector,
            shared_ctx=shared,
        )
        prepared = prepared.time_slice(start=window.start, end=window.end)
        shifted = partial(_from_window, projector, window.start)
        fresh = np.array([row not in context.known for row in window.rows.tolist()], bool)
        context.known.update(window.rows.tolist())
        return Opened(prepared, shifted, centre, spread, fresh)

    @torch.no_grad()
    def step(self, opened: Opened, state: Iterate, fixed: NDArray[np.bool_], iteration: int) -> Iterate:
        """One update; points that are new in this window start undecided, as in the release."""
        logit = np.where(opened.fresh & ~fixed, 0.0, state.visibility_logit) if iteration == 0 else state.visibility_logit
        xyz = torch.from_numpy(state.xyz).float().to(opened.centre)
        normal = self._normal(xyz, opened.centre, opened.spread)
        if opened.last:
            same = torch.from_numpy((state.xyz == opened.last["world"]).all(-1)).to(xyz.device)
            normal = torch.where(same[..., None], opened.last["normal"], normal)
        coords, seen = self.model._forward_window_iter(
            coords=normal[None],
            visibs=torch.from_numpy(np.asarray(logit)).float().to(xyz)[None],
            projector=opened.projector,
            corr_ctx=opened.context,
            track_mask=torch.ones((1, xyz.shape[1]), dtype=torch.bool, device=xyz.device),
        )
        world = (coords[-1][0] / self._scale * opened.spread + opened.centre).double().cpu().numpy()
        opened.last.update(world=world, normal=coords[-1][0])
        return Iterate(world, seen[0].double().cpu().numpy())

    def close_window(self, opened: Opened, state: Iterate) -> None:
        """Nothing is held."""

    @torch.no_grad()
    def track(self, clip: Clip, queries: NDArray[np.float64]) -> tuple[Array, Array]:
        """The network's own forward in both directions: queries (N, 4) frame, x, y, z -> xyz (N, T, 3) and visibility (N, T) in [0, 1]."""
        rgb, depth, K, poses = (p[0] for p in self.inputs(clip))
        roi = torch.tensor(depth_range(depth[None]), device=depth.device)

        def ahead(frames: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            order = frames.long()
            out, _ = self.model(
                rgb_obs=rgb[order][None],
                depth_obs=depth[order][None],
                intrinsics=K[order][None],
                extrinsics=poses[order][None],
                query_point=points[None],
                num_iters=self.iterations,
                mode="inference",
                depth_roi=roi,
            )
            return out.coords[0], out.visibs[0], out.visibs[0]

        start = torch.from_numpy(queries).float().to(depth)
        xyz, logit, _ = both_ways(ahead, torch.arange(len(depth), device=depth.device), start)
        return xyz.transpose(0, 1).cpu().numpy(), torch.sigmoid(logit).T.cpu().numpy()

    @property
    def _scale(self) -> float:
        return float(self.model.norm_scale)

    def _normal(self, xyz: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
        return (xyz - centre) / spread * self._scale

    def _normalisation(self, context: Encoded, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Mean (1, 3) and isotropic spread (1, 3) of the window's points within the depth range."""
        depth = context.depth[0, start:end]
        near, far = context.roi
        points = context.clouds[0, start:end].permute(0, 2, 3, 1)[(depth > near) & (depth <= far)]
        if self.model.norm_mode != "isotropic" or not len(points):
            raise FourfoldError(f"TAPIP3D normalises by {self.model.norm_mode!r} over {len(points)} points, expected isotropic and some points")
        centre = points.mean(0, keepdim=True)
        return centre, (points - centre).square().mean().sqrt().expand(1, 3)


def _from_window(projector: Any, start: int, points: Tensor) -> Tensor:
    return projector(torch.cat([points[..., :1] + start, points[..., 1:]], dim=-1))


def depth_range(depth: Tensor) -> tuple[float, float]:
    """Depths that count in the normalisation: up to the third quartile plus 1.5 times the distance of the quartiles."""
    known = depth[depth > 0]
    if not len(known):
        raise FourfoldError("TAPIP3D needs depth, and no pixel of this clip has any")
    quarter, three = (float(known.kthvalue(max(1, int(share * len(known)))).values) for share in (0.25, 0.75))
    return 1e-7, three + 1.5 * (three - quarter)


def load_model(path: Path) -> Any:
    """The network of a released checkpoint: its tensors and the settings beside them (OmegaConf objects, nothing else is unpickled)."""
    omegaconf: Any = research_module("omegaconf")
    base, nodes = research_module("omegaconf.base"), research_module("omegaconf.nodes")
    plain: list[Any] = [
        omegaconf.DictConfig,
        omegaconf.ListConfig,
        base.ContainerMetadata,
        base.Metadata,
        typing.Any,
        dict,
        list,
        int,
        defaultdict,
        OrderedDict,
    ]
    kinds: list[Any] = [getattr(nodes, n) for n in ("AnyNode", "StringNode", "IntegerNode", "FloatNode", "BooleanNode")]
    with torch.serialization.safe_globals(plain + kinds):
        saved: Any = load_state(path)
    if "cfg" not in saved or "weight" not in saved:
        raise FourfoldError(f"{path} is not a checkpoint of TAPIP3D: it lacks 'cfg' or 'weight'")
    models: Any = research_module("models", *TOP_LEVEL)
    network = models.from_config(saved["cfg"]["model"], image_size=tuple(saved["cfg"]["train_dataset"]["resolution"]))
    network.load_state_dict(saved["weight"])
    return network


def track(capture: Capture, masks: Masks | None, depth: Depth) -> Tracks3D:
    """3D tracks of every view's moving points, without anchors."""
    tracker, parts = Tapip3D(), []
    for view in range(capture.views):
        times = usable_times(capture, view)
        if len(times) < 2:
            continue
        queries, _, xyz = lifted_queries(capture, masks, depth, view, times)
        clip = Clip(
            frames_of(capture, view, times), np.asarray(depth.depth[view])[times], capture.K[view, times], capture.world_to_camera[view, times]
        )
        start = np.concatenate([queries[:, :1], xyz], axis=1)
        found = tracker.track(clip, start) if len(queries) else (np.zeros((0, len(times), 3)), np.zeros((0, len(times))))
        parts.append(as_tracks(capture, "tapip3d", view, times, queries, *found))
    if not parts:
        raise FourfoldError(f"TAPIP3D needs two frames of one camera, {capture.name} has none")
    return joined(parts)


def unavailable() -> str | None:
    """Why TAPIP3D cannot run on this machine, None if it can, "" if nobody here uses weights at all (see `weights.missing`)."""
    absent = missing("tapip3d")
    return absent if absent is not None or torch.cuda.is_available() else "TAPIP3D's compiled neighbour search needs a CUDA device"


def _make(capture: Capture, priors: Priors) -> list[Tracks3D]:
    return [track(capture, priors.masks, priors.require(Depth))]


PROVIDERS = (Provider("tapip3d", ("tracks3d",), ("masks", "depth"), 30, lambda _: unavailable(), _make),)
