"""How long a seed lives, told by evidence: whether the images of other moments show it where its motion brings it.

A seed seen in one image is carried by the motion bases to all other training images. There it is confirmed (inside the mask, of its own colour),
contradicted (outside the mask, or of another colour although it faces the camera, or slipped from the flow of what it began on), or neither:
outside the picture, or turned away by so much that something else may hide it. Its life is the stretch around its own moment with the most
confirmations over contradictions; moments that say neither belong to it, so that a body stays whole while the camera is on its other side.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.geometry.rotations import rotation6d_to_matrix
from fourfold.geometry.rows import Rows
from fourfold.initialize.body_motion import BodyMotion
from fourfold.initialize.fit_bases import FittedBases
from fourfold.initialize.flow_slip import Slips, slip_of
from fourfold.initialize.frames import Frame, read_frame
from fourfold.initialize.sheet_seeds import SheetSeeds
from fourfold.priors.contracts import Priors

REMAPPED = 16_384
"""OpenCV's `remap` takes fewer than 32 768 columns at once."""


@dataclass(frozen=True)
class LifeNumbers:
    """What counts as evidence.

    Attributes:
        color: mean absolute difference over RGB (0 to 1) up to which a colour is the seed's own, both images blurred by the share `blur` of
            their longer side.
        outside: share of the longer side beyond the mask from which a seed is outside.
        turned: degrees between the directions from which a surface is seen; beyond it a wrong colour contradicts nothing.
        slipped: share of the longer side, and at least a pixel, by which the motion may have left the flow (`flow_slip.py`); drift: pixels more for
            each image in between, since errors of the flow add up, too.
        contradicted: weight of a contradiction; a confirmation weighs 1.
    """

    color: float = 0.1
    blur: float = 1 / 160
    outside: float = 1.5 / 160
    turned: float = 50.0
    slipped: float = 1 / 160
    drift: float = 0.2
    contradicted: float = 2.0


@dataclass(frozen=True)
class Lives(Rows):
    """Per seed: `first` and `last` (P,) row of the knots in its life, and where it is confirmed, its own image included: `row` and `column` (P, F) of
    the pixel in each training image, -1 where it is not or the image lies outside its life."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    row: NDArray[np.int16]
    column: NDArray[np.int16]

    @property
    def confirmed(self) -> NDArray[np.int64]:
        """(P,) in how many images."""
        return (self.row >= 0).sum(1)


def confirmed_lives(capture: Capture, priors: Priors, motion: BodyMotion, seeds: SheetSeeds, numbers: LifeNumbers = LifeNumbers()) -> Lives:
    """The lives of `seeds`; knots are the moments with a training image, `motion.indices`."""
    frames = capture.train_frames()
    knots = np.searchsorted(motion.indices, [index for _, index in frames])
    facing, color = _own_views(capture, priors, motion, seeds, numbers)
    evidence = np.zeros((len(seeds), len(frames)), np.int8)
    places = np.zeros((2, len(seeds), len(frames)), np.int16)
    slips, before = Slips.nothing(len(frames), len(seeds)), dict[int, tuple[int, Frame, NDArray[np.float64]]]()
    for number, (view, index) in enumerate(counted(frames, "lives of what moves")):
        frame, carried = read_frame(capture, priors, view, index), _carried(motion.fitted, seeds, int(knots[number]))
        evidence[:, number] = _evidence(frame, carried, facing, color, numbers)
        xy = frame.project(carried.points)[0]
        places[:, :, number] = [np.clip(xy[:, 1 - axis], 0, frame.moving.shape[axis] - 1) for axis in (0, 1)]
        if view in before and priors.flow is not None:
            slips.add(number, before[view][0], slip_of(priors.flow, *before[view][1:], xy))
        before[view] = (number, frame, xy)
    longer = max(max(frame.moving.shape) for _, frame, _ in before.values())
    for number in range(len(frames)):
        allowed = max(1.0, numbers.slipped * longer) + numbers.drift * np.abs(number - seeds.frame)
        evidence[slips.since(number, seeds.frame) > allowed, number] = -1
    evidence[np.arange(len(seeds)), seeds.frame] = 1
    score = np.zeros((len(seeds), len(motion.indices)))
    np.add.at(score, (slice(None), knots), np.where(evidence < 0, numbers.contradicted * evidence, evidence))
    first, last = best_stretch(score, knots[seeds.frame])
    places[:, (evidence <= 0) | (knots[None] < first[:, None]) | (knots[None] > last[:, None])] = -1
    return Lives(first, last, places[0], places[1])


def best_stretch(score: NDArray[np.float64], own: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last column (P,) of the stretch around column `own` (P,) with the largest sum of `score` (P, K), the longest of equal ones."""
    columns = np.arange(score.shape[1])
    after = np.cumsum(np.where(columns > own[:, None], score, 0.0), axis=1)
    before = np.cumsum(np.where(columns < own[:, None], score, 0.0)[:, ::-1], axis=1)[:, ::-1]
    after[columns < own[:, None]] = -np.inf
    before[columns > own[:, None]] = -np.inf
    last = score.shape[1] - 1 - after[:, ::-1].argmax(1)
    first = before.argmax(1)
    return first, last


