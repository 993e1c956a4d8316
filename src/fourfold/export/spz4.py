"""SPZ version 4, zstd streams, through the library gaussforge (Apache-2.0), which holds Niantic's own writer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.moment_files import packed
from fourfold.export.options import ExportOptions, moment
from fourfold.export.packing import PackingError
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import Scene
from fourfold.splats.drawn import LEAST_OPAQUE, MOST_OPAQUE
from fourfold.splats.ply import decode_ply, encode_ply
from fourfold.splats.spz import FLIPPED

VERSION = 4
SURE = tuple(torch.logit(torch.tensor((LEAST_OPAQUE, MOST_OPAQUE))).tolist())
"""Logits of the least and the most opacity that is read, as of earlier versions."""


def export_spz4(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> PackingError:
    """One moment as Niantic's SPZ of version 4. FourfoldError without the library."""
    return packed(scene, capture, out, moment(scene, options), (encode_spz4, decode_spz4))


def encode_spz4(gaussians: Gaussians) -> bytes:
    """The file of `gaussians` (`drawn.plain` ones), all in order."""
    return _converted(encode_ply(turned(gaussians)), "ply", "spz", "what is to be written")


def decode_spz4(data: bytes, name: str) -> Gaussians:
    """The Gaussians of a file that `encode_spz4` wrote; files of unknown origin are not given to the library."""
    g = turned(decode_ply(_converted(data, "spz", "ply", name), name))
    return replace(g, opacity_logit=g.opacity_logit.clamp(*SURE))  # a byte of 255 is read as certain


def turned(g: Gaussians) -> Gaussians:
    """The same with y and z turned round, from our axes to the format's or back: the library leaves axes as they come."""
    rest = None if g.sh_rest is None else g.sh_rest * g.sh_rest.new_tensor(FLIPPED)[: g.sh_rest.shape[1], None]
    return replace(g, means=g.means * g.means.new_tensor([1, -1, -1]), quat_wxyz=g.quat_wxyz * g.quat_wxyz.new_tensor([1, 1, -1, -1]), sh_rest=rest)


def _converted(data: bytes, theirs: str, wanted: str, name: str) -> bytes:
    try:
        import gaussforge
    except ImportError as error:
        raise FourfoldError('SPZ of version 4 is written through the library gaussforge: pip install "fourfold[formats]"') from error
    answer: dict[str, Any] = gaussforge.GaussForge().convert(data, theirs, wanted, spz_version=VERSION)
    if "data" not in answer:
        raise FourfoldError(f"{name} cannot be held by SPZ of version {VERSION} ({answer.get('error')}): export another format")
    return answer["data"]
