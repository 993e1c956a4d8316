"""EPE, delta, AJ and OA of the iPhone keypoints, as Shape of Motion computes them. Source: spec shape_of_motion.md section 11."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.evaluation.keypoints import Keypoints, read_keypoints
from fourfold.evaluation.protocols.catalogue import find_protocol
from fourfold.evaluation.protocols.score import Outcome
from fourfold.evaluation.track_metrics import IPHONE_PIXELS, score_tracks
from fourfold.export.tracking import sample, world_paths
from fourfold.geometry.alignment import umeyama
from fourfold.geometry.projection import project
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene

VARIANTS = {
    "epe_3d": "epe_3d:metres",
    "delta_3d_05": "delta_3d:5 cm",
    "delta_3d_10": "delta_3d:10 cm",
    **{key: f"{key}:iphone" for key in ("aj", "delta_avg", "oa")},
}
HIDDEN = 0.05
"""A predicted point counts as seen where the scene's own depth is nearer to it than this, metres."""


@dataclass(frozen=True)
class Predicted:
    """Where a scene has J keypoints of K moments at each of the K moments; the first axis is the moment they are asked at.

    Attributes:
        xyz: (K, K, J, 3) in the world of the scene; xy: (K, K, J, 2) pixels at 1x.
        beside: (K, K, J) distance along the axis between the point and the depth that the scene shows there, scene units.
        centre: (K, 3) places of the scene's cameras.
    """

    xyz: NDArray[np.float64]
    xy: NDArray[np.float64]
    beside: NDArray[np.float64]
    centre: NDArray[np.float64]


def predict(scene: Scene, capture: Capture, keypoints: Keypoints) -> Predicted:
    """Follow every keypoint from every annotated moment to all of them. Points that are not seen where they are asked are followed too."""
    views = [(float(capture.timestamps[t]), replace(capture.camera_at(keypoints.view, int(t)), near=scene.near)) for t in keypoints.index]
    ratio = np.asarray(capture.sizes[keypoints.view], float) / np.asarray(keypoints.size, float)
    with torch.no_grad():
        drawn = [rasterize(scene.at(second), camera) for second, camera in views]
        shape = (len(views), len(views), keypoints.xy.shape[1])
        xyz, xy, beside = np.zeros((*shape, 3)), np.zeros((*shape, 2)), np.zeros(shape)
        for i, asked in enumerate(views):
            world, _ = world_paths(scene, asked, torch.tensor(keypoints.xy[i] * ratio, dtype=torch.float32), [second for second, _ in views])
            xyz[i] = world.movedim(1, 0).double().numpy()
            for j, (_, camera) in enumerate(views):
                pixel, depth = project(world[:, j], camera.K.to(world), camera.world_to_camera.to(world))
                shown = sample(drawn[j].depth[..., None], pixel)[:, 0]
                xy[i, j], beside[i, j] = pixel.double().numpy() / ratio, (shown - depth).abs().double().numpy()
    pose = capture.world_to_camera[keypoints.view, keypoints.index]
    return Predicted(xyz, xy, beside, -np.einsum("kji,kj->ki", pose[:, :3, :3], pose[:, :3, 3]))


def with_keypoints(outcome: Outcome, protocol: str, scene: Scene, capture: Capture) -> Outcome:
    """`outcome` of the protocol with the figures of the annotated keypoints, or why there are none; as it is where the protocol has none."""
    found = find_protocol(protocol)
    if not found.keypoints:
        return outcome
    keypoints, split = read_keypoints(capture), found.split_told(capture.facts.get("holdout"))
    figures = {} if keypoints is None else score_keypoints(keypoints, predict(scene, capture, keypoints))
    reason = "the capture brought no keypoints (keypoint/2x/train)" if keypoints is None else "no keypoint is seen at two of its moments"
    return replace(
        outcome,
        metrics=outcome.metrics | {key: figures.get(key) for key in VARIANTS},
        variants=outcome.variants | {key: variant + split for key, variant in VARIANTS.items()},
        unavailable=outcome.unavailable | {key: reason for key in VARIANTS if key not in figures},
    )


def score_keypoints(keypoints: Keypoints, predicted: Predicted) -> dict[str, float]:
    """The figures by key: EPE in metres, shares in percent; empty if no point is seen at two moments.

    Predictions are brought to the data's world by the similarity of the camera centres. In space all ordered pairs of moments count, a pair of
    a moment with itself too, each by the mean over points that are seen at both and have a depth at the second; in the image the pairs of two
    moments, and the points seen at the first.
    """
    scale, moved = _brought(keypoints, predicted)
    moments = len(keypoints.index)
    error = np.linalg.norm(moved - keypoints.xyz[None], axis=-1)
    judged = keypoints.seen[:, None] & keypoints.seen[None] & np.isfinite(keypoints.xyz).all(-1)[None]
    pairs = [error[i, j][judged[i, j]] for i in range(moments) for j in range(moments) if judged[i, j].any()]
    if not pairs:
        return {}
    figures = {"epe_3d": float(np.mean([pair.mean() for pair in pairs]))}
    for key, within in (("delta_3d_05", 0.05), ("delta_3d_10", 0.10)):
        figures[key] = 100 * float(np.mean([(pair < within).mean() for pair in pairs]))
    distance = np.linalg.norm(predicted.xy - keypoints.xy[None], axis=-1)
    asked = np.broadcast_to(keypoints.seen[:, None] & ~np.eye(moments, dtype=bool)[..., None], distance.shape)
    true = np.broadcast_to(keypoints.seen[None], distance.shape)
    flat = [value.swapaxes(1, 2).reshape(-1, moments) for value in (distance, predicted.beside * scale < HIDDEN, true, asked)]
    image = score_tracks(flat[0], flat[1], flat[2], flat[3], IPHONE_PIXELS)
    return figures if image is None else {**figures, "aj": image.aj, "delta_avg": image.delta_avg, "oa": image.oa}


def _brought(keypoints: Keypoints, predicted: Predicted) -> tuple[float, NDArray[np.float64]]:
    """Metres per scene unit, and the predicted points in the data's world. Cameras that stand at one place are taken for those of the data."""
    if np.ptp(predicted.centre, axis=0).max() < 1e-9 or len(predicted.centre) < 3:
        return 1.0, predicted.xyz
    scale, rotation, shift = (part.numpy() for part in umeyama(torch.from_numpy(predicted.centre), torch.from_numpy(keypoints.centre)))
    return float(scale), float(scale) * predicted.xyz @ rotation.T + shift
