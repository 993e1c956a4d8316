"""Apply a protocol to a scene: render, mask, measure, and keep everything that was compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.evaluation import heldout, metrics
from fourfold.evaluation.image_metrics.learned import LPIPS_NETWORKS, Learned, clip_over_time, clip_similarity, lpips
from fourfold.evaluation.novel_views import look_at_point, novel_time, turned_about
from fourfold.evaluation.protocols.protocol import Measure, Protocol
from fourfold.evaluation.protocols.regions import Key, Mask, frames_of, keep_regions, mask_source
from fourfold.geometry.camera import Camera
from fourfold.priors.foundation.lpips import SMALLEST
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene

Image = NDArray[np.float64]
Regions = Mapping[str, Mapping[Key, Mask]]
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Shot:
    """One measured image as its files hold it: render and truth (H, W, 3) uint8, `foreground` (H, W) the moving layers' visible share."""

    key: Key
    render_8bit: NDArray[np.uint8]
    truth_8bit: NDArray[np.uint8]
    foreground: NDArray[np.float32]

    @property
    def image(self) -> Image:
        """(H, W, 3) the render in [0, 1]."""
        return self.render_8bit / 255.0

    @property
    def truth(self) -> Image:
        """(H, W, 3) the truth in [0, 1]."""
        return self.truth_8bit / 255.0


@dataclass(frozen=True)
class Outcome:
    """What a protocol found.

    Attributes:
        metrics: key -> mean over images, None where it cannot be had.
        variants: key -> which metric in which form over which region, and the split where it is not the protocol's.
        unavailable: key -> why it is None.
        size: width and height at which images were compared.
        as_published: that is the protocol's size.
        frames: one row per image.
    """

    metrics: dict[str, float | None]
    variants: dict[str, str]
    unavailable: dict[str, str]
    size: tuple[int, int]
    as_published: bool
    frames: list[dict[str, Any]]


def score_protocol(protocol: Protocol, scene: Scene, capture: Capture, regions: Regions, learned: Learned, keep: Path | None = None) -> Outcome:
    """Every figure of `protocol` for `scene` on the held-out images of `capture`.

    Args:
        regions: from `regions.regions_of`.
        keep: folder that receives renders, `truth/` and `masks/REGION/`, all as 8-bit PNGs `VIEW_TIME.png`.
    """
    keys = frames_of(protocol, capture)
    shots = [_shoot(protocol, scene, capture, key, regions) for key in keys]
    if keep is not None:
        keep_regions(regions, keep / "masks")
        for shot in shots:
            heldout.save_png(keep / _name(shot.key), shot.image)
            if not protocol.turned:  # nobody filmed from there
                heldout.save_png(keep / "truth" / _name(shot.key), shot.truth)
    rows: list[dict[str, Any]] = [{"view": v, "index": t, "time": float(capture.timestamps[t])} for v, t in keys]
    found: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for measure in protocol.measures:
        reason = _cannot(measure, learned, regions, shots, capture)
        if reason is not None:
            found[measure.key], missing[measure.key] = None, reason
        elif measure.metric in OF_CLIPS:
            found[measure.key] = OF_CLIPS[measure.metric](measure, scene, capture, shots, regions, learned)
        else:
            values = [_of_frame(measure, shot, regions, learned) for shot in shots]
            for row, value in zip(rows, values, strict=True):
                row[measure.key] = value
            found[measure.key] = metrics.mean_of(values)
        if found[measure.key] is None:
            missing.setdefault(measure.key, "no held-out image has pixels or moments for it")
    size = (int(capture.sizes[keys[0][0]][0]), int(capture.sizes[keys[0][0]][1])) if keys else (0, 0)
    split = protocol.split_told(capture.facts.get("holdout"))
    variants = {m.key: m.variant_with(mask_source(protocol, capture, m.region)) + split for m in protocol.measures}
    return Outcome(found, variants, missing, size, protocol.size in (None, size), rows)


