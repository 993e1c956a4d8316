"""A splat file of what stands still (`still.ply`, `.compressed.ply`, `.spz` or `.sog`): where the static layer starts.

Its colours are taken without their spherical harmonics. It must lie in the world of the capture's cameras: that of given or supplied ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.notices import fallback
from fourfold.priors.contracts import Prior, Provenance, Still
from fourfold.priors.supplied.layout import Layout
from fourfold.priors.supplied.places import given_folder
from fourfold.splats.read import SUFFIXES, read_splats

UNTOLD = -3.0  # logarithm of a colour difference: a file does not say what its texture leaves unexplained, 1 / 20 is usual


def find(capture: Capture, given: bool) -> list[Path]:
    """The first `still.*` in the folder that the user gave; what merely lies beside a capture is not taken for its surroundings."""
    folder = given_folder(capture)
    if not given or folder is None:
        return []
    names = [f"still{suffix}" for suffix in (*SUFFIXES, ".compressed.ply")]
    return [folder / name for name in names if (folder / name).is_file()][:1]


def asked(capture: Capture) -> tuple[str, ...]:
    """The prior "still" where the user gave a file of it, whichever recipe is used: a start is wanted for its own sake."""
    return ("still",) if find(capture, True) else ()


def read(capture: Capture, files: list[Path]) -> Prior:
    """The file's Gaussians in the capture's world."""
    g = read_splats(files[0])
    if capture.cameras != "given":
        fallback(f"{files[0]} is taken to lie in the world of the estimated cameras: give the cameras that it was made with too")
    values = {
        name: np.ascontiguousarray(getattr(g, name).numpy(), np.float32) for name in ("means", "quat_wxyz", "log_scale", "opacity_logit", "color")
    }
    about = Provenance("splats (supplied)", figures={"file": str(files[0]), "gaussians": len(g)})
    return Still(about, **values, log_residual=np.full(len(g), UNTOLD, np.float32))


PROVIDERS = Layout("splats", "still", find, read, several=True, straight=False).providers()[:1]
