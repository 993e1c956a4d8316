"""Samples: one training image and what is known about it, at the resolution of the step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.capture.cutout import BACKDROP
from fourfold.geometry.camera import Camera
from fourfold.losses.base import Sample
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Stage
from fourfold.training import resident
from fourfold.training.resident import Frame, ResidentFrames
from fourfold.training.samplers import generator
from fourfold.training.schedule import divisor_at
from fourfold.training.together import Share
from fourfold.training.track_targets import TrackIndex

CACHE_BYTES = 90_000_000
"""Prepared samples are kept up to this size; older ones are made again from the memory-mapped files."""


@dataclass(frozen=True)
class Source:
    """Where samples come from: the recordings, what was estimated from them, and how they are shown.

    Attributes:
        background: (3,) RGB put behind images that carry an alpha; near: depth before which nothing is drawn, scene units.
        composited: alpha is opacity, with `cutout.BACKDROP` behind the images already.
    """

    capture: Capture
    priors: Priors
    device: torch.device
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    near: float = 0.01
    composited: bool = False


class SampleStore:
    """Makes samples and remembers the recent ones. The only state is the cache, so equal requests give equal samples."""

    def __init__(self, source: Source, budget: int = CACHE_BYTES, share: Share = Share()) -> None:
        self._source, self._budget, self._size, self._share = source, budget, 0, share
        self._cache: OrderedDict[tuple[int, int, int], Sample] = OrderedDict()
        self._tracks = TrackIndex(source.capture, source.priors)
        self._resident = None if source.device.type == "cpu" else ResidentFrames(source.capture, source.priors, source.device)

    def sample(self, view: int, index: int, divisor: int = 1) -> Sample:
        """The image of `view` at time `index`, reduced `divisor` times by area averaging, without tracks."""
        key = (view, index, divisor)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if self._resident is None:
            made = _make_sample(self._source, view, index, divisor)
        else:
            made = _sample_on_device(self._source, self._resident.frame(view, index), (view, index), divisor)
        self._cache[key] = made
        self._size += _bytes(made)
        while self._size > self._budget and len(self._cache) > 1:
            self._size -= _bytes(self._cache.popitem(last=False)[1])
        return made

    def batch(self, stage: Stage, number: int, seed: int, step: int, steps: int) -> list[Sample]:
        """The batch of `step` of the stage with this `number`; of several that are joined, those that are this process's share."""
        divisor, joined = divisor_at(stage, step / steps), self._share.joined
        batches = [self._one_batch(stage, number, seed, step * joined + part, steps * joined, divisor) for part in self._share.mine]
        return [sample for batch in batches for sample in batch]

    def _one_batch(self, stage: Stage, number: int, seed: int, step: int, steps: int, divisor: int) -> list[Sample]:
        random = generator(seed, number, step)
        within = getattr(stage.sampler, "within", None)  # samplers that walk through time want to know how many steps there are
        picks = within(self._source.capture, step, steps, random) if within else stage.sampler(self._source.capture, step, random)
        samples = [self.sample(view, index, divisor) for view, index in picks]
        if stage.track_targets:
            random = generator(seed, number, step, purpose=1)
            samples = [replace(sample, tracks=self._tracks.targets(sample, stage.track_targets, random)) for sample in samples]
        return samples

    @contextmanager
    def prefetched(self, stage: Stage, number: int, seed: int, first: int, steps: int) -> Iterator[Iterator[list[Sample]]]:
        """The batches of steps `first` .. `steps` - 1, each prepared on a second thread while the one before is used."""
        with ThreadPoolExecutor(max_workers=1) as pool:

            def batches() -> Iterator[list[Sample]]:
                coming = pool.submit(self.batch, stage, number, seed, first, steps)
                for step in range(first, steps):
                    ready = coming.result()
                    if step + 1 < steps:
                        coming = pool.submit(self.batch, stage, number, seed, step + 1, steps)
                    yield ready

            yield batches()


def reduced(image: NDArray[np.float32], divisor: int) -> NDArray[np.float32]:
    """`image` (H, W[, C]) averaged over areas to the size of `Camera.scaled(1 / divisor)`."""
    if divisor == 1:
        return np.ascontiguousarray(image, np.float32)
    height, width = image.shape[:2]
    size = (max(1, round(width / divisor)), max(1, round(height / divisor)))
    return cv2.resize(np.ascontiguousarray(image, np.float32), size, interpolation=cv2.INTER_AREA)


