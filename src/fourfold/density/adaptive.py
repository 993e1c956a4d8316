"""Adaptive control of 3D Gaussian splatting with Shape of Motion's numbers: clone, split, cull, reset.

Kerbl et al. 2023, section 5.2; spec shape_of_motion.md sections 9 and 12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fourfold.density.base import Edit, GrowthStatistics, Moment
from fourfold.density.rows import grown, reset_opacity, unchanged
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class AdaptiveControl:
    """Clone what is small and pulled, split what is large and pulled, remove what is faint or huge, fade everything now and then.

    Attributes:
        start, stop, every: steps between which, and how often, it acts.
        reset_every: steps between opacity resets; before `stop` only. 0 for none.
        reset_opacity: highest opacity after a reset.
        threshold: mean screen gradient, per half image, above which a Gaussian grows.
        absolute: compare the absolute gradient (AbsGS) instead.
        split_scale: standard deviation, extents, above which growing means splitting.
        split_radius: screen radius, shares of the image, above which a Gaussian is split in any case; 0 for never.
        cull_opacity: a fainter Gaussian is removed.
        cull_scale, cull_radius: larger ones are removed, once opacities were reset; extents and shares of the image; 0 for never.
        quiet: after a reset nothing is removed for min(3 frames, this) steps and nothing grows for `frames` steps.
        jitter: False leaves both halves of a split at the same place, as the released Shape of Motion does.
        most: no growth beyond this number of Gaussians.
    """

    start: int = 200
    stop: int = 4000
    every: int = 100
    reset_every: int = 3000
    reset_opacity: float = 0.08
    threshold: float = 2e-4
    absolute: bool = False
    split_scale: float = 0.01
    split_radius: float = 0.05
    cull_opacity: float = 0.1
    cull_scale: float = 0.5
    cull_radius: float = 0.15
    quiet: int = 1000
    jitter: bool = True
    most: int = 2_000_000

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None."""
        step = moment.step
        if not (self.start < step < self.stop) or step % self.every or len(layer) == 0:
            return None
        since_reset = step % self.reset_every if self.reset_every else step
        was_reset = bool(self.reset_every) and step > self.reset_every
        scale = layer.splats["log_scale"].detach().amax(1).exp() / moment.extent
        signal = statistics.absolute_gradient if self.absolute else statistics.gradient
        pulled = signal / statistics.count.clamp_min(1) > self.threshold
        large = scale > self.split_scale
        clone, split = pulled & ~large, pulled & large
        if self.split_radius:
            split = split | (statistics.radius > self.split_radius)
            clone = clone & ~split
        if since_reset <= moment.frames or len(layer) + int(clone.sum()) + int(split.sum()) > self.most:
            clone, split = torch.zeros_like(clone), torch.zeros_like(split)
        stay = torch.ones_like(clone)
        if since_reset > min(3 * moment.frames, self.quiet) or not self.reset_every:
            stay = torch.sigmoid(layer.splats["opacity_logit"].detach()) >= self.cull_opacity
            if was_reset and self.cull_scale:
                stay &= scale <= self.cull_scale
            if was_reset and self.cull_radius:
                stay &= statistics.radius <= self.cull_radius
        edit = grown(layer, stay, clone, split, random, self.jitter)
        if self.reset_every and since_reset == 0:
            return reset_opacity(layer, edit, self.reset_opacity)
        return edit if len(edit.source) != len(layer) or bool(edit.fresh.any()) or bool((~stay).any()) else unchanged(layer)
