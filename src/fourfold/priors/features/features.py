"""Features of pixels with one meaning in all images: descriptors and one PCA for the whole capture (spec monofusion.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Features, Flow, Masks, Priors, Provenance
from fourfold.priors.features.descriptors import DescriptorNumbers, describe
from fourfold.priors.providers import Provider

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureNumbers:
    """How features are made.

    Attributes:
        channels: after the PCA.
        cell: pixels of the image along the side of a grid cell.
        sample: descriptors that the PCA is fitted to, most of them on movers.
        moving_share: of that sample.
    """

    channels: int = 32
    cell: int = 4
    sample: int = 20_000
    moving_share: float = 0.7
    descriptor: DescriptorNumbers = field(default_factory=DescriptorNumbers)


@dataclass(frozen=True)
class Projection:
    """One linear map of descriptors for all images: (x - mean) @ axes, mean (D,), axes (D, C)."""

    mean: Array
    axes: Array

    def __call__(self, descriptors: Array) -> Array:
        """(..., D) -> (..., C)."""
        return (descriptors - self.mean) @ self.axes


def pixel_features(capture: Capture, masks: Masks, flow: Flow, numbers: FeatureNumbers = FeatureNumbers()) -> Features:
    """Features of every training image; zero elsewhere.

    Channels are those of the PCA, the strongest first, with one common factor so that their mean standard deviation is 1: whitening each of
    them would raise noise to the level of what tells parts apart.
    """
    random = np.random.default_rng(0)
    frames = capture.train_frames()
    share = max(1, numbers.sample // max(len(frames), 1))
    samples, weight = [], np.zeros(0, np.float32)
    for view, index in frames:
        words, weight = _described(capture, masks, flow, view, index, numbers)
        moving = _on_grid(masks, view, index, words.shape[:2]).ravel()
        samples.append(words.reshape(-1, words.shape[-1])[_picked(moving, share, numbers.moving_share, random)])
    projection = fit_projection(np.concatenate(samples), weight, numbers.channels)
    features = []
    for view in range(capture.views):
        height, width = _grid(capture, view, numbers.cell)
        stack = np.zeros((capture.times, height, width, projection.axes.shape[1]), np.float16)
        for index in np.flatnonzero(capture.train[view]):
            stack[index] = projection(_described(capture, masks, flow, view, int(index), numbers)[0])
        features.append(stack)
    return Features(Provenance("descriptors", figures={"channels": int(projection.axes.shape[1]), "cell": numbers.cell}), tuple(features))


def fit_projection(words: Array, weight: Array, channels: int) -> Projection:
    """PCA of standardised, weighted descriptors `words` (N, D), weight (D,); at most min(channels, D) axes, mean standard deviation 1."""
    mean, spread = words.mean(0), words.std(0)
    scale = weight / np.maximum(spread, 1e-6) * (spread > 1e-6)
    centred = (words - mean) * scale
    _, _, axes = np.linalg.svd(centred.T @ centred / max(len(words), 1), hermitian=True)
    axes = axes[: min(channels, len(axes))].T
    typical = float((centred @ axes).std(0).mean())
    return Projection(mean.astype(np.float32), (scale[:, None] * axes / max(typical, 1e-9)).astype(np.float32))


def _described(capture: Capture, masks: Masks, flow: Flow, view: int, index: int, numbers: FeatureNumbers) -> tuple[Array, Array]:
    color = np.asarray(capture.image(view, index))
    return describe(color, masks.moving(view, index), flow.forward[view][index], _grid(capture, view, numbers.cell), numbers.descriptor)


def _grid(capture: Capture, view: int, cell: int) -> tuple[int, int]:
    width, height = (int(n) for n in capture.sizes[view])
    return max(1, height // cell), max(1, width // cell)


def _on_grid(masks: Masks, view: int, index: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    state = masks.moving(view, index)
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in zip(size, state.shape, strict=True))
    return state[rows.astype(int)[:, None], columns.astype(int)[None]]


def _picked(moving: NDArray[np.bool_], count: int, share: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of `count` cells, `share` of them moving where there are enough."""
    movers, rest = np.flatnonzero(moving), np.flatnonzero(~moving)
    first = min(len(movers), round(share * count))
    second = min(len(rest), count - first)
    return np.concatenate([random.choice(movers, first, replace=False), random.choice(rest, second, replace=False)]).astype(np.int64)


def _make(capture: Capture, priors: Priors) -> list[Features]:
    return [pixel_features(capture, priors.require(Masks), priors.require(Flow))]


PROVIDERS = (Provider("descriptors", ("features",), ("masks", "flow"), 10, lambda _: None, _make),)
