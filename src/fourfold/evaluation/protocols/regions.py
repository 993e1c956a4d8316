"""The pixels that count, for every held-out image of a protocol: moving, foreground, co-visible; computed once and kept as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.evaluation import heldout
from fourfold.evaluation.protocols.covisibility import DepthView, cameramen, covisible_by_depth, covisible_by_flow
from fourfold.evaluation.protocols.protocol import MaskSource, Protocol, Region
from fourfold.priors.tracking.flow import flow_between

Mask = NDArray[np.bool_]
Key = tuple[int, int]
DepthOf = Callable[[int, int], NDArray[np.floating[Any]] | None]

MOST_TRAINING_VIEWS = 60
"""Training images that co-visibility looks at, evenly over the clip; DyCheck takes all, which for long clips only costs time."""


@dataclass(frozen=True)
class Evidence:
    """What masks are made from besides the images.

    Attributes:
        masks: view -> (T, H, W) estimated object masks, where the capture brought none.
        depth: (view, time index) -> (H, W) depth of an image, or None; needed for co-visibility by depth.
    """

    masks: Mapping[int, NDArray[np.int8]] = field(default_factory=dict)
    depth: DepthOf = lambda view, index: None


def regions_of(protocol: Protocol, capture: Capture, evidence: Evidence) -> dict[str, dict[Key, Mask]]:
    """Region name -> (view, time index) -> (H, W) mask, for every region the protocol's figures name; where one cannot be had it is missing."""
    frames = frames_of(protocol, capture)
    wanted = {m.region for m in protocol.measures}
    moving = heldout.moving_regions(capture, evidence.masks)
    if protocol.flow_threshold:
        moving = {k: moving.get(k, np.zeros((0,), bool)) for k in frames}
        moving = {k: _with_flow(capture, k, mask, protocol.flow_threshold) for k, mask in moving.items()}
    found: dict[str, dict[Key, Mask]] = {"dynamic": {k: m for k, m in moving.items() if k in frames}}
    found["static"] = {k: ~m for k, m in found["dynamic"].items()}
    found["foreground"] = {k: m for k in frames if (m := _objects(capture, evidence, k)) is not None}
    if "covisible" in wanted:
        seen = {k: _covisible(protocol, capture, evidence, k) for k in frames}
        moves = found["dynamic"] if protocol.dynamic_is_covisible else {}
        found["covisible"] = {k: m | moves.get(k, np.zeros_like(m)) for k, m in seen.items() if m is not None}
    found["box"] = found["foreground"]
    if protocol.without_cameramen:
        found = {name: _without_cameramen(capture, found["foreground"], masks) for name, masks in found.items()}
    return {name: masks for name, masks in found.items() if name in wanted}


def mask_source(protocol: Protocol, capture: Capture, region: Region) -> MaskSource:
    """Whether the masks of `region` are those that published figures used: they came with the data set, or follow by the published rule from
    what came with it.

    Co-visibility comes as pictures, or from the depth of every view where that is the rule; the others from object masks of every measured
    view, to which a rule may add what the flow of the images shows.
    """
    frames = frames_of(protocol, capture)
    measured = {view for view, _ in frames}
    objects = all(capture.has("masks", view) for view in measured)
    if region != "covisible":
        given = objects
    elif protocol.depth_by_rule:
        given = all(capture.has("depth", view) for view in range(capture.views)) and (objects or not protocol.dynamic_is_covisible)
    else:
        given = all(_given_covisible(capture, key) is not None for key in frames)
    return "given" if frames and given else "own"


def frames_of(protocol: Protocol, capture: Capture) -> list[Key]:
    """(view, time index) of the images that `protocol` measures: those with a known camera."""
    if protocol.on_training:
        known = capture.posed
        return [key for key in capture.train_frames() if known[key]]
    trained = {(int(v), int(t)) for v, t in capture.facts.get("heldout_also_trained", [])} if protocol.skip_trained else set()
    return [key for key in heldout.scorable_frames(capture) if key not in trained]


def keep_regions(found: Mapping[str, Mapping[Key, Mask]], folder: Path) -> None:
    """Write every mask as `folder/REGION/VIEW_TIME.png`, 255 inside."""
    for name, masks in found.items():
        for (view, index), mask in masks.items():
            heldout.save_mask(folder / name / f"{view:03d}_{index:05d}.png", mask)


