"""Aligned disparity as Shape of Motion keeps it: `aligned_NAME/[1x/|SEQUENCE/]FRAME.npy`, (H, W), 1 / depth in scene units, 0 unknown.

Reading these files as depth is the classic mistake. They are inverted after clipping from below: at 1e-3 for DyCheck captures (a largest
depth of 1000), at 1e-6 otherwise. Source: spec priors_monocular.md section 3.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth
from fourfold.priors.supplied.depth_files import depth_from
from fourfold.priors.supplied.depth_files import find as find_files
from fourfold.priors.supplied.layout import Layout, array_of

FOLDERS = ("aligned_*/1x", "flow3d_preprocessed/aligned_*/1x", "aligned_*", "flow3d_preprocessed/aligned_*")
LEAST_METRIC, LEAST = 1e-3, 1e-6  # 1 / scene units


def read(capture: Capture, files: list[Path]) -> Depth:
    """Depth with confidence 1 where there is a disparity."""
    return depth_from(capture, files[0], (".npy",), partial(_load, least=LEAST_METRIC if capture.metric else LEAST), "aligned disparity (supplied)")


def _load(path: Path, least: float) -> NDArray[np.float32]:
    disparity = np.squeeze(array_of(path)).astype(np.float64)
    known = np.isfinite(disparity) & (disparity > 0)
    return np.where(known, 1 / np.maximum(np.where(known, disparity, 1), least), 0).astype(np.float32)


PROVIDERS = Layout("aligned-disparity", "depth", partial(find_files, names=FOLDERS), read, several=True).providers()
