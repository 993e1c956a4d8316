"""Captures for judging one prior alone: the images of a synthetic capture with chosen parts of its truth, exact or spoilt, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import NoiseOptions, SyntheticOptions, generate, truth_image
from fourfold.capture.synthetic.noise import noisy_depth, noisy_mask
from fourfold.capture.synthetic.truth import Truth
from fourfold.files import replacing

IMAGE_NOISE = 5.0
"""Deviation of the noise added to every grey level of noisy images, of 255."""


@dataclass(frozen=True)
class Draft:
    """Size of a benchmark capture: frames, width and height in pixels. Frame rate and cameras are the kind's own."""

    frames: int
    width: int
    height: int


DRAFTS = {
    "casual": Draft(48, 320, 180),
    "orbit360": Draft(48, 160, 90),
    "sparse_fixed": Draft(12, 160, 90),
    "sparse_moving": Draft(12, 192, 108),
    "dense_rig": Draft(8, 128, 72),
}
"""What each kind is generated at: large enough for its priors to work, small enough for the whole table to take minutes."""


def base_capture(kind: str, seed: int, folder: Path) -> Path:
    """The bare synthetic capture with its truth in `folder`, made if it is not there."""
    draft = DRAFTS[kind]
    root = folder / f"{kind}_{draft.width}x{draft.height}x{draft.frames}_seed{seed}"
    if not (root / "capture.json").exists():
        generate(kind, root, seed=seed, options=SyntheticOptions(frames=draft.frames, width=draft.width, height=draft.height, bare=True))
    return root


def variant(base: Path, given: Sequence[str], noise: bool, folder: Path) -> Capture:
    """The capture `base` with the truth of the priors `given` ("cameras", "masks", "depth"), made in `folder` if it is not there.

    With noise the images get Gaussian noise, masks and depth are spoilt as `capture/synthetic/noise.py` does; cameras stay exact.
    The truth itself stays out of the folder.
    """
    name = "_".join([base.name, "with", *(given or ["images_alone"]), *(["noisy"] if noise else [])])
    root = folder / name
    if not (root / "capture.json").exists():
        with replacing(root) as temporary:
            temporary.mkdir(parents=True)
            _write(base, temporary, given, noise)
    return Capture.load(root)


def _write(base: Path, root: Path, given: Sequence[str], noise: bool) -> None:
    capture, truth = Capture.load(base), Truth.load(base)
    rng, options = np.random.default_rng(len(base.name)), NoiseOptions()
    for view in range(capture.views):
        frames = base / f"frames_{view:03d}.npy"
        if noise:
            images = np.load(frames, allow_pickle=False)
            _keep(root, frames.name, np.stack([_noisy_image(image, rng) for image in images]))
        else:
            (root / frames.name).symlink_to(frames.resolve())
        for kind, spoil in (("masks", noisy_mask), ("depth", noisy_depth)):
            if kind in given:
                exact = truth_image(base, kind, view)
                _keep(root, f"{kind}_{view:03d}.npy", np.stack([spoil(e, options, rng) for e in exact]) if noise else np.array(exact))
    known = {"K": truth.K, "world_to_camera": truth.world_to_camera, "cameras": "given"} if "cameras" in given else {}
    replace(capture, root=root, **known).save()


def _noisy_image(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(image + IMAGE_NOISE * rng.standard_normal(image.shape, np.float32) + 0.5, 0, 255).astype(np.uint8)


def _keep(root: Path, name: str, array: NDArray[Any]) -> None:
    np.save(root / name, array, allow_pickle=False)