def _objects(capture: Capture, evidence: Evidence, key: Key) -> Mask | None:
    given = capture.mask(*key)
    if given is not None:
        return given > 0
    return evidence.masks[key[0]][key[1]] > 0 if key[0] in evidence.masks else None


def _with_flow(capture: Capture, key: Key, mask: Mask, threshold: float) -> Mask:
    """`mask` (or nothing) and what moves between neighbouring images of a standing test camera: spec sparse_dynamic_cameras.md section 8."""
    view, index = key
    shown = np.flatnonzero(capture.present[view])
    near = shown[np.argsort(np.abs(shown - index), kind="stable")[1:2]]
    image = capture.image(view, index)
    start = mask if mask.shape == image.shape[:2] else np.zeros(image.shape[:2], bool)
    if not len(near) or not np.allclose(capture.world_to_camera[view, near[0]], capture.world_to_camera[view, index], atol=1e-6):
        return start
    ahead, _, confidence, _ = flow_between(np.asarray(image), np.asarray(capture.image(view, int(near[0]))))
    moved = (np.linalg.norm(ahead, axis=-1) > threshold * image.shape[1] / 960) & (confidence > 0.5)
    return start | (cv2.morphologyEx(moved.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0)


def _given_covisible(capture: Capture, key: Key) -> Mask | None:
    """The data set's own co-visibility picture of a held-out image (DyCheck's `covisible/`), None where it brought none."""
    view, index = key
    folder = Path(str(capture.facts.get("covisible_folder", "")))
    held = np.flatnonzero(capture.heldout[view]).tolist()
    files = sorted(folder.glob(f"{capture.view_names[view].rpartition(' ')[2]}_*.png")) if folder.name else []
    if index not in held or len(files) != len(held):
        return None
    picture = np.asarray(Image.open(files[held.index(index)]).convert("L"))
    return cv2.resize(picture, tuple(int(n) for n in capture.sizes[view]), interpolation=cv2.INTER_NEAREST) > 0


def _covisible(protocol: Protocol, capture: Capture, evidence: Evidence, key: Key) -> Mask | None:
    given = _given_covisible(capture, key)
    if given is not None:
        return given
    train = capture.train_frames()
    chosen = [train[i] for i in np.unique(np.linspace(0, len(train) - 1, min(len(train), MOST_TRAINING_VIEWS)).round().astype(int))]
    if protocol.covisibility == "flow":
        image = np.asarray(capture.image(*key))
        return covisible_by_flow(image, [_like(np.asarray(capture.image(*k)), image) for k in chosen], lambda a, b: flow_between(a, b)[2])
    same = [k for k in train if k[1] == key[1]]
    views = [view for k in dict.fromkeys([*same, *chosen]) if (view := _depth_view(capture, evidence, k)) is not None]
    if not views:
        return None
    test = _depth_view(capture, evidence, key)
    width, height = (int(n) for n in capture.sizes[key[0]])
    test = test or DepthView(capture.K[key], capture.world_to_camera[key], np.zeros((height, width), np.float32))
    return covisible_by_depth(test, views)


def _depth_view(capture: Capture, evidence: Evidence, key: Key) -> DepthView | None:
    depth = evidence.depth(*key)
    return None if depth is None or not (depth > 0).any() else DepthView(capture.K[key], capture.world_to_camera[key], np.asarray(depth, np.float32))


def _like(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.shape == other.shape:
        return image
    return cv2.resize(image, (other.shape[1], other.shape[0]), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _without_cameramen(capture: Capture, objects: Mapping[Key, Mask], masks: Mapping[Key, Mask]) -> dict[Key, Mask]:
    result: dict[Key, Mask] = {}
    for (view, index), mask in masks.items():
        if (view, index) in objects:
            poses = capture.world_to_camera[[v for v, t in capture.train_frames() if t == index], index]
            centres = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
            who = cameramen(objects[view, index], capture.K[view, index], capture.world_to_camera[view, index], centres)
            result[view, index] = mask & ~who
        else:
            result[view, index] = mask
    return result
