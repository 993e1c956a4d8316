"""What is not read is told as it is, and known files that did not serve are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import capture_files as files
from fourfold.capture import CaptureOptions
from fourfold.capture.convert import convert
from fourfold.capture.discover import find_reader, open_source
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.inspect import inspect
from fourfold.capture.writers import writers
from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.untrusted.images import reads_heif
from rig_folders import TIMES, VIEWS, Rig, colmap


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("IMG_1.HEIC", "HEIC photos: install pillow-heif", marks=pytest.mark.skipif(reads_heif(), reason="HEIC is read here")),
        ("VID_00.insv", "360 degree camera"),
        ("a.CR3", "raw photos"),
        ("scan.r3d", "Record3D"),
        ("film.zip", "unpack it"),
        ("zed.svo2", "ZED Explorer"),
        ("a.ply", "give the film"),
        ("DSCF0001.MPO", "stereo photos"),
    ],
)
def test_files_of_known_kinds_are_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(b"x")
    for path in (tmp_path / "folder", tmp_path / "folder" / name):
        with pytest.raises(FourfoldError, match=words):
            find_reader(path)


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("/nowhere/a.mp4")
    with pytest.raises(FourfoldError, match=r"holds links that lead nowhere \(a.mp4\)"):
        find_reader(tmp_path)


def test_a_folder_further_down_is_named(tmp_path: Path) -> None:
    files.write_images(tmp_path / "a" / "b" / "c", files.noise(3))
    with pytest.raises(FourfoldError, match=r"holds nothing that is read in itself, but .*/a/b/c does"):
        find_reader(tmp_path)


@pytest.mark.parametrize("places", [("videos/x.mp4", "videos/y.mp4"), ("cam1/x.mp4", "cam2/x.mp4"), ("only/x.mp4", "only/y.mp4")])
def test_videos_one_folder_down_are_found(tmp_path: Path, places: tuple[str, str]) -> None:
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        files.write_video(tmp_path / place, files.grey_ramp(4))
    source = open_source([tmp_path], CaptureOptions(synchronise="none"))
    assert (source.layout, source.name, len(source.views), len(source.timestamps)) == ("videos", tmp_path.name, 2, 4)
    assert [v.name for v in source.views] == (["cam1", "cam2"] if "cam" in places[0] else ["x", "y"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Videos/Cam0/cameraIntrinsicsExtrinsics.pickle", "a pickled file can run code"),
        ("SN1234.conf", "ZED factory calibration"),
        ("rig.xcp", "Vicon"),
        ("project.psx", "Export Cameras"),
        ("meta_data.json", "SDFStudio"),
        ("calibration.json", "a calibration of an unknown form"),
        ("groundtruth.txt", "a trajectory without focal lengths"),
    ],
)
def test_known_files_that_are_not_read_are_named(tmp_path: Path, name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    files.write_images(tmp_path, files.noise(4))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    notes = str(inspect(tmp_path)["facts"]["notes"])
    assert f"found {name}" in notes and words in notes
    assert f"found {name}" in capsys.readouterr().err


def test_cameras_of_another_layout_are_named(tmp_path: Path) -> None:
    rig = Rig()
    root = rig.transforms(tmp_path, lambda v, t: f"images/cam{v}_{t}.png")
    colmap(root / "sparse" / "0", [("other.png", rig.world_to_camera[0, 0])])
    assert "found sparse/0 (a COLMAP model), not read: the cameras come from nerfstudio" in str(inspect(root)["facts"]["notes"])


def test_mirrored_axes_are_told_as_that(tmp_path: Path) -> None:
    rig = Rig()
    rig.world_to_camera[..., 0, :] *= -1
    rig.transforms(tmp_path, lambda v, t: f"cam{v}/{t}.png")
    with pytest.raises(FourfoldError, match=r"mirrored axes \(determinant -1"):
        open_source([tmp_path], CaptureOptions())


def test_one_word_for_a_layout(tmp_path: Path) -> None:
    """What `inspect` calls a layout is what `convert --to` takes, where it can be written."""
    rig = Rig()
    capture = prepare_capture([rig.transforms(tmp_path / "in", lambda v, t: f"cam{v}/{t}.png")], tmp_path / "capture", pixels=10_000)
    tried = set()
    for writer in writers():
        if writer.refuses(capture) is None:
            convert(capture, writer.name.upper(), tmp_path / writer.name)
            assert inspect(tmp_path / writer.name)["layout"] == writer.name
            tried.add(writer.name)
    assert {"colmap", "easyvolcap", "nerfstudio", "panoptic", "pose2sim"} <= tried


def test_inspect_of_a_run_tells_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "run"
    rig = Rig()
    prepare_capture([rig.transforms(tmp_path / "in", lambda v, t: f"cam{v}/{t}.png")], root / "capture", pixels=10_000)
    (root / "config.json").write_text(json.dumps({"command": "fourfold reconstruct in -o run", "sources": ["in"]}))
    files.write_images(root / "renders", files.noise(3))
    (root / "priors" / "given").mkdir(parents=True)
    assert main(["inspect", str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["layout"], found["views"], found["times"]) == ("prepared", VIEWS, TIMES)
    assert found["run"] == {"command": "fourfold reconstruct in -o run", "sources": ["in"], "priors": ["given"], "made": "nothing yet"}


def test_heic_where_its_library_is(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    heif.register_heif_opener()
    for i, image in enumerate(files.noise(3)):
        Image.fromarray(image).save(tmp_path / f"{i}.heic", quality=95)
    source = open_source([tmp_path], CaptureOptions())
    assert len(source.timestamps) == 3
    assert np.abs(next(iter(source.views[0].frames.decode([0]))).astype(float) - files.noise(3)[0]).mean() < 6
