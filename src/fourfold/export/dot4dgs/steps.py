"""How finely positions and times are rounded: so that nothing in the picture moves by a visible part of a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from fourfold.capture.capture import Capture
from fourfold.export.packing import moments_between
from fourfold.export.paths import camera_between
from fourfold.geometry.projection import project
from fourfold.scene.scene import Scene
from fourfold.splats.drawn import INVISIBLE

ROUNDING = 0.03  # pixels per axis that rounding may move a Gaussian in the picture
NEAREST = 0.01  # share of the Gaussians in the picture, the nearest to the camera, that are left to chance
FASTEST_OF = 12  # moments at which speeds are measured
SHORT = 1e-3  # seconds over which speeds are measured
MOST_STEPS = 2**29  # over the scene, what the format's integers hold with a bit to spare


def position_bound(scene: Scene, capture: Capture) -> float:
    """Scene units by which rounding may move a position: `ROUNDING` pixels at the depth of the nearest Gaussians in the first camera's picture."""
    units: list[torch.Tensor] = [torch.zeros(0)]
    extent = 0.0
    with torch.no_grad():
        for time in moments_between(scene, 3):
            g, camera = scene.at(time), camera_between(capture, 0, time)
            pixels, depth = project(g.means, camera.K.to(g.means), camera.world_to_camera.to(g.means))
            inside = (pixels >= 0).all(-1) & (pixels < pixels.new_tensor([camera.width, camera.height])).all(-1)
            shown = inside & (depth > scene.near) & (g.opacity >= INVISIBLE)
            units.append((depth[shown] / float(camera.K[0, 0])).float().cpu())
            finite = g.means[g.means.isfinite().all(-1)]
            extent = max(extent, float((finite.amax(0) - finite.amin(0)).max())) if len(finite) else extent
    per_pixel = torch.cat(units)
    if len(per_pixel) == 0:
        return torch.inf
    nearest = float(torch.quantile(per_pixel[:: 1 + len(per_pixel) // 1_000_000], NEAREST))
    return max(ROUNDING * nearest, extent / MOST_STEPS)


def time_bound(scene: Scene, capture: Capture) -> float:
    """Seconds by which rounding may move a moment: what the fastest Gaussian in the first camera's picture takes for `ROUNDING` pixels.

    A Gaussian is where it belongs at its moment and flies from there: a moment that is off by half a millisecond moves one that crosses the
    picture in a second by a quarter of a pixel.
    """
    begin, end = scene.time_range
    fastest = 0.0
    with torch.no_grad():
        for time in moments_between(scene, FASTEST_OF) if end > begin else []:
            now, soon = scene.at_times([time, min(time + SHORT, end)])
            camera = camera_between(capture, 0, time)
            K, pose = camera.K.to(now.means), camera.world_to_camera.to(now.means)
            (here, depth), (there, later) = project(now.means, K, pose), project(soon.means, K, pose)
            inside = (here >= 0).all(-1) & (here < here.new_tensor([camera.width, camera.height])).all(-1)
            shown = inside & (depth > scene.near) & (later > scene.near) & (now.opacity >= INVISIBLE) & (soon.opacity >= INVISIBLE)
            moved = (there - here).norm(dim=-1)[shown]
            fastest = max(fastest, float(moved[moved.isfinite()].max()) / SHORT if bool(moved.isfinite().any()) else 0.0)
    return max(ROUNDING / max(fastest, 1e-9), (end - begin) / MOST_STEPS)


@contextmanager
def rounding_within(bound: float, seconds: float) -> Iterator[None]:
    """Let the library round positions by no more than `bound` scene units, and moments by no more than `seconds`, while this lasts.

    It takes its steps from the median size of all Gaussians, which a far background makes much too large for what is near, rounds moments to
    milliseconds, and has no argument for another choice; the steps and bounds that a file declares are its writer's to choose.
    """
    from fourdgs.quantization import LIFE_REF, Bounds

    usual = Bounds.for_profile

    def closer(profile: str = "default", *, median_scale: float = 1e-3) -> Any:
        bounds = usual(profile, median_scale=median_scale)
        pos = min(bounds.pos, bound)
        return replace(bounds, pos=pos, motion=pos / LIFE_REF, time=min(bounds.time, seconds))

    Bounds.for_profile = staticmethod(closer)
    try:
        yield
    finally:
        Bounds.for_profile = staticmethod(usual)
