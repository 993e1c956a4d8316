"""A splat file that the user supplies is where the static layer starts, in every format that is read."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.capture.ingest import prepare_capture
from fourfold.errors import FourfoldError
from fourfold.geometry.gaussians import Gaussians
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.priors.providers import prepare_priors
from fourfold.priors.supplied.layout import recognised
from fourfold.priors.supplied.still_files import asked
from fourfold.recipes.recipe import QUALITIES
from fourfold.splats.compressed_ply import encode_compressed_ply
from fourfold.splats.drawn import plain
from fourfold.splats.ply import encode_ply
from fourfold.splats.sog import encode_sog
from fourfold.splats.spz import encode_spz


@pytest.mark.parametrize("name", ["still.ply", "still.compressed.ply", "still.spz", "still.sog"])
def test_a_splat_file_is_where_the_static_layer_starts(name, casual_capture, tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    random = torch.Generator().manual_seed(0)
    count = 400
    file = plain(
        Gaussians(
            torch.randn(count, 3, generator=random),
            torch.randn(count, 4, generator=random),
            torch.randn(count, 3, generator=random) * 0.1 - 3,
            torch.randn(count, generator=random) + 1,
            torch.rand(count, 3, generator=random),
            torch.randn(count, 3, 3, generator=random),
        )
    )
    encode = {"still.ply": encode_ply, "still.compressed.ply": encode_compressed_ply, "still.spz": encode_spz, "still.sog": encode_sog}[name]
    (folder / name).write_bytes(encode(file))
    capture = prepare_capture([casual_capture], tmp_path / "capture", pixels=96 * 64, holdout="none", priors_folder=folder)
    assert asked(capture) == ("still",) and any("splats-still" in s for s in recognised(capture))
    done = prepare_priors(capture, asked(capture), tmp_path / "priors")
    layer = static_layer(done.capture, done.priors, QUALITIES["normal"], np.random.default_rng(0), BackgroundNumbers(count=100))
    assert len(layer) == count
    np.testing.assert_allclose(layer.splats["means"], file.means, atol=0.02)
    np.testing.assert_allclose(layer.canonical().color, file.color, atol=0.02)
    np.testing.assert_allclose(layer.splats["log_scale"], file.log_scale, atol=0.04)
    (folder / name).write_bytes(b"nothing")
    with pytest.raises(FourfoldError, match="still"):
        prepare_priors(capture, asked(capture), tmp_path / "priors")


def test_without_a_folder_nothing_is_asked_for(casual_capture, tmp_path):
    assert asked(prepare_capture([casual_capture], tmp_path / "capture", pixels=96 * 64, holdout="none")) == ()
