"""Pixel features by DINOv2 with registers on an image pyramid, reduced to 32 channels by one PCA (spec monofusion.md section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Features, Masks, Priors, Provenance
from fourfold.priors.foundation import weights
from fourfold.priors.foundation.hub_models import first_parameter, load_pretrained, pixels
from fourfold.priors.foundation.video import device_here
from fourfold.priors.frames_kept import KeptFrames
from fourfold.priors.providers import Provider

NAMES = ("dinov2-registers-small", "dinov2-registers-base")


@dataclass(frozen=True)
class FeatureConfig:
    """Numbers of the pyramid and the PCA.

    Attributes:
        levels: pyramid levels beside the whole image; level i cuts the shorter side into `split`^i overlapping squares.
        split: see `levels`; the authors take 4, which costs four times as much.
        crop: side at which the network sees a square, pixels, a multiple of its patch; the authors take 896.
        overlap: of neighbouring squares, share of their side.
        cell: side of a cell of the result, pixels of the image.
        channels: of the result.
        fit_images: images that the PCA is fitted on, spread over views and times.
        fit_cells: random cells of each, of moving objects where the masks show any.
    """

    levels: int = 1
    split: int = 2
    crop: int = 448
    overlap: float = 512 / 1500
    cell: int = 8
    channels: int = 32
    fit_images: int = 32
    fit_cells: int = 1000


def squares(height: int, width: int, config: FeatureConfig) -> list[tuple[int, int, int]]:
    """(top, left, side) of all squares of the pyramid; each level covers the image."""
    result: list[tuple[int, int, int]] = []
    for level in range(config.levels + 1):
        side = round(min(height, width) / (1.0 + (config.split**level - 1) * (1.0 - config.overlap)))
        starts: list[NDArray[np.int64]] = []
        for length in (height, width):
            count = max(1, math.ceil((length / side - config.overlap) / (1.0 - config.overlap) - 1e-6))
            starts.append(np.linspace(0, length - side, count).round().astype(np.int64))
        result += [(int(top), int(left), side) for top, left in product(*starts)]
    return result


@torch.no_grad()
def pyramid_features(model: Any, image: NDArray[np.uint8], config: FeatureConfig = FeatureConfig()) -> Tensor:
    """(h, w, C) features of an (H, W, 3) image, the mean over the squares that see each cell."""
    height, width = image.shape[:2]
    rows, columns = max(1, height // config.cell), max(1, width // config.cell)
    like, patch = first_parameter(model), int(model.config.patch_size)
    seen, total = like.new_zeros(rows, columns, 1), like.new_zeros(rows, columns, int(model.config.hidden_size))
    y = (torch.arange(rows).to(like) + 0.5) * height / rows
    x = (torch.arange(columns).to(like) + 0.5) * width / columns
    for top, left, side in squares(height, width, config):
        given = pixels(image[top : top + side, left : left + side], (config.crop, config.crop), like)
        tokens = model(pixel_values=given).last_hidden_state[0, 1 + int(model.config.num_register_tokens) :]
        grid = tokens.unflatten(0, (config.crop // patch, config.crop // patch)).permute(2, 0, 1)[None]
        inside_y, inside_x = ((y > top) & (y < top + side)).nonzero()[:, 0], ((x > left) & (x < left + side)).nonzero()[:, 0]
        place_y, place_x = torch.meshgrid((y[inside_y] - top) / side * 2 - 1, (x[inside_x] - left) / side * 2 - 1, indexing="ij")
        read = F.grid_sample(grid, torch.stack([place_x, place_y], -1)[None], padding_mode="border", align_corners=False)[0].permute(1, 2, 0)
        window = slice(int(inside_y[0]), int(inside_y[-1]) + 1), slice(int(inside_x[0]), int(inside_x[-1]) + 1)
        total[window] += read
        seen[window] += 1.0
    return total / seen.clamp_min(1.0)


def fit_projection(samples: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """PCA of samples (N, C): their mean (C,) and a projection (C, channels) whose results have a standard deviation of 1."""
    if len(samples) <= channels or samples.shape[1] < channels:
        raise FourfoldError(f"a PCA to {channels} channels needs more than {len(samples)} samples of {samples.shape[1]} channels: use more images")
    mean = samples.double().mean(0)
    centred = samples.double() - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(samples))
    values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
    vectors = vectors * torch.sign(vectors.gather(0, vectors.abs().argmax(0, keepdim=True)))  # eigenvectors have no sign of their own
    return mean.to(samples), (vectors / values.clamp_min(1e-12 * values[0]).sqrt()).to(samples)


def estimate_features(
    capture: Capture, masks: Masks | None, name: str, config: FeatureConfig = FeatureConfig(), kept: KeptFrames = KeptFrames()
) -> Features:
    """Features of all training frames by the model `name`, one PCA for all views and times."""
    model = load_pretrained("Dinov2WithRegistersModel", name, device_here())
    frames = [frame for frame in capture.train_frames() if capture.present[frame]]
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, min(config.fit_images, len(frames))).round().astype(int))]
    samples = [_samples(pyramid_features(model, capture.image(*f), config), masks, f, config) for f in chosen]
    mean, projection = fit_projection(torch.cat(samples), config.channels)

    def reduce(view: int, time: int) -> list[NDArray[np.float16]]:
        return [((pyramid_features(model, capture.image(view, time), config) - mean) @ projection).half().cpu().numpy()]

    stacks: list[NDArray[np.float16]] = []
    for view in range(capture.views):
        width, height = (max(1, int(n) // config.cell) for n in capture.sizes[view])
        stack = np.zeros((capture.times, height, width, config.channels), np.float16)
        for time in np.flatnonzero(capture.train[view] & capture.present[view]):
            stack[time] = (kept.frame(f"{view:03d}_{time:05d}", partial(reduce, view, int(time))) or [0.0])[0]
        stacks.append(stack)
    made = np.concatenate([stack[capture.train[v] & capture.present[v]].reshape(-1, config.channels) for v, stack in enumerate(stacks)])
    scale = 1.0 / np.maximum(made.astype(np.float32).std(axis=0), 1e-6)  # the PCA saw a sample, the contract is about all images
    features = tuple((stack * scale).astype(np.float16) for stack in stacks)
    return Features(Provenance("dinov2-registers", needs_weights=True, figures={"model": name}), features)


def _samples(features: Tensor, masks: Masks | None, frame: tuple[int, int], config: FeatureConfig) -> Tensor:
    cells = features.flatten(0, 1)
    if masks is not None:
        mask = torch.from_numpy(np.array(masks.mask[frame[0]][frame[1]] > 0))[None, None].float()
        moving = F.interpolate(mask, features.shape[:2], mode="area").flatten().to(cells.device) > 0.5
        cells = cells[moving] if int(moving.sum()) > config.channels else cells
    order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))[: config.fit_cells]
    return cells[order.to(cells.device)]


def _make(capture: Capture, priors: Priors) -> list[Features]:
    return [estimate_features(capture, priors.masks, weights.first_here(*NAMES), kept=priors.kept)]


PROVIDERS = (Provider("dinov2-registers", ("features",), ("masks",), 30, lambda _: weights.missing(*NAMES), _make),)
