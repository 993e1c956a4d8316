"""`anchored` around TAPIP3D where it is at hand: the driver against the network's own forward, anchors in its iterations, and who serves when."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold import notices
from fourfold.capture.capture import Capture
from fourfold.priors.anchored_tracking import provider
from fourfold.priors.anchored_tracking.anchors import AnchorNumbers, Anchors
from fourfold.priors.anchored_tracking.driver import track_anchored
from fourfold.priors.anchored_tracking.interface import Clip
from fourfold.priors.anchored_tracking.rigid_parts import PartNumbers
from fourfold.priors.contracts import Depth, Masks, Priors
from fourfold.priors.foundation import tapip3d, tapir
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.tapip3d import TOP_LEVEL, Tapip3D
from fourfold.priors.foundation.tracks3d import lifted_queries, usable_times
from fourfold.priors.foundation.video import frames_of
from fourfold.priors.providers import choose
from fourfold.recipes.published.shared_bases import EVERY_QUERY
from research_fakes import TAPIP3D, TAPNET, install
from test_foundation_research_tracks import make_capture

AS_RELEASED = PartNumbers(parts=0)


@dataclass(frozen=True)
class Scene:
    """A dot before a wall: the clip, queries (N,) frame and (N, 3) world, and a tracker whose iterations depend on all they are given."""

    capture: Capture
    masks: Masks
    depth: Depth
    clip: Clip
    row: np.ndarray
    start: np.ndarray
    tracker: Tapip3D

    def nothing(self) -> Anchors:
        strong = np.zeros((len(self.clip), len(self.row)), bool)
        return Anchors(np.zeros((*strong.shape, 3)), strong, self.row, self.start)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    install(monkeypatch, tmp_path, TAPIP3D)
    capture, masks, depth = make_capture(tmp_path / "clip")
    times = usable_times(capture, 0)
    queries, _, start = lifted_queries(capture, masks, depth, 0, times)
    near = np.random.default_rng(0).uniform(0.8, 1.0, depth.depth[0].shape)  # no wall: centre and spread of windows differ
    clip = Clip(frames_of(capture, 0, times), (depth.depth[0] * near)[times], capture.K[0, times], capture.world_to_camera[0, times])
    network = research_module("models", *TOP_LEVEL).Stepwise()
    return Scene(capture, masks, depth, clip, queries[:, 0].astype(int), start, Tapip3D(network))


def test_without_anchors_the_driver_gives_the_networks_own_tracks(scene: Scene) -> None:
    xyz, visibility = scene.tracker.track(scene.clip, np.column_stack([scene.row, scene.start]))
    assert np.abs(xyz - scene.start[:, None]).max() > 1  # they do move
    found = track_anchored(scene.clip, scene.tracker, scene.nothing(), parts=AS_RELEASED)
    assert np.abs(found.xyz.transpose(1, 0, 2) - xyz).max() < 1e-4
    judged = found.visibility.T > 0  # 0: predicted visible outside the image
    assert judged.mean() > 0.5 and np.abs(found.visibility.T - visibility)[judged].max() < 1e-4


def test_anchors_everywhere_come_back_exactly(scene: Scene) -> None:
    places = scene.start[None] + np.random.default_rng(1).standard_normal((len(scene.clip), len(scene.row), 3))
    anchors = Anchors(places, np.ones(places.shape[:2], bool), scene.row, places[scene.row, np.arange(len(scene.row))])
    found = track_anchored(scene.clip, scene.tracker, anchors)
    np.testing.assert_array_equal(found.xyz, places)


def test_an_anchor_pulls_the_frames_beside_it_through_the_iterations(scene: Scene) -> None:
    numbers, plain = AnchorNumbers(gap=-1), scene.nothing()
    free = track_anchored(scene.clip, scene.tracker, plain, numbers, AS_RELEASED)
    strong = plain.strong.copy()
    strong[1] = True
    aside = np.array([0.0, 0.0, 0.4])
    held = track_anchored(scene.clip, scene.tracker, Anchors(free.xyz + aside, strong, scene.row, scene.start), numbers, AS_RELEASED)
    np.testing.assert_array_equal(held.xyz[1], free.xyz[1] + aside)
    moved = (held.xyz - free.xyz)[:, scene.row == 0, 2]
    # at rest the first frame is off by d with 0.6 d = 0.15 (d + 0.4); set only after the iterations an anchor would move nothing else
    assert np.abs(moved[0] - 0.15 * 0.4 / 0.45).max() < 0.01
    assert moved[2].min() > 0 and np.abs(moved[4:]).max() < 0.01


def _weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Capture:
    """TAPIP3D and BootsTAPIR with weights and code at hand, on a machine that says it has a CUDA device but computes on the CPU."""
    weights = install(monkeypatch, tmp_path, TAPIP3D | TAPNET)
    mixer = {"torch_pips_mixer.linear.weight": torch.zeros(1, 388 + 3 * 49), "torch_pips_mixer.linear.bias": torch.zeros(1)}
    torch.save(mixer | {"extra_convs.weight": torch.zeros(1, 1), "extra_convs.bias": torch.zeros(1)}, weights / "bootstapir_checkpoint_v2.pt")
    (weights / "tapip3d_final.pth").write_bytes(b"fake")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for module in (tapip3d, tapir):
        monkeypatch.setattr(module, "device_here", lambda: torch.device("cpu"))
    monkeypatch.setattr(tapip3d, "load_model", lambda path: research_module("models", *TOP_LEVEL).Stepwise())
    return make_capture(tmp_path / "clip")[0]


def test_the_best_trackers_at_hand_serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    capture = _weights(monkeypatch, tmp_path)
    _, masks, depth = make_capture(tmp_path / "clip")
    flat = choose("tracks2d", capture)
    assert flat.name == "tapir"
    tracks2d = flat.make(capture, Priors(masks=masks, depth=depth))[0]
    chosen = choose("tracks3d:anchored", capture)
    assert chosen.inputs(capture) == "tapip3d"  # results kept from Cat3D are not taken for it
    found = chosen.make(capture, Priors(masks=masks, depth=depth, tracks2d=tracks2d))[0]
    assert found.provenance.provider == "tapip3d anchored by bootstapir" and found.provenance.needs_weights
    assert len(found.xyz) > 50 and np.isfinite(found.xyz).all()
    alone = choose("tracks3d:unanchored", capture)
    assert alone.inputs(capture) == "tapip3d"  # the ablation keeps the tracker
    drifting = alone.make(capture, Priors(masks=masks, depth=depth, tracks2d=tracks2d))[0]
    assert drifting.provenance.provider == found.provenance.provider and not np.allclose(drifting.xyz, found.xyz, atol=1e-3)


def test_published_recipes_ask_the_papers_tracker_in_every_frame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    capture = _weights(monkeypatch, tmp_path)
    _, masks, depth = make_capture(tmp_path / "clip")
    every = choose(EVERY_QUERY, capture)
    assert every.name == "tapir_every_frame"
    tracks2d = every.make(capture, Priors(masks=masks))[0]
    assert set(tracks2d.query_time.tolist()) == set(usable_times(capture, 0))
    priors = Priors(masks=masks, depth=depth, tracks2d=tracks2d)
    found = choose("tracks3d:anchored_every_query", capture).make(capture, priors)[0]
    fewer = provider.anchored_tracks(capture, priors, provider.best_tracker(), queries=provider.QueryNumbers(most=60))
    assert len(found.xyz) > 100 > 60 >= len(fewer.xyz)
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose(EVERY_QUERY, capture).name == "chained_lucas_kanade"


def test_without_tapip3d_the_weight_free_tracker_serves_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    capture = _weights(monkeypatch, tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(notices, "_outside", notices.Notices())
    assert provider.best_tracker().name == "cat3d"
    assert notices.fallbacks() == [
        "tracks3d from anchored runs without TAPIP3D (TAPIP3D's compiled neighbour search needs a CUDA device), the weight-free Cat3D is anchored"
    ]
    assert choose("tracks3d:anchored", capture).inputs(capture) is None
    monkeypatch.setattr(notices, "_outside", notices.Notices())
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert provider.best_tracker().name == "cat3d"
    assert notices.fallbacks() == []  # nobody here uses weights
