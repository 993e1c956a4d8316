"""Each layout, from files written here with known cameras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import capture_files as files
from fourfold.capture import Capture, CaptureOptions, prepare_capture
from fourfold.capture.discover import find_reader, open_source
from fourfold.capture.frames import natural
from fourfold.capture.readers import readers
from fourfold.capture.source import Source

SIZE = (64, 48)
POINT = np.array([0.3, -0.2, 4.0])


def _pose(seed: int) -> np.ndarray:
    """A random camera (world to camera, OpenCV axes) that looks about at the point."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3) * 0.2
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    left, _, right = np.linalg.svd(np.eye(3) + skew)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = left @ right, rng.normal(size=3) * 0.1
    return pose


def _project(K: np.ndarray, world_to_camera: np.ndarray, point: np.ndarray) -> np.ndarray:
    camera = world_to_camera[:3, :3] @ point + world_to_camera[:3, 3]
    return (K @ camera)[:2] / camera[2]


def _open(path: Path, **options: Any) -> Source:
    return open_source([path], CaptureOptions(**options))


def _opengl(world_to_camera: np.ndarray) -> list[list[float]]:
    return (np.linalg.inv(world_to_camera) @ np.diag([1.0, -1, -1, 1])).tolist()


def test_readers_are_found_by_scanning_special_ones_first() -> None:
    layouts = [r.layout for r in readers()]
    assert layouts[0] == "prepared"
    assert layouts[-3:] == ["video", "images", "videos"]
    assert {"panoptic", "dycheck", "llff", "calibrated", "nerfstudio", "colmap"} <= set(layouts)


def test_natural_order() -> None:
    assert sorted(["cam10", "cam2", "Cam1", "x", "12", "3"], key=natural) == ["3", "12", "Cam1", "cam2", "cam10", "x"]


def test_image_folder_forms(tmp_path: Path) -> None:
    files.write_images(tmp_path / "plain", files.noise(11), "{}.jpg")
    plain = _open(tmp_path / "plain", fps=12.0)
    assert (len(plain.views), len(plain.timestamps), plain.cameras, plain.layout) == (1, 11, "unknown", "images")
    assert plain.timestamps[1] == pytest.approx(1 / 12)
    assert [p.name for p in plain.views[0].frames.paths][-2:] == ["9.jpg", "10.jpg"]
    files.write_images(tmp_path / "rig" / "images" / "left", files.noise(4))
    files.write_images(tmp_path / "rig" / "images" / "right", files.noise(3))
    files.write_images(tmp_path / "rig" / "masks" / "left", [np.zeros((48, 64), np.uint8)] * 4)
    rig = _open(tmp_path / "rig")
    assert [v.name for v in rig.views] == ["left", "right"]
    assert [int(v.present.sum()) for v in rig.views] == [4, 3]
    assert [v.masks is not None for v in rig.views] == [True, False]


def test_several_image_folders_are_views(tmp_path: Path) -> None:
    for name in "ab":
        files.write_images(tmp_path / name, files.noise(4))
    source = open_source([tmp_path / "a", tmp_path / "b"], CaptureOptions(views=("b",)))
    assert [v.name for v in source.views] == ["b"]


def test_jpegs_of_another_suffix_are_images(tmp_path: Path) -> None:
    from PIL import Image

    for number, image in enumerate(files.noise(3)):
        Image.fromarray(image).save(tmp_path / f"{number}.jfif", format="JPEG")
    assert len(_open(tmp_path).timestamps) == 3