def _shoot(protocol: Protocol, scene: Scene, capture: Capture, key: Key, regions: Regions) -> Shot:
    camera = replace(_camera(protocol, scene, capture, key), near=scene.near)
    behind = {"white": WHITE, "black": (0.0, 0.0, 0.0)}.get(protocol.background, scene.background)
    with torch.no_grad():
        gaussians, rows = scene.at(float(capture.timestamps[key[1]])), scene.foreground_rows()
        drawn = rasterize(gaussians, camera, channels=rows[:, None], background=torch.tensor(behind))
        color = drawn.color
        if protocol.foreground_only and bool(rows.any()):
            color = rasterize(gaussians.select(rows > 0), camera, background=torch.tensor(behind)).color
    foreground = np.zeros(color.shape[:2], np.float32) if drawn.channels is None else drawn.channels[..., 0].float().cpu().numpy()
    truth = np.asarray(capture.image(*key))
    mask = regions.get("box", regions.get("foreground", {})).get(key)
    if protocol.foreground_only and mask is not None:
        truth = _bytes(metrics.on_colour(truth / 255.0, mask, behind))
    return Shot(key, _bytes(color.cpu().numpy()), truth, foreground)


def _camera(protocol: Protocol, scene: Scene, capture: Capture, key: Key) -> Camera:
    """The camera of the image, turned about the place that the training cameras of its moment (or of all moments) look at where that is asked."""
    camera = capture.camera_at(*key)
    if not protocol.turned:
        return camera
    train = capture.train_frames()
    same = [k for k in train if k[1] == key[1]]
    centre = look_at_point(np.stack([capture.world_to_camera[k] for k in (same if len(same) > 1 else train)]))
    pose = turned_about(capture.world_to_camera[key], centre, np.asarray(scene.up), protocol.turned)
    return replace(camera, world_to_camera=torch.tensor(pose, dtype=torch.float32))


def _cannot(measure: Measure, learned: Learned, regions: Regions, shots: list[Shot], capture: Capture) -> str | None:
    """Why this figure cannot be had, or None."""
    if not shots:
        return "there is no image to measure whose camera is known"
    if measure.metric == "lpips":
        network = measure.form.partition("_")[0]
        if network not in learned.lpips:
            return learned.reasons.get(f"lpips:{network}", f"no LPIPS {network} backbone is here (known are {', '.join(LPIPS_NETWORKS)})")
    if measure.metric.startswith("clip") and learned.clip is None:
        return learned.reasons.get("clip", "no CLIP model is here")
    if measure.region != "full" and not regions.get(measure.region):
        return f"nothing is known of the region {measure.region!r} in the held-out images"
    if measure.metric == "flicker" and not _standing(capture, shots):
        return "no held-out camera stands still over neighbouring moments"
    if measure.metric == "ms_ssim" and min(shots[0].image.shape[:2]) < 176:
        return "MS-SSIM needs images of at least 176 x 176 pixels"
    return None


def _of_frame(measure: Measure, shot: Shot, regions: Regions, learned: Learned) -> float | None:
    """One figure of one image; None where the region is empty or unknown."""
    image, truth, mask = shot.image, shot.truth, None
    if measure.region != "full":
        mask = regions[measure.region].get(shot.key)
        if mask is None or not mask.any():
            return None
    if measure.region == "box" and mask is not None:
        box = metrics.mask_box(mask)
        if box is None:
            return None
        image, truth, mask = metrics.crop(image, box), metrics.crop(truth, box), None
    return OF_FRAMES[measure.metric](measure, shot, (image, truth, mask), learned)


Pair = tuple[Image, Image, Mask | None]


def _psnr(measure: Measure, shot: Shot, pair: Pair, learned: Learned) -> float | None:
    return metrics.psnr(*pair)


def _ssim(measure: Measure, shot: Shot, pair: Pair, learned: Learned) -> float | None:
    image, truth, mask = pair
    if min(image.shape[:2]) < 11:
        return None
    if mask is None:
        return metrics.ssim(image, truth, measure.form)
    return metrics.masked_ssim(image, truth, mask, "mask_mean" if measure.form == "mask_mean" else "dycheck")


def _ms_ssim(measure: Measure, shot: Shot, pair: Pair, learned: Learned) -> float | None:
    return metrics.ms_ssim(pair[0], pair[1])


