"""Multi-view tracks against exact projections: linking, the epipolar filter, triangulation and the witness of neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.truth import Truth
from fourfold.priors.contracts import Depth, Matches, Provenance
from fourfold.priors.multiview_tracks.consistent import ConsistencyNumbers, Observations, filter_epipolar, triangulate_tracks
from fourfold.priors.multiview_tracks.linking import link_matches
from fourfold.priors.multiview_tracks.provider import MultiviewNumbers, multiview_tracks
from fourfold.priors.multiview_tracks.support import SupportNumbers, moves_along, on_surface


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three moving cameras, eight moments, with the truth."""
    root = tmp_path_factory.mktemp("rig") / "sparse_moving"
    options = SyntheticOptions(frames=8, width=128, height=72, supersample=1, tracks=120)
    capture = generate("sparse_moving", root, seed=1, options=options)
    return capture, Truth.load(root)


def seen_by(truth: Truth, views: int = 3) -> Observations:
    xy = truth.xy[:views].transpose(1, 0, 2, 3)
    return Observations(
        np.concatenate([xy, np.zeros_like(xy[:, :1])], axis=1), np.pad(truth.visibility[:views].transpose(1, 0, 2), ((0, 0), (0, 1), (0, 0)))
    )


def epipolar_direction(capture: Capture, truth: Truth, point: int, time: int) -> np.ndarray:
    """Unit vector along the epipolar line of camera 1 for what camera 0 sees of the point."""
    pose, K = truth.world_to_camera, truth.K
    center = -pose[0, time, :3, :3].T @ pose[0, time, :3, 3]
    ends = []
    for factor in (1.0, 1.05):
        seen = K[1, time] @ (pose[1, time, :3, :3] @ (center + factor * (truth.xyz[point, time] - center)) + pose[1, time, :3, 3])
        ends.append(seen[:2] / seen[2])
    return (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])


def test_exact_observations_pass_and_give_the_point(small):
    capture, truth = small
    seen = seen_by(truth)
    kept = filter_epipolar(seen, capture, ConsistencyNumbers(sampson=1e-6))
    assert (kept == (seen.seen & (seen.seen.sum(1, keepdims=True) >= 2))).all()
    xyz, valid, error = triangulate_tracks(Observations(seen.xy, kept), capture)
    assert valid.sum() > 200
    assert np.abs(xyz - truth.xyz)[valid].max() < 1e-6
    assert error.max() < 1e-6


def test_an_error_across_the_line_is_removed_and_along_it_is_not(small):
    capture, truth = small
    seen = seen_by(truth)
    point, time = next((p, t) for p, t in np.argwhere(seen.seen.all(axis=1) | (seen.seen[:, 0] & seen.seen[:, 1] & ~seen.seen[:, 2])))
    only = np.zeros_like(seen.seen)
    only[point, :2, time] = True
    along = epipolar_direction(capture, truth, point, time)
    across = np.array([-along[1], along[0]])
    results = []
    for shift in (across, along):
        moved = seen.xy.copy()
        moved[point, 1, time] += shift
        results.append(filter_epipolar(Observations(moved, only), capture)[point, :2, time])
    assert not results[0].any()
    assert results[1].all()
    moved = seen.xy.copy()
    moved[point, 1, time] += 5 * along
    xyz, _, _ = triangulate_tracks(Observations(moved, only), capture)
    assert np.linalg.norm(xyz[point, time] - truth.xyz[point, time]) > 0.01


def test_of_three_cameras_only_the_wrong_one_is_lost(small):
    capture, truth = small
    seen = seen_by(truth)
    point, time = next((p, t) for p, t in np.argwhere(seen.seen[:, :3].all(axis=1)))
    moved = seen.xy.copy()
    moved[point, 2, time] += 6.0
    kept = filter_epipolar(Observations(moved, seen.seen), capture)
    assert kept[point, :3, time].tolist() == [True, True, False]


@pytest.mark.parametrize("rule", [{"parallax": 170.0}, {"farthest": 0.1}, {"reprojection": -1.0}])
def test_each_rule_of_validity_can_refuse(small, rule):
    capture, truth = small
    assert not triangulate_tracks(seen_by(truth), capture, ConsistencyNumbers(**rule))[1].any()


