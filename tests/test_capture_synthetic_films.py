"""The films of what goes wrong: a cut, a mover that fills half the picture, everything moves, nothing does, arms alone, a wandering exposure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, Truth, generate
from fourfold.capture.synthetic.tree import BOUGHS, LINK, LINKS, tree_parts

SMALL = SyntheticOptions(frames=12, width=96, height=54, fps=6.0, tracks=80, supersample=1, heldout_every=4)


def make(kind: str, tmp_path: Path, options: SyntheticOptions = SMALL) -> tuple[Capture, Truth]:
    capture = generate(kind, tmp_path / kind, seed=2, options=options)
    return capture, Truth.load(capture.root)


def moving_share(capture: Capture) -> list[float]:
    return [float((capture.mask(0, t) > 0).mean()) for t in range(capture.times)]


def test_a_cut_jumps_to_another_camera_once_and_the_second_shot_is_longer(tmp_path: Path) -> None:
    capture, truth = make("cut", tmp_path)
    centre = np.linalg.inv(truth.world_to_camera[0])[:, :3, 3]
    step = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    assert np.flatnonzero(np.diff(truth.shot)).tolist() == [4] == [int(step.argmax())]
    assert step[4] > 1.5 and np.delete(step, 4).max() < 0.5
    assert (capture.root / "video.mp4").exists()


def test_a_tree_bends_link_by_link(tmp_path: Path) -> None:
    """Neighbouring links nearly share a motion and no two have the same; along a bough what they add grows: that is what a hierarchy tells."""
    seconds = np.arange(24) / 12
    parts = tree_parts(seconds)
    assert len(parts) == 1 + BOUGHS * LINKS and len({part.name for part in parts}) == len(parts)
    trunk = parts[0].local_to_world[:, :3, 3]
    for number in range(BOUGHS):
        bough = np.stack([part.local_to_world[:, :3, 3] for part in parts[1 + number * LINKS : 1 + (number + 1) * LINKS]])
        gap = np.linalg.norm(np.diff(bough, axis=0), axis=-1)
        assert np.allclose(gap, LINK)  # a chain: links stay as far from their neighbours as they are
        swing = (bough - trunk).std(axis=1).max(axis=1)
        assert swing[-1] > 2 * swing[0]
        turned = [part.local_to_world[:, :3, :3] / np.linalg.norm(part.local_to_world[:, :3, :3], axis=1, keepdims=True) for part in parts[1:]]
    against = [turned[k].transpose(0, 2, 1) @ turned[k + 1] for k in range(LINKS - 1)]
    angle = [np.degrees(np.arccos(np.clip((np.trace(a, axis1=1, axis2=2) - 1) / 2, -1, 1))) for a in against]
    assert 1 < np.ptp(angle) < 25  # each adds little to the one before it, and not the same at all times
    capture, truth = make("branches", tmp_path)
    assert 0.01 < np.mean(moving_share(capture)) < 0.3 and truth.objects.tolist() == [1]


def test_a_close_mover_fills_half_the_picture(tmp_path: Path) -> None:
    capture, _ = make("close", tmp_path)
    share = moving_share(capture)
    assert 0.45 < np.mean(share) < 0.6 and min(share) > 0.4
    assert capture.depth(0, 5)[capture.mask(0, 5) > 0].min() > 0.3


def test_adrift_every_pixel_moves_and_no_rigid_motion_explains_the_room(tmp_path: Path) -> None:
    capture, truth = make("adrift", tmp_path)
    assert min(moving_share(capture)) == 1.0
    room = truth.xyz[truth.object_id == 3]
    assert np.median(np.linalg.norm(np.diff(room, axis=1), axis=-1)) > 0.01
    pairs = np.linalg.norm(room[:, None] - room[None], axis=-1)
    far = pairs[..., 0] > 1
    assert np.median(np.ptp(pairs[far] / pairs[far][:, :1], axis=-1)) > 0.03


def test_still_nothing_moves_and_there_is_nothing_to_track(tmp_path: Path) -> None:
    capture, truth = make("still", tmp_path)
    assert max(moving_share(capture)) == 0.0
    assert truth.xyz.shape == (0, 12, 3) and truth.objects.size == 0


def test_arms_alone_are_the_mover(tmp_path: Path) -> None:
    capture, truth = make("arms", tmp_path)
    assert 0.003 < np.mean(moving_share(capture)) < 0.04
    assert truth.objects.tolist() == [1]
    assert np.median(np.ptp(truth.xyz, axis=1).max(-1)) > 0.1
    height = -truth.xyz[..., 1]
    assert height.min() > 0.4  # hands hang above the knees, and no leg is among the tracked


def test_exposure_is_what_truth_says_it_is(tmp_path: Path) -> None:
    capture, truth = make("exposure", tmp_path)
    plain, _ = make("casual", tmp_path)
    assert truth.gain.shape == (2, 12) and (truth.gain[1] == 1).all() and np.ptp(truth.gain[0]) > 0.2
    for t in range(12):
        film, before = capture.image(0, t).astype(float), plain.image(0, t).astype(float)
        below_white = film.max(-1) < 250
        assert np.isclose((film[below_white] / np.maximum(before[below_white], 1)).mean(), truth.gain[0, t], rtol=0.01)
    assert np.array_equal(capture.image(1, 4), plain.image(1, 4))


@pytest.mark.parametrize("kind", ["cut", "close", "adrift", "still", "arms", "exposure"])
def test_what_happens_does_not_depend_on_the_seed(kind: str, tmp_path: Path) -> None:
    options = SyntheticOptions(frames=3, width=32, height=24, tracks=8, supersample=1, shading=0.0)
    first, second = (generate(kind, tmp_path / f"{kind}{seed}", seed=seed, options=options) for seed in (1, 2))
    assert np.array_equal(Truth.load(first.root).shot, Truth.load(second.root).shot)
    assert abs(np.mean(moving_share(first)) - np.mean(moving_share(second))) < 0.03
