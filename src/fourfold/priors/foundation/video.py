"""What the trackers share: training frames as a tensor, points to start from, and results put back on the capture's time axis.

A tracker of any repository is wrapped as a `PointTracker`; windows, directions and views are handled here once. All pixels here have their
centres at +0.5; most networks put them at whole numbers: `to_network` and `from_network` convert (spec priors_monocular.md section 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Provenance, Tracks2D

Array = NDArray[np.floating[Any]]
Both = tuple[Tensor, Tensor, Tensor]

PointTracker = Callable[[NDArray[np.uint8], NDArray[np.float32]], tuple[Array, Array, Array]]
"""(images (T, H, W, 3), queries (N, 3) frame, x, y) -> xy (N, T, 2), visibility (N, T) and confidence (N, T), both in [0, 1]."""


@dataclass(frozen=True)
class QueryNumbers:
    """Where tracks start.

    Attributes:
        frames: query frames, spread over the clip.
        moving: points wanted on moving pixels per query frame; the stride of their grid follows, at least `least_stride` pixels.
        background: stride of the grid on the background, pixels; 0 for none.
    """

    frames: int = 8
    moving: int = 1000
    least_stride: int = 2
    background: int = 32


def device_here() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_times(capture: Capture, view: int) -> list[int]:
    """Time indices of the frames of `view` that may be looked at."""
    return [int(t) for t in np.flatnonzero(capture.train[view] & capture.present[view])]


def frames_of(capture: Capture, view: int, times: Sequence[int]) -> NDArray[np.uint8]:
    """(T, H, W, 3) images of `view`."""
    return np.stack([capture.image(view, t) for t in times])


def resized(images: NDArray[np.uint8], height: int, width: int, device: torch.device) -> Tensor:
    """(T, 3, height, width) float32 in 0 .. 255; pixel centres at +0.5 stay where they are in the image."""
    parts = [torch.from_numpy(np.array(i)).permute(2, 0, 1)[None].float() for i in images]
    return torch.cat([F.interpolate(p, (height, width), mode="bilinear", align_corners=False, antialias=True) for p in parts]).to(device)


def to_network(xy: Tensor, size: tuple[int, int], network: tuple[int, int]) -> Tensor:
    """Pixels (..., 2) of an image of `size` (height, width) in one of size `network` whose pixel centres lie at whole numbers."""
    return xy * xy.new_tensor([network[1] / size[1], network[0] / size[0]]) - 0.5


def from_network(xy: Tensor, size: tuple[int, int], network: tuple[int, int]) -> Tensor:
    """The inverse of `to_network`."""
    return (xy + 0.5) * xy.new_tensor([size[1] / network[1], size[0] / network[0]])


def network_intrinsics(K: NDArray[np.float64], size: tuple[int, int], network: tuple[int, int]) -> NDArray[np.float64]:
    """(..., 3, 3) intrinsics for an image of size `network` whose pixel centres lie at whole numbers."""
    scaled = K * np.array([network[1] / size[1], network[0] / size[0], 1.0])[:, None]
    scaled[..., :2, 2] -= 0.5
    return scaled


def both_ways(one_way: Callable[[Tensor, Tensor], Both], video: Tensor, queries: Tensor) -> Both:
    """Run a tracker that only looks ahead over the video (T, ...) and over its reverse.

    Args:
        one_way: (video, queries (N, 2 or more) with the frame first) -> three results (T, N, ...).

    Returns:
        its results; before each query's frame those of the reversed run.
    """
    last = len(video) - 1
    ahead = one_way(video, queries)
    if not bool((queries[:, 0] > 0).any()):
        return ahead
    turned = torch.cat([last - queries[:, :1], queries[:, 1:]], dim=1)
    back = [r.flip(0) for r in one_way(video.flip(0), turned)]
    before = torch.arange(last + 1, device=queries.device)[:, None] < queries[:, 0]
    first, second, third = (torch.where(before.reshape(*before.shape, *[1] * (a.ndim - 2)), b, a) for a, b in zip(ahead, back, strict=True))
    return first, second, third


def query_points(capture: Capture, masks: Masks | None, view: int, times: Sequence[int], numbers: QueryNumbers) -> NDArray[np.float32]:
    """(N, 3) row of `times`, x and y of grid points in several query frames: dense where something moves, sparse elsewhere."""
    rows = np.unique(np.linspace(0, len(times) - 1, min(numbers.frames, len(times))).round().astype(int))
    width, height = (int(n) for n in capture.sizes[view])
    found: list[NDArray[np.float32]] = []
    for row in rows:
        mask = capture.mask(view, times[row]) if masks is None else masks.mask[view][times[row]]
        label = np.ones((height, width), np.int8) if mask is None else np.asarray(mask)
        stride = max(numbers.least_stride, int(np.sqrt((label > 0).sum() / max(numbers.moving, 1))))
        points = [_grid(label > 0, stride)]
        if numbers.background and mask is not None:
            points.append(_grid(label < 0, numbers.background))
        xy = np.concatenate(points)
        found.append(np.concatenate([np.full((len(xy), 1), row, np.float32), xy], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 3), np.float32)


def track_views(capture: Capture, masks: Masks | None, tracker: PointTracker, name: str, numbers: QueryNumbers = QueryNumbers()) -> Tracks2D:
    """`tracker` over the training frames of every view, from points on the moving pixels and a few on the background.

    Between training frames positions are interpolated and visibility is 0; at its query a track is exactly its query point.
    """
    nothing = np.zeros((0, capture.times), np.float32)
    parts = [(np.zeros((0, capture.times, 2), np.float32), nothing, nothing, np.zeros(0, np.int32), np.zeros(0, np.int32))]
    for view in range(capture.views):
        times = training_times(capture, view)
        queries = query_points(capture, masks, view, times, numbers) if len(times) > 1 else np.zeros((0, 3), np.float32)
        if not len(queries):
            continue
        xy, visibility, confidence = tracker(frames_of(capture, view, times), queries)
        row = queries[:, 0].astype(int)
        xy[np.arange(len(xy)), row] = queries[:, 1:]
        moments = np.asarray(times, np.int32)
        full = on_all_times(xy, times, capture.times), at_times(visibility, times, capture.times), at_times(confidence, times, capture.times)
        parts.append((*full, np.full(len(xy), view, np.int32), moments[row]))
    xy, visibility, confidence, views, start = (np.concatenate([p[i] for p in parts]) for i in range(5))
    figures = {"tracks": len(xy), "mean_visible": round(float(visibility.mean()), 4) if len(xy) else 0.0}
    provenance = Provenance(name, needs_weights=True, figures=figures)
    return Tracks2D(provenance, xy.astype(np.float32), visibility.astype(np.float16), confidence.astype(np.float16), views, start)


def on_all_times(values: Array, known: Sequence[int], times: int) -> NDArray[np.float32]:
    """(P, times, C) positions from (P, T, C) at the time indices `known`: linear in between, constant beyond."""
    place = np.interp(np.arange(times), known, np.arange(len(known)))
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, len(known) - 1)
    share = (place - low)[None, :, None]
    return (values[:, low] * (1 - share) + values[:, high] * share).astype(np.float32)


def at_times(values: Array, known: Sequence[int], times: int) -> NDArray[np.float32]:
    """(P, times) from (P, T) at the time indices `known`, 0 elsewhere."""
    full = np.zeros((len(values), times), np.float32)
    full[:, list(known)] = values
    return full


def _grid(where: NDArray[np.bool_], stride: int) -> NDArray[np.float32]:
    rows, columns = np.nonzero(where[stride // 2 :: stride, stride // 2 :: stride])
    return (np.stack([columns, rows], axis=1) * stride + stride // 2 + 0.5).astype(np.float32)