def _flip(measure: Measure, shot: Shot, pair: Pair, learned: Learned) -> float | None:
    values = metrics.flip_map(pair[0], pair[1])
    return float(values.mean() if pair[2] is None else values[pair[2]].mean())


def _lpips(measure: Measure, shot: Shot, pair: Pair, learned: Learned) -> float | None:
    network, _, how = measure.form.partition("_")
    return None if min(pair[0].shape[:2]) < SMALLEST else lpips(learned.lpips[network], how, *pair)


def _clip_i(measure: Measure, shot: Shot, pair: Pair, learned: Learned) -> float | None:
    return None if learned.clip is None else clip_similarity(learned.clip, pair[0], pair[1])


def _mask_iou(measure: Measure, shot: Shot, pair: Pair, learned: Learned) -> float | None:
    return None if pair[2] is None else metrics.mask_iou(shot.foreground > float(measure.form), pair[2])


OF_FRAMES: dict[str, Callable[[Measure, Shot, Pair, Learned], float | None]] = {
    "psnr": _psnr,
    "ssim": _ssim,
    "ms_ssim": _ms_ssim,
    "flip": _flip,
    "lpips": _lpips,
    "clip_i": _clip_i,
    "mask_iou": _mask_iou,
}


def _by_view(shots: list[Shot]) -> list[list[Shot]]:
    ordered = sorted(shots, key=lambda s: s.key)
    return [list(group) for _, group in groupby(ordered, key=lambda s: s.key[0])]


def _standing(capture: Capture, shots: list[Shot]) -> list[list[Shot]]:
    """The clips of held-out cameras that stand still."""
    clips = [clip for clip in _by_view(shots) if len(clip) > 1]
    poses = [capture.world_to_camera[clip[0].key[0], [s.key[1] for s in clip]] for clip in clips]
    return [clip for clip, pose in zip(clips, poses, strict=True) if np.allclose(pose, pose[:1], atol=1e-6)]


def _flicker(measure: Measure, scene: Scene, capture: Capture, shots: list[Shot], regions: Regions, learned: Learned) -> float | None:
    clips = _standing(capture, shots)
    return metrics.mean_of([metrics.flicker([s.image for s in clip], [s.truth for s in clip]) for clip in clips])


def _clip_t(measure: Measure, scene: Scene, capture: Capture, shots: list[Shot], regions: Regions, learned: Learned) -> float | None:
    if learned.clip is None:
        return None
    values: list[float | None] = []
    for clip in _by_view(shots):
        boxes = [metrics.mask_box(m) if (m := regions["box"].get(s.key)) is not None else None for s in clip]
        values.append(clip_over_time(learned.clip, [metrics.crop(s.image, b) for s, b in zip(clip, boxes, strict=True) if b is not None]))
    return metrics.mean_of(values)


def _novel_time(measure: Measure, scene: Scene, capture: Capture, shots: list[Shot], regions: Regions, learned: Learned) -> float | None:
    """PSNR of poses half-way between t - 1 and t + 1 at every held-out moment t that has both neighbours."""
    values: list[float | None] = []
    for shot in shots:
        view, index = shot.key
        if not 0 < index < capture.times - 1:
            continue
        between = novel_time(scene, (float(capture.timestamps[index - 1]), float(capture.timestamps[index + 1])))
        camera = replace(capture.camera_at(view, index), near=scene.near)
        with torch.no_grad():
            image = rasterize(between, camera, background=torch.tensor(scene.background)).color.cpu().numpy()
        mask = None if measure.region == "full" else regions[measure.region].get(shot.key)
        values.append(metrics.psnr(metrics.rounded(image), shot.truth, mask))
    return metrics.mean_of(values)


OF_CLIPS: dict[str, Callable[[Measure, Scene, Capture, list[Shot], Regions, Learned], float | None]] = {
    "flicker": _flicker,
    "clip_t": _clip_t,
    "novel_time": _novel_time,
}


def _bytes(image: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    return (metrics.rounded(image) * 255).round().astype(np.uint8)


def _name(key: Key) -> str:
    return f"{key[0]:03d}_{key[1]:05d}.png"
