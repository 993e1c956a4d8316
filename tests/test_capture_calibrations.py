"""Calibrations beside the frames: every format gives the cameras that were written, lens, pose and unit included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration_files import BEND, OPENCV_K, WRITERS, toml
from fourfold.capture import CaptureOptions
from fourfold.capture.discover import open_source
from fourfold.capture.source import Source
from fourfold.errors import FourfoldError
from fourfold.untrusted.exr import load_exr
from fourfold.untrusted.lzfse import load_lzfse
from rig_folders import FOCAL, HEIGHT, TIMES, VIEWS, WIDTH, Rig


@pytest.mark.parametrize(("write", "layout"), WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.parametrize("place", ["", "videos"])
def test_every_format_gives_its_cameras(tmp_path: Path, write: Callable[[Path, Rig], None], layout: str, place: str) -> None:
    rig = Rig()
    rig.videos(tmp_path / place)
    write(tmp_path, rig)
    source = open_source([tmp_path], CaptureOptions())
    assert (source.layout, source.cameras, source.metric, len(source.views), len(source.timestamps)) == (layout, "given", True, VIEWS, TIMES)
    for v, view in enumerate(source.views):
        np.testing.assert_allclose(view.world_to_camera[0], rig.world_to_camera[v, 0], atol=1e-9)
        np.testing.assert_allclose(view.K[0], rig.K, atol=1e-9)
        np.testing.assert_allclose(view.lens(0).coefficients, BEND, atol=1e-12)
        level = float(next(iter(view.frames.decode([0]))).mean())
        assert abs(level - (40 + 50 * v)) < 3


def test_a_yaml_per_camera_takes_out_the_lens_and_leaves_the_poses_to_be_estimated(tmp_path: Path) -> None:
    rig = Rig()
    rig.videos(tmp_path)
    for v in range(VIEWS):
        model = "equidistant" if v == 1 else "plumb_bob"
        text = f"image_width: {WIDTH}\nimage_height: {HEIGHT}\ncamera_name: cam{v:02d}\ncamera_matrix:\n  rows: 3\n  cols: 3\n"
        text += f"  data: {np.ravel(OPENCV_K).tolist()}\ndistortion_model: {model}\n"
        text += f"distortion_coefficients:\n  rows: 1\n  cols: 4\n  data: {list(BEND[:4])}\n"
        (tmp_path / f"cam{v:02d}.yaml").write_text(text)
    source = open_source([tmp_path], CaptureOptions())
    assert (source.layout, source.cameras) == ("opencv", "unknown")
    assert [v.lens(0).model for v in source.views] == ["pinhole", "fisheye", "pinhole"]
    np.testing.assert_allclose(source.views[0].K[0], rig.K)
    assert source.views[0].focal_hint == FOCAL and np.isnan(source.views[0].world_to_camera).all()
    assert "the poses are estimated" in str(source.facts["notes"])


def test_other_toml_and_yaml_files_are_no_calibration(tmp_path: Path) -> None:
    rig = Rig()
    rig.videos(tmp_path)
    (tmp_path / "config.toml").write_text('[project]\nname = "x"\n')
    (tmp_path / "settings.yaml").write_text("a: [1, 2]\n")
    toml("other.toml")(tmp_path, rig)
    text = (tmp_path / "other.toml").read_text()
    (tmp_path / "other.toml").write_text(text.replace('"cam00"', '"p"').replace('"cam01"', '"q"').replace('"cam02"', '"r"'))
    (tmp_path / "cam03.mp4").write_bytes((tmp_path / "cam00.mp4").read_bytes())
    (tmp_path / "extra.mp4").write_bytes((tmp_path / "cam00.mp4").read_bytes())
    source = open_source([tmp_path], CaptureOptions(synchronise="none"))
    assert (source.layout, len(source.views)) == ("videos", 5)
    assert "found other.toml (Anipose), not read" in str(source.facts["notes"])


def _images(root: Path, folder: str, pattern: str) -> Rig:
    rig = Rig(np.stack([np.stack([Rig().world_to_camera[0, 0] @ np.diag([1, 1, 1, 1.0]) for _ in range(TIMES)])]))
    for t in range(TIMES):
        rig.world_to_camera[0, t, 0, 3] += 0.1 * t
        rig.save(root / folder / pattern.format(t), 0, t)
    return rig


def _arkit(pose: np.ndarray) -> np.ndarray:
    return np.linalg.inv(pose) @ np.diag([1.0, -1, -1, 1])


def _walked(source: Source, rig: Rig, times: np.ndarray) -> None:
    assert (source.cameras, source.metric, len(source.views)) == ("given", True, 1)
    np.testing.assert_allclose(source.views[0].world_to_camera, rig.world_to_camera[0], atol=1e-6)
    np.testing.assert_allclose(source.views[0].K[0], rig.K, atol=1e-9)
    np.testing.assert_allclose(source.timestamps, times, atol=1e-6)


def _record3d(root: Path, images: str = "rgb", metadata: str = "metadata.json") -> tuple[Rig, dict[str, Any]]:
    rig = _images(root, images, "{}.jpg")
    matrices = [_arkit(p) for p in rig.world_to_camera[0]]
    poses = [[*Rotation.from_matrix(m[:3, :3]).as_quat(), *m[:3, 3]] for m in matrices]
    meta = {"w": WIDTH, "h": HEIGHT, "fps": 20, "K": rig.K.T.ravel().tolist(), "poses": poses}
    (root / metadata).write_text(json.dumps(meta))
    return rig, meta


def test_record3d(tmp_path: Path) -> None:
    rig, meta = _record3d(tmp_path)
    source = open_source([tmp_path], CaptureOptions())
    _walked(source, rig, np.arange(TIMES) / 20)
    assert source.layout == "record3d" and source.views[0].depth is None
    (tmp_path / "metadata.json").write_text(json.dumps(meta | {"poses": meta["poses"][:-1]}))
    with pytest.raises(FourfoldError, match="lists 4 poses for 5 images"):
        open_source([tmp_path], CaptureOptions())


def _write_depth(path: Path, depth: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, depth)
    elif path.suffix == ".png":
        cv2.imwrite(str(path), (1000 * depth).round().astype(np.uint16))
    elif path.suffix == ".exr":
        exr = pytest.importorskip("OpenEXR")
        exr.File({"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}, {"R": depth}).write(str(path))
    else:
        path.write_bytes(pytest.importorskip("lzfse").compress(depth.tobytes()))


@pytest.mark.parametrize("suffix", [".exr", ".png", ".npy", ".depth"])
def test_record3ds_depth_is_in_metres(tmp_path: Path, suffix: str) -> None:
    _record3d(tmp_path, *(("rgbd", "metadata") if suffix == ".depth" else ()))
    folder = tmp_path / ("rgbd" if suffix == ".depth" else "depth")
    folder.mkdir(exist_ok=True)
    truth = [np.linspace(0.5, 3 + t, 8 * 12, dtype=np.float32).reshape(8, 12) for t in range(TIMES)]
    truth[2][3, 4] = np.nan if suffix != ".png" else 0
    for t in range(TIMES):
        _write_depth(folder / f"{t}{suffix}", truth[t])
    source = open_source([tmp_path], CaptureOptions())
    depth = source.views[0].depth
    assert source.layout == "record3d" and depth is not None
    for got, expected in zip(depth.decode(range(TIMES)), truth, strict=True):
        np.testing.assert_allclose(got, np.nan_to_num(expected), atol=0.00051 if suffix == ".png" else 1e-6)


@pytest.mark.parametrize(("suffix", "library"), [(".exr", "reads_exr"), (".depth", "reads_lzfse")])
def test_depth_without_its_library_is_named(tmp_path: Path, suffix: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"fourfold.capture.readers.phone_scans.{library}", lambda: False)
    _record3d(tmp_path)
    (tmp_path / "depth").mkdir()
    for t in range(TIMES):
        (tmp_path / "depth" / f"{t}{suffix}").write_bytes(b"x")
    source = open_source([tmp_path], CaptureOptions())
    assert source.views[0].depth is None
    assert f"found depth as {suffix}, not read: pip install 'fourfold[record3d]'" in str(source.facts["notes"])


@pytest.mark.parametrize("suffix", [".exr", ".depth"])
@pytest.mark.parametrize("keep", [0, 3, 40, -5])
def test_damaged_depth_gets_a_sentence(tmp_path: Path, suffix: str, keep: int) -> None:
    path = tmp_path / f"0{suffix}"
    _write_depth(path, np.random.default_rng(0).uniform(1, 2, (8, 12)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FourfoldError, match=r"replace or remove it|export the recording again"):
        load_exr(path) if suffix == ".exr" else load_lzfse(path, 1 << 20)


def test_streams_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0.depth").write_bytes(pytest.importorskip("lzfse").compress(bytes(1 << 22)))
    with pytest.raises(FourfoldError, match="unpacks to 4194304 bytes, at most 1048576"):
        load_lzfse(tmp_path / "0.depth", 1 << 20)


def test_polycam_with_depth_in_millimetres(tmp_path: Path) -> None:
    rig = _images(tmp_path / "keyframes", "corrected_images", "1650843{}00000.jpg")
    (tmp_path / "keyframes" / "depth").mkdir()
    (tmp_path / "keyframes" / "corrected_cameras").mkdir()
    turn = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])  # the app's world
    for t in range(TIMES):
        m = _arkit(rig.world_to_camera[0, t])
        m[:3] = turn @ m[:3]
        rig.world_to_camera[0, t] = np.linalg.inv(m @ np.diag([1.0, -1, -1, 1]))
        camera = {"fx": FOCAL, "fy": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "width": WIDTH, "height": HEIGHT}
        camera |= {f"t_{i}{j}": m[i, j] for i in range(3) for j in range(4)}
        (tmp_path / "keyframes" / "corrected_cameras" / f"1650843{t}00000.json").write_text(json.dumps(camera))
        cv2.imwrite(str(tmp_path / "keyframes" / "depth" / f"1650843{t}00000.png"), np.full((8, 12), 2500 + t, np.uint16))
    source = open_source([tmp_path], CaptureOptions())
    _walked(source, rig, np.arange(TIMES) * 0.1)  # the names count microseconds
    depth = source.views[0].depth
    assert depth is not None
    np.testing.assert_allclose(next(iter(depth.decode([3]))), 2.503, atol=1e-6)


def test_stray_scanner(tmp_path: Path) -> None:
    import capture_files as files

    rig = _images(tmp_path, "scratch", "{}.png")
    files.write_video(tmp_path / "rgb.mp4", [rig.image(0, t) for t in range(TIMES)], fps=60)
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    for t, pose in enumerate(rig.world_to_camera[0]):
        m = np.linalg.inv(pose)
        lines.append(", ".join(map(str, (31.5 + t / 60, t, *m[:3, 3], *Rotation.from_matrix(m[:3, :3]).as_quat()))))
    (tmp_path / "odometry.csv").write_text("\n".join(lines))
    (tmp_path / "camera_matrix.csv").write_text("\n".join(", ".join(map(str, row)) for row in rig.K))
    (tmp_path / "depth").mkdir()
    for t in range(TIMES):
        cv2.imwrite(str(tmp_path / "depth" / f"{t:06d}.png"), np.full((6, 9), 1200, np.uint16))
    source = open_source([tmp_path], CaptureOptions())
    _walked(source, rig, np.arange(TIMES) / 60)
    depth = source.views[0].depth
    assert source.layout == "stray-scanner" and depth is not None
    np.testing.assert_allclose(next(iter(depth.decode([0]))), 1.2, atol=1e-6)


def test_ios_logger(tmp_path: Path) -> None:
    import capture_files as files

    rig = _images(tmp_path, "scratch", "{}.png")
    files.write_video(tmp_path / "Frames.m4v", [rig.image(0, t) for t in range(TIMES)], fps=30)
    logged, frames = [], []
    for t, pose in enumerate(rig.world_to_camera[0]):
        m = _arkit(pose)
        x, y, z, w = Rotation.from_matrix(m[:3, :3]).as_quat()
        logged.append(", ".join(map(str, (7 + t / 30, *m[:3, 3], w, x, y, z))))
        frames.append(", ".join(map(str, (7 + t / 30 + 0.001, t, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2))))
    (tmp_path / "ARposes.txt").write_text("\n".join(logged))
    (tmp_path / "Frames.txt").write_text("\n".join(frames))
    _walked(open_source([tmp_path], CaptureOptions()), rig, np.arange(TIMES) / 30)


def test_metashape(tmp_path: Path) -> None:
    rig = _images(tmp_path, "images", "IMG_{:04d}.png")
    sensor = f'<sensor id="0" label="x" type="frame"><resolution width="{WIDTH}" height="{HEIGHT}"/><calibration type="frame" class="adjusted">'
    sensor += f"<f>{FOCAL}</f><cx>1.5</cx><cy>-0.5</cy><b1>2.0</b1><k1>-0.1</k1><p1>0.003</p1><p2>0.001</p2></calibration></sensor>"
    text = f'<document version="2.0"><chunk><sensors next_id="1">{sensor}</sensors><cameras next_id="9">'
    for t in range(TIMES):
        values = " ".join(repr(float(v)) for v in np.linalg.inv(rig.world_to_camera[0, t]).ravel())
        text += f'<camera id="{t}" sensor_id="0" label="IMG_{t:04d}"><transform>{values}</transform></camera>'
    (tmp_path / "cameras.xml").write_text(text + '<camera id="8" sensor_id="0" label="IMG_0009"/></cameras></chunk></document>')
    source = open_source([tmp_path], CaptureOptions(fps=10.0))
    view = source.views[0]
    assert (source.layout, source.metric, len(source.timestamps)) == ("metashape", False, TIMES)
    np.testing.assert_allclose(view.world_to_camera, rig.world_to_camera[0], atol=1e-9)
    np.testing.assert_allclose(view.K[0], [[FOCAL + 2, 0, WIDTH / 2 + 1.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]])
    assert view.lens(0).coefficients == (-0.1, 0.0, 0.001, 0.003, 0.0)  # Metashape's P1 is OpenCV's p2


def test_realitycapture(tmp_path: Path) -> None:
    """A camera without heading, pitch and roll looks down, its top to the north; heading turns it clockwise, pitch lifts it."""
    _images(tmp_path, "images", "a{}.png")
    rows = ["#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2", "a0.png,1,2,3,0,0,0,36,0,0,0,0,0,0,0,0"]
    rows += ["a1.png,1,2,3,90,0,0,36,0.75,0,0.1,0,0,0,0,0", "a2.png,1,2,3,0,90,0,36,0,0,0,0,0,0,0,0", "a3.png,2,2,3,0,0,0,36,0,0,0,0,0,0,0,0"]
    (tmp_path / "cameras.csv").write_text("\n".join(rows))
    source = open_source([tmp_path], CaptureOptions())
    view = source.views[0]
    np.testing.assert_allclose([-p[:3, :3].T @ p[:3, 3] for p in view.world_to_camera[:3]], [[1, 2, 3]] * 3, atol=1e-12)
    down, turned, level = (p[:3, :3] for p in view.world_to_camera[:3])
    np.testing.assert_allclose(down[2], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(-down[1], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(-turned[1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(level[2], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(view.K[1], [[WIDTH, 0, WIDTH / 2 + 1], [0, WIDTH, HEIGHT / 2], [0, 0, 1]])
