"""OpenEXR images of one quantity, such as depth, through the library OpenEXR where it is installed: the header is checked before pixels are read."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.untrusted.images import MOST_PIXELS

CHANNELS = ("Z", "depth", "depth.Z", "Depth", "Y", "R")  # names of the channel that is wanted, the likeliest first


@cache
def reads_exr() -> bool:
    """Whether the library is there."""
    return find_spec("OpenEXR") is not None


def load_exr(path: Path) -> NDArray[Any]:
    """One channel (H, W): that of depth or luminance, or red. FourfoldError if it is missing, damaged, too large, or the library is."""
    if not reads_exr():
        raise FourfoldError(f"{path} needs the library OpenEXR: pip install 'fourfold[record3d]'")
    import OpenEXR

    if not path.is_file():
        raise FourfoldError(f"{path} is missing: the layout needs it")
    try:
        header = OpenEXR.File(str(path), header_only=True).header()
        (left, top), (right, bottom) = (np.asarray(corner, np.int64) for corner in header["dataWindow"])
        width, height = int(right - left + 1), int(bottom - top + 1)
        names = [channel.name for channel in header["channels"]]
    except Exception as error:  # the library raises what its parser meets in a damaged file
        raise FourfoldError(f"{path} cannot be read as OpenEXR: replace or remove it") from error
    if not 0 < width * height * len(names) <= MOST_PIXELS or min(width, height) < 1:
        raise FourfoldError(f"{path} states {width}x{height} pixels of {len(names)} channels, at most {MOST_PIXELS // 10**6} million are read")
    name = next((n for n in CHANNELS if n in names), names[0])
    try:
        return np.asarray(OpenEXR.File(str(path), separate_channels=True).channels()[name].pixels)
    except Exception as error:
        raise FourfoldError(f"{path} cannot be read as OpenEXR: replace or remove it") from error
