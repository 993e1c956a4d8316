"""Tracks as table, glTF, TRC and C3D: read by csv, pygltflib, trc-data-reader and the library c3d."""

import csv
from pathlib import Path

import c3d
import numpy as np
import pygltflib
import pytest
import torch
import trc

from every_motion import scene_of, walking_camera
from fourfold import notices
from fourfold.export.axes import y_up, z_up
from fourfold.export.formats import export
from fourfold.export.options import ExportOptions
from fourfold.export.track_files import spread
from fourfold.export.tracks import PointTracks, scene_tracks
from fourfold.scene.scene import Scene

OPTIONS = ExportOptions(frames=11)


def truth() -> tuple[Scene, PointTracks]:
    scene = scene_of("linear")
    return scene, scene_tracks(scene, np.linspace(0, 1, 11))


def test_the_table_has_every_point_and_moment(tmp_path: Path) -> None:
    scene, tracks = truth()
    export("tracks-csv", scene, walking_camera(), tmp_path / "a.csv", OPTIONS)
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == tracks.xyz.shape[0] * 11
    read = np.array([[float(row[k]) for k in "xyz"] for row in rows]).reshape(tracks.xyz.shape)
    np.testing.assert_allclose(read, tracks.xyz, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose([float(row["visibility"]) for row in rows], tracks.visibility.reshape(-1), atol=1e-5)
    assert [float(row["time"]) for row in rows[:11]] == pytest.approx(np.linspace(0, 1, 11))


def test_gltf_moves_a_node_per_point(tmp_path: Path) -> None:
    scene, tracks = truth()
    export("tracks-gltf", scene, walking_camera(), tmp_path / "a.glb", OPTIONS)
    glb = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    blob, (animation,) = glb.binary_blob(), glb.animations
    turn = y_up(scene).numpy()
    assert len(glb.nodes) == len(tracks) == len(animation.channels)
    for channel in animation.channels:
        view = glb.bufferViews[glb.accessors[animation.samplers[channel.sampler].output].bufferView]
        places = np.frombuffer(blob, "<f4", 33, view.byteOffset).reshape(11, 3)
        np.testing.assert_allclose(places, 0.5 * tracks.xyz[channel.target.node] @ turn.T, atol=1e-5)


def test_trc_is_what_opensim_reads(tmp_path: Path) -> None:
    scene, tracks = truth()
    export("trc", scene, walking_camera(), tmp_path / "a.trc", OPTIONS)
    lines = (tmp_path / "a.trc").read_text().split("\n")
    assert lines[0].startswith("PathFileType\t4\t(X/Y/Z)") and lines[5] == ""
    told = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    assert told["Units"] == "mm" and float(told["DataRate"]) == 10 and int(told["NumFrames"]) == 11 and int(told["NumMarkers"]) == len(tracks)
    assert lines[3].split("\t")[:3] == ["Frame#", "Time", "p0"] and lines[4].split("\t")[2:5] == ["X1", "Y1", "Z1"]
    expected = 500 * tracks.xyz @ y_up(scene).numpy().T  # half a metre per unit
    hidden = 0
    for at in range(11):
        cells = lines[6 + at].split("\t")
        assert int(cells[0]) == at + 1 and float(cells[1]) == pytest.approx(at / 10, abs=1e-6) and len(cells) == 2 + 3 * len(tracks)
        for n in range(len(tracks)):
            mine = cells[2 + 3 * n : 5 + 3 * n]
            if tracks.visibility[n, at] < 0.5:
                hidden += 1
                assert mine == ["", "", ""]
            else:
                np.testing.assert_allclose([float(c) for c in mine], expected[n, at], atol=0.01)
    assert hidden > 0


def test_trc_is_read_by_another_library(tmp_path: Path) -> None:
    """Markers that are always seen: this library splits lines at any white space, so that empty cells (hidden, to OpenSim) shift what follows."""
    scene = scene_of("se3_bases")
    tracks = scene_tracks(scene, np.linspace(0, 1, 11))
    assert (tracks.visibility >= 0.5).all()
    export("trc", scene, walking_camera(), tmp_path / "a.trc", OPTIONS)
    read = trc.TRCData()
    read.load(tmp_path / "a.trc")
    assert (read["PathFileType"], read["DataFormat"], read["Units"], read["DataRate"]) == ("4", "(X/Y/Z)", "mm", 10.0)
    assert read["NumFrames"] == 11 and read["NumMarkers"] == len(tracks) and read["Markers"] == [f"p{n}" for n in range(len(tracks))]
    assert read["Time"] == pytest.approx(np.linspace(0, 1, 11), abs=1e-6)
    expected = 500 * tracks.xyz @ y_up(scene).numpy().T  # half a metre per unit
    np.testing.assert_allclose(np.array([read[f"p{n}"] for n in range(len(tracks))]), expected, atol=0.01)


def test_c3d_is_read_by_another_library(tmp_path: Path) -> None:
    scene, tracks = truth()
    export("c3d", scene, walking_camera(), tmp_path / "a.c3d", OPTIONS)
    expected = 500 * tracks.xyz @ z_up(scene).numpy().T
    with (tmp_path / "a.c3d").open("rb") as file:
        reader = c3d.Reader(file)
        assert reader.point_rate == 10 and reader.get("POINT:UNITS").string_value.strip() == "mm"
        assert [label.strip() for label in reader.point_labels] == [f"p{n}" for n in range(len(tracks))]
        frames = [points for _, points, _ in reader.read_frames()]
    assert len(frames) == 11
    for at, points in enumerate(frames):
        seen = tracks.visibility[:, at] >= 0.5
        assert (points[:, 3] >= 0).tolist() == seen.tolist()
        np.testing.assert_allclose(points[seen, :3], expected[seen, at], atol=0.01)


def test_an_unknown_scale_and_uneven_times_are_said(tmp_path: Path) -> None:
    scene, capture = scene_of("linear"), walking_camera(5)
    scene.scale = None
    capture.timestamps[2] += 0.05
    with notices.job() as said:
        export("trc", scene, capture, tmp_path / "a.trc")
    assert len(said.sentences) == 2 and "one unit is called a metre" in said.sentences[0] and "not evenly spaced" in said.sentences[1]


@pytest.mark.parametrize("name", ["tracks", "tracks-csv", "tracks-gltf", "trc", "c3d"])
def test_a_scene_without_movers_has_no_tracks(name: str, tmp_path: Path) -> None:
    scene = scene_of("static")
    export(name, Scene(scene.layers[:1], scene.time_range), walking_camera(), tmp_path / "out", OPTIONS)
    assert (tmp_path / "out").stat().st_size > 0


def test_chosen_tracks_are_spread_over_the_list() -> None:
    tracks = PointTracks(np.zeros(1), torch.arange(1000.0).reshape(1000, 1, 1).expand(-1, 1, 3).numpy(), np.ones((1000, 1), np.float32))
    chosen = spread(tracks, 5).xyz[:, 0, 0]
    assert chosen.tolist() == [0, 250, 500, 749, 999]
