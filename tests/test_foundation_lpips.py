"""LPIPS against torchmetrics' computation on the same random backbones, built here layer by layer in torchvision's order."""

import numpy as np
import pytest
import torch
from torch import nn

from fourfold.errors import FourfoldError
from fourfold.priors.foundation.lpips import NETWORKS, Lpips

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze, self.expand1x1 = nn.Conv2d(inputs, squeeze, 1), nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def _features(network: str) -> nn.Sequential:
    """The `features` of torchvision's AlexNet, VGG-16 and SqueezeNet 1.1, with small random tensors."""
    if network == "alex":
        sizes = [(3, 64, 11, 4, 2), None, (64, 192, 5, 1, 2), None, (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1), None]
        layers = [layer for s in sizes for layer in ([nn.MaxPool2d(3, 2)] if s is None else [nn.Conv2d(*s[:3], s[3], s[4]), nn.ReLU()])]
    elif network == "vgg":
        layers, inputs = [], 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2, 2))
    else:

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), _Fire(64, 16, 64), _Fire(128, 16, 64), pool(), _Fire(128, 32, 128), _Fire(256, 32, 128),
                  pool(), _Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)]  # fmt: skip
    return nn.Sequential(*layers)


@pytest.mark.parametrize("network", NETWORKS)
def test_equals_torchmetrics_on_the_same_backbone(network, tmp_path, monkeypatch):
    torchmetrics = pytest.importorskip("torchmetrics.functional.image.lpips")
    torch.manual_seed(0)
    features = _features(network)
    torch.save({**{f"features.{k}": v for k, v in features.state_dict().items()}, "classifier.1.weight": torch.zeros(2)}, tmp_path / FILES[network])
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(torchmetrics, "_get_tv_model_features", lambda *_: features)
    reference = torchmetrics._LPIPS(net=network)
    image, other = np.random.default_rng(0).random((2, 75, 90, 3)).astype(np.float32)
    a, b = (torch.from_numpy(i).permute(2, 0, 1)[None] for i in (image, other))
    ours = Lpips(network)
    assert ours(image, other) == pytest.approx(float(reference(a, b, normalize=True)), rel=1e-5)
    assert ours(image, image) == 0.0
    reference.spatial = True
    np.testing.assert_allclose(ours.map(image, other), reference(a, b, normalize=True)[0, 0].numpy(), rtol=1e-4, atol=1e-7)


def test_a_foreign_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(tmp_path))
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / FILES["alex"])
    with pytest.raises(FourfoldError, match="not those of alex"):
        Lpips("alex")
