"""RAFT-small: its correlation window against loops, both public namings, and the real weights against torchvision's numbers and real cameras."""

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.errors import FourfoldError
from fourfold.geometry.epipolar import fundamental_matrix, sampson_error
from fourfold.priors.foundation import raft_network, raft_small
from fourfold.priors.providers import choose
from fourfold.priors.tracking import flow as classical


@pytest.fixture
def state(real_data, monkeypatch):
    """The real RAFT-small; skips where it is not here."""
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(real_data("weights")))
    return raft_small.load_raft()


def _waves(right: float, down: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(136.0), indexing="ij")
    u, v = x - right, y - down
    return (
        torch.stack([torch.sin(u * (0.21 + 0.07 * k) + 0.5 * torch.sin(v * 0.13)) * torch.cos(v * (0.17 + 0.05 * k)) for k in range(3)]) * 0.4 + 0.5
    )


def test_correlation_window_reads_every_level_around_the_arrival():
    torch.manual_seed(0)
    volume = torch.randn(6, 1, 12, 16, dtype=torch.float64)
    pyramid = [volume]
    for _ in range(3):
        pyramid.append(torch.nn.functional.avg_pool2d(pyramid[-1], 2))
    arrival = torch.randint(0, 8, (1, 2, 2, 3)).double() * 2
    window = raft_network._window(pyramid[:2], arrival)
    for level, stack in enumerate(pyramid[:2]):
        for cell in range(6):
            x, y = (int(n) // 2**level for n in arrival[0, :, cell // 3, cell % 3])
            for i in range(7):
                for j in range(7):
                    column, row = x + i - 3, y + j - 3
                    inside = 0 <= column < stack.shape[3] and 0 <= row < stack.shape[2]
                    expected = float(stack[cell, 0, row, column]) if inside else 0.0
                    assert float(window[0, level * 49 + i * 7 + j, cell // 3, cell % 3]) == pytest.approx(expected)


def test_both_public_namings_are_read():
    there = ["feature_encoder.convnormrelu.0.weight", "context_encoder.layer2.0.downsample.0.bias", "feature_encoder.layer3.1.convnormrelu2.0.bias",
             "context_encoder.conv.weight", "update_block.motion_encoder.convcorr1.0.weight", "update_block.motion_encoder.conv.0.bias",
             "update_block.recurrent_block.convgru1.convq.weight", "update_block.flow_head.conv2.bias"]  # fmt: skip
    here = ["fnet.conv1.weight", "cnet.layer2.0.downsample.0.bias", "fnet.layer3.1.conv2.bias", "cnet.conv2.weight",
            "update_block.encoder.convc1.weight", "update_block.encoder.conv.bias",
            "update_block.gru.convq.weight", "update_block.flow_head.conv2.bias"]  # fmt: skip
    assert list(raft_network.renamed({key: torch.zeros(1) for key in there})) == here
    assert list(raft_network.renamed({f"module.{key}": torch.zeros(1) for key in here})) == here


def test_equals_torchvision_on_the_same_weights(state):
    expected = {(20, 30): [2.872, -2.2417], (64, 68): [2.7488, -2.2194], (100, 110): [2.6964, -2.1081]}  # torchvision 0.28, 12 updates
    with torch.no_grad():
        ahead, _ = raft_network.both_ways(state, _waves(0, 0).to(state["fnet.conv1.weight"]), _waves(3, -2).to(state["fnet.conv1.weight"]), 12)
    for (row, column), flow in expected.items():
        assert ahead[:, row, column].tolist() == pytest.approx(flow, abs=5e-4)


def test_flow_is_exact_about_direction_and_size(state):
    first, second = (np.clip(_waves(*shift).permute(1, 2, 0).numpy() * 255, 0, 255).astype(np.uint8) for shift in ((0, 0), (3, -2)))
    for scale in (1, 2):
        big = [np.kron(image, np.ones((scale, scale, 1), np.uint8)) for image in (first, second)]
        ahead, back, sure, _ = raft_small.flow_between(*big, state, raft_small.RaftConfig(pixels=128 * 136))
        inner = (slice(30, -30), slice(30, -30))
        assert np.abs(ahead[inner] - [3 * scale, -2 * scale]).mean() < 0.3 * scale
        assert np.abs(back[inner] + [3 * scale, -2 * scale]).mean() < 0.3 * scale
        assert ahead.shape[:2] == big[0].shape[:2] and (sure[inner] > 0.5).mean() > 0.9


def test_small_images_are_enlarged(state):
    image = np.random.default_rng(0).integers(0, 255, (20, 31, 3)).astype(np.uint8)
    ahead, _, sure, _ = raft_small.flow_between(image, image, state)
    assert ahead.shape == (20, 31, 2) and np.abs(ahead).max() < 0.5 and sure.shape == (20, 31)


def test_the_provider_serves_who_has_the_weights_and_asks_for_it(casual_capture, state, monkeypatch, tmp_path, capsys):
    capture = Capture.load(casual_capture)
    assert choose("flow:raft-small", capture).name == "raft-small" and choose("flow", capture).name == "dis"
    for name in ("FOURFOLD_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert choose("flow", capture).name == "dis"
    assert capsys.readouterr().err == ""  # who keeps no weights is told nothing
    with pytest.raises(FourfoldError, match="weights are not here"):
        choose("flow:raft-small", capture)


def test_beats_the_classical_flow_on_balloon1(state, real_data, tmp_path):
    capture = prepare_capture([real_data("nvidia_balloon1")], tmp_path / "out", pixels=480 * 270)
    height, width = 270, 480
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    here = np.stack([x, y], -1).reshape(-1, 2)
    cameras = [torch.tensor(part[0, t]) for t in (2, 5) for part in (capture.K, capture.world_to_camera)]
    mean = {}
    for name, between in {"dis": classical.flow_between, "raft": lambda a, b: raft_small.flow_between(a, b, state)}.items():
        ahead = between(capture.image(0, 2), capture.image(0, 5))[0].reshape(-1, 2)
        error = sampson_error(fundamental_matrix(*cameras), torch.tensor(here), torch.tensor(here + ahead)).numpy()
        mean[name] = float(np.minimum(error, 5).mean())
    assert mean["raft"] < mean["dis"]


def test_other_networks_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(tmp_path))
    torch.save({"fnet.conv1.weight": torch.zeros(1)}, tmp_path / "raft-small.pth")
    with pytest.raises(FourfoldError, match="not those of RAFT-small"):
        raft_small.load_raft()
