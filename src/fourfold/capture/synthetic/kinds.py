"""The kinds of synthetic captures: who films, what happens, and the kind's own numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.synthetic import rigs, stages
from fourfold.capture.synthetic.rigs import Rig
from fourfold.capture.synthetic.stages import Stage

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of capture and its own numbers.

    Attributes:
        build: makes the rig from times in seconds (T,), the figure's ground positions (T, 3) and a generator.
        frames, width, height, fps: defaults.
        stage: the solids in front of the cameras.
        heldout_every: held-out views have an image at every n-th moment.
        focal: focal length over image width.
        video: whether view 0 is also written as `video.mp4`.
        exposure: deviation over time of the log of what a camera multiplies its colours by; held-out views keep 1.
    """

    build: Callable[[Array, Array, np.random.Generator], Rig]
    frames: int
    width: int = 320
    height: int = 180
    fps: float = 24.0
    stage: Stage = stages.walking
    heldout_every: int = 1
    focal: float = 0.78
    video: bool = False
    exposure: float = 0.0


KINDS: dict[str, Kind] = {
    "casual": Kind(rigs.casual, frames=48, video=True),
    "orbit360": Kind(rigs.orbit360, frames=72, heldout_every=4, video=True),
    "sparse_fixed": Kind(rigs.sparse_fixed, frames=48, heldout_every=2),
    "sparse_moving": Kind(rigs.sparse_moving, frames=48),
    "dense_rig": Kind(rigs.dense_rig, frames=30, heldout_every=2),
    "cut": Kind(rigs.two_shots, frames=64, video=True),
    "close": Kind(rigs.close, frames=48, video=True),
    "adrift": Kind(rigs.casual, frames=48, stage=stages.adrift, video=True),
    "still": Kind(rigs.casual, frames=48, stage=stages.still, video=True),
    "arms": Kind(rigs.casual, frames=48, stage=stages.arms, video=True),
    "branches": Kind(rigs.casual, frames=48, stage=stages.branching, video=True),
    "exposure": Kind(rigs.casual, frames=48, video=True, exposure=0.12),
}
"""Five captures as people make them, then one film each of what goes wrong in films: a cut, a mover that fills half the picture, everything
moves, nothing moves, a person who stands and moves the arms only, a tree that bends link by link, and an exposure that wanders."""
