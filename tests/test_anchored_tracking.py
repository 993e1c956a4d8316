"""Anchored 3D tracking against moving shapes known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fourfold.errors import FourfoldError
from fourfold.priors.anchored_tracking.anchors import AnchorNumbers, Anchors, ImageTracks, find_anchors, outside_mask, suggested_tau
from fourfold.priors.anchored_tracking.bodies import BodyNumbers, Evidence, bring_back, move, part_labels, predict
from fourfold.priors.anchored_tracking.cat3d import Cat3D
from fourfold.priors.anchored_tracking.driver import track_anchored, window_starts
from fourfold.priors.anchored_tracking.interface import Clip, Iterate, Window
from fourfold.priors.anchored_tracking.patch_search import Sought, lab_pyramid, search
from fourfold.priors.anchored_tracking.relax import Problem, RelaxNumbers, build_graph, local_rotations, relax
from fourfold.priors.anchored_tracking.rigid_parts import PartNumbers, settle_hidden

TIMES, SIZE, FOCAL, RADIUS, DISTANCE = 20, 96, 90.0, 0.5, 2.5


@dataclass(frozen=True)
class Ball:
    """A textured ball that spins and drifts before one camera: its clip, points (T, N, 3) on it, and where they are seen (T, N)."""

    clip: Clip
    xyz: np.ndarray
    seen: np.ndarray
    xy: np.ndarray


def _pose(t: int) -> tuple[np.ndarray, np.ndarray]:
    angle = np.radians(5 * t)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), np.array([0.01 * t, 0, DISTANCE])


def _paint(direction: np.ndarray) -> np.ndarray:
    waves = [np.sin(9 * direction[..., i] + 5 * direction[..., (i + 1) % 3] ** 2 + i) for i in range(3)]
    return np.clip(127 + 90 * np.stack(waves, -1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def ball() -> Ball:
    K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]])
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    ray = np.stack([(x - SIZE / 2) / FOCAL, (y - SIZE / 2) / FOCAL, np.ones_like(x)], -1)
    rgb, depth = np.full((TIMES, SIZE, SIZE, 3), 60, np.uint8), np.full((TIMES, SIZE, SIZE), 4.0)
    random = np.random.default_rng(0)
    local = random.standard_normal((260, 3))
    local *= RADIUS / np.linalg.norm(local, axis=1, keepdims=True)
    xyz, seen, xy = np.zeros((TIMES, 260, 3)), np.zeros((TIMES, 260), bool), np.zeros((TIMES, 260, 2))
    for t in range(TIMES):
        turn, centre = _pose(t)
        a, b = (ray**2).sum(-1), ray @ centre
        inside = b**2 - a * (centre @ centre - RADIUS**2)
        z = (b - np.sqrt(np.maximum(inside, 0))) / a
        hit = inside > 0
        rgb[t][hit] = _paint(((ray * z[..., None] - centre) @ turn / RADIUS)[hit])
        depth[t][hit] = z[hit]
        xyz[t] = local @ turn.T + centre
        xy[t] = xyz[t, :, :2] / xyz[t, :, 2:] * FOCAL + SIZE / 2
        seen[t] = ((xyz[t] - centre) * xyz[t]).sum(1) < -0.15 * RADIUS * DISTANCE
    clip = Clip(rgb, depth, np.tile(K, (TIMES, 1, 1)), np.tile(np.eye(4), (TIMES, 1, 1)), depth < 4)
    return Ball(clip, xyz, seen, xy)


def _tracks(ball: Ball, believed: np.ndarray | None = None) -> tuple[ImageTracks, np.ndarray]:
    rows = np.flatnonzero(ball.seen.any(0))
    random = np.random.default_rng(1)
    query = np.array([random.choice(np.flatnonzero(ball.seen[:, p])) for p in rows])
    sure = (ball.seen if believed is None else believed)[:, rows].T.astype(np.float32)
    return ImageTracks(ball.xy[:, rows].transpose(1, 0, 2).astype(np.float32), sure, query), rows


def test_hidden_points_are_carried_by_the_seen_ones(ball: Ball) -> None:
    tracks, rows = _tracks(ball)
    anchors, kept = find_anchors(tracks, ball.clip)
    found = track_anchored(ball.clip, Cat3D(), anchors)
    assert found.kept.mean() > 0.95
    error = np.linalg.norm(found.xyz - ball.xyz[:, rows[kept]], axis=2) / (2 * RADIUS)
    hidden = ~ball.seen[:, rows[kept]]
    assert hidden.mean() > 0.25
    assert error[hidden].mean() < 0.03
    assert np.linalg.norm(found.xyz[~hidden] - ball.xyz[:, rows[kept]][~hidden], axis=1).mean() < 0.01


def test_without_anchors_patches_alone_are_worse_but_hold(ball: Ball) -> None:
    tracks, rows = _tracks(ball, np.zeros(ball.seen.shape))
    anchors, kept = find_anchors(tracks, ball.clip)
    assert anchors.strong.sum() == len(kept)
    found = track_anchored(ball.clip, Cat3D(), anchors)
    error = np.linalg.norm(found.xyz - ball.xyz[:, rows[kept]], axis=2) / (2 * RADIUS)
    assert error.mean() < 0.15


def test_anchors_everywhere_come_back_exactly(ball: Ball) -> None:
    random = np.random.default_rng(2)
    places = ball.xyz[:, :40] + 0.05 * random.standard_normal((TIMES, 40, 3))
    query = random.integers(0, TIMES, 40)
    anchors = Anchors(places, np.ones(places.shape[:2], bool), query, places[query, np.arange(40)])
    found = track_anchored(ball.clip, Cat3D(), anchors)
    np.testing.assert_array_equal(found.xyz, places)


@dataclass
class Recorder:
    """A tracker that adds 1 to everything and remembers what it was given."""

    window: int = 16
    stride: int = 8
    iterations: int = 3
    bidirectional: bool = False
    name: str = "recorder"
    needs_weights: bool = False

    def __post_init__(self) -> None:
        self.windows: list[Window] = []
        self.given: list[np.ndarray] = []

    def encode(self, clip: Clip) -> None:
        return None

    def open_window(self, context: None, window: Window) -> None:
        self.windows.append(window)

    def step(self, opened: None, state: Iterate, fixed: np.ndarray, iteration: int) -> Iterate:
        self.given.append(state.xyz[fixed])
        return Iterate(state.xyz + 1, state.visibility_logit)

    def close_window(self, opened: None, state: Iterate) -> None:
        return None


@pytest.mark.parametrize("overwrite", [True, False])
def test_the_driver_sets_anchors_before_every_iteration_and_after_the_last(ball: Ball, overwrite: bool) -> None:
    strong = np.zeros((TIMES, 2), bool)
    strong[[0, 5], [0, 0]], strong[18, 1] = True, True
    places = np.where(strong[..., None], 7.0, 0.0) * np.ones(3)
    anchors = Anchors(places, strong, np.array([0, 18]), np.full((2, 3), 7.0))
    tracker = Recorder()
    found = track_anchored(ball.clip, tracker, anchors, AnchorNumbers(final_overwrite=overwrite))
    assert [(w.start, w.end) for w in tracker.windows] == [(0, 16), (4, 20)]
    assert [list(w.rows) for w in tracker.windows] == [[0], [0, 1]]  # a point is lent only to windows that reach its query
    assert all((given == 7).all() for given in tracker.given)
    assert (found.xyz[5, 0] == (7 if overwrite else 8)).all()
    np.testing.assert_array_equal(tracker.windows[1].xyz[12:, 0], np.repeat(tracker.windows[1].xyz[11:12, 0], 4, axis=0))


def test_windows_cover_every_frame_and_end_with_the_clip() -> None:
    for times in (5, 16, 17, 40, 47):
        spans = [(s, min(s + 16, times)) for s in window_starts(times, 16, 8)]
        assert set().union(*(range(*s) for s in spans)) == set(range(times))
        assert spans[-1][1] == times


def test_anchors_need_confidence_depth_and_the_mask(ball: Ball) -> None:
    tracks, rows = _tracks(ball)
    confidence = tracks.confidence.copy()
    confidence[0] = 0.4
    depth, mask = ball.clip.depth.copy(), np.array(ball.clip.mask)
    depth[7], mask[3] = 0, False
    anchors, kept = find_anchors(
        ImageTracks(tracks.xy, confidence, tracks.query_time), Clip(ball.clip.rgb, depth, ball.clip.K, ball.clip.world_to_camera, mask)
    )
    assert not anchors.strong[[3, 7]].any()
    assert set(kept).isdisjoint(np.flatnonzero(np.isin(tracks.query_time, [3, 7])))
    first = np.flatnonzero(kept == 0)
    assert (anchors.strong[:, first].sum(0) == 1).all()  # the query alone
    np.testing.assert_allclose(anchors.xyz[anchors.strong], ball.xyz[:, rows[kept]][anchors.strong], atol=0.02)
    assert suggested_tau(np.array([0.6, 0.7, 0.2, 0.9])) == pytest.approx(0.3)
    assert suggested_tau(np.array([0.6, 0.1, 0.2, 0.3])) == pytest.approx(0.75)


def test_only_points_predicted_visible_are_judged_by_the_mask(ball: Ball) -> None:
    xyz = np.tile(np.array([1.2, 0.0, DISTANCE]), (TIMES, 2, 1))
    visible = np.zeros((TIMES, 2), bool)
    visible[:, 1] = True
    np.testing.assert_array_equal(outside_mask(xyz, visible, ball.clip, AnchorNumbers()), visible)


def test_runs_of_anchors_tell_where_a_pass_begins() -> None:
    strong = np.zeros((12, 1), bool)
    strong[[1, 4, 5, 7, 9], 0] = True
    anchors = Anchors(np.arange(36.0).reshape(12, 1, 3), strong, np.array([9]), np.zeros((1, 3)))
    assert [int(anchors.taken_up(gap).query_time[0]) for gap in (0, 1, 2)] == [9, 4, 1]


def test_parts_follow_their_own_motion_and_doubtful_evidence_is_outvoted() -> None:
    random = np.random.default_rng(3)
    canonical = random.normal(size=(120, 3)) + np.where(np.arange(120)[:, None] < 60, 0, [9.0, 0, 0])
    turn, centre = _pose(3)[0], canonical[60:].mean(0)
    moved = canonical.copy()
    moved[60:] = (canonical[60:] - centre) @ turn.T + centre + 0.1
    weight = np.where(np.arange(120) % 3 == 0, 0.0, 1.0)
    target = moved + np.where(np.arange(120)[:, None] % 10 == 1, 3.0, 0.0)
    numbers = BodyNumbers(parts=(1, 2))
    place = predict(canonical, canonical, Evidence(target, weight), part_labels(canonical, numbers), numbers)
    assert np.linalg.norm(place - moved, axis=1).max() < 0.02


def test_hidden_points_go_with_their_rigid_part() -> None:
    random = np.random.default_rng(6)
    local, times = random.uniform(-1, 1, (120, 3)), 24
    upper = local[:, 1] > 0
    truth = np.stack([np.where(upper[:, None], local @ _pose(2 * t)[0].T, local) + np.array([0.02 * t, 0, 0]) for t in range(times)])
    known = np.where((np.arange(times)[:, None] + np.arange(120) * 5) % times < 10, 1.0, 0.0)
    guess = truth + np.where(known[..., None] > 0, 0.005, 0.2) * random.standard_normal(truth.shape)
    settled = settle_hidden(guess, known, PartNumbers(parts=4))
    np.testing.assert_array_equal(settled[known > 0], guess[known > 0])
    error = np.linalg.norm(settled - truth, axis=2)[known == 0]
    assert np.median(error) < 0.02
    assert error.mean() < 0.06


def test_new_points_take_their_place_on_the_canonical_shape() -> None:
    random = np.random.default_rng(4)
    canonical = random.normal(size=(50, 3))
    turn, centre = _pose(11)
    motion = bring_back(canonical[:5] @ turn.T + centre, canonical[5:], canonical[5:] @ turn.T + centre, np.ones(45), 12)
    np.testing.assert_allclose(move(motion, canonical[:5] @ turn.T + centre), canonical[:5], atol=1e-6)


def test_relaxing_keeps_rigid_motion_and_fills_what_is_free() -> None:
    random = np.random.default_rng(5)
    canonical = random.normal(size=(80, 3))
    truth = np.stack([canonical @ _pose(t)[0].T + _pose(t)[1] for t in range(6)])
    free = np.broadcast_to(np.arange(80) % 2 == 0, (6, 80))
    alive = np.ones((6, 80), bool)
    graph = build_graph(canonical, truth, alive, ~free, RelaxNumbers())
    start = truth + np.where(free[..., None], 0.05 * random.normal(size=truth.shape), 0)
    numbers = RelaxNumbers(rounds=200, smoothness=0.0)
    xyz = start
    for _ in range(60):
        xyz = relax(graph, xyz, local_rotations(graph, xyz), Problem(xyz, np.zeros((6, 80)), free, alive), numbers)
    assert np.abs(xyz - truth).max() < 1e-3
    np.testing.assert_array_equal(xyz[~free], truth[~free])


@pytest.mark.parametrize("radius", [4.0, 12.0])
def test_patches_are_found_to_a_fraction_of_a_pixel(radius: float) -> None:
    y, x = np.mgrid[0:80, 0:80] + 0.5
    shift = np.array([1.3, -2.6])

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        waves = [np.sin(0.31 * x + 0.17 * y) + np.sin(0.23 * y - 0.4 * x + 1), np.sin(0.45 * y) + np.sin(0.2 * x + 2), np.sin(0.3 * (x + y))]
        return (127 + 60 * np.stack(waves, -1)).clip(0, 255).astype(np.uint8)

    pyramid = lab_pyramid(np.stack([paint(x, y), paint(x - shift[0], y - shift[1])]))
    points = np.stack(np.meshgrid(np.linspace(25, 55, 6), np.linspace(25, 55, 6)), -1).reshape(-1, 2)
    zeros = np.zeros(len(points), np.intp)
    found, score = search(pyramid, Sought(zeros, points, zeros + 1, points), radius)
    assert score.min() > 0.8
    assert np.median(np.linalg.norm(found - points - shift, axis=1)) < 0.25


def test_a_clip_of_unequal_shapes_is_refused(ball: Ball) -> None:
    with pytest.raises(FourfoldError, match="needs rgb of shape"):
        Clip(ball.clip.rgb[:, :5], ball.clip.depth, ball.clip.K, ball.clip.world_to_camera)
    with pytest.raises(FourfoldError, match="do not fit a clip"):
        find_anchors(ImageTracks(np.zeros((1, 3, 2), np.float32), np.ones((1, 3), np.float32), np.zeros(1, np.intp)), ball.clip)
