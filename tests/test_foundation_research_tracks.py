"""Adapters of trackers against fakes with the real signatures: a bright dot on a known path must come back exactly, in our conventions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.anchored_tracking.anchors import AnchorNumbers, Anchors
from fourfold.priors.anchored_tracking.driver import track_anchored
from fourfold.priors.anchored_tracking.interface import Clip
from fourfold.priors.contracts import Depth, Masks, Matches, Priors, Provenance
from fourfold.priors.foundation import cotracker, mvtracker, spatialtracker, tapir
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.tapip3d import TOP_LEVEL, Tapip3D
from fourfold.priors.foundation.tracks3d import lifted_queries, usable_times
from fourfold.priors.foundation.video import both_ways, frames_of, from_network, network_intrinsics, to_network
from fourfold.priors.providers import choose
from research_fakes import COTRACKER, MVTRACKER, SPATIALTRACKER, TAPIP3D, TAPNET, install, save_state

WIDTH, HEIGHT, TIMES, FOCAL, AWAY = 96, 64, 7, 80.0, 4.0


def dot_at(time: int, view: int = 0) -> np.ndarray:
    """Where the dot's centre is in the image, pixels with centres at +0.5."""
    return np.array([20.25 + 8 * time - 10 * view, 30.5 - 2 * time])


def make_capture(root: Path, views: int = 1) -> tuple[Capture, Masks, Depth]:
    """A dot that crosses the image of a camera that looks at a wall `AWAY` off; the middle moment is held out."""
    root.mkdir(parents=True, exist_ok=True)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    masks, depths = [], []
    for view in range(views):
        frames, mask = np.zeros((TIMES, HEIGHT, WIDTH, 3), np.uint8), np.full((TIMES, HEIGHT, WIDTH), -1, np.int8)
        for time in range(TIMES):
            distance = np.hypot(x - dot_at(time, view)[0], y - dot_at(time, view)[1])
            frames[time] = np.round(50 + 200 * np.exp(-((distance / 5) ** 2)))[..., None]
            mask[time][distance < 6] = 1
        np.save(root / f"frames_{view:03d}.npy", frames)
        masks.append(mask)
        depths.append(np.full((TIMES, HEIGHT, WIDTH), AWAY, np.float32))
    poses = np.tile(np.eye(4), (views, TIMES, 1, 1))
    poses[:, :, 0, 3] = -np.arange(views)[:, None] * 10 * AWAY / FOCAL
    present, train = np.ones((views, TIMES), bool), np.ones((views, TIMES), bool)
    train[:, 3] = False
    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    names = tuple(f"camera{v}" for v in range(views))
    capture = Capture(
        root=root,
        K=np.tile(K, (views, TIMES, 1, 1)),
        world_to_camera=poses,
        timestamps=np.arange(TIMES) / 30,
        sizes=np.tile([[WIDTH, HEIGHT]], (views, 1)),
        present=present,
        train=train,
        heldout=present & ~train,
        cameras="given",
        metric=False,
        name="dot",
        view_names=names,
    )
    truth = Provenance("truth")
    sure = tuple(np.ones(d.shape, np.float16) for d in depths)
    return capture, Masks(truth, tuple(masks)), Depth(truth, tuple(depths), sure)


def expected_xy(tracks_query: np.ndarray, query_time: np.ndarray, view: np.ndarray) -> np.ndarray:
    path = np.array([[dot_at(t, int(v)) for t in range(TIMES)] for v in view])
    return tracks_query[:, None] + path - path[np.arange(len(path)), query_time][:, None]


