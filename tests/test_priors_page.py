"""The page of a run's priors: what is drawn where, on arrays whose picture is known."""

import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.export.prior_films import films_of
from fourfold.export.prior_page import contact_sheet, kept_priors, write_prior_page
from fourfold.priors import pictures
from fourfold.priors.contracts import Depth, Disparity, Features, Matches, PointMaps, Provenance, Tracks2D, Tracks3D
from fourfold.priors.given import given_cameras, given_depth, given_masks

BY = Provenance("test <b>")
T, H, W = 14, 64, 96


@pytest.fixture(scope="module")
def capture(casual_capture):
    return Capture.load(casual_capture)


def _frames(capture, prior, which=0):
    return list(films_of(capture, prior)[which].frames())


def test_near_is_warm_and_far_is_cold_and_unknown_is_black():
    depth = np.array([[1.0, 2.0, 8.0, 0.0]], np.float32)
    near, middle, far, unknown = pictures.depth_picture(depth, (1 / 8, 1.0))[0].astype(int)
    assert near[0] > near[2] and far[2] > far[0] and not unknown.any() and middle.any()


def test_flow_hue_is_the_direction():
    flow = np.zeros((1, 3, 2))
    flow[0, 0], flow[0, 1] = (4, 0), (-4, 0)
    right, left, still = pictures.flow_picture(flow, 4.0)[0].astype(int)
    assert right[0] == 255 and right[2] == 0 and left[0] == 0 and left[1] == 255 and left[2] == 255 and not still.any()


def test_masks_are_tinted_and_ignored_pixels_blue():
    mask = np.full((9, 9), -1, np.int8)
    mask[2:7, 2:7], mask[0] = 1, 0
    shown = pictures.mask_picture(np.full((9, 9, 3), 100, np.uint8), mask).astype(int)
    assert tuple(shown[2, 4]) == (255, 64, 32) and shown[4, 4, 0] > 150 > shown[8, 8, 0] and shown[0, 0, 2] > shown[0, 0, 0]


def test_points_are_drawn_where_they_are_with_one_scale():
    box = np.array([[0.0, 0.0], [10.0, 5.0]])
    canvas = np.zeros((100, 100, 3), np.uint8)
    xy = pictures.map_to(np.array([[5.0, 2.5], [10.0, 5.0], [np.nan, 0]]), box, (100, 100))
    np.testing.assert_allclose(xy[:2], [[50, 50], [100, 75]])
    pictures.dots(canvas, xy, np.full((3, 3), 255, np.uint8), 1)
    assert canvas[49:52, 49:52].all() and canvas.astype(bool)[..., 0].sum() == 9 + 3


def test_equal_features_have_equal_colours_in_all_frames(capture):
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 12)).astype(np.float16)
    labels = rng.integers(0, 3, (T, 8, 12))
    frames = _frames(capture, Features(BY, (kinds[labels],) * capture.views))
    colours = {k: {tuple(frames[t][4 + 8 * i, 4 + 8 * j]) for t in range(T) for i, j in np.argwhere(labels[t] == k)} for k in range(3)}
    assert all(len(c) == 1 for c in colours.values()) and len(set.union(*colours.values())) == 3


def test_a_track_is_drawn_at_its_pixel(capture):
    xy = np.tile(np.array([[30.5, 20.5]], np.float32), (1, T, 1))
    ones = np.ones((1, T), np.float16)
    tracks = Tracks2D(BY, xy, ones, ones, np.zeros(1, np.int32), np.zeros(1, np.int32))
    frame = _frames(capture, tracks)[5].astype(int)
    dimmed = (np.asarray(capture.image(0, 5)) * 0.6).astype(int)
    changed = np.argwhere(np.abs(frame - dimmed).max(-1) > 12)
    assert len(changed) and np.abs(changed.mean(0) - [20, 30]).max() < 1.5


def test_every_prior_makes_a_film_of_one_size(capture):
    rng = np.random.default_rng(0)
    depth = given_depth(capture)
    xyz = tuple(rng.normal(size=(T, H, W, 3)).astype(np.float32) for _ in range(capture.views))
    points = rng.normal(size=(20, T, 3)).astype(np.float32)
    ones = np.ones((20, T), np.float16)
    matches = Matches(
        BY, np.array([[0, 0, 0, 3]], np.int32), np.zeros(5, np.int32), *(rng.uniform(5, 60, (2, 5, 2)).astype(np.float32)), np.ones(5, np.float16)
    )
    everything = [
        given_cameras(capture),
        given_masks(capture),
        depth,
        Disparity(BY, tuple(np.where(d > 0, 1 / np.where(d > 0, d, 1), 0) for d in depth.depth), depth.confidence),
        PointMaps(BY, xyz, depth.confidence),
        Tracks3D(BY, points, ones, ones, np.full((20, 3), 0.5, np.float32), np.ones(20, np.float32), np.zeros(20, np.int32), np.ones(20, np.uint8)),
        matches,
    ]
    for prior in everything:
        for film in films_of(capture, prior):
            frames = list(film.frames())
            assert len(frames) == T and len({f.shape for f in frames}) == 1 and frames[0].dtype == np.uint8, prior.name
            assert np.ptp(np.stack(frames)) > 50 and contact_sheet(frames).shape[1] == 4 * 320 + 12


def test_the_page_names_every_file_beside_it(capture, tmp_path):
    depth = Depth(BY, *([a.astype(np.float16) for a in arrays] for arrays in (given_depth(capture).depth, given_depth(capture).confidence)))
    depth = Depth(BY, tuple(depth.depth), tuple(depth.confidence))
    page = write_prior_page(capture, [("mine", depth), ("given", given_cameras(capture))], tmp_path / "exports" / "priors")
    text = page.read_text()
    assert "test &lt;b&gt;" in text and "://" not in text
    assert {p.name for p in page.parent.iterdir()} == {
        "index.html", "depth_mine_view0.png", "depth_mine_view0.mp4", "cameras_given_above.png", "cameras_given_above.mp4"
    }  # fmt: skip
    assert all(p.name in text for p in page.parent.iterdir() if p.name != "index.html")
    write_prior_page(capture, [("given", given_cameras(capture))], page.parent)
    assert len(list(page.parent.iterdir())) == 3
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.txt").write_text("mine")
    with pytest.raises(FourfoldError, match="exists and is no page of priors"):
        write_prior_page(capture, [("given", given_cameras(capture))], tmp_path / "full")


def test_inspect_draws_a_run(casual_capture, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["prepare", str(casual_capture), "-o", str(run), "--quality", "draft", "--only", "depth,masks"]) == 0
    assert [(folder, prior.name) for folder, prior in kept_priors(run / "priors")] == [
        ("given", "cameras"), ("given-masks", "masks"), ("given-depth", "depth")
    ]  # fmt: skip
    assert main(["inspect", str(run), "--priors"]) == 0
    assert str(run / "exports" / "priors" / "index.html") in capsys.readouterr().out
    assert main(["inspect", str(casual_capture), "--priors"]) == 2
    assert "is not one run's folder" in capsys.readouterr().err
