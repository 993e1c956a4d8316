"""What packing a scene for the page costs, measured on the page's own bytes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.export.packing import PackingError, packing_error
from fourfold.geometry.gaussians import Gaussians
from fourfold.notices import fallback
from fourfold.scene.scene import Scene
from fourfold.viewer.packing.blocks import from_text
from fourfold.viewer.packing.read import Packed
from fourfold.viewer.packing.write import Pack


def measured(pack: Pack, texts: Sequence[str], scene: Scene, capture: Capture) -> PackingError:
    """The error of `pack`, whose parts stand in the page as `texts`; a page that is worse than its config allows is said to be."""
    packed = Packed(pack.header(), [from_text(text) for text in texts])
    error = packing_error(scene, capture, lambda time: held(pack, packed, time))
    config = pack.config
    if error.pixels > config.most_pixels or error.decibels < config.least_decibels:
        fallback(
            f"the player shows this scene less exactly than it should: one Gaussian in a hundred lies {error.pixels:.2f} pixels or more "
            f"from where it belongs, and pictures differ by {error.decibels:.1f} dB"
        )
    return error


def held(pack: Pack, packed: Packed, time: float) -> tuple[Tensor, Gaussians]:
    """(M,) rows of the scene and the Gaussians that the page has for them at `time`."""
    groups = packed.at(time)
    if not groups:
        nothing = torch.zeros(0)
        return nothing.long(), Gaussians(nothing.reshape(0, 3), nothing.reshape(0, 4), nothing.reshape(0, 3), nothing, nothing.reshape(0, 3))
    return torch.cat([pack.parts[part].rows[index] for part, index, _ in groups]), Gaussians.concatenate([g for *_, g in groups])
