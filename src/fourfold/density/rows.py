"""Building an `Edit`: which rows stay, which are copied, and what the copies look like."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from fourfold.density.base import Edit
from fourfold.geometry.rotations import quat_rotate
from fourfold.scene.scene import Layer

SPLIT_SHRINK = 1.6
"""Both halves of a split have standard deviations smaller by this factor (3D Gaussian splatting, section 5.2)."""


def grown(layer: Layer, stay: Tensor, clone: Tensor, split: Tensor, random: np.random.Generator, jitter: bool = True) -> Edit:
    """Rows that stay, then one copy of each cloned row, then two smaller halves of each split row (which itself goes).

    Args:
        stay, clone, split: (N,) bool; `clone` and `split` exclude each other; a row that does not stay is neither.
        jitter: place the halves at random points drawn from the Gaussian that is split; False leaves them coincident.
    """
    rows = torch.arange(len(layer), device=stay.device)
    kept, copied, halved = rows[stay & ~split], rows[stay & clone], rows[stay & split]
    source = torch.cat([kept, copied, halved, halved])
    fresh = torch.zeros(len(source), dtype=torch.bool, device=stay.device)
    fresh[len(kept) :] = True
    if len(halved) == 0:
        return Edit(source, fresh, {})
    splats = layer.splats
    log_scale = splats["log_scale"].detach()[source].clone()
    first = len(kept) + len(copied)
    log_scale[first:] -= math.log(SPLIT_SHRINK)
    changes = {"log_scale": log_scale}
    if jitter:
        means = splats["means"].detach()[source].clone()
        draws = torch.from_numpy(random.standard_normal((2 * len(halved), 3)).astype(np.float32)).to(means)
        twice = torch.cat([halved, halved])
        quat = torch.nn.functional.normalize(splats["quat_wxyz"].detach()[twice], dim=1)
        means[first:] += quat_rotate(quat, draws * splats["log_scale"].detach()[twice].exp())
        changes["means"] = means
    return Edit(source, fresh, changes)


def reset_opacity(layer: Layer, edit: Edit, highest: float) -> Edit:
    """`edit` with all opacities lowered to at most `highest` and their moments zeroed."""
    logits = edit.changes.get("opacity_logit", layer.splats["opacity_logit"].detach()[edit.source])
    limit = math.log(highest / (1 - highest))
    return Edit(edit.source, edit.fresh, edit.changes | {"opacity_logit": logits.clamp_max(limit)}, (*edit.reset, "opacity_logit"))


def unchanged(layer: Layer) -> Edit:
    """An edit that keeps every row."""
    count, device = len(layer), layer.splats["means"].device
    return Edit(torch.arange(count, device=device), torch.zeros(count, dtype=torch.bool, device=device), {})
