"""A generated capture whose masks and depth, and perhaps cameras, nobody sees, so that every prior has to be estimated or is exact on purpose.

What was trained with cameras of its own stands in a world of its own: held-out cameras are brought there before anything is measured.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic.truth import TRUTH, Truth
from fourfold.files import replacing
from fourfold.geometry.alignment import umeyama

IMAGE = re.compile(r"(masks|depth)_(\d+)\.npy")


def hide(source: Path, target: Path, cameras: bool = False) -> Path:
    """A copy of the generated capture `source` at `target`, made unless it is there.

    Depth, and the masks of views that are trained on, go to its `truth/`; masks of held-out views stay, since they tell where is measured. With
    `cameras` those are hidden too: it is filmed bare.
    """
    if (target / "capture.json").exists():
        return target
    trained = Capture.load(source).train.any(axis=1)
    with replacing(target) as folder:
        shutil.copytree(source, folder)
        for file in sorted(folder.glob("*.npy")):
            told = IMAGE.fullmatch(file.name)
            if told and (told[1] == "depth" or trained[int(told[2])]):
                (folder / TRUTH).mkdir(exist_ok=True)
                file.rename(folder / TRUTH / file.name)
        if cameras:
            seen = Capture.load(folder)
            none = np.full_like(seen.K, np.nan), np.full_like(seen.world_to_camera, np.nan)
            replace(seen.with_cameras(*none, "unknown"), metric=False).save()
    return target


def with_heldout_cameras(capture: Capture, source: Path) -> Capture:
    """The trained `capture` of the generated one in `source` with its held-out cameras, which nobody estimates.

    They are the truth's, by the similarity that brings the true training cameras onto the estimated ones: the rotation that lies amid those
    between pairs, then scale and shift of their centres. As it is where cameras are given, or stand at one place and tell no scale.
    """
    if capture.cameras == "given" or not (source / TRUTH / "truth.safetensors").exists():
        return capture
    truth, known = Truth.load(source), capture.posed & capture.train
    if known.sum() < 3 or truth.world_to_camera.shape[1] != capture.times:
        return capture
    true_pose, K = truth.world_to_camera[: capture.views], truth.K[: capture.views].copy()
    K[:, :, :2] *= (capture.sizes / Capture.load(source).sizes)[:, None, :, None]
    theirs, ours = true_pose[known], capture.world_to_camera[known]
    left, _, right = np.linalg.svd(np.einsum("nji,njk->ik", ours[:, :3, :3], theirs[:, :3, :3]))
    rotation = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    at, to = (-np.einsum("nji,nj->ni", p[:, :3, :3], p[:, :3, 3]) for p in (theirs, ours))
    if np.ptp(to, axis=0).max() < 1e-9:
        return capture
    scale = float(umeyama(torch.from_numpy(at @ rotation.T), torch.from_numpy(to))[0])
    shift = (to - scale * at @ rotation.T).mean(0)
    moved = np.broadcast_to(np.eye(4), true_pose.shape).copy()
    moved[..., :3, :3] = true_pose[..., :3, :3] @ rotation.T
    centre = scale * -np.einsum("vtji,vtj->vti", true_pose[..., :3, :3], true_pose[..., :3, 3]) @ rotation.T + shift
    moved[..., :3, 3] = -np.einsum("vtij,vtj->vti", moved[..., :3, :3], centre)
    fill = (capture.heldout & ~capture.posed)[..., None, None]
    return capture.with_cameras(np.where(fill, K, capture.K), np.where(fill, moved, capture.world_to_camera), capture.cameras)