def test_phone_photos_stand_upright(tmp_path: Path) -> None:
    from PIL import Image

    upright = files.quadrants(48, 64)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    (tmp_path / "clip").mkdir()
    for i in range(3):
        Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1))).save(tmp_path / "clip" / f"{i}.png", exif=exif)
    capture = prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=10_000)
    np.testing.assert_array_equal(capture.image(0, 0), upright)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_odd_image_modes(tmp_path: Path, mode: str) -> None:
    from PIL import Image

    levels = np.full((48, 64), 255, np.uint8)
    levels[:, :32] = 0
    image = Image.fromarray(levels.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(levels).convert(mode)
    (tmp_path / "clip").mkdir()
    for i in range(3):
        image.save(tmp_path / "clip" / f"{i}.png")
    capture = prepare_capture([tmp_path / "clip"], tmp_path / "out", pixels=10_000)
    np.testing.assert_array_equal(capture.image(0, 1), np.repeat(levels[..., None], 3, 2))


def _dnerf(root: Path) -> dict[str, list[np.ndarray]]:
    poses: dict[str, list[np.ndarray]] = {}
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        poses[split] = [_pose(10 * len(poses) + i) for i in range(count)]
        rgba = [np.dstack([f, np.full((48, 64), 255, np.uint8)]) for f in files.noise(count)]
        for image in rgba:
            image[:20, :, 3] = 0
        files.write_images(root / split, rgba, "r_{:03d}.png")
        times = np.linspace(0, 1, count)
        # Listed in another order than that of time.
        frames = [{"file_path": f"./{split}/r_{i:03d}", "time": float(times[i]), "transform_matrix": _opengl(poses[split][i])} for i in range(count)][
            ::-1
        ]
        (root / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": 0.8, "frames": frames}))
    return poses


def test_dnerf(tmp_path: Path) -> None:
    poses = _dnerf(tmp_path / "scene")
    capture = prepare_capture([tmp_path / "scene"], tmp_path / "out", pixels=10_000)
    assert capture.view_names == ("train", "val", "test")
    np.testing.assert_allclose(capture.timestamps, [0, 0.25, 0.5, 0.75, 1])
    assert capture.present.sum(axis=1).tolist() == [5, 2, 3]
    assert capture.train.sum(axis=1).tolist() == [5, 0, 0]
    assert capture.heldout.nonzero()[1].tolist() == [0, 2, 4]
    assert capture.heldout[2].sum() == 3
    focal = 32 / np.tan(0.4)
    np.testing.assert_allclose(capture.K[0, 0], [[focal, 0, 32], [0, focal, 24], [0, 0, 1]])
    np.testing.assert_allclose(capture.world_to_camera[0], poses["train"], atol=1e-12)
    np.testing.assert_allclose(capture.world_to_camera[2, 2], poses["test"][1], atol=1e-12)
    assert (capture.image(0, 0)[:20] == 255).all()
    alpha = capture.alpha(0, 0)
    assert alpha is not None and (alpha[:20] == 0).all() and (alpha[20:] == 255).all()
    assert capture.facts["alpha_means"] == "opacity"


def test_nerfstudio_with_frames_of_their_own_lens(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    files.write_images(root / "images", files.noise(4))
    frames = [{"file_path": f"images/{i:05d}.png", "transform_matrix": _opengl(_pose(i)), "fl_x": 60.0 + i} for i in range(4)]
    frames[2]["k1"] = -0.1
    header = {"fl_y": 61.0, "cx": 31.0, "cy": 25.0, "w": 64, "h": 48, "camera_model": "OPENCV"}
    (root / "transforms.json").write_text(json.dumps({**header, "frames": frames}))
    source = _open(root)
    view = source.views[0]
    assert view.K[:, 0, 0].tolist() == [60, 61, 62, 63]
    assert view.K[3].tolist() == [[63, 0, 31], [0, 61, 25], [0, 0, 1]]
    assert [view.lens(i).bends for i in range(4)] == [False, False, True, False]
    capture = prepare_capture([root], tmp_path / "out", pixels=10_000)
    assert capture.K[0, 2, 0, 0] != 62
    assert capture.K[0, 3, 0, 0] == 63


def test_nerfstudio_cameras_by_id_and_by_shared_time(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    files.write_images(root / "images", files.noise(6))
    frames = [{"file_path": f"images/{i:05d}.png", "time": float(i // 2), "transform_matrix": _opengl(_pose(i % 2))} for i in range(6)]
    (root / "transforms.json").write_text(json.dumps({"fl_x": 60.0, "frames": frames}))
    source = _open(root)
    assert [v.present.tolist() for v in source.views] == [[True] * 3] * 2
    for i, frame in enumerate(frames):
        frame["camera_id"] = f"gopro{i % 2}"
    (root / "transforms.json").write_text(json.dumps({"fl_x": 60.0, "frames": frames}))
    assert [v.name for v in _open(root).views] == ["gopro0", "gopro1"]


def test_panoptic(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    K = [[50.0, 0, 30], [0, 51, 20], [0, 0, 1]]
    for name, cameras in (("train", [3, 12]), ("test", [7])):
        meta: dict[str, Any] = {"w": 128, "h": 96, "k": [], "w2c": [], "fn": [], "cam_id": []}
        for t in range(3):
            meta["k"].append([K for _ in cameras])
            meta["w2c"].append([_pose(c).tolist() for c in cameras])
            meta["fn"].append([f"{c}/{t:06d}.jpg" for c in cameras])
            meta["cam_id"].append(cameras)
        (root / "ims").mkdir(parents=True, exist_ok=True)
        (root / f"{name}_meta.json").write_text(json.dumps(meta))
        for c in cameras:
            files.write_images(root / "ims" / str(c), files.noise(3, seed=c), "{:06d}.jpg")
            if name == "train":
                files.write_images(root / "seg" / str(c), [np.eye(48, 64, dtype=np.uint8)] * 3, "{:06d}.png")
    capture = prepare_capture([root], tmp_path / "out", pixels=10_000)
    assert (capture.view_names, capture.cameras, capture.metric) == (("3", "7", "12"), "given", True)
    assert capture.heldout.all(axis=1).tolist() == [False, True, False]
    np.testing.assert_allclose(capture.K[0, 0], np.array(K) * [[0.5], [0.5], [1]])  # the images are half as large as the file says
    np.testing.assert_allclose(capture.world_to_camera[2, 1], _pose(12), atol=1e-12)
    np.testing.assert_allclose(capture.timestamps, [0, 1 / 30, 2 / 30])
    mask = capture.mask(0, 0)
    assert mask is not None and (mask == 2 * np.eye(48, 64) - 1).all()
    assert capture.mask(1, 0) is None


def test_llff_one_moving_camera_and_what_another_saw(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    poses = [_pose(i) for i in range(5)]
    rows = np.zeros((5, 17))
    for row, pose in zip(rows, poses, strict=True):
        to_world = np.linalg.inv(pose)
        x, y, z, c = (to_world[:3, i] for i in range(4))
        row[:15] = np.stack([y, x, -z, c, [48.0, 64.0, 70.0]], 1).ravel()
    files.write_images(root / "images", files.noise(5))
    np.save(root / "poses_bounds.npy", rows)
    files.write_images(root / "heldout", files.noise(5, 32, 24), "v001_t{:03d}.png")
    capture = prepare_capture([root], tmp_path / "out", pixels=64 * 48)
    assert capture.view_names == ("moving", "camera 1")
    assert capture.sizes.tolist() == [[64, 48], [32, 24]]
    np.testing.assert_allclose(capture.world_to_camera[0], poses, atol=1e-12)
    np.testing.assert_allclose(capture.world_to_camera[1], [poses[1]] * 5, atol=1e-12)
    np.testing.assert_allclose(capture.K[0, 0], [[70, 0, 32], [0, 70, 24], [0, 0, 1]])
    np.testing.assert_allclose(capture.K[1, 0], [[35, 0, 16], [0, 35, 12], [0, 0, 1]])
    assert capture.train.all(axis=1).tolist() == [True, False]
    assert capture.heldout.all(axis=1).tolist() == [False, True]
    assert capture.facts["heldout_also_trained"] == [[1, 1]]


def test_neural_3d_video(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    root.mkdir()
    rows = np.zeros((3, 17))
    rows[:, :15] = np.tile(np.array([[0, 1, 0, 0, 96], [1, 0, 0, 0, 128], [0, 0, -1, 0, 140]], float).ravel(), (3, 1))
    np.save(root / "poses_bounds.npy", rows)
    for name in ("cam00", "cam02", "cam10"):
        files.write_video(root / f"{name}.mp4", files.grey_ramp(6), fps=30)
    source = _open(root)
    assert [v.name for v in source.views] == ["cam00", "cam02", "cam10"]
    assert [bool(v.heldout.all()) for v in source.views] == [True, False, False]
    np.testing.assert_allclose(source.views[0].K[0], [[70, 0, 32], [0, 70, 24], [0, 0, 1]])


def test_dycheck(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    poses = {f"{c}_{t:05d}": _pose(c * 10 + t) for c, times in ((0, (0, 3, 6)), (1, (0, 6))) for t in times}
    for name, pose in poses.items():
        record = {
            "focal_length": 50.0,
            "image_size": [64, 48],
            "orientation": pose[:3, :3].tolist(),
            "position": (-pose[:3, :3].T @ pose[:3, 3]).tolist(),
            "pixel_aspect_ratio": 1.1,
            "principal_point": [31.0, 25.0],
            "radial_distortion": [0.0, 0.0, 0.0],
            "tangential_distortion": [0.0, 0.0],
            "skew": 0.0,
        }
        (root / "camera").mkdir(parents=True, exist_ok=True)
        (root / "camera" / f"{name}.json").write_text(json.dumps(record))
        rgba = np.dstack([files.noise(1, 32, 24)[0], np.full((24, 32), 255, np.uint8)])
        rgba[:5, :, 3] = 0
        files.write_images(root / "rgb" / "2x", [rgba], f"{name}.png")
        (root / "depth" / "2x").mkdir(parents=True, exist_ok=True)
        np.save(root / "depth" / "2x" / f"{name}.npy", np.full((24, 32, 1), 1500.0, np.float32))
    ids = list(poses)
    (root / "splits").mkdir()
    for split, mine in (("train", ids[:3]), ("val", [*ids[3:], "1_00009"])):
        (root / "splits" / f"{split}.json").write_text(json.dumps({"frame_names": mine}))
    (root / "dataset.json").write_text(json.dumps({"ids": ids}))
    (root / "extra.json").write_text(json.dumps({"fps": 15.0}))
    metadata = {i: {"camera_id": int(i[0]), "warp_id": int(i[2:]), "appearance_id": 0} for i in ids}
    (root / "metadata.json").write_text(json.dumps(metadata))
    capture = prepare_capture([root], tmp_path / "out", pixels=10_000)
    assert capture.view_names == ("camera 0", "camera 1")
    np.testing.assert_allclose(capture.timestamps, [0, 0.2, 0.4])
    assert capture.heldout.tolist() == [[False] * 3, [True, False, True]]
    np.testing.assert_allclose(capture.K[0, 0], [[25, 0, 15.5], [0, 27.5, 12.5], [0, 0, 1]])
    np.testing.assert_allclose(capture.world_to_camera[0, 1], poses["0_00003"], atol=1e-9)
    depth, alpha = capture.depth(0, 0), capture.alpha(0, 0)
    assert depth is not None and np.allclose(depth, 1.5)  # millimetres, told by their size
    assert alpha is not None and (alpha[:5] == 0).all() and (alpha[5:] == 255).all()
    assert capture.facts["alpha_means"] == "valid"
    assert not (capture.image(0, 0)[:5] == 255).all()  # nothing is painted over


def test_calibration_toml_with_videos(tmp_path: Path) -> None:
    import cv2

    root = tmp_path / "rig"
    (root / "videos").mkdir(parents=True)
    vector = [0.1, -0.2, 0.3]
    text = ""
    for name in ("cam_01", "cam_02"):
        files.write_video(root / "videos" / f"{name}.mp4", files.grey_ramp(5))
        text += f'[{name}]\nname = "{name}"\nsize = [64.0, 48.0]\nmatrix = [[50.0, 0.0, 31.5], [0.0, 51.0, 23.5], [0.0, 0.0, 1.0]]\n'
        text += f"distortions = [-0.1, 0.01, 0.0, 0.0]\nrotation = {vector}\ntranslation = [0.1, 0.2, 0.3]\nfisheye = false\n"
    (root / "Calib_scene.toml").write_text(text + "[metadata]\nadjusted = false\nerror = 0.0\n")
    source = _open(root)
    view = source.views[1]
    assert (view.name, source.metric, view.lens(0).coefficients[0]) == ("cam_02", True, -0.1)
    np.testing.assert_allclose(view.K[0], [[50, 0, 32], [0, 51, 24], [0, 0, 1]])  # OpenCV's centre at whole numbers becomes +0.5
    np.testing.assert_allclose(view.world_to_camera[0, :3, :3], cv2.Rodrigues(np.array(vector))[0], atol=1e-12)


def test_easyvolcap(tmp_path: Path) -> None:
    import cv2

    root = tmp_path / "rig"
    inner = outer = ""
    for name in ("01", "02", "10"):
        files.write_images(root / "images" / name, files.noise(3), "{:06d}.jpg")
    matrix = "!!opencv-matrix\n   rows: {}\n   cols: {}\n   dt: d\n   data: {}\n"
    names = "names:\n" + "".join(f'   - "{n}"\n' for n in ("01", "02", "10"))
    for n in ("01", "02", "10"):
        inner += f"K_{n}: " + matrix.format(3, 3, [50.0, 0.0, 31.5, 0.0, 51.0, 23.5, 0.0, 0.0, 1.0])
        inner += f"D_{n}: " + matrix.format(5, 1, [0.1, 0.0, 0.0, 0.0, 0.0])
        outer += f"R_{n}: " + matrix.format(3, 1, [0.1, 0.2, 0.3]) + f"T_{n}: " + matrix.format(3, 1, [1.0, 2.0, 3.0])
    (root / "intri.yml").write_text("%YAML:1.0\n---\n" + names + inner)
    (root / "extri.yml").write_text("%YAML:1.0\n---\n" + names + outer)
    source = _open(root)
    assert [v.name for v in source.views] == ["01", "02", "10"]
    np.testing.assert_allclose(source.views[2].K[0], [[50, 0, 32], [0, 51, 24], [0, 0, 1]])
    np.testing.assert_allclose(source.views[2].world_to_camera[0, :3, :3], cv2.Rodrigues(np.array([0.1, 0.2, 0.3]))[0], atol=1e-12)
    np.testing.assert_allclose(source.views[2].world_to_camera[0, :3, 3], [1, 2, 3])
    assert source.views[0].lens(0).bends


def test_every_layout_projects_a_point_to_one_place(tmp_path: Path) -> None:
    """The same camera through three layouts: OpenGL JSON, OpenCV JSON and LLFF agree on where a point lands."""
    pose = _pose(4)
    files.write_images(tmp_path / "a" / "images", files.noise(1))
    frame = {"file_path": "images/00000.png", "transform_matrix": _opengl(pose)}
    (tmp_path / "a" / "transforms.json").write_text(json.dumps({"fl_x": 70.0, "frames": [frame]}))
    to_world = np.linalg.inv(pose)
    row = np.zeros((1, 17))
    row[0, :15] = np.stack([to_world[:3, 1], to_world[:3, 0], -to_world[:3, 2], to_world[:3, 3], [48.0, 64.0, 70.0]], 1).ravel()
    files.write_images(tmp_path / "b" / "images", files.noise(1))
    np.save(tmp_path / "b" / "poses_bounds.npy", row)
    true = _project(np.array([[70.0, 0, 32], [0, 70, 24], [0, 0, 1]]), pose, POINT)
    for name in "ab":
        view = _open(tmp_path / name).views[0]
        np.testing.assert_allclose(_project(view.K[0], view.world_to_camera[0], POINT), true, atol=1e-9)


def test_a_synthetic_style_capture_is_read_as_it_is(tmp_path: Path) -> None:
    files.write_images(tmp_path / "clip", files.noise(12))
    first = prepare_capture([tmp_path / "clip"], tmp_path / "a", pixels=64 * 48)
    assert find_reader(tmp_path / "a").layout == "prepared"
    second = prepare_capture([tmp_path / "a"], tmp_path / "b", pixels=64 * 48)
    for t in range(12):
        np.testing.assert_array_equal(second.image(0, t), first.image(0, t))
    assert Capture.load(tmp_path / "b").facts["holdout"] == "every:8"
