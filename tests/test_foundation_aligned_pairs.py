"""MonoFusion's depth from point maps of pairs, with a network that is right up to each pair's unit: what is aligned, joined and fused must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Priors
from fourfold.priors.depth_alignment.scales import align_depth
from fourfold.priors.foundation import aligned_pairs
from fourfold.priors.foundation.aligned_pairs import VideoNumbers, along_videos, between_cameras
from fourfold.priors.foundation.image_pairs import Cut, cut
from fourfold.priors.providers import choose
from fourfold.recipes import find_recipe
from research_fakes import install
from research_fakes_geometry import FAMILY


class Oracle:
    """Knows the true depth of every image that it is shown; each pair's answer is in a unit of its own, the second's points in the first's axes."""

    def __init__(self, capture: Capture) -> None:
        self.capture, self.generator, self.asked = capture, np.random.default_rng(0), []
        shown = [(v, t) for v in range(capture.views) for t in range(capture.times) if capture.train[v, t]]
        self.known = {self._key(cut(capture.image(v, t)).view["img"]): (v, t) for v, t in shown}

    @staticmethod
    def _key(image: torch.Tensor) -> bytes:
        return image.cpu().numpy().tobytes()

    def __call__(self, first: Cut, second: Cut) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        a, b = (self.known[self._key(c.view["img"])] for c in (first, second))
        self.asked.append((a, b))
        unit = float(np.exp(self.generator.normal(0, 0.4)))
        pose = self.capture.world_to_camera[a]
        parts = [(self._world(image, of) @ pose[:3, :3].T + pose[:3, 3]) / unit for image, of in ((a, first), (b, second))]
        conf = torch.full((1, *first.size), 5.0)
        return {"pts3d": torch.tensor(parts[0])[None], "conf": conf}, {"pts3d_in_other_view": torch.tensor(parts[1])[None], "conf": conf}

    def _world(self, image: tuple[int, int], of: Cut) -> np.ndarray:
        depth, K, pose = self.capture.depth(*image), self.capture.K[image], self.capture.world_to_camera[image]
        assert depth is not None
        height, width = of.size
        x = of.origin[0] + of.step[0] * (np.arange(width) + 0.5)
        y = of.origin[1] + of.step[1] * (np.arange(height) + 0.5)
        near = np.asarray(depth)[np.clip(y.astype(int), 0, depth.shape[0] - 1)][:, np.clip(x.astype(int), 0, depth.shape[1] - 1)].astype(np.float64)
        u, v = np.meshgrid((x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1])
        return (np.stack([u, v, np.ones_like(u)], -1) * near[..., None] - pose[:3, 3]) @ pose[:3, :3]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    folder = tmp_path_factory.mktemp("rig") / "clip"
    return generate("sparse_fixed", folder, options=SyntheticOptions(frames=4, width=64, height=48, supersample=1, tracks=16))


@pytest.fixture
def network(rig: Capture, monkeypatch: pytest.MonkeyPatch) -> Oracle:
    monkeypatch.setattr("fourfold.priors.foundation.image_pairs.LONG_SIDE", 64)
    monkeypatch.setattr(aligned_pairs, "look", lambda network, first, second: network(first, second))
    return Oracle(rig)


def off(made: np.ndarray, capture: Capture, view: int, times: list[int]) -> np.ndarray:
    """Relative error where depth is known, away from edges between surfaces."""
    true = np.stack([np.asarray(capture.depth(view, t)) for t in times])
    smooth = np.ones(true.shape, bool)
    for axis in (1, 2):
        step = np.abs(np.diff(np.log(np.maximum(true, 1e-9)), axis=axis, prepend=np.take(np.log(np.maximum(true, 1e-9)), [0], axis)))
        smooth &= (step < 0.03) & (np.roll(step, -1, axis) < 0.03)
    known = (made[times] > 0) & (true > 0) & np.isfinite(true) & smooth
    assert known.mean() > 0.3
    return made[times][known] / true[known] - 1


def test_cameras_of_a_moment_agree_in_scene_units(rig: Capture, network: Oracle) -> None:
    made = between_cameras(network, rig)
    views = [int(v) for v in np.flatnonzero(rig.train.any(1))]
    assert len(network.asked) == rig.times * len(views) * (len(views) - 1) and all(a[1] == b[1] for a, b in network.asked)
    for view in views:
        assert np.quantile(np.abs(off(made.depth[view], rig, view, [0, 3])), 0.95) < 0.03
        assert 0 < float(made.confidence[view][0].max()) <= 0.8 + 1e-3  # 1 - 1 / 5
    assert all(not made.depth[v].any() for v in np.flatnonzero(~rig.train.any(1))), "held-out images are never looked at"


def test_a_video_agrees_over_time_and_windows_are_joined(rig: Capture, network: Oracle) -> None:
    made = along_videos(network, rig, VideoNumbers(window=3, overlap=1, strides=(1, 2)))
    assert all(a[0] == b[0] for a, b in network.asked)
    for view in np.flatnonzero(rig.train.any(1)):
        error = off(made.depth[int(view)], rig, int(view), [0, 1, 2, 3]) + 1
        assert np.quantile(error, 0.95) / np.quantile(error, 0.05) < 1.06, "one scale for the whole film"


def test_one_scale_per_camera_brings_the_videos_onto_the_cameras(rig: Capture, network: Oracle) -> None:
    videos, agreed = along_videos(network, rig), between_cameras(network, rig)
    fused, scales = align_depth(rig, videos, agreed)
    for view in np.flatnonzero(rig.train.any(1)):
        assert np.ptp(scales[view][rig.train[view]]) == 0
        assert np.quantile(np.abs(off(fused.depth[int(view)], rig, int(view), [1, 2])), 0.95) < 0.03


def test_it_serves_who_names_it_and_the_published_recipe_takes_others_where_it_cannot(rig: Capture) -> None:
    assert choose("depth", rig).name == "given-depth"
    with pytest.raises(FourfoldError, match="monst3r_on_dust3r"):
        choose("depth:monst3r_on_dust3r", rig)
    asked = next(name for name in find_recipe("monofusion/as_published").priors if name.startswith("depth"))
    assert asked == "depth:monst3r_on_dust3r|any" and choose(asked, rig).name == "given-depth"
    assert choose("depth:nobody|any", rig).name == "given-depth"
    with pytest.raises(FourfoldError, match="nothing can provide"):
        choose("depth:nobody", rig)


def test_weights_on_this_machine_make_it_serve(rig: Capture, network: Oracle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = install(monkeypatch, tmp_path, FAMILY)
    (weights / "dust3r").mkdir()
    for file in ("config.json", "model.safetensors"):
        (weights / "dust3r" / file).write_text("{}")
    monkeypatch.setattr(Capture, "has", lambda self, kind, view=0: False)  # without depth of its own
    monkeypatch.setattr(aligned_pairs, "load_network", lambda name: network if name == "dust3r" else None)
    provider = choose("depth:monst3r_on_dust3r|any", rig)
    assert provider.name == "monst3r_on_dust3r"
    (made,) = provider.make(rig, Priors())
    assert made.provenance.needs_weights and len(made.provenance.figures["scales"]) == int(rig.train.any(1).sum())
