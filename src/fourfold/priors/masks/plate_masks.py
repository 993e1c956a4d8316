"""Masks of cameras that did not travel, each view alone: suspicion of the tracks times what the plate does not explain, then outlines.

Evidence with high recall and explanation with high precision multiply well; what differs from the plate by many times its scale needs no track.
Where the plate was never trusted, suspicion decides, less so where the colours are those of the known surroundings. Outlines are cut in an image
that is half difference to the plate, so that edges of the background attract them less than those of what moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras, LongTracks, Masks, Priors, Provenance
from fourfold.priors.given import given_masks
from fourfold.priors.masks.cut import CutNumbers, cut, with_band
from fourfold.priors.masks.plate import Plate, PlateNumbers, filled_plate, fit_plate, seen_plate, unexplained
from fourfold.priors.masks.plate_frames import Image, PlateFrame, Standing, turned
from fourfold.priors.masks.track_evidence import judge_tracks, view_suspicion
from fourfold.priors.providers import Provider


@dataclass(frozen=True)
class PlateMaskNumbers:
    """Numbers of the masks.

    Attributes:
        plate, outlines: of the steps.
        side: longer side of the images that are worked on, pixels; smaller ones are enlarged.
        starts, full: residual over its scale at which a pixel begins to move and moves for certain.
        floor: suspicion that every pixel has: what the plate does not explain moves even where no track is.
        foreign, certain: residual over its scale from which a pixel may not be, and certainly is not, the plate, whatever the tracks say: what was
            put down rests.
        alone: weight of suspicion where the plate is not known.
        alike, unlike: difference to the filled plate over its spread that counts as background, and as no background.
        doubtful: share of the suspicion that stays where the colours are those of the surroundings.
        hole: largest hole, share of the image, that is closed where the tracks suspect it: an eye of another colour moves with its face.
        colourful: by how much differences of hue and saturation are enlarged for the outlines.
        fewest: training images below which nothing can be told.
    """

    plate: PlateNumbers = field(default_factory=PlateNumbers)
    outlines: CutNumbers = field(default_factory=CutNumbers)
    side: int = 320
    starts: float = 1.8
    full: float = 4.3
    floor: float = 0.05
    foreign: float = 6.0
    certain: float = 12.0
    alone: float = 1.2
    alike: float = 0.8
    unlike: float = 2.0
    doubtful: float = 0.35
    hole: float = 0.003
    colourful: float = 3.0
    fewest: int = 3


@dataclass(frozen=True)
class PlateView:
    """What one view shows at working size: time indices of its images, images (h, w, 3) RGB in [0, 1], suspicion (h, w), which are trained on."""

    times: NDArray[np.intp]
    images: list[Image]
    suspicion: list[Image]
    train: NDArray[np.bool_]


def travels(capture: Capture, view: int) -> bool:
    """Whether the camera of `view` is known to change its place, or not known at all."""
    poses = capture.world_to_camera[view][capture.present[view]]
    if not len(poses):
        return False
    if not np.isfinite(poses).all():
        return True
    centres = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    return capture.cameras not in ("rotation", "fixed") and float(np.ptp(centres, axis=0).max()) > 1e-6


def plate_masks(capture: Capture, longtracks: LongTracks, cameras: Cameras, numbers: PlateMaskNumbers = PlateMaskNumbers()) -> Masks:
    """Moving-object masks of all views; what the capture brought itself is used as it is."""
    if any(capture.has("masks", view) for view in range(capture.views)):
        return given_masks(capture)
    masks: list[NDArray[np.int8]] = []
    for view in range(capture.views):
        if capture.present[view].any() and capture.train[view].sum() >= numbers.fewest:
            suspicion = view_suspicion(capture, view, judge_tracks(capture, longtracks, cameras, view))
            masks.append(view_masks(capture, view, suspicion, numbers))
        else:
            width, height = (int(n) for n in capture.sizes[view])
            masks.append(np.zeros((capture.times, height, width), np.int8))
    shares = [float((m[capture.train[v]] > 0).mean()) for v, m in enumerate(masks) if capture.train[v].any()]
    share = float(np.mean(shares)) if shares else 0.0
    notes = () if share > 0 else ("nothing was found to move before the standing or turning camera: the motion masks are empty",)
    return Masks(Provenance("plate", notes=notes, figures={"moving_share": round(share, 4)}), tuple(masks))


def view_masks(capture: Capture, view: int, suspicion: NDArray[np.float16], numbers: PlateMaskNumbers = PlateMaskNumbers()) -> NDArray[np.int8]:
    """(T, H, W) masks of one view that did not travel: +1 moving, -1 background, 0 along the border of what moves and where no image is."""
    shown = _working(capture, view, suspicion, numbers)
    found = moving_pixels(shown, plate_frame(capture, view, shown), numbers)
    width, height = (int(n) for n in capture.sizes[view])
    result = np.zeros((capture.times, height, width), np.int8)
    for t, mask in zip(shown.times, found, strict=True):
        smooth = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        result[t] = with_band((smooth > 0.5).astype(np.uint8))
    return result


def moving_pixels(shown: PlateView, frame: PlateFrame, numbers: PlateMaskNumbers = PlateMaskNumbers()) -> list[NDArray[np.bool_]]:
    """Per image (h, w) what moves."""
    trained = np.flatnonzero(shown.train)
    plate = fit_plate(shown.images, shown.suspicion, frame, trained, numbers.plate)
    fill = filled_plate(plate, numbers.plate.fill)
    result: list[NDArray[np.bool_]] = []
    for t, (image, suspicion) in enumerate(zip(shown.images, shown.suspicion, strict=True)):
        seen, around = seen_plate(plate, frame, t), seen_plate(fill, frame, t)
        evidence = _evidence(image, suspicion, seen, around, numbers)
        mask = cut(_contrast(image, seen, around, numbers), evidence, numbers.outlines)
        result.append(_closed(mask, suspicion, numbers))
    return result


def plate_frame(capture: Capture, view: int, shown: PlateView) -> PlateFrame:
    """Where the images of this view are put together."""
    size = shown.images[0].shape[:2]
    rotation = capture.world_to_camera[view, shown.times, :3, :3]
    K = capture.K[view, shown.times].copy()
    if max(np.abs(rotation - rotation[0]).max(), np.abs(K / K[0, 0, 0] - K[0] / K[0, 0, 0]).max()) < 1e-6:
        return Standing((size[0], size[1]))
    K[:, :2] *= (np.array([size[1], size[0]]) / capture.sizes[view])[None, :, None]
    return turned(K, rotation, (size[0], size[1]))


def _working(capture: Capture, view: int, suspicion: NDArray[np.float16], numbers: PlateMaskNumbers) -> PlateView:
    width, height = (int(n) for n in capture.sizes[view])
    scale = numbers.side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    times = np.flatnonzero(capture.present[view] & np.isfinite(capture.world_to_camera[view]).all((1, 2)))
    images = [np.clip(cv2.resize(np.asarray(capture.image(view, int(t))).astype(np.float32) / 255, size, interpolation=how), 0, 1) for t in times]
    doubts = [cv2.resize(suspicion[t].astype(np.float32), size, interpolation=cv2.INTER_LINEAR) for t in times]
    return PlateView(times, images, doubts, capture.train[view, times])


def _evidence(image: Image, suspicion: Image, seen: Plate, around: Plate, numbers: PlateMaskNumbers) -> Image:
    """(h, w) in [0, 1]: root of suspicion times what is unexplained."""
    blur = numbers.plate.blur
    ratio = unexplained(image, seen, numbers.plate)
    over = np.clip((ratio - numbers.starts) / (numbers.full - numbers.starts), 0, 1)
    certain = np.clip((ratio - numbers.foreign) / (numbers.certain - numbers.foreign), 0, 1)
    differs = cv2.GaussianBlur(np.abs(image - around.color).mean(-1) / around.scale, (0, 0), blur)
    foreign = np.clip((differs - numbers.alike) / (numbers.unlike - numbers.alike), numbers.doubtful, 1)
    alone = np.clip(numbers.alone * suspicion, 0, 1) * foreign
    left = seen.known * over + (1 - seen.known) * alone
    return np.sqrt(np.maximum(np.clip(suspicion + numbers.floor, 0, 1) * left, seen.known * certain)).astype(np.float32)


def _contrast(image: Image, seen: Plate, around: Plate, numbers: PlateMaskNumbers) -> NDArray[np.uint8]:
    """(h, w, 3) in which outlines are cut: half the image's, half its difference's lightness and colour."""
    known = seen.known[..., None]
    behind = known * seen.color + (1 - known) * around.color
    lab, plate = (cv2.cvtColor(np.clip(x, 0, 1).astype(np.float32), cv2.COLOR_RGB2LAB) for x in (image, behind))
    gain = np.array([1.0, numbers.colourful, numbers.colourful], np.float32)
    own = lab * np.array([2.55, 2.0, 2.0], np.float32) + np.array([0, 128, 128], np.float32)
    difference = (lab - plate) * np.array([2.55, 1, 1], np.float32) * gain + np.float32(128)
    return np.clip(0.5 * own + 0.5 * difference, 0, 255).astype(np.uint8)


def _closed(mask: NDArray[np.bool_], suspicion: Image, numbers: PlateMaskNumbers) -> NDArray[np.bool_]:
    """`mask` (h, w) with its small suspected holes closed."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    doubt = np.bincount(parts.ravel(), suspicion.ravel(), count) / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    holes = (stats[:, cv2.CC_STAT_AREA] < numbers.hole * mask.size) & (doubt > 0.5)
    holes[0] = False
    return mask | holes[parts]


def _missing(capture: Capture) -> str | None:
    """It applies where no camera travelled; who stood among travelling ones is explained with them."""
    trained = [int(v) for v in np.flatnonzero(capture.train.any(axis=1))]
    return None if trained and not any(travels(capture, v) for v in trained) else ""


def _make(capture: Capture, priors: Priors) -> list[Masks]:
    return [plate_masks(capture, priors.require(LongTracks), priors.require(Cameras))]


PROVIDERS = (Provider("plate", ("masks",), ("longtracks", "cameras"), 25, _missing, _make),)
