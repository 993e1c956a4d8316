"""One scale per camera brings depth that agrees over time onto depth that agrees between cameras: spec monofusion.md section 2.3.

Both point maps lie in the axes of the same camera, chi = d K^-1 [u, v, 1], so with a = |K^-1 [u, v, 1]|^2 the scale that minimises
sum |s chi_time - chi_view|^2 is s = sum a d_time d_view / sum a d_time^2 over the confident pixels of all times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.notices import fallback
from fourfold.priors.contracts import Depth, Provenance

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class AlignmentNumbers:
    """How scales are found.

    Attributes:
        quantile: pixels count whose confidence reaches this quantile of their image in both maps. The paper says "above the confidence
            threshold of 95 %", which can also be read as 0.05.
        smallest, largest: bounds of a ratio.
        spread: cameras of one rig whose scales differ by more than this share are worth a warning.
    """

    quantile: float = 0.95
    smallest: float = 1e-3
    largest: float = 1e3
    spread: float = 0.2


def ray_weights(K: Array, height: int, width: int) -> NDArray[np.float64]:
    """(H, W) squared length of K^-1 [u, v, 1] at the pixel centres, K (3, 3)."""
    x, y = (np.arange(width) + 0.5 - K[0, 2]) / K[0, 0], (np.arange(height) + 0.5 - K[1, 2]) / K[1, 1]
    return 1.0 + (x**2)[None, :] + (y**2)[:, None]


def closed_form_scale(steady: Array, agreed: Array, weight: Array) -> float | None:
    """argmin over s of sum weight (s steady - agreed)^2; None where nothing has weight. All arguments have one shape."""
    below = float((weight * np.asarray(steady, np.float64) ** 2).sum())
    return float((weight * np.asarray(steady, np.float64) * agreed).sum()) / below if below > 0 else None


def confident(confidence: Array, depth: Array, quantile: float) -> NDArray[np.bool_]:
    """(T, H, W) pixels with depth whose confidence reaches the `quantile` of the known pixels of their own image; ties count."""
    result = np.zeros(depth.shape, bool)
    for t, (sure, known) in enumerate(zip(np.asarray(confidence, np.float32), np.asarray(depth) > 0, strict=True)):
        known = known & (sure > 0)
        if known.any():
            result[t] = known & (sure >= np.quantile(sure[known], quantile))
    return result


def align_depth(capture: Capture, steady: Depth, agreed: Depth, numbers: AlignmentNumbers = AlignmentNumbers()) -> tuple[Depth, NDArray[np.float64]]:
    """Depth that agrees over time, scaled per camera to depth that agrees between cameras, and the scales (V, T).

    Args:
        steady: agrees over time within each view, scale unknown; agreed: agrees between the views of each moment, in scene units.

    `provenance.figures`: "scales" (one per training view), "log_residual_before", "log_residual_after" (median
    |log ratio| of confident pixels).
    """
    scales, depth = np.ones(capture.train.shape), []
    before: list[Array] = []
    after: list[Array] = []
    for view in range(capture.views):
        times = np.flatnonzero(capture.train[view])
        one, other = (np.asarray(d.depth[view], np.float32) for d in (steady, agreed))
        if len(times) == 0:
            depth.append(one)
            continue
        use = confident(steady.confidence[view][times], one[times], numbers.quantile)
        use &= confident(agreed.confidence[view][times], other[times], numbers.quantile)
        scales[view, times] = _view_scales(capture, view, times, (one, other, use), numbers)
        depth.append((one * scales[view, :, None, None]).astype(np.float32))
        if use.any():
            ratio = np.log(other[times][use].astype(np.float64) / one[times][use])
            before.append(np.abs(ratio))
            after.append(np.abs(ratio - np.log(np.broadcast_to(scales[view, times, None, None], use.shape)[use])))
    trained = np.flatnonzero(capture.train.any(axis=1))
    typical = [float(np.median(scales[v][capture.train[v]])) for v in trained]
    notes = _told(typical, numbers.spread)
    figures = {
        "scales": [round(s, 5) for s in typical],
        "log_residual_before": _median(before),
        "log_residual_after": _median(after),
        "time": steady.provenance.provider,
        "view": agreed.provenance.provider,
    }
    weights = steady.provenance.needs_weights or agreed.provenance.needs_weights
    return Depth(Provenance("space_time", weights, notes, agreed.provenance.figures | figures), tuple(depth), steady.confidence), scales


def _view_scales(
    capture: Capture,
    view: int,
    times: NDArray[np.int64],
    maps: tuple[Array, Array, NDArray[np.bool_]],
    numbers: AlignmentNumbers,
) -> float:
    one, other, use = maps
    height, width = one.shape[1:]
    weight = np.stack([ray_weights(capture.K[view, t], height, width) for t in times]) * use
    found = closed_form_scale(one[times], other[times], weight)
    if found is None:
        fallback(f"no pixel of view {capture.view_names[view]!r} is sure in both depths: its scale stays 1")
        return 1.0
    return float(np.clip(found, numbers.smallest, numbers.largest))


def _median(parts: list[Array]) -> float | None:
    return round(float(np.median(np.concatenate(parts))), 5) if parts else None


def _told(scales: list[float], spread: float) -> tuple[str, ...]:
    if len(scales) > 1 and max(scales) / min(scales) > 1 + spread:
        return (f"the cameras' depths had to be scaled by {min(scales):.2f} to {max(scales):.2f}: check the calibration or the depth source",)
    return ()
