"""How each baseline of spec baselines.md begins, from the points that all of them share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.initialize.rig_start import RigStart, Start
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.deformation import Deformation
from fourfold.scene.motion.keyframes import Keyframes
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.per_frame import PerFrame
from fourfold.scene.motion.polynomial import Polynomial
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class DeformableStart:
    """A canonical cloud of one moment, and a network that starts by deforming nothing (section 1)."""

    start: RigStart = field(default_factory=RigStart)
    motion: Deformation = Deformation()

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError if there is no prior "clouds"."""
        start = self.start.points(capture, priors, quality, random, "fullest")
        splats, _ = start.rows()
        low, high = torch.quantile(splats["means"][:: max(1, len(splats["means"]) // 100_000)], torch.tensor([0.01, 0.99]), dim=0)
        begin, end = start.scene.time_range
        shared = self.motion.fresh(torch.Generator().manual_seed(int(random.integers(2**31))))
        fixed = {
            "box": torch.stack([low, (high - low).clamp_min(1e-6)]),
            "span": torch.tensor([begin, max(end - begin, 1e-6)]),
            "time_shift": torch.zeros(()),
        }
        return start.scene_with("free", self.motion, splats, shared, fixed)


@dataclass(frozen=True)
class PolynomialStart:
    """The union of all moments' clouds, each point around its own moment, motion zero (section 3).

    Attributes:
        duration: s of moving points in units of the time between key moments; still ones live through the clip.
        informed: start with the clouds' velocities instead of zero.
    """

    start: RigStart = field(default_factory=RigStart)
    duration: float = 1.5
    informed: bool = False

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError if there is no prior "clouds"."""
        start = self.start.points(capture, priors, quality, random)
        splats, moves = start.rows()
        count = len(moves)
        moment, life = lives(start, moves, self.duration)
        splats |= {"curve": torch.zeros(count, 3, 3), "turn": torch.zeros(count, 4), "time_center": moment, "log_duration": life.log()}
        if self.informed and start.moving is not None:
            splats["curve"][moves, 0] = start.moving.velocity
        return start.scene_with("free", Polynomial(), splats, {}, {})


@dataclass(frozen=True)
class KeyframeStart:
    """All moments' clouds with keyframes every `every` frames, carried along by the clouds' velocities near their moment (spec D).

    Attributes:
        every: frames between keyframes.
        fade: standard deviation of the fade, in units of the time between key moments.
    """

    start: RigStart = field(default_factory=lambda: RigStart(split=True))
    every: int = 5
    fade: float = 0.5

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError if there is no prior "clouds"."""
        start = self.start.points(capture, priors, quality, random)
        splats, moves = start.rows()
        begin, end = start.scene.time_range
        knots = torch.linspace(begin, end, max(2, -(-(capture.times - 1) // self.every) + 1))
        moment, life = lives(start, moves, 0.5)
        gap = start.moving.gap if start.moving is not None else (end - begin) or 1.0
        velocity = torch.zeros(len(moves), 3)
        if start.moving is not None:
            velocity[moves] = start.moving.velocity
        since = (knots[None] - moment[:, None]).clamp(-2 * gap, 2 * gap)
        splats |= {
            "shift_keys": velocity[:, None] * since[..., None],
            "quat_keys": splats["quat_wxyz"][:, None].repeat(1, len(knots), 1),
            "time_on": moment - life,
            "time_off": moment + life,
            "log_fade": torch.full((len(moves), 2), float(np.log(self.fade * gap))),
        }
        return start.scene_with("free", Keyframes(), splats, {}, {"knots": knots})


@dataclass(frozen=True)
class PerFrameStart:
    """The first moment's cloud, and room for a step at every later moment (section 4)."""

    start: RigStart = field(default_factory=lambda: RigStart(split=True))

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError if there is no prior "clouds"."""
        start = self.start.points(capture, priors, quality, random, "first")
        splats, moves = start.rows()
        times = capture.timestamps[capture.train.any(axis=0)]
        for k in range(1, len(times)):
            splats |= {f"bend_{k:03d}": torch.zeros(len(moves), 3), f"twist_{k:03d}": torch.zeros(len(moves), 4)}
        return start.scene_with("free", PerFrame(), splats, {}, {"moments": torch.from_numpy(times.astype(np.float32))})


@dataclass(frozen=True)
class FourDStart:
    """All points at random moments of the clip, as native 4D Gaussians begin (section 5).

    A 4D Gaussian seen at one time is a 3D Gaussian of constant shape that moves straight and fades like a Gaussian, whatever its
    rotation in 4D (`from_four_dimensions`); so the motion model is `Linear`, whose parameters are those of the slice.

    Attributes:
        duration: variance of the lifetime as a share of the clip: sigma_t = sqrt(duration * seconds).
        margin: moments are drawn from this share of the clip before its start to the same after its end.
    """

    start: RigStart = field(default_factory=RigStart)
    duration: float = 0.2
    margin: float = 0.1

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError if there is no prior "clouds"."""
        start = self.start.points(capture, priors, quality, random)
        splats, moves = start.rows()
        begin, end = start.scene.time_range
        length = max(end - begin, 1e-3)
        moment = begin + length * torch.from_numpy(random.uniform(-self.margin, 1 + self.margin, len(moves)).astype(np.float32))
        if start.moving is not None:
            moment[moves] = start.moving.moment
        life = torch.full((len(moves),), float(np.log(np.sqrt(self.duration * length))))
        splats |= {"velocity": torch.zeros(len(moves), 3), "time_center": moment, "log_duration": life}
        return start.scene_with("free", Linear(), splats, {}, {})


def lives(start: Start, moves: torch.Tensor, duration: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Moment (N,) and length of life (N,) in seconds: still points the clip's, moving ones `duration` times the key moments' gap."""
    begin, end = start.scene.time_range
    moment = torch.full((len(moves),), (begin + end) / 2)
    life = torch.full((len(moves),), 2 * max(end - begin, 1e-3))
    if start.moving is not None:
        moment[moves], life[moves] = start.moving.moment, duration * start.moving.gap
    return moment, life
