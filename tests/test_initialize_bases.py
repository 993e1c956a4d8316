"""Motion bases from tracks: rigid bodies are recovered, hidden stretches filled, objects kept apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.initialize.fit_bases import FitNumbers, FittedBases, fit_bases
from fourfold.initialize.track_cleaning import CleanTracks, clean_tracks, fill_hidden
from fourfold.initialize.tracks_to_bases import ClusterNumbers, bases_from_tracks
from fourfold.priors.contracts import Provenance, Tracks3D

T = 12
CENTERS = np.zeros((T, 3))


def body(count: int, seed: int, center: tuple[float, float, float], turn: float, speed: tuple[float, float, float]) -> NDArray[np.float64]:
    """(count, T, 3) points of a rigid body that turns and flies."""
    points = np.random.default_rng(seed).normal(size=(count, 3)) * 0.3
    rotations = Rotation.from_rotvec(np.linspace(0, turn, T)[:, None] * np.array([0.3, 0.9, 0.1])).as_matrix()
    path = np.array(center) + np.linspace(0, 1, T)[:, None] * np.array(speed)
    return np.einsum("tij,pj->pti", rotations, points) + path


def tracks_of(
    xyz: NDArray[np.float64], group: NDArray[np.int32] | None = None, visibility: NDArray[np.float64] | None = None, native: int = 1
) -> Tracks3D:
    count = len(xyz)
    visible = np.ones((count, T)) if visibility is None else visibility
    return Tracks3D(
        Provenance("test"),
        xyz.astype(np.float32),
        visible.astype(np.float16),
        visible.astype(np.float16) if native == 0 else np.ones((count, T), np.float16),
        np.full((count, 3), 0.5, np.float32),
        np.full(count, 0.01, np.float32),
        np.zeros(count, np.int32) if group is None else group,
        np.full(count, native, np.uint8),
    )


def cleaned(tracks: Tracks3D) -> CleanTracks:
    result = clean_tracks(tracks, np.arange(T) / 10.0, np.arange(T))
    assert result is not None
    return result


def recover(tracks: CleanTracks, bases: int, fit: FitNumbers = FitNumbers(steps=200)) -> FittedBases:
    return fit_bases(tracks, bases_from_tracks(tracks, ClusterNumbers(bases=bases, smallest=5), np.random.default_rng(0)), CENTERS, fit)


def test_one_rigid_body_with_one_basis_is_recovered() -> None:
    truth = body(150, 0, (0.0, 0.0, 4.0), 1.5, (1.0, 0.2, 0.3))
    fitted = recover(cleaned(tracks_of(truth)), 1)
    moved = fitted.positions(fitted.means, fitted.logits).detach().numpy().transpose(1, 0, 2)
    assert np.abs(moved - truth).max() < 1e-3
    back = fitted.canonical(torch.from_numpy(truth[:, 2]).float(), fitted.logits, 2)
    assert torch.allclose(back, fitted.means, atol=1e-3)


def test_two_bodies_give_two_clusters_each_with_its_own_motion() -> None:
    truth = np.concatenate([body(120, 1, (-1.0, 0, 4), 0.8, (1.5, 0, 0)), body(80, 2, (1.0, 0, 4), -0.8, (-1.0, 0.7, 0))])
    tracks = cleaned(tracks_of(truth))
    bases = bases_from_tracks(tracks, ClusterNumbers(bases=2, position=0.0, smallest=5), np.random.default_rng(0))
    assert len(set(bases.label[:120])) == 1 and len(set(bases.label[120:])) == 1 and bases.label[0] != bases.label[-1]
    fitted = fit_bases(tracks, bases, CENTERS, FitNumbers(improvement=0.0))
    moved = fitted.positions(fitted.means, fitted.logits).detach().numpy().transpose(1, 0, 2)
    assert np.abs(moved - truth).mean() < 5e-3


def test_objects_never_share_a_basis() -> None:
    truth = np.concatenate([body(90, 1, (-1.0, 0, 4), 0.4, (1.0, 0, 0)), body(30, 2, (1.0, 0, 4), 0.4, (1.0, 0, 0))])
    group = np.repeat([0, 1], [90, 30]).astype(np.int32)
    tracks = cleaned(tracks_of(truth, group))
    bases = bases_from_tracks(tracks, ClusterNumbers(bases=4, smallest=2), np.random.default_rng(0))
    assert not set(bases.label[:90]) & set(bases.label[90:])
    weights = torch.softmax(bases.logits, dim=1)
    other = [sorted(set(bases.label[90:])), sorted(set(bases.label[:90]))]
    assert weights[:90][:, other[0]].max() < 1e-4 and weights[90:][:, other[1]].max() < 1e-4


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_hidden_and_noisy_stretches_do_not_spoil_the_motion(noise: float) -> None:
    truth = body(200, 3, (0, 0, 4), 1.0, (1, 0, 0))
    random = np.random.default_rng(5)
    visibility = (random.random((200, T)) > 0.3).astype(np.float64)
    seen = truth + noise * random.normal(size=truth.shape)
    broken = np.where(visibility[..., None] > 0, seen, 50.0)  # what is not seen is garbage
    tracks = cleaned(tracks_of(broken, visibility=visibility, native=0))
    assert np.abs(tracks.xyz).max() < 10
    fitted = recover(tracks, 3)
    rows = [int(np.abs(truth - p).sum((1, 2)).argmin()) for p in tracks.xyz]
    moved = fitted.positions(fitted.means, fitted.logits).detach().numpy().transpose(1, 0, 2)
    assert np.abs(moved - truth[rows]).mean() < 0.01 + noise


def test_gaps_are_interpolated_and_ends_held() -> None:
    xyz = np.zeros((1, 6, 3))
    xyz[0, :, 0] = [9, 1, 9, 9, 4, 9]
    measured = np.array([[False, True, False, False, True, False]])
    assert fill_hidden(xyz, measured)[0, :, 0].tolist() == [1, 1, 2, 3, 4, 4]


def test_canonical_time_has_the_most_visible_tracks() -> None:
    visibility = np.ones((40, T))
    visibility[:20, np.arange(T) != 7] = 0
    assert cleaned(tracks_of(body(40, 0, (0, 0, 3), 0.5, (0, 0, 0)), visibility=visibility, native=0)).canonical == 7


def test_tracks_far_from_their_object_are_dropped_when_lifted_and_kept_when_native() -> None:
    truth = body(100, 0, (0, 0, 3), 0.5, (0, 0, 0))
    truth[3] += 40.0
    assert np.abs(cleaned(tracks_of(truth, native=0)).xyz).max() < 10
    assert len(cleaned(tracks_of(truth, native=1))) == 100


def test_no_usable_track_gives_none() -> None:
    assert (
        clean_tracks(tracks_of(body(5, 0, (0, 0, 3), 0, (0, 0, 0)), visibility=np.zeros((5, T)), native=0), np.arange(T) / 10.0, np.arange(T)) is None
    )


def test_tracks_that_run_away_are_dropped() -> None:
    from fourfold.initialize.track_cleaning import stays_near

    random = np.random.default_rng(0)
    xyz = random.normal(size=(50, 7, 3)) + np.array([0, 0, 5])
    xyz[3, 2] = [0, 0, 1e6]
    assert np.flatnonzero(~stays_near(xyz)).tolist() == [3]
