"""A layer of short-lived, straight-moving Gaussians where the scene so far fails over more than an edge: small movers, shadows, parts of movers.

Spec calibration.md E: worth 2.1 dB there on the filmed path. An edge that is off by part of a pixel fails, too, but thinly, and Gaussians that mend
it at a wrong depth cost the still part from the side; what moves unexplained fails in pieces. Asking the long tracks as well costs .8 dB on a
street (cars) and saves .1 dB from the side (docs/recipes/lived_bases.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.initialize.drawing import Picture, picture
from fourfold.initialize.frames import Frame, read_frame, reference_frames, unproject_pixels
from fourfold.initialize.splats import make_splats
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.linear import Linear
from fourfold.scene.scene import DYNAMIC, Layer, Scene


@dataclass(frozen=True)
class ResidualLayer:
    """Adds a `linear` layer seeded where training images differ from their rendering.

    Attributes:
        count: Gaussians at quality "normal" if `full_share` of the pixels fail; fewer in proportion.
        full_share: share of failing pixels that deserves all of them.
        frames: images that are compared.
        threshold: mean absolute error over RGB, blurred by `blur` pixels, from which a pixel fails.
        thick: radius, as a share of the image's width, of the disk that must fit into what fails.
        duration: standard deviation of the lifetime in frames.
        closer: depth of a seed as a share of the rendered depth: what hides the background is before it.
        spread: standard deviation in pixels; opacity: at the start.
        fastest: largest speed, in rendered depths per frame.
        inside_movers: also seed inside the masks of moving objects; for scenes without an object layer it is always done.
        fewest: with fewer seeds than this no layer is added.
    """

    name: str = "free"
    count: int = 20_000
    full_share: float = 0.05
    frames: int = 24
    threshold: float = 0.045
    blur: float = 1.5
    thick: float = 0.008
    duration: float = 2.5
    closer: float = 0.98
    spread: float = 1.1
    opacity: float = 0.5
    fastest: float = 0.05
    inside_movers: bool = False
    fewest: int = 20

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """`scene` with the new layer, or as it was where nothing fails."""
        everywhere = self.inside_movers or all(layer.role != DYNAMIC for layer in scene.layers)
        looked: list[tuple[Frame, Picture, NDArray[np.float32]]] = []
        for view, index in reference_frames(capture, self.frames):
            frame, seen = read_frame(capture, priors, view, index, margin=1), picture(scene, capture, view, index)
            failed = self._failure(frame, seen)
            looked.append((frame, seen, failed if everywhere else failed * frame.still))
        total = sum(float(failed.sum()) for *_, failed in looked)
        share = float(np.mean([(failed > 0).mean() for *_, failed in looked])) if looked else 0.0
        count = round(self.count * quality.gaussians * min(1.0, share / self.full_share))
        parts = [self._seeds(item, round(count * float(item[2].sum()) / max(total, 1e-9)), capture, priors, random) for item in looked]
        parts = [part for part in parts if part is not None]
        if sum(len(part["means"]) for part in parts) < self.fewest:
            return scene
        device = scene.layers[0].splats["means"].device
        layer = Layer(self.name, DYNAMIC, Linear(), {key: torch.cat([part[key] for part in parts]).to(device) for key in parts[0]})
        return replace(scene, layers=[*(kept for kept in scene.layers if kept.name != self.name), layer])

    def _failure(self, frame: Frame, seen: Picture) -> NDArray[np.float32]:
        """(H, W) error where it is past the threshold over more than an edge and a depth is known, else 0."""
        error = cv2.GaussianBlur(np.abs(seen.color - frame.color).mean(2), (0, 0), self.blur)
        failed = ((error > self.threshold) & (seen.depth > 0)).astype(np.uint8)
        side = 2 * max(1, round(self.thick * error.shape[1])) + 1
        whole = cv2.morphologyEx(failed, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
        return np.where(whole > 0, error, 0).astype(np.float32)

    def _seeds(
        self, item: tuple[Frame, Picture, NDArray[np.float32]], count: int, capture: Capture, priors: Priors, random: np.random.Generator
    ) -> dict[str, torch.Tensor] | None:
        frame, seen, failed = item
        count = min(count, int((failed > 0).sum()))
        if count == 0:
            return None
        pick = random.choice(failed.size, count, replace=False, p=(failed / failed.sum(dtype=np.float64)).ravel().astype(np.float64))
        row, column = np.divmod(pick, failed.shape[1])
        depth = seen.depth[row, column].astype(np.float64) * self.closer
        points = frame.unproject(row, column, depth)
        velocity = self._velocity(frame, (row, column), depth, points, capture, priors)
        splats = make_splats(points, frame.color[row, column], self.spread * depth / frame.K[0, 0], self.opacity)
        return splats | {
            "velocity": torch.from_numpy(velocity.astype(np.float32)),
            "time_center": torch.full((count,), float(capture.timestamps[frame.index])),
            "log_duration": torch.full((count,), float(np.log(self.duration * _spacing(capture)))),
        }

    def _velocity(
        self,
        frame: Frame,
        pixels: tuple[NDArray[np.int64], NDArray[np.int64]],
        depth: NDArray[np.float64],
        points: NDArray[np.float64],
        capture: Capture,
        priors: Priors,
    ) -> NDArray[np.float64]:
        """(P, 3) scene units per second: the flow to a neighbouring frame at constant depth; 0 without flow."""
        row, column = pixels
        present = np.flatnonzero(capture.present[frame.view])
        here = int(np.searchsorted(present, frame.index))
        ahead = here + 1 < len(present)
        if priors.flow is None or len(present) < 2:
            return np.zeros((len(points), 3))
        other = int(present[here + 1] if ahead else present[here - 1])
        pose = capture.world_to_camera[frame.view, other]
        if not np.isfinite(pose).all():
            return np.zeros((len(points), 3))
        flow = (priors.flow.forward if ahead else priors.flow.backward)[frame.view][frame.index].astype(np.float32)
        shift = cv2.blur(flow, (5, 5))[row, column]
        xy = np.stack([column + 0.5, row + 0.5], axis=1) + shift
        moved = unproject_pixels(capture.K[frame.view, other], pose, xy, depth)
        velocity = (moved - points) / (capture.timestamps[other] - capture.timestamps[frame.index])
        limit = (self.fastest * depth / _spacing(capture))[:, None]
        return np.clip(velocity, -limit, limit)


def _spacing(capture: Capture) -> float:
    """Seconds between recorded moments; 1 where there is only one."""
    return float(np.median(np.diff(capture.timestamps))) if capture.times > 1 else 1.0
