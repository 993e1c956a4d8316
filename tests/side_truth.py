"""Movers made of the exact surface of a generated figure, spoilt on purpose, and what true cameras beside them see."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic.figure import walk
from fourfold.capture.synthetic.kinds import KINDS
from fourfold.capture.synthetic.raycast import Eye, colour, trace
from fourfold.evaluation.side_view import beside
from fourfold.geometry.camera import Camera
from fourfold.geometry.rotations import matrix_to_quat
from fourfold.render.api import rasterize
from fourfold.scene.motion.linear import Linear
from fourfold.scene.scene import DYNAMIC, Layer, Scene

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Positions (N, 3), colours (N, 3) in [0, 1] and standard deviations (N, 3) of Gaussians."""


def camera_of(eye: Eye) -> Camera:
    return Camera(torch.tensor(eye.K, dtype=torch.float32), torch.tensor(eye.world_to_camera, dtype=torch.float32), eye.width, eye.height)


def eye_of(camera: Camera) -> Eye:
    return Eye(camera.K.double().numpy(), camera.world_to_camera.double().numpy(), camera.width, camera.height)


class Film:
    """A few moments of the hand-held view of a generated kind."""

    def __init__(self, kind: str, seed: int, moments: tuple[int, ...] = (10, 30), width: int = 160) -> None:
        chosen = KINDS[kind]
        every = np.arange(chosen.frames) / chosen.fps
        room_rng, mover_rng, rig_rng = np.random.default_rng(seed).spawn(3)
        poses = chosen.build(every, walk(every)[0], rig_rng).world_to_camera[0]
        self.times = every[list(moments)]
        self.solids = chosen.stage(room_rng, mover_rng, self.times, 0.025, 48)
        height, focal = width * 9 // 16, chosen.focal * width
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        self.eyes = [Eye(K, poses[m], width, height) for m in moments]

    def surface(self, moment: int, eye: Eye) -> Points:
        """One Gaussian of a third of a pixel for each pixel of the movers that `eye` sees."""
        x, y = eye.grid(1, np.float64)
        depth, owner = trace(self.solids, moment, eye, x, y)
        seen = np.array([s.object_id > 0 for s in self.solids])[owner]
        z = depth[seen]
        local = np.stack([np.broadcast_to(x, depth.shape)[seen] * z, np.broadcast_to(y, depth.shape)[seen] * z, z], -1)
        pose = eye.world_to_camera
        paint = colour(self.solids, moment, eye, 1, 0.2)[seen] / 255
        return (local - pose[:3, 3]) @ pose[:3, :3], paint, np.repeat(0.35 * z[:, None] / eye.K[0, 0], 3, 1)

    @cached_property
    def front(self) -> list[Points]:
        return [self.surface(i, eye) for i, eye in enumerate(self.eyes)]

    @cached_property
    def bodies(self) -> list[np.ndarray]:
        """(N,) number of the body, figure or ball, that each point of `front` belongs to."""
        found, number = [], np.array([s.object_id for s in self.solids])
        for i, eye in enumerate(self.eyes):
            owner = number[trace(self.solids, i, eye, *eye.grid(1, np.float64))[1]]
            found.append(owner[owner > 0])
        return found

    @cached_property
    def truth(self) -> list[tuple[int, Camera, np.ndarray, np.ndarray, int]]:
        """Moment, camera, image, image without movers, and number of moving pixels, 20 degrees to both sides at each moment."""
        found, still = [], [s for s in self.solids if s.object_id == 0]
        for i, eye in enumerate(self.eyes):
            for degrees in (-20.0, 20.0):
                camera = beside(camera_of(eye), np.median(self.front[i][0], axis=0), degrees)
                there = eye_of(camera)
                image, empty = (colour(solids, i, there, 2, 0.2) / 255 for solids in (self.solids, still))
                owner = trace(self.solids, i, there, *there.grid(1, np.float64))[1]
                found.append((i, camera, image, empty, int(np.array([s.object_id > 0 for s in self.solids])[owner].sum())))
        return found

    def capture(self, root: Path) -> Capture:
        """The filmed cameras alone, without images."""
        times = len(self.times)
        K, poses = np.stack([e.K for e in self.eyes])[None], np.stack([e.world_to_camera for e in self.eyes])[None]
        sizes, there = np.array([[self.eyes[0].width, self.eyes[0].height]]), np.ones((1, times), bool)
        return Capture(root, K, poses, self.times, sizes, there, there, ~there, "given", True, "side", ("hand",))

    def scene(self, parts: list[Points], turned: bool = False) -> Scene:
        """A mover that shows `parts`[i] at moment i alone; `turned`: the axes of its Gaussians are the camera's."""
        xyz, paint, size = (torch.tensor(np.concatenate(p), dtype=torch.float32) for p in zip(*parts, strict=True))
        rotation = np.concatenate(
            [np.tile(e.world_to_camera[:3, :3].T if turned else np.eye(3), (len(p[0]), 1, 1)) for e, p in zip(self.eyes, parts, strict=True)]
        )
        moment = np.concatenate([np.full(len(p[0]), t) for p, t in zip(parts, self.times, strict=True)])
        splats = {
            "means": xyz,
            "quat_wxyz": matrix_to_quat(torch.tensor(rotation, dtype=torch.float32)),
            "log_scale": size.log(),
            "opacity_logit": torch.full((len(xyz),), 3.0),
            "color_logit": torch.logit(paint.clamp(0.01, 0.99)),
            "velocity": torch.zeros(len(xyz), 3),
            "time_center": torch.tensor(moment, dtype=torch.float32),
            "log_duration": torch.full((len(xyz),), -4.6),
        }
        return Scene([Layer("object", DYNAMIC, Linear(), splats)], (float(self.times[0]), float(self.times[-1])))

    def true_psnr(self, scene: Scene) -> float:
        """PSNR over the movers' true pixels at +-20 degrees, over the exact picture of the empty room; paint outside of them counts against it."""
        errors = []
        for moment, camera, image, empty, pixels in self.truth:
            drawn = rasterize(scene.at(float(self.times[moment])), camera)
            picture = drawn.color.numpy() + empty * (1 - drawn.alpha.numpy()[..., None])
            errors.append(((picture - image) ** 2).sum() / 3 / pixels)
        return float(-10 * np.log10(np.mean(errors)))

    def variants(self, seed: int) -> dict[str, Scene]:
        """The seen surface as it is, and spoilt: each body flattened or drawn out about its own middle, all torn by Gaussian or by patch, in two
        parts, smeared along the view, thin."""
        rng = np.random.default_rng(seed)

        def each(change: Callable[[int, np.ndarray, np.ndarray], np.ndarray]) -> Scene:
            """Depths times `change(number of the moment, pixels over focal (N, 2), depth (N,))` (N,), along the rays."""
            parts: list[Points] = []
            for i, (eye, (xyz, paint, size)) in enumerate(zip(self.eyes, self.front, strict=True)):
                local = xyz @ eye.world_to_camera[:3, :3].T + eye.world_to_camera[:3, 3]
                factor = change(i, local[:, :2] / local[:, 2:], local[:, 2])[:, None]
                parts.append((eye.center + (xyz - eye.center) * factor, paint, size * factor))
            return self.scene(parts)

        def relief(share: float) -> Scene:
            def change(moment: int, _: np.ndarray, z: np.ndarray) -> np.ndarray:
                middles = {body: np.median(z[self.bodies[moment] == body]) for body in np.unique(self.bodies[moment])}
                middle = np.array([middles[body] for body in self.bodies[moment]])
                return (middle + share * (z - middle)) / z

            return each(change)

        def patches(deviation: float) -> Scene:
            def change(moment: int, at: np.ndarray, z: np.ndarray) -> np.ndarray:
                number = np.unique((at * self.eyes[moment].K[0, 0] // 6).astype(int), axis=0, return_inverse=True)[1].ravel()
                return np.exp(deviation * rng.standard_normal(number.max() + 1))[number]

            return each(change)

        def smeared(length: float) -> Scene:
            return self.scene([(xyz, paint, size * [1, 1, length]) for xyz, paint, size in self.front], turned=True)

        made: dict[str, Any] = {"as it is": each(lambda _, __, z: np.ones_like(z))}
        made |= {f"relief times {share:g}": relief(share) for share in (0.0, 0.5, 2.0, 4.0)}
        made |= {f"torn {d:g}": each(lambda _, __, z, d=d: np.exp(d * rng.standard_normal(len(z)))) for d in (0.02, 0.05, 0.1, 0.2)}
        made |= {f"patches {d:g}": patches(d) for d in (0.05, 0.15)}
        made["two parts"] = each(lambda _, at, z: np.where(at[:, 1] < np.median(at[:, 1]), 1.0, 1.35))
        made |= {f"smeared {n:g} times": smeared(n) for n in (8.0, 25.0)}
        made["one in three"] = self.scene([(xyz[::3], paint[::3], size[::3]) for xyz, paint, size in self.front])
        return made
