"""How large a moving object is against the static world: rival estimators and a choice that says who won.

An object solved on its own is known up to its scale s: its centre is at C + s d, with the camera centre C and the offset d from the camera to
the object's centre (world axes, object units). Source: spec calibration.md sections A and E.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScaleConfig:
    """Numbers of the choice.

    Attributes:
        steps: frame distances over which motion is minimised.
        least_intervals: a step is used if at least this many of it fit into the clip.
        agreement: rivals within this relative difference (natural logarithm) support each other.
        standing_spread, hopping_spread: how far the tenth percentile of the ground contacts lies below their median, relative: up to the first
            the object stands (noise of 8 % gives 0.1), from the second on it hops.
        ground_prior: how much a perfect ground contact counts against a perfect motion fit: objects do move, but seldom hover.
        slack: how far beyond the occlusion bound a rival may lie, relative.
        least_quality: votes below it decide nothing: what fits so badly may put a thing right before the camera. What is chosen instead is reported
            as a guess.
    """

    steps: tuple[int, ...] = (1, 4, 8)
    least_intervals: int = 5
    agreement: float = 0.2
    standing_spread: float = 0.12
    hopping_spread: float = 0.2
    ground_prior: float = 2.0
    slack: float = 0.1
    least_quality: float = 0.3


@dataclass(frozen=True)
class ScaleEvidence:
    """What the images say.

    Attributes:
        centers: (F, 3) camera centres, world.
        offsets: (F, 3) object centre minus camera centre in world axes, object units.
        ground: (G, 2) per frame with a contact: scale from the static surface under the object, and how ground-like (0..1) that surface is.
        bounds: (O,) per frame with a background behind the object: the scale at which the object would touch it.
    """

    centers: Array
    offsets: Array
    ground: Array = field(default_factory=lambda: np.zeros((0, 2)))
    bounds: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Rival:
    """One estimate: scale, quality in [0, 1], and the family it belongs to."""

    scale: float
    quality: float
    family: str


@dataclass(frozen=True)
class ScaleChoice:
    """The chosen scale, its winner's name, a confidence in [0, 1], all rivals by name, and the occlusion bound (infinite if unknown)."""

    scale: float
    winner: str
    confidence: float
    rivals: dict[str, Rival]
    bound: float

    def figures(self) -> dict[str, object]:
        """JSON-able summary for the provenance."""
        rivals = {k: {"scale": round(r.scale, 6), "quality": round(r.quality, 3)} for k, r in self.rivals.items()}
        bound = round(self.bound, 6) if np.isfinite(self.bound) else None
        return {"scale": round(self.scale, 6), "winner": self.winner, "confidence": round(self.confidence, 3), "bound": bound, "rivals": rivals}


def minimal_motion(centers: Array, offsets: Array, step: int = 1) -> Rival:
    """Scale at which the object moves least over `step` frames: s = -sum(dC . dd) / sum |dd|^2; quality is the explained share of |dC|^2."""
    return _explained(centers[step:] - centers[:-step], offsets[step:] - offsets[:-step], "motion")


def minimal_acceleration(centers: Array, offsets: Array, step: int = 1) -> Rival:
    """Scale at which the object accelerates least, from second differences over `step` frames."""
    second = [a[2 * step :] - 2 * a[step:-step] + a[: -2 * step] for a in (centers, offsets)]
    return _explained(second[0], second[1], "acceleration")


def ground_contact(ground: Array, config: ScaleConfig) -> Rival | None:
    """Scale from the frames in which the object is above a visible ground.

    While it stands, all frames agree: their median, with a quality that falls with the spread. While it hops, the ground under it lies
    farther away than its feet, so that the smallest scales are those of the contacts: a low percentile, at half the quality.
    """
    usable = ground[(ground[:, 0] > 0) & (ground[:, 1] > 0.2)]
    if len(usable) < 2:
        return None
    scales = usable[:, 0]
    middle = float(np.median(scales))
    low = float(np.percentile(scales, 10))
    hopping = float(np.clip((1 - low / middle - config.standing_spread) / (config.hopping_spread - config.standing_spread), 0, 1))
    quality = (1 - 0.5 * hopping) * min(1.0, len(usable) / 5) * float(np.median(usable[:, 1]))
    return Rival(middle ** (1 - hopping) * low**hopping, quality, "ground")


def choose_scale(evidence: ScaleEvidence, config: ScaleConfig = ScaleConfig()) -> ScaleChoice:
    """Let the rivals vote.

    A rival must be positive and must not put the object behind what it hides. Its vote is its quality plus half the quality of the best
    agreeing rival of every other family. Where none convinces, the object is put on the ground under it, or a little in front of what it hides.
    """
    rivals: dict[str, Rival] = {}
    frames = len(evidence.centers)
    for step in (s for s in config.steps if s == 1 or config.least_intervals * s <= frames):
        rivals[f"minimal_motion_{step}"] = minimal_motion(evidence.centers, evidence.offsets, step)
        if frames > 2 * step + 1:
            rivals[f"minimal_acceleration_{step}"] = minimal_acceleration(evidence.centers, evidence.offsets, step)
    contact = ground_contact(evidence.ground, config)
    if contact is not None:
        rivals["ground_contact"] = contact
    bound = float(np.percentile(evidence.bounds, 25)) if len(evidence.bounds) else np.inf
    plausible = {k: r for k, r in rivals.items() if 0 < r.scale <= (1 + config.slack) * bound and r.quality > 0}
    votes = {k: _vote(r, plausible, config) for k, r in plausible.items()}
    if votes and max(votes.values()) >= config.least_quality:
        winner = max(votes, key=lambda k: votes[k])
        return ScaleChoice(plausible[winner].scale, winner, min(1.0, votes[winner]), rivals, bound)
    if contact is not None and contact.scale > 0:
        return ScaleChoice(min(contact.scale, bound), "ground_contact", 0.1, rivals, bound)
    if np.isfinite(bound):
        return ScaleChoice(0.85 * bound, "occlusion_bound", 0.05, rivals, bound)
    return ScaleChoice(1.0, "none", 0.0, rivals, bound)


def _explained(moved: Array, shifted: Array, family: str) -> Rival:
    scale = -float((moved * shifted).sum() / max(float((shifted**2).sum()), 1e-30))
    whole = float((moved**2).sum())
    left = float(((moved + scale * shifted) ** 2).sum())
    return Rival(scale, float(np.clip(1 - left / max(whole, 1e-30), 0, 1)) if whole > 0 else 0.0, family)


def _vote(rival: Rival, all_rivals: dict[str, Rival], config: ScaleConfig) -> float:
    weight = {"ground": config.ground_prior, "motion": 1.0, "acceleration": 0.5}
    vote = weight[rival.family] * rival.quality
    for family in {r.family for r in all_rivals.values()} - {rival.family}:
        support = [r.quality * np.exp(-((np.log(r.scale / rival.scale) / config.agreement) ** 2)) for r in all_rivals.values() if r.family == family]
        vote += 0.5 * weight[family] * max(support)
    return float(vote)
