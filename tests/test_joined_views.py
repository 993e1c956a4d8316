"""Two travelling cameras and a standing one whose tracks see the same points come into one world, from generated tracks and sightings."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.priors.cameras import joined_views
from fourfold.priors.cameras.camera_search import SearchNumbers
from fourfold.priors.cameras.joined_cameras import cameras_of_views
from fourfold.priors.cameras.spread_tracks import film_of, only
from fourfold.priors.contracts import LongTracks, Provenance
from fourfold.priors.tracking.long_track_sightings import Sightings as SeenAgain

WIDTH, HEIGHT, FOCAL, TIMES = 640, 360, 520.0, 12
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])


def _poses() -> np.ndarray:
    """World to camera (3, T, 4, 4): two ways on either side of the room, and one place between them."""
    poses = np.tile(np.eye(4), (3, TIMES, 1, 1))
    for t, s in enumerate(np.linspace(0, 1, TIMES)):
        ways = ((14.0 * s - 12, [3 * s - 3, 0, 0.5 * s]), (20 - 9 * s, [4.5 - 2.5 * s, -0.3, 0.4 * s]), (2.0, [0.5, -0.5, -0.5]))
        for view, (turn, centre) in enumerate(ways):
            poses[view, t, :3, :3] = Rotation.from_euler("y", -turn, degrees=True).as_matrix().T
            poses[view, t, :3, 3] = -poses[view, t, :3, :3] @ np.array(centre)
    return poses


def _capture() -> Capture:
    shape = (3, TIMES)
    unknown = np.full((*shape, 3, 3), np.nan), np.full((*shape, 4, 4), np.nan)
    return Capture(
        Path("unused"),
        *unknown,
        np.arange(TIMES) / 10,
        np.tile([WIDTH, HEIGHT], (3, 1)),
        np.ones(shape, bool),
        np.ones(shape, bool),
        np.zeros(shape, bool),
        "unknown",
        False,
        "test",
        ("a", "b", "c"),
    )


def _seen(points: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c = points @ pose[:3, :3].T + pose[:3, 3]
    p = c @ K.T
    p = p[:, :2] / p[:, 2:]
    return p, (c[:, 2] > 0.5) & (p > 0).all(1) & (p < [WIDTH, HEIGHT]).all(1)


def _tracks(points: np.ndarray, poses: np.ndarray) -> tuple[LongTracks, np.ndarray]:
    """Tracks of each view with noise, and which point each is."""
    rng = np.random.default_rng(0)
    xy, time, length, view, which = [], [], [], [], []
    for v in range(3):
        looks = [_seen(points, pose) for pose in poses[v]]
        for n in rng.permutation(len(points))[:500]:
            good = np.array([ok[n] for _, ok in looks])
            times = np.flatnonzero(good)
            if len(times) >= 6:
                xy.append(np.stack([looks[t][0][n] for t in times]) + rng.normal(0, 0.2, (len(times), 2)))
                time.append(times)
                length.append(len(times))
                view.append(v)
                which.append(n)
    track = np.repeat(np.arange(len(length)), length).astype(np.int32)
    arrays = np.concatenate(xy).astype(np.float32), np.concatenate(time).astype(np.int32), track, np.array(view, np.int32)
    return LongTracks(Provenance("test"), *arrays), np.array(which)


def test_cameras_that_see_each_others_points_share_a_world(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(1).uniform([-7, -2, 5], [8, 2, 12], (900, 3))
    poses, capture = _poses(), _capture()
    tracks, which = _tracks(points, poses)

    def sightings(_: Capture, found: LongTracks, images: np.ndarray) -> SeenAgain:
        rng, rows = np.random.default_rng(2), []
        for a, s, b, t in images.tolist():
            for (v, i), (w, j) in (((a, s), (b, t)), ((b, t), (a, s))):
                mine = np.unique(found.track[(found.view[found.track] == v) & (found.time == i)])
                p, good = _seen(points[which[mine]], poses[w, j])
                p += np.where(rng.random(len(p)) < 0.2, 30, 0)[:, None]  # a fifth is matched wrongly
                rows += [(n, w, j, *q) for n, q in zip(mine[good], p[good], strict=True)]
        z = np.array(rows, np.float64)
        return SeenAgain(z[:, 0].astype(np.int32), z[:, 1].astype(np.int32), z[:, 2].astype(np.int32), z[:, 3:].astype(np.float32))

    monkeypatch.setattr(joined_views, "sightings", sightings)
    cameras = cameras_of_views(capture, tracks, film_of(capture, tracks), SearchNumbers(focals=(0.9,)))
    assert cameras is not None and cameras.provenance.figures["source"] == "estimated"
    cameras.check(capture.sizes, capture.times)
    found = cameras.world_to_camera
    turn = Rotation.from_matrix(poses[..., :3, :3].reshape(-1, 3, 3).transpose(0, 2, 1) @ found[..., :3, :3].reshape(-1, 3, 3))
    assert np.degrees((turn * turn.mean().inv()).magnitude()).max() < 0.2
    mine, true = (-np.einsum("nji,nj->ni", p[..., :3, :3].reshape(-1, 3, 3), p[..., :3, 3].reshape(-1, 3)) for p in (found, poses))
    mine, true = mine @ turn.mean().as_matrix().T - (mine @ turn.mean().as_matrix().T).mean(0), true - true.mean(0)
    scale = (mine * true).sum() / (mine**2).sum()
    assert np.linalg.norm(scale * mine - true, axis=1).max() < 0.05
    assert np.allclose(cameras.K[..., 0, 0], FOCAL, rtol=0.02) and (found[2] == found[2, 0]).all()
    assert len(cameras.points) > 100


def test_only_some_tracks() -> None:
    tracks, _ = _tracks(np.random.default_rng(1).uniform([-7, -2, 5], [8, 2, 12], (50, 3)), _poses())
    keep = np.arange(len(tracks.view)) % 3 == 1
    part = only(tracks, keep)
    part.check()
    old = np.flatnonzero(keep)
    assert len(part.view) == len(old) and (part.view == tracks.view[keep]).all()
    assert np.array_equal(part.xy[part.track == 2], tracks.xy[tracks.track == old[2]])
