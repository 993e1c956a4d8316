"""The first fit of motion bases, to the tracks alone (spec shape_of_motion.md section 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.counting import count, counted
from fourfold.geometry.rotations import matrix_to_rotation6d, rotation6d_to_matrix
from fourfold.initialize.path_loss import Followed, mean_jerk, path_loss
from fourfold.initialize.track_cleaning import CleanTracks
from fourfold.initialize.tracks_to_bases import Bases
from fourfold.kernels.adam import AdamNumbers, adam_step
from fourfold.scene.blend import blend

ADAM = AdamNumbers(epsilon=1e-8)


@dataclass(frozen=True)
class FitNumbers:
    """Numbers of section 5. All rates decay exponentially to a tenth. `patience`: stop when the mean loss of this many steps improves less
    than `improvement` (relative) over the one before. `met`: or the tracks are met on average to this, in sizes of the object: those of bodies that
    move as one are from the start."""

    steps: int = 1000
    rotation_rate: float = 1e-2
    translation_rate: float = 3e-2
    logit_rate: float = 1e-2
    mean_rate: float = 1e-3
    sparsity: float = 0.01
    smooth_first: float = 0.01
    smooth_last: float = 0.1
    smooth_from: float = 0.4
    ray: float = 0.1
    patience: int = 50
    improvement: float = 0.02
    met: float = 1e-5


@dataclass
class FittedBases:
    """Bases in the layer's own parameters: rotation6d (B, K, 6), translation (B, K, 3), logits (P, B), means (P, 3), pivot (3,); world units.

    `loss` holds the loss of every step that was done.
    """

    rotation6d: Tensor
    translation: Tensor
    logits: Tensor
    means: Tensor
    pivot: Tensor
    loss: list[float]

    def transforms(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Blended rotations (K, P, 3, 3) and translations (K, P, 3) about the pivot for coefficients `logits` (P, B)."""
        weights = torch.softmax(logits, dim=1)
        rotation = rotation6d_to_matrix(torch.einsum("pb,bkc->kpc", weights, self.rotation6d))
        return rotation, torch.einsum("pb,bkc->kpc", weights, self.translation)

    def positions(self, means: Tensor, logits: Tensor) -> Tensor:
        """(K, P, 3) of canonical `means` at all knots."""
        rotation, translation = self.transforms(logits)
        return (rotation @ (means - self.pivot)[..., None]).squeeze(-1) + self.pivot + translation

    def canonical(self, points: Tensor, logits: Tensor, knot: int) -> Tensor:
        """(P, 3) canonical positions of `points` seen at `knot`, moved back by the motion with coefficients `logits`."""
        rotation, translation = self.transforms(logits)
        return ((points - self.pivot - translation[knot])[:, None] @ rotation[knot]).squeeze(1) + self.pivot


def fit_bases(tracks: CleanTracks, bases: Bases, centers: NDArray[np.float64], numbers: FitNumbers = FitNumbers()) -> FittedBases:
    """Refine `bases` so that the tracks' canonical means, moved, meet the tracks.

    Args:
        centers: (K, 3) camera centres at the knots, for the motion along the ray.

    Works in units of the object's size. Unlike the released code there is no 2D term: hidden entries of lifted tracks carry no weight,
    those of native tracks are known in 3D.
    """
    size = bases.size
    target = torch.from_numpy(tracks.xyz.transpose(1, 0, 2) / size).float()
    followed = Followed(target, torch.from_numpy(tracks.reliable.T.copy()).float(), torch.from_numpy(np.asarray(centers) / size).float())
    pivot = target[tracks.canonical].median(0).values
    rotation = bases.transforms[..., :3, :3]
    shift = (rotation @ pivot[:, None]).squeeze(-1) + bases.transforms[..., :3, 3] / size - pivot
    fitted = FittedBases(matrix_to_rotation6d(rotation), shift, bases.logits.clone(), target[tracks.canonical].clone(), pivot, [])
    tensors = [fitted.rotation6d, fitted.translation, fitted.logits, fitted.means]
    rates = (numbers.rotation_rate, numbers.translation_rate, numbers.logit_rate, numbers.mean_rate)
    moments = [(torch.zeros_like(tensor), torch.zeros_like(tensor)) for tensor in tensors]
    for tensor in tensors:
        tensor.requires_grad_(True)
    best, lowest = [tensor.detach().clone() for tensor in tensors], float("inf")
    for step in counted(range(numbers.steps), "fitting motions"):
        loss, data = _fit_loss(fitted, followed, _smooth_weight(step, numbers), numbers)
        if data < lowest:
            best, lowest = [tensor.detach().clone() for tensor in tensors], data
        fitted.loss.append(data)
        if data <= numbers.met or _settled(fitted.loss, numbers):
            break
        decay = 0.1 ** (step / numbers.steps)
        for tensor, grad, (first, second), rate in zip(tensors, torch.autograd.grad(loss, tensors), moments, rates, strict=True):
            adam_step(tensor, grad, first, second, step + 1, rate * decay, ADAM)
    count("fitting motions", numbers.steps, numbers.steps)  # also where fewer sufficed
    rotation6d, translation, logits, means = best
    return FittedBases(rotation6d, translation * size, logits, means * size, pivot * size, fitted.loss)


def _fit_loss(fitted: FittedBases, followed: Followed, smooth: float, numbers: FitNumbers) -> tuple[Tensor, float]:
    motions = torch.cat([fitted.rotation6d, fitted.translation], dim=-1).transpose(0, 1)
    moved, _ = blend(fitted.logits, fitted.means, fitted.means.new_ones(len(fitted.means), 4), motions, fitted.pivot, turned=0)
    loss, data = path_loss(moved, followed, 0.5 * smooth, numbers.ray)
    loss = loss + numbers.sparsity * (1 - torch.softmax(fitted.logits, dim=1).square().sum(1).mean())
    if len(moved) >= 3:
        loss = loss + smooth * (mean_jerk(fitted.rotation6d, 1) + 2 * mean_jerk(fitted.translation, 1))
    return loss, data


def _smooth_weight(step: int, numbers: FitNumbers) -> float:
    begin = numbers.smooth_from * numbers.steps
    share = min(max((step - begin) / max(numbers.steps - begin, 1.0), 0.0), 1.0)
    return numbers.smooth_first + (numbers.smooth_last - numbers.smooth_first) * share


def _settled(losses: list[float], numbers: FitNumbers) -> bool:
    if len(losses) < 2 * numbers.patience or len(losses) % numbers.patience:
        return False
    before = float(np.mean(losses[-2 * numbers.patience : -numbers.patience]))
    return float(np.mean(losses[-numbers.patience :])) > (1 - numbers.improvement) * before
