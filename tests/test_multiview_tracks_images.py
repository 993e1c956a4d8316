"""What multi-view tracks read from images: matches between two cameras and pixels followed through time, against exact truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.truth import Truth
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Matches, Priors, Provenance
from fourfold.priors.given import given_masks
from fourfold.priors.multiview_tracks.follow import follow_view
from fourfold.priors.providers import choose, prepare_priors
from fourfold.priors.tracking.flow import estimate_flow
from fourfold.priors.tracking.matches import FeatureMatcher, MatchNumbers, fundamental_between, match_views, union
from fourfold.priors.tracking.sift_matches import agreeing, describe, line_distance, match_along_lines


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Three moving cameras, five moments at 192 x 108."""
    root = tmp_path_factory.mktemp("rig") / "sparse_moving"
    capture = generate("sparse_moving", root, seed=2, options=SyntheticOptions(frames=5, width=192, height=108, tracks=120))
    return capture, Truth.load(root)


def test_matches_lie_on_epipolar_lines_and_meet_in_depth(rig):
    capture, _ = rig
    matches = match_views(capture, given_masks(capture), stride=2)
    assert len(matches.pair) > 60 and (np.unique(matches.images[:, 1]) == [0, 2, 4]).all()
    for row, (a, t, b, u) in enumerate(matches.images):
        mine = matches.pair == row
        lines = fundamental_between(capture, (a, t), (b, u))
        assert np.diag(line_distance(lines, matches.xy_a[mine], matches.xy_b[mine])).max() <= 3.0
        for view, xy in ((a, matches.xy_a[mine]), (b, matches.xy_b[mine])):
            column, line = np.floor(xy).astype(int).T
            near = [(capture.mask(view, t)[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] > 0).any() for x, y in zip(column, line, strict=True)]
            assert all(near)
    assert _agree_in_depth(capture, matches) > 0.6


def _agree_in_depth(capture, matches):
    points = []
    for columns, xy in ((matches.images[matches.pair][:, :2], matches.xy_a), (matches.images[matches.pair][:, 2:], matches.xy_b)):
        world = []
        for (view, time), pixel in zip(columns, xy, strict=True):
            depth = capture.depth(view, time)[int(pixel[1]), int(pixel[0])]
            ray = np.linalg.solve(capture.K[view, time], np.append(pixel, 1.0)) * depth
            pose = capture.world_to_camera[view, time]
            world.append(pose[:3, :3].T @ (ray - pose[:3, 3]))
        points.append(np.array(world))
    return (np.linalg.norm(points[0] - points[1], axis=1) < 0.06).mean()


def test_free_matching_finds_a_shift():
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 255, (60, 80, 3)), np.ones((3, 3, 1))).astype(np.uint8)
    a, b = describe(scene[:, 10:], None), describe(scene[:, :-10], None)
    flat = np.array([[0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # lines are rows: the shift is horizontal
    pairs, confidence = match_along_lines(a, b, flat)
    moved = b.xy[pairs[:, 1]] - a.xy[pairs[:, 0]]
    assert len(pairs) > 50 and np.abs(np.median(moved, axis=0) - [10, 0]).max() < 0.1
    assert (np.abs(moved - [10, 0]).max(1) < 1).mean() > 0.95 and (confidence > 0).all()
    assert not agreeing(a.xy[:10], b.xy[:10], 1.0).any(), "too few to tell"


def test_the_union_keeps_the_surer_of_two_that_repeat_each_other():
    one = (np.array([[5, 5], [20, 20]], np.float32), np.array([[7, 5], [22, 20]], np.float32), np.array([0.5, 0.9], np.float32))
    other = (np.array([[5.5, 5], [40, 40]], np.float32), np.array([[7.5, 5], [40, 42]], np.float32), np.array([0.8, 0.1], np.float32))
    xy_a, _, confidence = union([one, other], MatchNumbers(most=2))
    assert np.allclose(xy_a, [[20, 20], [5.5, 5]]) and np.allclose(confidence, [0.9, 0.8])


def test_followed_points_stay_on_their_surface(rig):
    capture, truth = rig
    seen = np.flatnonzero(truth.visibility[0, :, 2])
    start, time = truth.xy[0, seen, 2].astype(np.float32), np.full(len(seen), 2, np.int32)
    xy, visible = follow_view(capture, 0, start, time, given_masks(capture), estimate_flow(capture))
    assert (xy[:, 2] == truth.xy[0, seen, 2].astype(np.float32)).all() and visible[:, 2].all()
    error = np.linalg.norm(xy - truth.xy[0, seen], axis=-1)[visible]
    assert visible.mean() > 0.5 and np.median(error) < 0.5 and (error < 2).mean() > 0.95


def test_cameras_that_share_no_matches_keep_tracks_of_their_own(rig, tmp_path):
    """Instead of next to nothing: then each camera's own tracks, where the truth says the surface is."""
    capture, truth = rig
    priors = prepare_priors(capture, ("masks", "flow", "depth"), tmp_path).priors
    none = Matches(
        Provenance("none"), np.zeros((0, 4), np.int32), np.zeros(0, np.int32), *(np.zeros((0, 2), np.float32),) * 2, np.zeros(0, np.float32)
    )
    provider = choose("tracks3d:multiview_tracks", capture)
    solid, flat = provider.make(capture, replace(priors, matches=none))
    assert len(solid.xyz) > 100 and set(flat.view.tolist()) == {0, 1, 2}
    start = solid.xyz[solid.visibility[:, 2] > 0.5, 2]
    gap = np.linalg.norm(start[:, None] - truth.xyz[None, :, 2], axis=-1).min(1)
    assert np.median(gap) < 0.15, "near one of 120 true points of a figure 1.7 m tall"


def test_rigs_can_have_multiview_tracks_and_single_cameras_cannot(rig, casual_capture):
    from fourfold.capture.capture import Capture

    assert choose("tracks3d:multiview_tracks", rig[0]).makes == ("tracks3d", "tracks2d")
    assert choose("tracks3d", rig[0]).name == "anchored", "plain tracks are those of each camera"
    with pytest.raises(FourfoldError, match="multiview_tracks"):
        choose("tracks3d:multiview_tracks", Capture.load(casual_capture))
    assert choose("matches:sift", rig[0]).make(rig[0], Priors(masks=given_masks(rig[0])))[0].provenance.figures["matches"] > 100
    assert FeatureMatcher().name == "sift"