@dataclass(frozen=True)
class _Carried:
    """Seeds at one knot: places (P, 3) and rotations from the canonical time (P, 3, 3)."""

    points: NDArray[np.float64]
    rotation: NDArray[np.float64]


def _carried(fitted: FittedBases, seeds: SheetSeeds, knot: int) -> _Carried:
    weights = torch.softmax(torch.from_numpy(seeds.logits), dim=1)
    rotation = rotation6d_to_matrix(weights @ fitted.rotation6d[:, knot].detach()).double()
    shift = (weights @ fitted.translation[:, knot].detach()).double()
    pivot = fitted.pivot.detach().double()
    points = (rotation @ (torch.from_numpy(seeds.means) - pivot)[..., None]).squeeze(-1) + pivot + shift
    return _Carried(points.numpy(), rotation.numpy())


def _toward_camera(carried: _Carried, frame: Frame) -> NDArray[np.float64]:
    """(P, 3) unit directions from the seeds to the camera, in the bodies' canonical axes."""
    center = -frame.world_to_camera[:3, :3].T @ frame.world_to_camera[:3, 3]
    direction = np.einsum("pji,pj->pi", carried.rotation, center - carried.points)
    return direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)


def _own_views(
    capture: Capture, priors: Priors, motion: BodyMotion, seeds: SheetSeeds, numbers: LifeNumbers
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """From where each seed was seen, canonical unit directions (P, 3), and its blurred colour there (P, 3)."""
    facing, color = np.zeros((len(seeds), 3)), np.zeros((len(seeds), 3), np.float32)
    frames = capture.train_frames()
    for number in np.unique(seeds.frame):
        mine = np.flatnonzero(seeds.frame == number)
        view, index = frames[int(number)]
        frame = read_frame(capture, priors, view, index)
        carried = _carried(motion.fitted, seeds.rows(mine), int(np.searchsorted(motion.indices, index)))
        facing[mine] = _toward_camera(carried, frame)
        color[mine] = _sampled(_blurred(frame, numbers), frame.project(carried.points)[0])
    return facing, color


def _evidence(frame: Frame, carried: _Carried, facing: NDArray[np.float64], color: NDArray[np.float32], numbers: LifeNumbers) -> NDArray[np.int64]:
    """(P,) 1 confirmed, -1 contradicted, 0 neither."""
    xy, depth = frame.project(carried.points)
    height, width = frame.moving.shape
    away = cv2.distanceTransform((~frame.moving).astype(np.uint8), cv2.DIST_L2, 5) if frame.moving.any() else np.full((height, width), 1e3)
    column, row = (np.clip(xy[:, axis], 0, size - 1).astype(np.int64) for axis, size in ((0, width), (1, height)))
    distance = away[row, column]
    other = np.abs(_sampled(_blurred(frame, numbers), xy) - color).mean(1)
    faces = (facing * _toward_camera(carried, frame)).sum(1) > np.cos(np.radians(numbers.turned))
    evidence = np.where((other <= numbers.color) & (distance == 0) & faces, 1, 0)
    evidence = np.where((other > numbers.color) & faces, -1, evidence)
    evidence = np.where(distance > numbers.outside * max(height, width), -1, evidence)
    return np.where(frame.pictured(xy, depth), evidence, 0)


def _blurred(frame: Frame, numbers: LifeNumbers) -> NDArray[np.float32]:
    return cv2.GaussianBlur(frame.color, (0, 0), numbers.blur * max(frame.moving.shape))


def _sampled(image: NDArray[np.float32], xy: NDArray[np.float64]) -> NDArray[np.float32]:
    """(P, 3) bilinear colours at pixels `xy` (P, 2), the border repeated."""
    at = (xy - 0.5).astype(np.float32)
    parts = [at[start : start + REMAPPED] for start in range(0, len(at), REMAPPED)]
    found = [cv2.remap(image, part[None, :, 0], part[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0] for part in parts]
    return np.concatenate(found)
