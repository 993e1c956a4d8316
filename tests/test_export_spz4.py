"""SPZ of version 4: axes and numbers of the library that writes it, and what is lost."""

import struct
from dataclasses import replace

import pytest
import torch

from every_motion import scene_of, walking_camera
from fourfold.errors import FourfoldError
from fourfold.export.formats import export
from fourfold.export.options import ExportOptions
from fourfold.splats.drawn import drawn
from fourfold.splats.ply import encode_ply
from fourfold.splats.read import read_splats
from fourfold.splats.spz import decode_spz

gaussforge = pytest.importorskip("gaussforge")


def _alike(one, two):
    """Within the rounding of the format, both in the same order."""
    assert (one.means - two.means).abs().max() <= 2 / 4096
    assert (one.log_scale - two.log_scale).abs().max() <= 0.51 / 16
    assert (one.opacity - two.opacity).abs().max() <= 0.51 / 255
    assert (one.color - two.color).abs().max() <= 0.51 / 255 / 0.15 * 0.2821
    assert (one.sh_rest - two.sh_rest).abs().max() <= 8.5 / 128
    assert (torch.nn.functional.normalize(one.quat_wxyz, dim=1) * two.quat_wxyz).sum(1).abs().min() > 1 - 1e-4


def test_there_and_back(tmp_path):
    from fourfold.export.spz4 import decode_spz4, encode_spz4, turned

    _, shown = drawn(scene_of("linear", terms=8).at(0.5))
    data = encode_spz4(shown)
    assert struct.unpack("<III", data[:12]) == (0x5053474E, 4, len(shown))
    _alike(decode_spz4(data, "a.spz"), shown)
    certain = replace(shown, opacity_logit=torch.full_like(shown.opacity_logit, 20.0))
    assert decode_spz4(encode_spz4(certain), "c.spz").opacity_logit.isfinite().all()
    older = gaussforge.GaussForge().convert(encode_ply(turned(shown)), "ply", "spz", spz_version=3)["data"]
    _alike(decode_spz(older, "b.spz"), shown)


def test_the_loss_is_told_and_the_file_is_not_read_by_us(tmp_path):
    lost = export("spz4", scene_of("linear"), walking_camera(), tmp_path / "a.spz", ExportOptions(time=0.5))
    assert 0 < lost.worst_pixels < 0.1 and lost.decibels > 40
    with pytest.raises(FourfoldError, match="SPZ of version 2 or 3"):
        read_splats(tmp_path / "a.spz")


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gaussforge", None)
    with pytest.raises(FourfoldError, match=r"pip install \"fourfold\[formats\]\""):
        export("spz4", scene_of("linear"), walking_camera(), tmp_path / "a.spz")
    assert not list(tmp_path.iterdir())