def _camera(source: Source, view: int, index: int, divisor: int) -> Camera:
    camera = replace(source.capture.camera_at(view, index), near=source.near)
    return camera if divisor == 1 else camera.scaled(1.0 / divisor)


def _sample_on_device(source: Source, frame: Frame, place: tuple[int, int], divisor: int) -> Sample:
    """As `_make_sample`, of what lies on a GPU."""
    device = source.device
    behind, backdrop = (torch.tensor(color, dtype=torch.float32).to(device, non_blocking=True) for color in (source.background, BACKDROP))
    camera = _camera(source, *place, divisor)
    K, pose = (matrix.to(device, non_blocking=True) for matrix in (camera.K, camera.world_to_camera))
    mask, mask_valid = resident.masks(frame, divisor)
    depth, confidence = resident.depths(frame, divisor)
    return Sample(
        view=place[0],
        index=place[1],
        time=float(source.capture.timestamps[place[1]]),
        camera=replace(camera, K=K, world_to_camera=pose),
        image=resident.shown(frame, divisor, behind, backdrop if source.composited else None),
        mask=mask,
        mask_valid=mask_valid,
        depth=depth,
        depth_confidence=confidence,
        features=None if frame.features is None else frame.features.float(),
    )


def _make_sample(source: Source, view: int, index: int, divisor: int) -> Sample:
    capture, priors = source.capture, source.priors
    image = capture.image(view, index).astype(np.float32) / 255.0
    alpha = capture.alpha(view, index)
    if alpha is not None:
        share = alpha[..., None].astype(np.float32) / 255.0
        behind = np.asarray(source.background, np.float32)
        # an image with opacity was composited when it was read: only what is behind it changes
        image = image + (behind - np.asarray(BACKDROP, np.float32)) * (1 - share) if source.composited else image * share + behind * (1 - share)
    mask, mask_valid = _masks(capture, priors, view, index, divisor)
    depth, confidence = _depth(capture, priors, view, index, divisor)

    def put(array: NDArray[np.float32] | None) -> Tensor | None:
        if array is None:
            return None
        whole = np.ascontiguousarray(array)
        return torch.from_numpy(whole if whole.flags.writeable else whole.copy())  # a mapped file may not be written

    return Sample(
        view=view,
        index=index,
        time=float(capture.timestamps[index]),
        camera=_camera(source, view, index, divisor),
        image=put(reduced(image, divisor)),  # type: ignore[arg-type]
        mask=put(mask),
        mask_valid=put(mask_valid),
        depth=put(depth),
        depth_confidence=put(confidence),
        features=None if priors.features is None else put(np.asarray(priors.features.feature[view][index], np.float32)),
    )


def _masks(capture: Capture, priors: Priors, view: int, index: int, divisor: int) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    state = priors.masks.mask[view][index] if priors.masks is not None else capture.mask(view, index)
    if state is None:
        return None, None
    known = reduced((state != 0).astype(np.float32), divisor)
    moving = reduced((state > 0).astype(np.float32), divisor)
    if divisor == 1:
        return moving, known
    return np.where(known > 0, moving / np.maximum(known, 1e-6), 0).astype(np.float32), known


def _depth(capture: Capture, priors: Priors, view: int, index: int, divisor: int) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Prior depth and confidence; reduced depth is the harmonic mean of what is known in an area (disparity averages, depth does not)."""
    if priors.depth is not None:
        depth, confidence = _single(priors.depth.depth[view][index]), _single(priors.depth.confidence[view][index])
    else:
        given = capture.depth(view, index)
        if given is None:
            return None, None
        depth, confidence = np.asarray(given, np.float32), (given > 0).astype(np.float32)
    if divisor == 1:
        return depth, confidence
    known = (depth > 0).astype(np.float32)
    weight = reduced(known, divisor)
    disparity = reduced(known / np.maximum(depth, 1e-12), divisor)
    sure = weight > 0.5
    return np.where(sure, weight / np.maximum(disparity, 1e-12), 0).astype(np.float32), reduced(confidence, divisor)


def _single(array: NDArray[np.generic]) -> NDArray[np.float32]:
    """`array` in float32; from half precision by torch, which takes a fifteenth of NumPy's time."""
    return torch.from_numpy(np.array(array)).float().numpy() if array.dtype == np.float16 else np.asarray(array, np.float32)


def _bytes(sample: Sample) -> int:
    values = (getattr(sample, f.name) for f in fields(sample))
    return sum(value.nbytes for value in values if isinstance(value, Tensor))


__all__ = ["Camera", "SampleStore", "Source", "reduced"]
