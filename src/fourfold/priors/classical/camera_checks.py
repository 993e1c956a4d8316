"""What can be checked about estimated cameras without truth: each check is a figure and, where it fails, a plain sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.classical.sfm import Structure


@dataclass(frozen=True)
class CheckConfig:
    """When a check speaks up.

    Attributes:
        registered: share of frames that should be placed.
        error: mean reprojection error, pixels at 640 longer side.
        parallax: degrees, median over the points.
        field_of_view: plausible horizontal degrees, low and high.
        path: camera travel as a share of the median depth below which depth is poorly known.
        wander: travel divided by the largest distance from the start above which the path is noise.
    """

    registered: float = 0.95
    error: float = 1.2
    parallax: float = 2.0
    field_of_view: tuple[float, float] = (20.0, 110.0)
    path: float = 0.03
    wander: float = 8.0


def point_depths(structure: Structure) -> NDArray[np.float64]:
    """(O,) depth of every observation in its own camera, scene units."""
    pose = structure.world_to_camera[structure.observation_image]
    return np.einsum("oj,oj->o", pose[:, 2, :3], structure.points[structure.observation_point]) + pose[:, 2, 3]


def camera_centres(world_to_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) centres of (..., 4, 4) poses."""
    return -np.einsum("...ji,...j->...i", world_to_camera[..., :3, :3], world_to_camera[..., :3, 3])


def parallax_degrees(structure: Structure) -> float:
    """Median over the points of the angle between their first and last ray, degrees; 0 without points."""
    if not len(structure.points):
        return 0.0
    centres = camera_centres(structure.world_to_camera)
    rays = structure.points[structure.observation_point] - centres[structure.observation_image]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    order = np.lexsort((structure.observation_image, structure.observation_point))
    points = structure.observation_point[order]
    first = order[np.searchsorted(points, np.arange(len(structure.points)))]
    last = order[np.searchsorted(points, np.arange(len(structure.points)), side="right") - 1]
    return float(np.degrees(np.median(np.arccos(np.clip(np.sum(rays[first] * rays[last], axis=1), -1, 1)))))


def check_cameras(structure: Structure, capture: Capture, config: CheckConfig = CheckConfig()) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Sentences about what looks wrong (first a summary), and the figures behind them."""
    width, height = (int(n) for n in capture.sizes[0])
    centres = camera_centres(structure.world_to_camera)[structure.registered]
    depth = float(np.median(point_depths(structure))) if len(structure.points) else float("nan")
    travel = float(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum()) if capture.views == 1 else float("nan")
    reach = float(np.linalg.norm(centres - centres[:1], axis=1).max(initial=0.0))
    focal = float(np.nanmedian(structure.focal))
    figures: dict[str, Any] = {
        "registered_share": float(structure.registered.mean()),
        "points": len(structure.points),
        "reprojection_error_px": structure.error,
        "reprojection_error_px_at_640": structure.error * 640 / max(width, height),
        "parallax_degrees": parallax_degrees(structure),
        "focal_px": focal,
        "focal_px_at_640": focal * 640 / max(width, height),
        "field_of_view_degrees": float(np.degrees(2 * np.arctan(0.5 * max(width, height) / focal))),
        "median_depth": depth,
        "camera_reach_over_depth": reach / depth,
        "camera_travel_over_reach": travel / max(reach, 1e-12) if np.isfinite(travel) else 0.0,
    }
    summary = (
        f"structure from motion placed {figures['registered_share']:.0%} of the frames with {len(structure.points)} points, reprojection error "
        f"{figures['reprojection_error_px_at_640']:.2f} px at 640 px image size, focal length {focal / width:.2f} image widths, "
        f"{figures['parallax_degrees']:.1f} degrees of parallax"
    )
    return (summary, *_warnings(figures, config)), {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}


def _warnings(figures: dict[str, Any], config: CheckConfig) -> list[str]:
    low, high = config.field_of_view
    tests = [
        (
            figures["registered_share"] < config.registered,
            "check: {registered_share:.0%} of the frames were placed, the rest follows their neighbours",
        ),
        (figures["reprojection_error_px_at_640"] > config.error, "check: the reprojection error of {reprojection_error_px_at_640:.2f} px is high"),
        (figures["parallax_degrees"] < config.parallax, "check: with {parallax_degrees:.1f} degrees of parallax depth is poorly known"),
        (not low < figures["field_of_view_degrees"] < high, "check: a field of view of {field_of_view_degrees:.0f} degrees is implausible"),
        (figures["camera_reach_over_depth"] < config.path, "check: the camera moved by only {camera_reach_over_depth:.1%} of the scene's depth"),
        (
            figures["camera_travel_over_reach"] > config.wander,
            "check: the camera path wanders ({camera_travel_over_reach:.0f} times its extent): noise",
        ),
    ]
    return [sentence.format(**figures) for failed, sentence in tests if failed]