def matches_of(truth: Truth, time: int, pairs=((0, 1), (1, 2))) -> Matches:
    """Exact matches of all points that both cameras of a pair see."""
    rows, a, b = [], [], []
    for number, (first, second) in enumerate(pairs):
        own = np.flatnonzero(truth.visibility[first, :, time] & truth.visibility[second, :, time])
        rows += [number] * len(own)
        a.append(truth.xy[first, own, time])
        b.append(truth.xy[second, own, time])
    images = np.array([(p[0], time, p[1], time) for p in pairs], np.int32)
    ones = np.ones(len(rows), np.float16)
    return Matches(
        Provenance("exact"), images, np.array(rows, np.int32), np.concatenate(a).astype(np.float32), np.concatenate(b).astype(np.float32), ones
    )


def test_matches_that_share_a_pixel_are_one_point(small):
    _, truth = small
    links = link_matches(matches_of(truth, 3), 4, same=1e-3)
    seen = truth.visibility[:3, :, 3]
    assert len(links.time) == (seen[0] & seen[1] | seen[1] & seen[2]).sum()
    assert (np.isfinite(links.xy[:, :, 0]).sum(1) == 3).sum() == seen.all(0).sum() > 0


def test_a_join_that_gives_a_camera_two_pixels_is_refused():
    images = np.array([(0, 0, 1, 0), (0, 0, 2, 0), (1, 0, 2, 0)], np.int32)
    xy_a = np.array([[10, 10], [10, 10], [20, 20]], np.float32)
    xy_b = np.array([[20, 20], [30, 30], [50, 50]], np.float32)
    links = link_matches(Matches(Provenance("made"), images, np.arange(3, dtype=np.int32), xy_a, xy_b, np.array([0.9, 0.8, 0.7], np.float16)), 3)
    assert len(links.time) == 2
    assert np.isfinite(links.xy[0]).all() and np.allclose(links.xy[0, 2], 30)
    assert np.allclose(links.xy[1, 2], 50)


def test_the_whole_with_an_exact_tracker(small):
    capture, truth = small
    matches, unasked = matches_of(truth, 3), Depth(Provenance("none"), (), ())

    def exact(_: Capture, view: int, xy: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = [int(np.abs(truth.xy[view, :, t] - q).sum(-1).argmin()) for q, t in zip(xy, time, strict=True)]
        return truth.xy[view, rows].astype(np.float32), truth.visibility[view, rows]

    numbers = MultiviewNumbers(alike=-1.1, consistency=ConsistencyNumbers(sampson=0.1))
    solid, flat = multiview_tracks(capture, matches, unasked, exact, numbers)
    assert len(solid.xyz) > 10 and not solid.native.any()
    visible = solid.visibility > 0
    nearest = np.linalg.norm(truth.xyz[None, :, 3] - solid.xyz[:, None, 3], axis=-1).argmin(1)
    rows = visible[:, 3]
    error = np.linalg.norm(solid.xyz - truth.xyz[nearest], axis=-1)[rows][visible[rows]]
    assert np.quantile(error, 0.98) < 1e-3
    assert set(flat.view.tolist()) <= {0, 1, 2} and (flat.query_time == 3).all()
    none, flat = multiview_tracks(capture, matches, unasked, exact, replace(numbers, consistency=ConsistencyNumbers(parallax=170.0)))
    assert len(none.xyz) == 0 and len(flat.xy) == 0 and none.provenance.notes


def test_neighbours_contradict_what_is_off_the_surface_or_slides(small):
    capture, _ = small
    wall = np.stack(np.meshgrid(np.linspace(-0.3, 0.3, 12), np.linspace(-1.0, -0.4, 12)), -1).reshape(-1, 2)
    flat = np.concatenate([wall, np.zeros((len(wall), 1))], axis=1)
    xyz = np.repeat(flat[:, None], 8, axis=1) + np.linspace(0, 0.2, 8)[None, :, None]
    valid = np.ones(xyz.shape[:2], bool)
    assert on_surface(xyz, valid, capture).all()
    query = np.full(len(xyz), 2, np.int32)
    assert moves_along(xyz, valid, query, capture).all()
    wrong = xyz.copy()
    wrong[50, :] += [0, 0, 0.5]
    left = on_surface(wrong, valid, capture)
    assert not left[50].any() and left.sum() == valid.sum() - 8
    slid = xyz.copy()
    slid[60, 5:, 0] += 0.4
    left = moves_along(slid, valid, query, capture, SupportNumbers())
    assert left[60].tolist() == [True] * 5 + [False] * 3 and left.sum() == valid.sum() - 3
