"""`.4dgs`: its own library's validator and readers on every motion model, the way there and back in pixels, and damage."""

import json
from dataclasses import replace
from pathlib import Path

import fourdgs
import numpy as np
import pytest
import torch
from fourdgs.keyframe_delta_file import decode_indexed, decode_streamed, render_at, states_json
from fourdgs.validate import validate

from damaged_files import damage_is_one_sentence
from every_motion import HEIGHT, WIDTH, moving_layers, scene_of, walking_camera
from fourfold.errors import FourfoldError
from fourfold.export.dot4dgs.keyframes import KeyframeConfig, encode_keyframes
from fourfold.export.dot4dgs.read import pieces_and_scene, read_4dgs
from fourfold.export.dot4dgs.straight import StraightConfig, _about, _halved, _worst_bend, about, finer
from fourfold.export.dot4dgs.write import held_by, write_4dgs
from fourfold.export.packing import packing_error
from fourfold.geometry.projection import project
from fourfold.scene.flights import layer_flights
from fourfold.scene.scene import Scene

KINDS = sorted(moving_layers())
STRAIGHT = {kind for kind, layer in moving_layers().items() if layer_flights(layer) is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_every_motion_model_goes_there_and_back(kind: str, tmp_path: Path) -> None:
    scene, capture, path = scene_of(kind), walking_camera(), tmp_path / "a.4dgs"
    error = write_4dgs(path, scene, capture, capture.timestamps)
    data = path.read_bytes()
    report = validate(data)
    assert report.ok and not [f for f in report.findings if "WARN" in str(f).upper()], [str(f) for f in report.findings]
    model = "gaussian-birth" if kind in STRAIGHT else "keyframe-delta"
    assert f'"{model}"'.strip('"').encode() in data
    assert error.worst_pixels <= 0.1 and error.decibels > 40

    identities, again = pieces_and_scene(path)
    rows = torch.from_numpy(np.concatenate(identities))
    assert [layer.name for layer in again.layers] == ["static", "moving"] and again.time_range == scene.time_range
    assert (again.scale, again.background, again.up, again.near) == (scene.scale, scene.background, scene.up, scene.near)
    for time in np.random.default_rng(0).uniform(0, 1, 3):
        truth, held = scene.at(time), again.at(time)
        there = (held.opacity >= 2 / 255) & (truth.opacity[rows] >= 2 / 255)
        assert len(set(rows[there].tolist())) == int(there.sum()), "a Gaussian is drawn once"
        missing = set(torch.nonzero(truth.opacity >= 4 / 255)[:, 0].tolist()) - set(rows[held.opacity > 0].tolist())
        if kind in STRAIGHT:
            assert not missing
        camera = capture.camera_at(0, 3)
        K, pose = camera.K.float(), camera.world_to_camera.float()
        right, wrong = (project(p, K, pose)[0] for p in (truth.means[rows][there], held.means[there]))
        inside = (right > 0).all(-1) & (right < torch.tensor([WIDTH, HEIGHT])).all(-1)
        assert int(inside.sum()) > 20 and float((right - wrong).norm(dim=-1)[inside].max()) <= 0.1


def test_the_library_reads_what_was_meant(tmp_path: Path) -> None:
    """`gaussian-birth`, value by value through the library's own `state_at`."""
    scene, capture = scene_of("linear", terms=8), walking_camera()
    write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    read = fourdgs.read(str(tmp_path / "a.4dgs"))
    truth, state = scene.at(0.4), read.state_at(0.4)
    g, at = read.gaussians, state["indices"]
    rows = torch.from_numpy(np.asarray(g.source_index).reshape(-1)[at].astype(np.int64))
    size = float(truth.scale.median())
    np.testing.assert_allclose(state["centers"], truth.means[rows], atol=0.05 * size)
    np.testing.assert_allclose(state["opacity"], truth.opacity[rows], atol=0.02)
    np.testing.assert_allclose(g.scales[at], truth.scale[rows], rtol=0.006)
    np.testing.assert_allclose(g.colors[at, :3], truth.color[rows], atol=0.5 / 255 + 1e-6)
    quats = torch.nn.functional.normalize(truth.quat_wxyz[rows], dim=-1).numpy()[:, [1, 2, 3, 0]]
    assert (np.abs((state["orientations"] * quats).sum(1)) > 1 - 1e-5).all()
    steps = g.sh[at].reshape(len(at), 3, 8).transpose(0, 2, 1) * (8 / 255) - 4
    np.testing.assert_allclose(steps, truth.sh_rest[rows], atol=4 / 255 + 1e-6)


def test_cameras_time_and_units_are_the_librarys(tmp_path: Path) -> None:
    scene, capture = scene_of("linear"), walking_camera()
    scene.time_range, scene.up, scene.scale = (0.0, 1.0), (0.0, -1.0, 0.0), 1.0
    write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    read = fourdgs.read(str(tmp_path / "a.4dgs"))
    assert read.duration_sec == 1.0
    (frame,), (sensor,), (path,) = read.provenance.frames, read.provenance.sensors, read.provenance.trajectories
    assert (frame.handedness, frame.up_axis, frame.metres_per_unit) == (1, 4, 1.0)
    camera = capture.camera_at(0, 7)
    pose = fourdgs.pose_at(path, float(capture.timestamps[7]))
    point = np.array([0.3, -0.2, 0.5])
    seen = camera.world_to_camera.numpy() @ [*point, 1]
    np.testing.assert_allclose(pose.apply(seen[:3]), point, atol=1e-5)
    assert (sensor.width_px, sensor.height_px, sensor.fx, sensor.cx, sensor.cy) == (160, 120, 150.0, 85.0, 57.0)
    assert read.camera.positions[7] == pytest.approx(camera.center.tolist(), abs=1e-6)


def test_both_readers_of_keyframes_agree_and_states_are_exact(tmp_path: Path) -> None:
    scene, capture = scene_of("se3_bases"), walking_camera()
    write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    data = (tmp_path / "a.4dgs").read_bytes()
    streamed = decode_streamed(data)
    assert json.dumps(states_json(streamed)) == json.dumps(states_json(decode_indexed(data)[0]))
    truth, state = scene.at(0.48), render_at(streamed, 0.48)  # a frame: looks are those of frames
    rows = torch.from_numpy(np.asarray(state["ids"]).astype(np.int64))
    np.testing.assert_allclose(state["centers"], truth.means[rows], atol=0.05 * float(truth.scale.median()))
    quats = torch.nn.functional.normalize(truth.quat_wxyz[rows], dim=-1).numpy()[:, [1, 2, 3, 0]]
    assert (np.abs((state["rotations"] * quats).sum(1)) > 1 - 1e-5).all()


@pytest.mark.parametrize("kind", ["se3_bases", "polynomial"])
def test_harmonics_are_kept_where_motion_bends(kind: str, tmp_path: Path) -> None:
    scene, capture = scene_of(kind, terms=3), walking_camera()
    error = write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    assert validate((tmp_path / "a.4dgs").read_bytes()).ok
    assert error.worst_pixels <= 0.1 and error.decibels > 40
    assert read_4dgs(tmp_path / "a.4dgs").layers[1].splats["sh_rest"].shape[1:] == (3, 3)


def test_what_was_read_is_written_again_without_loss(tmp_path: Path) -> None:
    capture = walking_camera()
    write_4dgs(tmp_path / "a.4dgs", scene_of("lifespan"), capture, capture.timestamps)
    first = read_4dgs(tmp_path / "a.4dgs")
    error = write_4dgs(tmp_path / "b.4dgs", first, capture, capture.timestamps)
    assert error.worst_pixels < 0.05 and error.decibels > 50


def test_a_scene_that_begins_late_keeps_its_clock(tmp_path: Path) -> None:
    scene, capture = scene_of("linear"), walking_camera()
    scene.time_range = (0.25, 1.0)
    write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    again = read_4dgs(tmp_path / "a.4dgs")
    assert again.time_range == (0.25, 1.0) and fourdgs.read(str(tmp_path / "a.4dgs")).duration_sec == 0.75
    truth, held = scene.at(0.6), again.at(0.6)
    rows = torch.from_numpy(np.concatenate(pieces_and_scene(tmp_path / "a.4dgs")[0]))
    torch.testing.assert_close(held.means, truth.means[rows], atol=0.01, rtol=0)


def test_nothing_and_one_and_what_is_not_finite(tmp_path: Path) -> None:
    capture = walking_camera()
    for name, count in (("none", 0), ("one", 1)):
        scene = scene_of("linear")
        scene.layers = [scene.layers[0]]
        scene.layers[0].splats = {k: v[:count] for k, v in scene.layers[0].splats.items()}
        write_4dgs(tmp_path / f"{name}.4dgs", scene, capture, capture.timestamps)
        assert validate((tmp_path / f"{name}.4dgs").read_bytes()).ok
        assert len(read_4dgs(tmp_path / f"{name}.4dgs").layers[0]) == count
    for kind in ("linear", "se3_bases"):
        scene = scene_of(kind)
        scene.layers[1].splats["means"][3, 1] = torch.nan
        scene.layers[0].splats["log_scale"][5, 1] = torch.inf
        write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
        again = read_4dgs(tmp_path / "a.4dgs")
        assert len(again.layers[0]) == 59 and all(bool(torch.isfinite(v).all()) for layer in again.layers for v in layer.splats.values())


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    capture, rng = walking_camera(6), np.random.default_rng(1)
    for kind in ("linear", "se3_bases"):
        write_4dgs(tmp_path / "a.4dgs", scene_of(kind), capture, capture.timestamps)
        whole = (tmp_path / "a.4dgs").read_bytes()
        damage_is_one_sentence(read_4dgs, tmp_path / "b.4dgs", whole, (0, 5, 200, len(whole) // 2, len(whole) - 20), 60, 3, rng)
    with pytest.raises(FourfoldError, match="is missing"):
        read_4dgs(tmp_path / "none.4dgs")


def _jerking(terms: int = 0) -> Scene:
    """Gaussians that turn sharply at their own moment, a frame or half-way between two, and live for about a frame: films make such movers."""
    scene, rng = scene_of("lived_bases", terms), np.random.default_rng(5)
    splats, moments = scene.layers[1].splats, rng.integers(0, 2 * 25 + 1, len(scene.layers[1])) / 50
    splats["time_center"] = torch.tensor(moments, dtype=torch.float32)
    splats["log_radius"], splats["log_duration"] = torch.full((len(moments),), 0.03).log(), torch.full((len(moments),), 0.05).log()
    for name in ("velocity_before", "velocity_after"):
        splats[name] = torch.tensor(rng.normal(size=(len(moments), 3)) * 25, dtype=torch.float32)
    return scene


@pytest.mark.parametrize("terms", [0, 3])
def test_corners_at_frames_and_half_way_are_kept(terms: int, tmp_path: Path) -> None:
    scene, capture = _jerking(terms), walking_camera()
    seen = [float(t) for t in np.random.default_rng(1).uniform(0, 1, 12)]
    write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    error = packing_error(scene, capture, held_by(tmp_path / "a.4dgs"), seen)
    assert error.worst_pixels <= 0.1
    assert validate((tmp_path / "a.4dgs").read_bytes()).ok
    finest = _about(_halved(capture.timestamps, 4), *scene.time_range)
    assert _worst_bend(scene, capture, finest) > 0.2, "pieces about the frames go over the corners, however many there are"


@pytest.mark.parametrize("kind", ["linear", "se3_bases"])
def test_what_is_fast_is_where_it_belongs(kind: str, tmp_path: Path) -> None:
    """The library's own milliseconds would move what crosses the picture in a fifth of a second by .4 pixels."""
    scene, capture = scene_of(kind), walking_camera(17)  # of a sixteenth of a second: no milliseconds
    flown = scene_of("linear").layers[1]
    flown.splats["velocity"] = torch.tensor([[30.0, 0.0, 0.0]]).expand(len(flown), 3).contiguous()
    flown.splats["time_center"] = torch.rand(len(flown), generator=torch.Generator().manual_seed(3))
    scene.layers = [*scene.layers[: 1 + (kind != "linear")], replace(flown, name="fast")]
    write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    error = packing_error(scene, capture, held_by(tmp_path / "a.4dgs"), [float(t) for t in np.random.default_rng(2).uniform(0, 1, 12)])
    assert error.worst_pixels <= 0.1


def test_a_parabola_is_left_by_a_quarter_of_its_height() -> None:
    scene = scene_of("polynomial")
    times = torch.tensor([0.30, 0.32, 0.34])
    paths = torch.stack([g.means for g in scene.at_times(times)])
    rows, looks, velocity = about(scene, 0.32, (0.30, 0.34))
    line = torch.stack([looks.means + velocity * step for step in (-0.02, 0.0, 0.02)])
    off = line - paths[:, rows]
    bulge = (paths[0] + paths[2])[rows] / 2 - paths[1][rows]
    torch.testing.assert_close(off[1], bulge / 2, atol=2e-6, rtol=0)
    torch.testing.assert_close(off[0], -bulge / 2, atol=2e-6, rtol=0)
    assert bulge.abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["linear", "se3_bases"])
def test_a_far_background_does_not_make_what_is_near_coarse(kind: str, tmp_path: Path) -> None:
    """The library's own steps, 2 % of the median size of all Gaussians, would move the near ones by more than a pixel."""
    scene, capture = scene_of(kind), walking_camera()
    still = scene.layers[0].splats
    still["means"], still["log_scale"] = still["means"] * 100 + torch.tensor([0.0, 0, 300]), still["log_scale"] + 5
    error = write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    assert error.worst_pixels <= 0.1
    assert validate((tmp_path / "a.4dgs").read_bytes()).ok


def test_pieces_are_no_finer_than_what_can_be_held() -> None:
    scene, capture = scene_of("se3_bases"), walking_camera()
    assert len(finer(scene, capture, capture.timestamps, StraightConfig(), 10_000)) > 60
    assert len(finer(scene, capture, capture.timestamps, StraightConfig(), 60)) in (50, 51)
    assert len(finer(scene, capture, capture.timestamps, StraightConfig(bend=100.0), 10_000)) == 26
    jerking = finer(_jerking(), capture, capture.timestamps, StraightConfig(), 10_000)
    assert set(np.round(jerking.edges, 9)) >= set(np.round(np.arange(51) / 50, 9)) and (np.diff(jerking.edges) > 0).all()
    with pytest.raises(FourfoldError, match="give fewer --frames"):
        encode_keyframes(scene, capture, capture.timestamps, KeyframeConfig(most_states=100))