@pytest.mark.parametrize("name", ["cotracker3-offline", "cotracker3-online"])
def test_cotracker_follows_the_dot_forward_and_backward(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    weights = install(monkeypatch, tmp_path, COTRACKER)
    save_state(weights / ("scaled_offline.pth" if "offline" in name else "scaled_online.pth"), weight=torch.ones(1))
    capture, masks, _ = make_capture(tmp_path / "clip")
    tracks = cotracker.track(capture, masks, name)
    assert set(tracks.query_time) == {0, 1, 2, 4, 5, 6}
    start = tracks.xy[np.arange(len(tracks.xy)), tracks.query_time]
    assert (start % 1 == 0.5).all()  # pixel centres
    assert np.abs(tracks.xy - expected_xy(start, tracks.query_time, tracks.view)).max() < 0.1
    seen = capture.train[0]
    assert np.allclose(tracks.visibility[:, seen], 0.95, atol=1e-3)
    assert np.allclose(tracks.confidence[:, seen], 0.8, atol=1e-3)
    assert (tracks.visibility[:, ~seen] == 0).all()
    assert tracks.provenance.needs_weights


def test_cotracker_follows_matches_of_several_cameras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two cameras see the dot: where they matched it once, it is followed in both at .1 px and triangulated at every moment that is trained on."""
    weights = install(monkeypatch, tmp_path, COTRACKER)
    capture, masks, depth = make_capture(tmp_path / "clip", views=2)
    assert choose("tracks3d:multiview_tracks_cotracker|multiview_tracks", capture).name == "multiview_tracks"
    save_state(weights / "scaled_online.pth", weight=torch.ones(1))
    chosen = choose("tracks3d:multiview_tracks_cotracker|multiview_tracks", capture)
    assert chosen.name == "multiview_tracks_cotracker" and choose("tracks3d", capture).name != chosen.name
    offset = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-3, 4)), -1).reshape(-1, 2)
    ends = [np.array(dot_at(2, view)) + offset for view in range(2)]
    images, sure = np.array([[0, 2, 1, 2]], np.int32), np.ones(len(offset), np.float16)
    matches = Matches(Provenance("test"), images, np.zeros(len(offset), np.int32), *(xy.astype(np.float32) for xy in ends), sure)
    solid, flat = chosen.make(capture, Priors(masks=masks, depth=depth, matches=matches))
    seen = solid.visibility > 0
    assert len(solid.xyz) > 20 and seen[:, capture.train[0]].mean() > 0.9 and not seen[:, ~capture.train[0]].any()
    assert np.abs(solid.xyz[..., 2][seen] - AWAY).max() < 0.05 * AWAY
    moved = flat.xy[flat.view == 0][:, 6] - flat.xy[flat.view == 0][:, 0]
    assert np.abs(moved - (np.array(dot_at(6, 0)) - np.array(dot_at(0, 0)))).max() < 0.1


def test_tapir_gives_visibility_and_certainty_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = install(monkeypatch, tmp_path, TAPNET)
    mixer = {"torch_pips_mixer.linear.weight": torch.zeros(1, 388 + 3 * 49), "torch_pips_mixer.linear.bias": torch.zeros(1)}
    torch.save(mixer | {"extra_convs.weight": torch.zeros(1, 1), "extra_convs.bias": torch.zeros(1)}, weights / "bootstapir_checkpoint_v2.pt")
    capture, masks, _ = make_capture(tmp_path / "clip")
    tracks = tapir.track(capture, masks, "bootstapir")
    start = tracks.xy[np.arange(len(tracks.xy)), tracks.query_time]
    assert np.abs(tracks.xy - expected_xy(start, tracks.query_time, tracks.view)).max() < 0.3
    high, low = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))
    assert np.allclose(tracks.visibility[:, :3], [high, low, low], atol=1e-3)
    assert np.allclose(tracks.confidence[:, :3], [high, high, low], atol=1e-3)  # visible; surely hidden; says nothing


def test_mvtracker_and_spatialtracker_find_the_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    capture, masks, depth = make_capture(tmp_path / "clip", views=2)
    weights = install(monkeypatch, tmp_path, MVTRACKER | SPATIALTRACKER)
    save_state(weights / "mvtracker_200000_june2025.pth", weight=torch.zeros(1))
    save_state(weights / "spaT_final.pth", weight=torch.zeros(1))
    step = np.array([8.0, -2.0, 0.0]) * AWAY / FOCAL
    for module in (mvtracker, spatialtracker):
        tracks = module.track(capture, masks, depth)
        seen = np.flatnonzero(capture.train[0])
        moved = tracks.xyz[:, seen] - tracks.xyz[:, :1]
        assert len(tracks.xyz) > 50
        assert np.abs(moved - seen[None, :, None] * step).max() < 0.01  # a fifth of a pixel
        first = tracks.xyz[:, 0, :2] * FOCAL / AWAY + [WIDTH / 2, HEIGHT / 2] - dot_at(0)
        assert np.linalg.norm(first, axis=1).max() < 6.2  # all lie on the dot, whichever camera they were seen by
        assert np.allclose(tracks.xyz[..., 2], AWAY, atol=1e-4)
        assert np.allclose(tracks.visibility[:, seen], 0.8, atol=1e-3)
        assert (tracks.native == 1).all()


def test_tapip3d_iterates_and_tracks_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, TAPIP3D)
    capture, masks, depth = make_capture(tmp_path / "clip")
    times = usable_times(capture, 0)
    queries, _, start = lifted_queries(capture, masks, depth, 0, times)
    clip = Clip(frames_of(capture, 0, times), depth.depth[0][times], capture.K[0, times], capture.world_to_camera[0, times])
    row = queries[:, 0].astype(int)
    truth = start[:, None] + (np.array(times)[None] - np.array(times)[row][:, None])[..., None] * np.array([8.0, -2.0, 0.0]) * AWAY / FOCAL
    tracker = Tapip3D(research_module("models", *TOP_LEVEL).Net())
    xyz, visibility = tracker.track(clip, np.concatenate([queries[:, :1], start], axis=1))
    assert np.abs(xyz - truth).max() < 0.01  # a fifth of a pixel
    assert np.allclose(visibility, 1 / (1 + np.exp(-2)), atol=1e-5)
    strong = np.zeros((len(times), len(start)), bool)
    numbers = AnchorNumbers(final_overwrite=False)
    free = track_anchored(clip, tracker, Anchors(np.zeros((*strong.shape, 3)), strong, row, start), numbers)
    assert np.abs(free.xyz.transpose(1, 0, 2) - truth).max() < 0.01
    new = 1 / (1 + np.exp(-6))  # six iterations from an undecided start: points that the last window is the first to see
    assert np.allclose(free.visibility[4:, row >= 4], new, atol=1e-6)
    assert (free.visibility[4:, row < 4] > 0.9999).all()
    strong[1] = True
    places = truth.transpose(1, 0, 2)
    held = track_anchored(clip, tracker, Anchors(np.where(strong[..., None], places, 0), strong, row, start), AnchorNumbers())
    assert np.array_equal(held.xyz[1], places[1]) and np.abs(held.xyz - places).max() < 0.01


def test_both_ways_takes_frames_before_the_query_from_the_reverse() -> None:
    video = torch.arange(5.0)

    def ahead(frames: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        later = torch.arange(len(frames))[:, None] >= queries[:, 0]
        values = torch.where(later, frames[:, None], torch.full_like(frames[:, None], -1.0))
        return values[..., None].expand(-1, -1, 2), values, values

    xy, seen, _ = both_ways(ahead, video, torch.tensor([[0.0], [2.0], [4.0]]))
    assert torch.equal(seen, video[:, None].expand(5, 3))
    assert torch.equal(xy[..., 1], seen)


def test_conventions_of_networks_agree_with_projection() -> None:
    K, size, network = np.array([[80.0, 0, 48], [0, 90, 32], [0, 0, 1]]), (64, 96), (384, 512)
    point = np.array([0.3, -0.2, 2.0])
    pixel = (K @ point)[:2] / point[2]
    inner = (network_intrinsics(K, size, network) @ point)[:2] / point[2]
    assert np.allclose(to_network(torch.from_numpy(pixel), size, network).numpy(), inner)
    assert np.allclose(from_network(torch.from_numpy(inner), size, network).numpy(), pixel)
    corner = to_network(torch.tensor([0.5, 0.5]), (384, 512), network)
    assert corner.tolist() == [0.0, 0.0]  # the centre of the first pixel is the whole number 0


def test_without_weights_nothing_is_said_and_asking_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    capture, masks, _ = make_capture(tmp_path / "clip", views=2)
    for module in (cotracker, tapir, mvtracker, spatialtracker):
        assert all(p.missing(capture) == "" for p in module.PROVIDERS)
    with pytest.raises(FourfoldError, match="bootstapir"):
        tapir.track(capture, masks, "bootstapir")
