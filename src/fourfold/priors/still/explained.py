"""Masks by explanation: fit what stands still, half-way take out what it absorbed, fit on; what is then left unexplained moves.

Source: docs/masks.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.geometry.gaussians import Gaussians
from fourfold.priors.contracts import Cameras, LongTracks, Masks, Provenance, Still
from fourfold.priors.masks.cut import CutNumbers, cut, with_band
from fourfold.priors.masks.track_evidence import JudgedTracks, TrackEvidenceNumbers, judge_tracks, view_suspicion
from fourfold.priors.masks.track_vote import VoteNumbers
from fourfold.priors.still.evidence import EvidenceNumbers, absorbed_evidence, motion_evidence
from fourfold.priors.still.fit import Explained, FitNumbers, StillScene, explain, fit_still
from fourfold.priors.still.frames import StillFrame, still_frames
from fourfold.priors.still.gains import GainNumbers, exposure_gains
from fourfold.priors.still.shadows import ShadowNumbers, shadows
from fourfold.priors.still.start import StartNumbers, depth_range, first_gaussians
from fourfold.render.api import rasterize
from fourfold.threads import in_threads

LOOKED_AT = 0.2
"""Pixels of full weight, in recent images together, that a Gaussian of the static scene must have painted."""

Blocked = dict[int, NDArray[np.bool_]]


@dataclass(frozen=True)
class ExplainNumbers:
    """Numbers of the whole.

    Attributes:
        tracks, start, fit, evidence, gains, shadows, cut: of the parts; what no track says anything of is suspected a little, so that a
            plain body is found whole where the static scene does not explain it.
        side: longer side of the images that are fitted, pixels.
        near: depth before which nothing is drawn, over that of the nearest hundredth of the tracks.
        absorbed: evidence from which pixels are taken for absorbed, half-way.
        belongs: share of a Gaussian's painting inside such pixels from which it is removed.
        band: half width of the "do not use" border, share of the image's width.
    """

    tracks: TrackEvidenceNumbers = field(default_factory=lambda: TrackEvidenceNumbers(votes=VoteNumbers(unheard=0.25)))
    start: StartNumbers = field(default_factory=StartNumbers)
    fit: FitNumbers = field(default_factory=FitNumbers)
    evidence: EvidenceNumbers = field(default_factory=EvidenceNumbers)
    gains: GainNumbers = field(default_factory=GainNumbers)
    shadows: ShadowNumbers = field(default_factory=ShadowNumbers)
    cut: CutNumbers = field(default_factory=CutNumbers)
    side: int = 320
    near: float = 0.2
    absorbed: float = 0.45
    belongs: float = 0.5
    band: float = 0.004


@dataclass(frozen=True)
class Clip:
    """A capture made ready for the fit: its frames, per view the judged tracks, and gains (F, 3) of the frames."""

    frames: list[StillFrame]
    tracks: Mapping[int, JudgedTracks]
    gains: NDArray[np.float32]
    depth: float


def masks_and_still(capture: Capture, longtracks: LongTracks, cameras: Cameras, numbers: ExplainNumbers = ExplainNumbers()) -> tuple[Masks, Still]:
    """Masks of every present frame of the trained views with known cameras, and the static scene they rest on; other frames are 0."""
    clip = read_clip(capture, longtracks, cameras, numbers)
    scene, evidence, shown = explain_clip(clip, numbers)
    masks = [np.zeros((capture.times, height, width), np.int8) for width, height in capture.sizes]

    def of(frame: StillFrame, now: Explained, moving: NDArray[np.float32]) -> NDArray[np.int8]:
        found = cut(frame.image, moving, numbers.cut)
        found &= ~shadows(frame.color, now.color, numbers.shadows)
        return _full_size(_cleaned(found, numbers.cut), capture.sizes[frame.view], numbers.band)

    made = counted(in_threads(of, clip.frames, shown, evidence), "cutting masks", len(shown))
    for frame, mask in zip(clip.frames, made, strict=True):
        masks[frame.view][frame.index] = mask
    shares = [float((masks[f.view][f.index] > 0).mean()) for f in clip.frames if f.train]
    share = float(np.mean(shares)) if shares else 0.0
    notes = () if share > 0 else ("nothing was found to move against the camera: the motion masks are empty",)
    figures = {"moving_share": round(share, 4), "evidence": ["long tracks", "static scene"], **_exposure(clip)}
    return Masks(Provenance("explained", notes=notes, figures=figures), tuple(masks)), still_of(scene)


def still_behind(capture: Capture, longtracks: LongTracks, cameras: Cameras, masks: Masks, numbers: ExplainNumbers = ExplainNumbers()) -> Still:
    """The static scene behind `masks`: fitted to what they call background."""
    clip = read_clip(capture, longtracks, cameras, numbers)
    frames = [replace(f, suspicion=_not_still(masks.mask[f.view][f.index], f.image.shape[:2])) for f in clip.frames]
    scene = StillScene(first_gaussians(frames, clip.tracks, clip.depth, numbers.start), numbers.fit)
    fit_still(scene, frames, clip.gains, np.random.default_rng(0), (0.0, 1.0), {n: _grown(f.suspicion > 0.5) for n, f in enumerate(frames)})
    return still_of(scene)


def read_clip(capture: Capture, longtracks: LongTracks, cameras: Cameras, numbers: ExplainNumbers) -> Clip:
    """Judge the tracks and read the images of all views with training images."""
    views = [v for v in range(capture.views) if capture.train[v].any()]
    tracks = {v: judge_tracks(capture, longtracks, cameras, v, numbers.tracks) for v in views}
    middle, nearest = zip(*(depth_range(tracks[v], cameras.world_to_camera[v]) for v in views), strict=True)
    depth = float(np.median(middle))
    suspicion = {v: view_suspicion(capture, v, tracks[v], numbers.tracks) for v in views}
    frames = still_frames(capture, suspicion, numbers.side, numbers.near * min(*nearest, depth))
    by_view = {v: exposure_gains(capture, v, tracks[v], numbers.gains) for v in views}
    return Clip(frames, tracks, np.array([by_view[f.view][f.index] for f in frames], np.float32).reshape(-1, 3), depth)


def explain_clip(clip: Clip, numbers: ExplainNumbers) -> tuple[StillScene, list[NDArray[np.float32]], list[Explained]]:
    """The fitted scene, evidence of motion (h, w) per frame, and each frame as the scene has it."""
    random = np.random.default_rng(0)
    scene = StillScene(first_gaussians(clip.frames, clip.tracks, clip.depth, numbers.start), numbers.fit)
    fit_still(scene, clip.frames, clip.gains, random, (0.0, 0.5))
    shown = [explain(scene, frame, gain) for frame, gain in zip(clip.frames, clip.gains, strict=True)]
    absorbed = absorbed_evidence(clip.frames, shown, numbers.evidence)
    blocked = {n: _grown(e > numbers.absorbed) for n, e in enumerate(absorbed)}
    scene.keep(share_inside(scene, clip.frames, blocked) < numbers.belongs)
    fit_still(scene, clip.frames, clip.gains, random, (0.5, 1.0), blocked)
    shown = [explain(scene, frame, gain) for frame, gain in zip(clip.frames, clip.gains, strict=True)]
    evidence = [
        np.where(now.alpha < numbers.evidence.hole, before, motion_evidence(frame, now, numbers.evidence))
        for frame, now, before in zip(clip.frames, shown, absorbed, strict=True)
    ]
    return scene, evidence, shown


def share_inside(scene: StillScene, frames: Sequence[StillFrame], blocked: Blocked, most: int = 30) -> NDArray[np.float32]:
    """(N,) share of what each Gaussian paints that lies in blocked pixels, over at most so many training images."""
    train = [n for n, frame in enumerate(frames) if frame.train]
    gaussians = scene.gaussians().detach()
    inside, total = (np.zeros(len(scene), np.float32) for _ in range(2))
    for n in train[:: max(1, len(train) // most)]:
        channels = torch.zeros(len(scene), 2, requires_grad=True)
        drawn = rasterize(gaussians, frames[n].camera, channels=channels).channels
        assert drawn is not None
        pixels = np.stack([blocked[n], np.ones_like(blocked[n])], -1).astype(np.float32)
        (painted,) = torch.autograd.grad(drawn, channels, torch.from_numpy(pixels))
        inside += painted.numpy()[:, 0]
        total += painted.numpy()[:, 1]
    return inside / np.maximum(total, 1e-6)


def still_of(scene: StillScene) -> Still:
    """The fitted scene as a prior, without Gaussians that nothing trusted ever looked at."""
    scene.keep(scene.weight > LOOKED_AT)
    g: Gaussians = scene.gaussians().detach()
    names = ("means", "quat_wxyz", "log_scale", "opacity_logit", "color")
    arrays = {name: np.ascontiguousarray(getattr(g, name).numpy(), np.float32) for name in names}
    return Still(Provenance("explained", figures={"gaussians": len(scene)}), **arrays, log_residual=scene.log_residual)


def _not_still(mask: NDArray[np.int8], shape: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) share of each pixel that a mask (H, W) calls moving or leaves undecided."""
    return cv2.resize((mask >= 0).astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def _cleaned(mask: NDArray[np.bool_], numbers: CutNumbers) -> NDArray[np.bool_]:
    """What is left after shadows went, without crumbs."""
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(opened)
    keep = stats[:count, cv2.CC_STAT_AREA] >= numbers.area * mask.size
    keep[0] = False
    return keep[parts]


def _full_size(mask: NDArray[np.bool_], size: NDArray[np.int64], band: float) -> NDArray[np.int8]:
    """(H, W) +1 inside, -1 outside, 0 along the border, of a mask of any size brought to `size` (2,) width and height."""
    width, height = (int(n) for n in size)
    return with_band(cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5, band)


def _exposure(clip: Clip) -> dict[str, object]:
    """Figures of an exposure that wanders; none where it is steady."""
    if (clip.gains == 1).all():
        return {}
    return {"exposure": [[f.view, f.index, *(round(float(g), 4) for g in gain)] for f, gain in zip(clip.frames, clip.gains, strict=True)]}
