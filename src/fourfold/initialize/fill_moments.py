"""Motion bases at moments without a training image: told by how the motion repeats, where training images say that this tells them better."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.gaps import GapNumbers, fill_gaps, gap_weights, like_gaps
from fourfold.geometry.interpolation import cubic_matrix
from fourfold.initialize.drawing import picture
from fourfold.initialize.frames import read_frame
from fourfold.initialize.track_steps import StepNumbers, paths_of_bases
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import Layer, Scene

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Repeats:
    """How motion repeats: `moments` (T,) seconds, `paths` (B, T, 3) of the bases in scene units, told where a knot is known, and the weights of the
    neighbours that fill the gaps of each (`gap_weights`)."""

    moments: Array
    paths: Array
    weights: list[Array]


@dataclass(frozen=True)
class FillMoments:
    """Gives motion bases a knot at every moment of the film that lies between theirs, once training has settled the others.

    Only for one camera, and only where it filmed evenly: what repeats is told by counting frames. How each basis repeats is told by the tracks on its
    Gaussians, and its translation alone is told so: trained rotations are too noisy. Some knots are then hidden and filled in turn; what is
    learned is kept if what moves looks better at these moments than with cubics.

    Attributes:
        layer: which layer.
        uneven: largest deviation of a step between moments from the usual one, as a share of it.
        parts: knots are hidden in so many parts; most: of them in one part.
    """

    layer: str = "object"
    uneven: float = 0.05
    parts: int = 3
    most: int = 10
    steps: StepNumbers = StepNumbers()
    gaps: GapNumbers = GapNumbers()

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """`scene` with more knots, or as it was."""
        layers = [layer for layer in scene.layers if layer.name == self.layer and isinstance(layer.motion, SE3Bases)]
        if not layers or capture.train.any(axis=1).sum() != 1 or priors.longtracks is None or len(layers[0].fixed["knots"]) < self.gaps.fewest:
            return scene
        moments, known = self._moments(layers[0], capture)
        if known.all():
            return scene
        paths = np.zeros((len(layers[0].shared["translation"]), len(moments), 3))
        paths[:, known] = paths_of_bases(layers[0], capture, priors, priors.longtracks, self.steps)
        weights = [gap_weights(path, known, self.gaps) for path in paths]
        repeats = Repeats(moments, paths, weights)
        if not any(len(one) for one in weights) or not self._better(scene, capture, priors, known, repeats):
            return scene
        return _with(scene, filled(layers[0], known, repeats))

    def _moments(self, layer: Layer, capture: Capture) -> tuple[Array, NDArray[np.bool_]]:
        """Seconds (T,) of the film between the first and the last knot, and which (T,) are knots; the knots alone where the film is uneven."""
        knots = layer.fixed["knots"].cpu().numpy().astype(np.float64)
        moments = capture.timestamps[capture.present.any(axis=0)]
        moments = moments[(moments >= knots[0] - 1e-6) & (moments <= knots[-1] + 1e-6)]
        nearest = np.abs(moments[:, None] - knots[None]).argmin(axis=0)
        steps = np.diff(moments)
        if len(set(nearest)) < len(knots) or np.abs(steps / np.median(steps) - 1).max() > self.uneven:
            return knots, np.ones(len(knots), bool)
        known = np.zeros(len(moments), bool)
        known[nearest] = True
        moments[nearest] = knots
        return moments, known

    def _better(self, scene: Scene, capture: Capture, priors: Priors, known: NDArray[np.bool_], repeats: Repeats) -> bool:
        """Whether what moves looks better at hidden knots with what is learned from the others than with cubics."""
        hidden, errors = like_gaps(known), np.zeros(2)
        layer, view = scene.layer(self.layer), int(np.flatnonzero(capture.train.any(axis=1))[0])
        for turn in range(self.parts):
            rest = known.copy()
            rest[hidden[turn :: self.parts][: self.most]] = False
            part = thinned(layer, rest[known])
            ways = [_with(scene, part), _with(scene, filled(part, rest, repeats))]
            for moment in repeats.moments[known & ~rest]:
                frame = read_frame(capture, priors, view, int(np.abs(capture.timestamps - moment).argmin()))
                for way, one in enumerate(ways):
                    errors[way] += np.square(picture(one, capture, view, frame.index).color - frame.color)[frame.moving].sum()
        return bool(errors[1] < errors[0])


def thinned(layer: Layer, keep: NDArray[np.bool_]) -> Layer:
    """`layer` with the knots `keep` (K,) alone."""
    rows = torch.from_numpy(keep)
    shared = layer.shared | {name: layer.shared[name].detach()[:, rows] for name in ("rotation6d", "translation")}
    return replace(layer, shared=shared, fixed=layer.fixed | {"knots": layer.fixed["knots"][rows]})


def filled(layer: Layer, known: NDArray[np.bool_], repeats: Repeats) -> Layer:
    """`layer` with knots at all moments, of which it has those that are `known` (T,)."""
    none, gone = np.zeros(0), ~known
    repeated = np.zeros(repeats.paths.shape)
    for basis, path, weights in zip(repeated, repeats.paths, repeats.weights, strict=True):
        basis[gone] = (fill_gaps(path, known, weights) - fill_gaps(path, known, none))[gone]
    knots = torch.from_numpy(repeats.moments).to(layer.fixed["knots"])
    cubic = cubic_matrix(layer.fixed["knots"], knots)
    shared = {name: torch.einsum("qk,bkc->bqc", cubic.to(layer.shared[name]), layer.shared[name].detach()) for name in ("rotation6d", "translation")}
    shared["translation"] += torch.from_numpy(repeated).to(shared["translation"])
    return replace(layer, shared=layer.shared | shared, fixed=layer.fixed | {"knots": knots})


def _with(scene: Scene, layer: Layer) -> Scene:
    return replace(scene, layers=[layer if other.name == layer.name else other for other in scene.layers])
