"""Supplied files in their public layouts, written from synthetic truth by numpy alone and read back; damaged ones get one sentence."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.synthetic.truth import Truth
from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.priors.providers import choose, prepare_priors
from fourfold.priors.supplied.layout import recognised
from supplied_files import (
    NAMES,
    SCALE,
    H,
    T,
    W,
    captured,
    move,
    other_world,
    pickled_header,
    quat,
    save_cotracker,
    save_megasam,
    spoil_npz,
    whole_pixels,
    write_tapir,
)


@pytest.fixture(scope="module")
def clip(casual_capture, tmp_path_factory):
    """The synthetic clip as a folder of images with names that are not numbers in a row."""
    source, folder = Capture.load(casual_capture), tmp_path_factory.mktemp("supplied") / "walk"
    folder.mkdir()
    for t, name in enumerate(NAMES):
        Image.fromarray(np.asarray(source.image(0, t))).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def truth(casual_capture):
    return Truth.load(casual_capture)


@pytest.fixture(scope="module")
def given(casual_capture):
    return Capture.load(casual_capture)


@pytest.mark.parametrize("place", ["given", "beside"])
def test_tapir_files_become_tracks(clip, truth, tmp_path, place):
    clip = Path(shutil.copytree(clip, tmp_path / "images" / "walk"))
    folder = tmp_path / ("mine" if place == "given" else "bootstapir/walk")
    write_tapir(folder, truth)
    for pixels, factor in ((W * H, 1.0), (W * H // 4, 0.5)):
        capture = captured(clip, tmp_path, folder if place == "given" else None, pixels)
        tracks = prepare_priors(capture.with_cameras(*_truth_cameras(truth), "given"), ["tracks2d"], tmp_path / f"priors{pixels}").priors.tracks2d
        assert tracks.provenance.provider == "tapir (supplied)" and tracks.provenance.needs_weights
        for q in (0, 5, T - 1):
            mine, rows = np.flatnonzero(truth.visibility[0][:, q])[: 10 + q], np.flatnonzero(tracks.query_time == q)
            assert len(rows) == len(mine)
            shown = truth.visibility[0][mine]
            np.testing.assert_array_equal(tracks.visibility[rows] > 0.5, shown)
            np.testing.assert_allclose(tracks.xy[rows][shown], factor * truth.xy[0][mine][shown], atol=2e-5)


def test_tapir_confidence_follows_the_table(clip, tmp_path):
    """Occlusion and uncertainty logits of +-4: only (-, -) is visible, an uncertain point is not sure."""
    folder = tmp_path / "tapir"
    folder.mkdir()
    rows = np.array([[5, 5, o, u] for o in (-4, 4) for u in (-4, 4)], np.float32)
    for q in NAMES:
        for j in NAMES:
            np.save(folder / f"{q}_{j}.npy", rows if q == NAMES[0] else rows[:0])
    tracks = _read(captured(clip, tmp_path, folder), "tracks2d")
    assert (tracks.visibility[:, 3] > 0.5).tolist() == [True, False, False, False]
    assert (tracks.confidence[:, 3] > 0.5).tolist() == [True, False, True, False]
    assert len(tracks.xy) == 4


def _truth_cameras(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    return truth.K[:1], truth.world_to_camera[:1]


def _read(capture: Capture, prior: str):
    """What the provider of the highest rank reads, without anything else."""
    return choose(prior, capture).make(capture, None)[0]


@pytest.mark.parametrize("kind", ["cotracker", "mosca", "sized"])
def test_track_archives(clip, truth, given, tmp_path, kind):
    folder = tmp_path / "mine"
    folder.mkdir()
    tracks = np.nan_to_num(truth.xy[0] - 0.5).transpose(1, 0, 2)
    if kind == "cotracker":
        save_cotracker(folder / "tracks.npz", truth, given)
    elif kind == "mosca":
        depth = np.nan_to_num(truth.depth[0]).T[..., None]
        np.savez(folder / "uniform_dep=x_bootstapir_tap.npz", tracks=np.concatenate([tracks, depth], -1), visibility=truth.visibility[0].T)
    else:  # of a video of twice the size: pixel centres at whole numbers do not simply double
        video = np.zeros((T, 2 * H, 2 * W, 3), np.uint8)
        np.savez(folder / "big.npz", tracks=2 * (tracks + 0.5) - 0.5, visibility=truth.visibility[0].T, video=video)
    found = _read(captured(clip, tmp_path, folder), "tracks2d")
    shown = truth.visibility[0]
    np.testing.assert_array_equal(found.visibility > 0.5, shown)
    np.testing.assert_allclose(found.xy[shown], truth.xy[0][shown], atol=2e-5)
    assert (shown[np.arange(len(shown)), found.query_time] | ~shown.any(1)).all()


@pytest.mark.parametrize("pixels", [W * H, W * H // 4])
def test_megasam(clip, truth, given, tmp_path, pixels):
    folder = tmp_path / "mine"
    folder.mkdir()
    save_megasam(folder / "walk_sgd_cvd_hr.npz", truth, given)
    capture = captured(clip, tmp_path, folder, pixels)
    done = prepare_priors(capture, ["depth"], tmp_path / "priors")
    factor = np.sqrt(pixels / (W * H))
    np.testing.assert_allclose(done.capture.world_to_camera[0], other_world(truth.world_to_camera[0]), atol=1e-9)
    np.testing.assert_allclose(done.capture.K[0], truth.K[0] * np.array([factor, factor, 1])[:, None], atol=1e-9)
    assert done.capture.cameras == "given" and done.priors.depth.provenance.provider == "megasam (supplied)"
    if factor == 1:
        np.testing.assert_allclose(done.priors.depth.depth[0], SCALE * np.stack([given.depth(0, t) for t in range(T)]), rtol=1e-6)


def test_depth_beside_other_cameras_is_brought_to_their_scale_or_refused(clip, truth, given, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    save_megasam(folder / "walk_sgd_cvd_hr.npz", truth, given)
    capture = captured(clip, tmp_path, folder)
    posed = capture.with_cameras(*_truth_cameras(truth), "given")
    np.testing.assert_allclose(_read(posed, "depth").depth[0], np.stack([given.depth(0, t) for t in range(T)]), rtol=1e-5)
    K, poses = _truth_cameras(truth)
    bent = poses.copy()
    bent[:, :, :3, 3] += np.random.default_rng(0).normal(0, 0.3, (1, T, 3))
    with pytest.raises(FourfoldError, match="do not follow the capture's path"):
        _read(capture.with_cameras(K, bent, "given"), "depth")


def test_tapip3d(clip, truth, given, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    arrays = {
        "video": np.stack([given.image(0, t) for t in range(T)]),
        "depths": SCALE * np.stack([given.depth(0, t) for t in range(T)]),
        "intrinsics": whole_pixels(truth.K[0]),
        "extrinsics": other_world(truth.world_to_camera[0]),
        "coords": move(truth.xyz).transpose(1, 0, 2),
        "visibs": truth.visibility[0].T,
    }
    np.savez(folder / "result.npz", **arrays)
    capture = captured(clip, tmp_path, folder)
    done = prepare_priors(capture, ["tracks3d", "depth"], tmp_path / "priors")
    np.testing.assert_allclose(done.priors.tracks3d.xyz, move(truth.xyz), atol=1e-5)
    np.testing.assert_allclose(done.capture.K[0], truth.K[0], atol=1e-9)
    assert done.priors.tracks3d.native.all() and (done.priors.depth.depth[0] > 0).any()
    posed = capture.with_cameras(*_truth_cameras(truth), "given")
    tracks = _read(posed, "tracks3d")
    np.testing.assert_allclose(tracks.xyz, truth.xyz, atol=1e-5)
    np.testing.assert_array_equal(tracks.visibility > 0.5, truth.visibility[0])
    seen = truth.visibility[0].any(1)
    assert np.abs(tracks.color[seen] - truth.color[seen]).mean() < 0.15
    np.savez(folder / "result.npz", **(arrays | {"visibs": np.where(truth.visibility[0].T, 4.0, -4.0)}))
    np.testing.assert_array_equal(_read(posed, "tracks3d").visibility > 0.5, truth.visibility[0])


@pytest.mark.parametrize("kind", ["dycheck", "disparity", "mosca"])
def test_depth_per_frame(clip, given, truth, tmp_path, kind):
    folder = tmp_path / "mine"
    inner = folder / {"dycheck": "depth/1x", "disparity": "aligned_depth_anything/walk", "mosca": "crafter_depth"}[kind]
    inner.mkdir(parents=True)
    for t, name in enumerate(NAMES):
        depth = given.depth(0, t).copy()
        depth[:5, :7] = 0
        if kind == "dycheck":
            np.save(inner / f"{name}.npy", depth[..., None])
        elif kind == "disparity":
            np.save(inner / f"{name}.npy", np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0).astype(np.float32))
        else:
            np.savez(inner / f"{name}.npz", dep=depth)
    capture = captured(clip, tmp_path, folder).with_cameras(*_truth_cameras(truth), "given")
    found = _read(capture, "depth")
    wanted = np.stack([given.depth(0, t) for t in range(T)])
    np.testing.assert_allclose(found.depth[0][:, 5:], wanted[:, 5:], rtol=1e-6)
    assert (found.depth[0][:, :5, :7] == 0).all() and (found.confidence[0][:, :5, :7] == 0).all()
    assert {"dycheck": "depth files", "disparity": "aligned disparity", "mosca": "mosca depth"}[kind] in found.provenance.provider


@pytest.mark.parametrize("kind", ["track-anything", "objects"])
def test_masks(clip, given, tmp_path, kind):
    folder = tmp_path / "mine"
    parts = [("track_anything/1x", None)] if kind == "track-anything" else [("sam2/0", 0), ("sam2/1", 1)]
    for where, half in parts:
        (folder / where).mkdir(parents=True)
        for t, name in enumerate(NAMES):
            mask = given.mask(0, t) > 0
            if half is not None:
                mask = mask & (np.arange(W) % 2 == half)
            Image.fromarray((mask * 255).astype(np.uint8)).save(folder / where / f"{name}.png")
    found = _read(captured(clip, tmp_path, folder), "masks")
    np.testing.assert_array_equal(found.mask[0] > 0, np.stack([given.mask(0, t) > 0 for t in range(T)]))
    assert (found.mask[0] != 0).all()


def test_all_segments_of_an_image_are_no_motion_masks(clip, tmp_path):
    for name in NAMES:
        inner = tmp_path / "mine" / "sam" / name
        inner.mkdir(parents=True)
        (inner / "metadata.csv").write_text("id,area\n")
        Image.fromarray(np.zeros((H, W), np.uint8)).save(inner / "0.png")
    with pytest.raises(FourfoldError, match="all segments of each image, not what moves"):
        _read(captured(clip, tmp_path, tmp_path / "mine"), "masks")


def test_colmap_model(clip, truth, tmp_path):
    folder = tmp_path / "mine" / "sparse" / "0"
    folder.mkdir(parents=True)
    K = truth.K[0, 0]
    parameters = 2 * np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])  # a model of images twice as large
    (folder / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 1, 1, 2 * W, 2 * H, *parameters))
    data = struct.pack("<Q", T)
    for t, name in enumerate(NAMES):
        pose = truth.world_to_camera[0, t]
        data += struct.pack("<i7di", t + 1, *quat(pose[:3, :3]), *pose[:3, 3], 1) + f"{name}.png".encode() + b"\0" + struct.pack("<Q", 0)
    (folder / "images.bin").write_bytes(data)
    found = _read(captured(clip, tmp_path, tmp_path / "mine"), "cameras")
    np.testing.assert_allclose(found.world_to_camera[0], truth.world_to_camera[0], atol=1e-9)
    np.testing.assert_allclose(found.K[0], truth.K[0], atol=1e-9)
    (folder / "images.bin").write_bytes(data[:-60])
    with pytest.raises(FourfoldError, match="cannot be read as a COLMAP model"):
        _read(captured(clip, tmp_path, tmp_path / "mine"), "cameras")


def test_droid_in_plain_arrays_and_pickled(clip, truth, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    poses = np.linalg.inv(truth.world_to_camera[0])
    K = whole_pixels(truth.K[0, 0])
    np.save(folder / "traj_c2w.npy", poses)
    np.save(folder / "intrinsics.npy", K[[0, 1, 0, 1], [0, 1, 2, 2]])
    np.save(folder / "img_shape.npy", np.array([H, W]))
    found = _read(captured(clip, tmp_path, folder), "cameras")
    np.testing.assert_allclose(found.world_to_camera[0], truth.world_to_camera[0], atol=1e-9)
    np.testing.assert_allclose(found.K[0], truth.K[0], atol=1e-9)
    for path in folder.iterdir():
        path.unlink()
    (folder / "walk.npy").write_bytes(pickled_header())
    with pytest.raises(FourfoldError, match=r"is a pickled file, which can run code .* save its entries traj_c2w, intrinsics and img_shape"):
        _read(captured(clip, tmp_path / "again", folder), "cameras")


@pytest.mark.parametrize("how", ["cut", "count", "shape", "nan", "rotation", "size", "focal"])
def test_a_spoilt_archive_gets_one_sentence(clip, truth, given, tmp_path, how):
    folder = tmp_path / "mine"
    folder.mkdir()
    path = folder / "walk_sgd_cvd_hr.npz"
    save_megasam(path, truth, given)
    poses = np.linalg.inv(truth.world_to_camera[0])
    spoilt = {
        "count": {"cam_c2w": poses[:-1]},
        "shape": {"intrinsic": np.eye(4)},
        "nan": {"cam_c2w": poses * np.nan},
        "rotation": {"cam_c2w": poses * 2},
        "size": {"depths": np.ones((T, H, 2 * W), np.float32)},
        "focal": {"intrinsic": np.zeros((3, 3))},
    }
    spoil_npz(path, how, **spoilt.get(how, {}))
    with pytest.raises(FourfoldError) as error:
        prepare_priors(captured(clip, tmp_path, folder), ["depth"], tmp_path / "priors")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("how", ["cut", "count", "missing", "nan", "columns"])
def test_spoilt_tapir_files_get_one_sentence(clip, truth, tmp_path, how):
    folder = tmp_path / "mine"
    write_tapir(folder, truth, range(2))
    path = folder / f"{NAMES[1]}_{NAMES[4]}.npy"
    rows = np.load(path)
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[:-7])
        case "missing":
            path.unlink()
        case _:
            np.save(path, {"count": rows[:-1], "nan": rows * np.nan, "columns": rows[:, :3]}[how])
    with pytest.raises(FourfoldError) as error:
        _read(captured(clip, tmp_path, folder), "tracks2d")
    assert path.name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("how", "words"), [("missing", "lacks 1 of 14 training frames, the first is shot_007"), ("count", "holds 13 files for 14 images")]
)
def test_depth_files_of_another_count(clip, given, tmp_path, how, words):
    folder = tmp_path / "mine" / "depth"
    folder.mkdir(parents=True)
    for t in range(T):
        np.save(folder / f"{NAMES[t] if how == 'missing' else t}.npy", given.depth(0, t))
    (folder / (f"{NAMES[1]}.npy" if how == "missing" else "1.npy")).unlink()
    with pytest.raises(FourfoldError, match=words):
        _read(captured(clip, tmp_path, folder.parent), "depth")


def test_straightened_images_do_not_take_files_of_the_images_as_filmed(clip, truth, tmp_path, capsys):
    folder = tmp_path / "mine"
    write_tapir(folder, truth, range(1))
    capture = captured(clip, tmp_path, folder)
    capture.facts["undistorted"] = True
    assert choose("tracks2d", capture).name != "tapir-tracks2d"
    assert "the images were straightened on reading" in capsys.readouterr().err


def test_real_dycheck_depth_beside_the_capture_and_supplied(real_data, tmp_path):
    """The windmill's own ids and cameras, with depth written as DyCheck does: the capture's reader and the supplied reader agree."""
    root = real_data("dycheck_paper_windmill")
    copied = tmp_path / "paper-windmill"
    shutil.copytree(root, copied)
    ids = sorted(p.stem for p in (root / "rgb" / "1x").glob("0_*.png"))
    depth = (0.3 + 0.4 * np.random.default_rng(0).random((960, 720, 1))).astype(np.float32)
    folder = tmp_path / "mine" / "depth" / "1x"
    for place in (copied / "depth" / "1x", folder):
        place.mkdir(parents=True)
        for i, name in enumerate(ids):
            np.save(place / f"{name}.npy", depth * (i + 1) / len(ids))
    own = prepare_capture([copied], tmp_path / "own", pixels=180 * 240, holdout="none")
    other = prepare_capture([root], tmp_path / "other", pixels=180 * 240, holdout="none", priors_folder=tmp_path / "mine")
    a, b = _read(own, "depth"), _read(other, "depth")
    assert a.provenance.provider == "given" and b.provenance.provider == "depth files (supplied)"
    for x, y in zip(a.depth, b.depth, strict=True):
        np.testing.assert_array_equal(x, y)
    assert 0.1 < np.median(b.depth[0][b.depth[0] > 0]) < 3


def test_prepare_takes_the_folder_and_says_what_it_found(clip, truth, given, tmp_path, capsys):
    folder = tmp_path / "mine"
    (folder / "masks").mkdir(parents=True)
    save_megasam(folder / "walk_sgd_cvd_hr.npz", truth, given)
    for t, name in enumerate(NAMES):
        Image.fromarray(((given.mask(0, t) > 0) * 255).astype(np.uint8)).save(folder / "masks" / f"{name}.png")
    run = tmp_path / "run"
    assert main(["prepare", str(clip), "-o", str(run), "--only", "masks,depth", "--priors", str(folder), "--json"]) == 0
    import json

    value = json.loads(capsys.readouterr().out)
    assert value["priors"]["depth"]["provider"] == "megasam (supplied)" and value["priors"]["masks"]["provider"] == "masks (supplied)"
    assert any("megasam" in s for s in value["supplied"])
    assert recognised(Capture.load(run / "capture")) == value["supplied"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["prepare", str(clip), "-o", str(tmp_path / "no"), "--priors", str(empty)]) == 2
    assert "holds no priors of this capture in a known layout" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
