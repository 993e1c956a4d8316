"""Adapters of depth, point maps and matches against fakes with the real signatures, whose exact answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foundation_models import small_capture
from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Masks, Priors, Provenance
from fourfold.priors.foundation import depth_anything3, dust3r, gim_dkm, mast3r, moge, unidepth
from fourfold.priors.foundation.depth_scale import ViewDepth, in_scene_units, point_map
from fourfold.priors.foundation.image_pairs import camera_pairs, cut, partners
from fourfold.priors.providers import choose
from research_fakes import install, save_state
from research_fakes_geometry import DEPTHS, DKM, FAMILY
from test_foundation_research_tracks import AWAY, FOCAL, HEIGHT, WIDTH, make_capture

SCENE = 0.25
"""Scene units per metre in these tests."""


def metres(time: int) -> np.ndarray:
    """(H, W) depth of a slanted plane, as the fakes read it from the red channel."""
    return np.round(np.linspace(30, 200, WIDTH) + 4 * time)[None].repeat(HEIGHT, 0) / 25.5


@pytest.fixture
def plane(tmp_path: Path) -> tuple[Capture, Priors]:
    """A camera that moves sideways, images that carry their depth, and depth that the cameras tell in part of each image."""
    capture, masks, _ = make_capture(tmp_path / "plane")
    frames = np.zeros((capture.times, HEIGHT, WIDTH, 3), np.uint8)
    for time in range(capture.times):
        frames[time] = np.round(metres(time) * 25.5)[..., None]
    np.save(capture.root / "frames_000.npy", frames)
    known = np.stack([metres(t) for t in range(capture.times)]).astype(np.float32)[None] * SCENE
    sure = np.zeros(known.shape, np.float16)
    sure[:, :, 10:30, 20:60] = 1
    known[:, :, 12, 20:60] *= 3  # a row that the cameras got wrong
    poses = capture.world_to_camera.copy()
    poses[0, :, 0, 3] = -np.arange(capture.times) * 0.1
    moving = replace(capture, world_to_camera=poses)
    return moving, Priors(masks=masks, depth=Depth(Provenance("sweep"), (known[0],), (sure[0],)))


@pytest.mark.parametrize("kind", ["moge", "unidepth", "depth-anything-3", "depth-anything-3-metric", "dust3r", "monst3r"])
def test_depth_comes_in_scene_units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plane: tuple[Capture, Priors], kind: str) -> None:
    weights = install(monkeypatch, tmp_path, DEPTHS | FAMILY)
    capture, priors = plane
    if kind == "moge":
        (weights / "moge-2-large").mkdir()
        torch.save({"model": {"weight": torch.zeros(1)}}, weights / "moge-2-large" / "model.pt")
        made = moge.estimate(capture, priors, "moge-2-large")
    else:
        name = {"unidepth": "unidepth-v2-large", "depth-anything-3": "depth-anything-3-small"}.get(kind, kind)
        (weights / name).mkdir()
        for file in ("config.json", "model.safetensors"):
            (weights / name / file).write_text("{}")
        if kind == "depth-anything-3-metric":
            monkeypatch.setattr(depth_anything3, "_infer", _unposed)
        module = unidepth if kind == "unidepth" else dust3r if kind in ("dust3r", "monst3r") else depth_anything3
        made = module.estimate(capture, priors, name)
    depth, points = made
    seen = np.flatnonzero(capture.train[0])
    truth = np.stack([metres(t) for t in seen]) * SCENE
    inner = np.s_[:, 6:-6, 6:-6]
    assert np.abs(depth.depth[0][seen] / truth - 1)[inner].max() < 0.03
    assert (depth.depth[0][3] == 0).all()  # a held-out image is never looked at
    assert depth.provenance.figures["scale"] == "scene"
    if kind == "moge":
        assert depth.provenance.figures["factors"] == [pytest.approx(SCENE, rel=1e-3)]
        row, column = 20, 70
        expected = np.array([(column + 0.5 - WIDTH / 2) / FOCAL, (row + 0.5 - HEIGHT / 2) / FOCAL, 1]) * truth[0, row, column]
        assert np.allclose(points.xyz[0][0, row, column], expected, rtol=1e-3)
    known = {"moge": 1.0, "unidepth": np.exp(-0.5), "dust3r": 0.8, "monst3r": 0.8}.get(kind, 0.75)
    assert np.allclose(depth.confidence[0][seen][inner], known, atol=1e-3)


def _unposed(network: object, capture: Capture, images: list[tuple[int, int]], posed: bool) -> object:
    """What the metric network would say: half the resolution, depth for a focal length of 300 of its pixels."""
    from types import SimpleNamespace

    assert not posed and len(images) == 1
    small = capture.image(*images[0])[1::2, 1::2, 0].astype(np.float32)[None] / 25.5
    return SimpleNamespace(depth=small * 300 / (FOCAL / 2), conf=np.full_like(small, 4.0), sky=None)


def test_cameras_of_a_moment_are_looked_at_together(tmp_path: Path) -> None:
    """Depth Anything 3: all cameras of as many moments as make a batch, every training image once; cameras of different sizes each alone."""
    capture = small_capture(tmp_path, views=3, times=12)
    made = depth_anything3.batches(capture)
    assert [len(part) for part in made] == [15, 15, 3] and sorted(image for part in made for image in part) == sorted(capture.train_frames())
    assert {t for _, t in made[0]} == set(range(5)) and {v for v, _ in made[0]} == {0, 1, 2}
    sizes = capture.sizes.copy()
    sizes[2] = [28, 21]
    apart = depth_anything3.batches(replace(capture, sizes=sizes))
    assert all(len({v for v, _ in part}) == 1 for part in apart) and sum(map(len, apart)) == 33


def test_without_a_scale_the_units_are_kept_and_it_is_said(plane: tuple[Capture, Priors]) -> None:
    capture, priors = plane
    still = replace(capture, world_to_camera=np.tile(np.eye(4), (1, capture.times, 1, 1)), cameras="fixed")
    depth = np.full((capture.times, HEIGHT, WIDTH), AWAY, np.float32)
    made, points = in_scene_units(still, Priors(masks=priors.masks), [ViewDepth(depth, np.ones_like(depth))], "net", metric=True)
    assert np.array_equal(made.depth[0], depth)
    assert points.provenance.figures["scale"] == "relative"
    assert "metres" in made.provenance.notes[0]


def test_a_factor_per_image_undoes_a_drifting_network(plane: tuple[Capture, Priors]) -> None:
    capture, priors = plane
    assert priors.depth is not None
    drift = np.linspace(0.5, 2, capture.times)
    depth = np.stack([metres(t) * d for t, d in enumerate(drift)]).astype(np.float32)
    made, _ = in_scene_units(capture, priors, [ViewDepth(depth, np.ones_like(depth))], "net", metric=False)
    truth = np.stack([metres(t) for t in range(capture.times)]) * SCENE
    assert np.abs(made.depth[0] / truth - 1).max() < 1e-3  # the wrong row is left out


def test_point_maps_are_unknown_where_depth_is(plane: tuple[Capture, Priors]) -> None:
    capture, _ = plane
    depth = np.zeros((capture.times, HEIGHT, WIDTH), np.float32)
    depth[2, 5, 7] = 2.0
    points = point_map(capture, 0, depth)
    assert np.isfinite(points[2, 5, 7]).all() and np.isnan(points).sum() == 3 * (depth.size - 1)


def test_mast3r_matches_are_pixels_of_the_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = install(monkeypatch, tmp_path, FAMILY)
    (weights / "mast3r").mkdir()
    for file in ("config.json", "model.safetensors"):
        (weights / "mast3r" / file).write_text("{}")
    capture, _, _ = make_capture(tmp_path / "clip", views=2)
    everything = Masks(Provenance("made"), (np.ones((capture.times, HEIGHT, WIDTH), np.int8),) * 2)
    matches = mast3r.PROVIDERS[1].make(capture, Priors(masks=everything))[0]
    shift = 32 * WIDTH / 512
    assert np.allclose(matches.xy_a - matches.xy_b, [shift, 0], atol=1e-4)
    assert matches.images.tolist() == [[0, t, 1, t] for t in (0, 1, 2, 4, 5, 6)]
    assert np.allclose(matches.confidence, 0.75, atol=1e-3)
    assert matches.xy_a[:, 0].max() < WIDTH and matches.xy_a.min() > 0


def test_the_union_of_both_matchers_is_of_what_moves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = install(monkeypatch, tmp_path, FAMILY | DKM)
    (weights / "mast3r").mkdir()
    for file in ("config.json", "model.safetensors"):
        (weights / "mast3r" / file).write_text("{}")
    capture, masks, _ = make_capture(tmp_path / "clip", views=2)
    assert choose("matches", capture).name != "gim-dkm+mast3r"  # one of the two alone is no union
    save_state(weights / "gim_dkm_100h.ckpt", **{"model.weight": torch.zeros(1)})
    union = choose("matches", capture)
    assert union.name == "gim-dkm+mast3r"
    whole = replace(masks, mask=tuple(np.ones_like(m) for m in masks.mask))
    everywhere, moving = (union.make(capture, Priors(masks=given))[0] for given in (whole, masks))
    parts = moving.provenance.figures
    assert parts["gim-dkm"] + parts["mast3r"] == len(moving.pair) < len(everywhere.pair) and parts["mast3r"] > 0
    for xy, column in ((moving.xy_a, 0), (moving.xy_b, 2)):
        images = moving.images[moving.pair]
        rows, columns = xy[:, 1].astype(int), xy[:, 0].astype(int)
        inside = [masks.mask[v][t][r, c] > 0 for (v, t), r, c in zip(images[:, column : column + 2], rows, columns, strict=True)]
        assert all(inside)


def test_dkm_matches_lose_their_frame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = install(monkeypatch, tmp_path, DKM)
    save_state(weights / "gim_dkm_100h.ckpt", **{"model.weight": torch.zeros(1)})
    matcher = gim_dkm.GimDkmMatcher()
    state = torch.random.get_rng_state()
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    found = matcher(image, image)
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.allclose(found.xy_b - found.xy_a, [WIDTH / 8, 0], atol=1e-4)  # 96 x 64 is framed to 96 x 72
    for xy in (found.xy_a, found.xy_b):
        assert (xy >= 0).all() and (xy <= [WIDTH, HEIGHT]).all()
    assert 0 < found.xy_a[:, 1].min() < 4 and len(found.xy_a) < 400


def test_a_cut_image_knows_where_its_pixels_are() -> None:
    x, y = np.meshgrid(np.arange(150), np.arange(101))
    image = np.stack([x, y, x * 0], -1).astype(np.uint8)
    made = cut(image)
    height, width = made.size
    assert height % 16 == 0 and width == 512
    inner = np.array([[200, 150], [300, 60]])
    values = (made.view["img"][0, :2, inner[:, 1], inner[:, 0]].T.numpy() + 1) * 127.5 + 0.5
    assert np.abs(made.pixels(inner) - values).max() < 0.05


def test_pairs_never_touch_held_out_images(tmp_path: Path) -> None:
    for views in (1, 2):
        capture, _, _ = make_capture(tmp_path / str(views), views)
        pairs = camera_pairs(capture) + partners(capture, 3)
        assert pairs and all(capture.train[v, t] for pair in pairs for v, t in pair)
        assert all(a != b for a, b in pairs)
        assert len(partners(capture, 3)) == capture.train.sum()
