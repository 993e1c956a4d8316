"""Whether the lens of a film bends straight lines, and how much: one term of radial distortion, p (1 + k |p|^2).

Poses and distances take up most of what a lens bends: a film through a wide lens is explained nearly as well without it, by a focal length that is
a quarter too long and a scene that is stretched. What is left is a fraction of a pixel, so the answer is judged by what it explains that sharply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fourfold.priors.cameras.camera_score import ScoreNumbers, score
from fourfold.priors.cameras.camera_search import Answer
from fourfold.priors.cameras.spread_tracks import Film
from fourfold.priors.cameras.track_bundle import BundleNumbers, bundle


@dataclass(frozen=True)
class BendNumbers:
    """When a lens is said to bend.

    Attributes:
        near: residual, pixels at 640, within which an observation counts as sharply explained.
        pays: what is sharply explained must become more by this share of itself; films of phones gain up to .04 by a bend that is none.
        rough, fine: steps of the adjustment that tells whether it bends, and of the one that tells how much.
    """

    near: float = 0.25
    pays: float = 0.08
    rough: int = 20
    fine: int = 80


@dataclass(frozen=True)
class Bend:
    """k of p (1 + k |p|^2), p in focal lengths; focal length in image widths beside it; gain: share by which more is sharply explained; pays: whether
    that is enough to believe it."""

    k: float
    focal: float
    gain: float
    pays: bool

    def figures(self, numbers: BendNumbers = BendNumbers()) -> dict[str, float | bool]:
        """What the provenance tells."""
        return {
            "lens_bend": round(self.k, 4),
            "lens_bend_gain": round(self.gain, 4),
            "lens_bend_focal": self.focal,
            "lens_bends": self.gain > numbers.pays,
        }


def lens_bend(film: Film, best: Answer, numbers: BendNumbers = BendNumbers()) -> Bend | None:
    """The bend of the lens of `film`, whose answer without one is `best`; None for a camera that stood, which cannot tell."""
    if best.kind == "fixed":
        return None
    adjust, free = BundleNumbers(iterations=numbers.rough, scale=numbers.near), replace(best.freedom, bend=True)
    straight = bundle(best.seen, best.solved, best.freedom, adjust).solved
    bent = bundle(best.seen, best.solved, free, adjust).solved
    sharp = ScoreNumbers(near=numbers.near)
    before = score(film, best.seen, straight, numbers=sharp).explained
    gain = score(film, best.seen, bent, numbers=sharp).explained / max(before, 1e-9) - 1
    if gain > numbers.pays:
        bent = bundle(best.seen, bent, free, replace(adjust, iterations=numbers.fine)).solved
    return Bend(float(bent.bend[0]), float(bent.focal[0] / film.sizes[0, 0]), gain, gain > numbers.pays)
