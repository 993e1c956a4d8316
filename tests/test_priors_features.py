"""Weight-free features and motion groups against synthetic truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic.generate import generate
from fourfold.capture.synthetic.options import SyntheticOptions
from fourfold.capture.synthetic.truth import Truth
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Features, Masks, Provenance
from fourfold.priors.features.descriptors import describe
from fourfold.priors.features.features import fit_projection, pixel_features
from fourfold.priors.features.motion_groups import GroupNumbers, group_points, sampled_features
from fourfold.priors.providers import choose
from fourfold.priors.tracking.flow import estimate_flow


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[Capture, Truth, Features]:
    root = tmp_path_factory.mktemp("rig") / "sparse_fixed"
    capture = generate("sparse_fixed", root, options=SyntheticOptions(frames=6, width=320, height=180, fps=6.0, supersample=1, tracks=240))
    masks = Masks(Provenance("truth"), tuple(np.load(root / f"masks_{v:03d}.npy") for v in range(capture.views)))
    return capture, Truth.load(root), pixel_features(capture, masks, estimate_flow(capture))


def test_features_keep_the_contract(described: tuple[Capture, Truth, Features]) -> None:
    capture, _, features = described
    for view in range(capture.views):
        width, height = capture.sizes[view]
        assert features.feature[view].shape == (capture.times, height // 4, width // 4, 32)
        assert features.feature[view].dtype == np.float16
    every = np.concatenate([features.feature[v][t].reshape(-1, 32).astype(np.float32) for v, t in capture.train_frames()])
    assert np.isfinite(every).all()
    assert 0.5 < every.std(0).mean() < 2
    assert not features.feature[4].any()  # the held-out camera is not looked at


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (0, 2)])
def test_a_body_part_looks_alike_from_all_sides(described: tuple[Capture, Truth, Features], pair: tuple[int, int]) -> None:
    capture, truth, features = described
    a, b = pair
    above, right, chance = [], [], []
    for one, other in ((1, 1), (4, 4), (1, 4)):
        seen_a, seen_b = (np.flatnonzero(truth.visibility[v, :, t] & (truth.object_id == 1)) for v, t in ((a, one), (b, other)))
        look_a = sampled_features(features.feature[a][one], truth.xy[a, seen_a, one], tuple(capture.sizes[a]))
        look_b = sampled_features(features.feature[b][other], truth.xy[b, seen_b, other], tuple(capture.sizes[b]))
        distance = np.linalg.norm(look_a[:, None] - look_b[None], axis=2)
        same = truth.part[seen_a][:, None] == truth.part[seen_b][None]
        drawn = np.random.default_rng(0).choice(distance[~same], 4000)
        above.append(float((np.random.default_rng(1).choice(distance[same], 4000) < drawn).mean()))
        right.append(float((truth.part[seen_b][distance.argmin(1)] == truth.part[seen_a]).mean()))
        chance.append(float(same.mean()))
    assert np.mean(above) > 0.7  # 0.5 is chance
    assert np.mean(right) > 2.5 * np.mean(chance)


def test_descriptors_ignore_a_mirror(described: tuple[Capture, Truth, Features]) -> None:
    capture, _, _ = described
    image, mover = np.array(capture.image(0, 0)), np.load(capture.root / "masks_000.npy")[0] > 0
    one, weight = describe(image, mover, None, (45, 80))
    other, _ = describe(image[:, ::-1], mover[:, ::-1], None, (45, 80))
    assert one.shape == (45, 80, len(weight))
    assert np.allclose(one, other[:, ::-1], atol=0.02 * np.abs(one).max())


@pytest.mark.parametrize("size", [(40, 72), (39, 71), (27, 48)])
def test_any_size_of_image_and_grid_has_descriptors(size: tuple[int, int]) -> None:
    """A plain image of one colour has the same descriptors everywhere, whatever the grid's pixels cover."""
    color = np.full((121, 215, 3), (200, 90, 30), np.uint8)
    found, _ = describe(color, np.zeros((121, 215), bool), None, size)
    assert found.shape[:2] == size and found.shape[2] > 8 and np.isfinite(found).all()
    assert np.abs(found[2:-2, 2:-2] - found[size[0] // 2, size[1] // 2]).max() < 1e-3


def test_projection_keeps_distances_when_it_keeps_all_axes() -> None:
    random = np.random.default_rng(0)
    words = (random.normal(size=(500, 5)) * [1, 10, 0.1, 3, 2]).astype(np.float32)
    project = fit_projection(words, np.ones(5, np.float32), 32)
    standard = words / words.std(0)
    ratio = np.linalg.norm(project(words)[:50, None] - project(words)[None, :50], axis=2) / (
        np.linalg.norm(standard[:50, None] - standard[None, :50], axis=2) + np.eye(50)
    )
    off = ~np.eye(50, dtype=bool)
    assert np.allclose(ratio[off], ratio[off][0], rtol=1e-3)
    assert project(words).std(0).mean() == pytest.approx(1, rel=1e-3)


def test_groups_are_the_blobs_and_small_ones_are_dropped() -> None:
    random = np.random.default_rng(0)
    middle = np.array([[0.0, 0, 0], [5, 0, 0], [0, 5, 0]])
    truth = np.repeat([0, 1, 2], [400, 300, 200])
    points = middle[truth] + random.normal(size=(900, 3)) * 0.1
    look = np.eye(3)[truth] + random.normal(size=(900, 3)) * 0.05
    groups = group_points(points, look, GroupNumbers(groups=3))
    assert sorted(np.bincount(groups.label).tolist()) == [200, 300, 400]
    assert np.allclose(np.sort(groups.centers, axis=0), np.sort(middle, axis=0), atol=0.05)
    stray = np.concatenate([points, [[50.0, 50, 50]]])
    kept = group_points(stray, np.concatenate([look, [[9.0, 9, 9]]]), GroupNumbers(groups=4))
    assert kept.centers.shape[0] <= 4
    assert np.bincount(kept.label).min() > 1
    assert len(kept.centers) == kept.label.max() + 1


def test_alike_parts_of_two_bodies_are_one_group_without_positions_and_two_with() -> None:
    random = np.random.default_rng(1)
    points = np.concatenate([random.normal(size=(300, 3)) * 0.1, random.normal(size=(300, 3)) * 0.1 + [4, 0, 0]])
    look = random.normal(size=(600, 8)) * 0.01 + np.repeat(np.eye(2), 150, axis=0)[np.tile(np.arange(300), 2)] @ np.ones((2, 8)) * 0
    look[:, 0] += np.tile(np.repeat([0.0, 1.0], 150), 2)
    alike = group_points(points, look[:, :1], GroupNumbers(groups=2, position=0))
    assert (alike.label[:150] == alike.label[300:450]).all()
    apart = group_points(points, look[:, :1], GroupNumbers(groups=2, position=20))
    assert (apart.label[:300] != apart.label[300:]).all()


def test_no_points_are_refused() -> None:
    with pytest.raises(FourfoldError, match="at least one"):
        group_points(np.zeros((0, 3)), None)


def test_grid_features_are_read_between_cell_centres() -> None:
    grid = np.arange(12, dtype=np.float32).reshape(3, 4, 1)
    found = sampled_features(grid, np.array([[2.0, 2.0], [4.0, 2.0], [0.0, 0.0], [100.0, 100.0]]), (16, 12))
    assert found[:, 0].tolist() == [0.0, 0.5, 0.0, 11.0]


def test_the_classical_provider_serves_everything(described: tuple[Capture, Truth, Features]) -> None:
    assert choose("features:descriptors", described[0]).name == "descriptors"
    assert Path(described[0].root).exists()
