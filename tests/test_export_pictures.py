"""Films, depth and camera paths, opened by PyAV, Pillow, OpenEXR, pycolmap and pygltflib, and compared number by number."""

import json
import math
from pathlib import Path

import av
import numpy as np
import OpenEXR
import pycolmap
import pygltflib
import pytest
import torch
from PIL import Image

from every_motion import scene_of, walking_camera
from fourfold.errors import FourfoldError
from fourfold.export.axes import y_up
from fourfold.export.films import write_gif, write_webm
from fourfold.export.formats import export
from fourfold.export.options import ExportOptions
from fourfold.export.pictures import draw, draw_alpha
from fourfold.scene.scene import Scene


def blocks(alpha: bool) -> list[np.ndarray]:
    """Frames of one colour each; with `alpha` their right half is not there."""
    frames = []
    for k in range(5):
        frame = np.full((48, 64, 4), (40 * k, 200 - 30 * k, 120, 255), np.uint8)
        frame[:, 32:, 3] = 0
        frames.append(frame if alpha else frame[..., :3])
    return frames


@pytest.mark.parametrize("alpha", [False, True])
def test_webm_plays_back(alpha: bool, tmp_path: Path) -> None:
    sent = blocks(alpha)
    assert write_webm(tmp_path / "a.webm", iter(sent), 12.5) == 5
    with av.open(str(tmp_path / "a.webm")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in ("vp9", "libvpx-vp9") and float(stream.average_rate) == pytest.approx(12.5, rel=0.01)
        decoder = av.codec.CodecContext.create("libvpx-vp9", "r")  # FFmpeg's own VP9 decoder leaves transparency out
        got = [frame for packet in container.demux(stream) for frame in decoder.decode(packet)]
    assert len(got) == 5
    for one, two in zip(sent, got, strict=True):
        pixels = two.to_ndarray(format="rgba" if alpha else "rgb24").astype(int)
        assert np.abs(pixels[4:-4, 4:28, :3] - one[4:-4, 4:28, :3]).max() < 14
        if alpha:
            assert pixels[4:-4, 4:28, 3].min() > 245 and pixels[4:-4, 36:, 3].max() < 10


@pytest.mark.parametrize("alpha", [False, True])
def test_gif_plays_back(alpha: bool, tmp_path: Path) -> None:
    sent = blocks(alpha)
    assert write_gif(tmp_path / "a.gif", iter(sent), 12.5) == 5
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 5 and film.info["loop"] == 0
        for k in range(5):
            film.seek(k)
            assert film.info["duration"] == 80
            pixels = np.asarray(film.convert("RGBA")).astype(int)
            assert np.abs(pixels[:, :32, :3] - sent[k][:, :32, :3]).max() < 8
            assert pixels[:, 40:, 3].max() == (0 if alpha else 255)
    with pytest.raises(FourfoldError, match="the list of frames is empty"):
        write_gif(tmp_path / "b.gif", [], 10)


def test_a_picture_without_background_composes_to_the_one_with(tmp_path: Path) -> None:
    scene, capture = scene_of("linear"), walking_camera()
    view = (0.4, capture.camera_at(0, 10))
    rgba, rgb = draw_alpha(scene, view).astype(float), draw(scene, view).astype(float)
    over = rgba[..., :3] * rgba[..., 3:] / 255 + np.array(scene.background) * (255 - rgba[..., 3:])
    assert np.abs(over - rgb).max() <= 2 and rgba[..., 3].min() == 0 and rgba[..., 3].max() > 100
    export("png", scene, capture, tmp_path / "frames", ExportOptions(frames=2, alpha=True))
    assert Image.open(tmp_path / "frames" / "frame_00001.png").mode == "RGBA"
    with pytest.raises(FourfoldError, match="MP4 has no transparency"):
        export("mp4", scene, capture, tmp_path / "a.mp4", ExportOptions(alpha=True))


def plate() -> Scene:
    """One opaque plate three units before the camera that does not move."""
    scene = scene_of("static")
    layer = scene.layers[0]
    x, y = torch.meshgrid(torch.linspace(-1, 1, 25), torch.linspace(-1, 1, 25), indexing="ij")
    n = x.numel()
    layer.splats = {
        "means": torch.stack([x, y, torch.full_like(x, -3.0)], -1).reshape(-1, 3),
        "quat_wxyz": torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        "log_scale": torch.tensor([[0.06, 0.06, 0.001]]).log().repeat(n, 1),
        "opacity_logit": torch.full((n,), 8.0),
        "color_logit": torch.zeros(n, 3),
    }
    return Scene([layer], (0.0, 1.0), scale=0.5, up=scene.up)


def test_depth_is_where_things_are(tmp_path: Path) -> None:
    scene, capture, options = plate(), walking_camera(), ExportOptions(frames=3)
    export("depth", scene, capture, tmp_path / "png", options)
    export("depth-exr", scene, capture, tmp_path / "exr", options)
    told = json.loads((tmp_path / "png" / "depth.json").read_text())
    assert told["metres_per_step"] == pytest.approx(0.001) and told["units_per_step"] == pytest.approx(0.002)
    for index, time in enumerate((0.0, 0.5, 1.0)):
        with Image.open(tmp_path / "png" / f"frame_{index:05d}.png") as picture:
            steps = np.asarray(picture).astype(float)
        exr = OpenEXR.File(str(tmp_path / "exr" / f"frame_{index:05d}.exr")).channels()["Z"].pixels
        assert exr.shape == steps.shape == (120, 160) and exr.dtype == np.float32
        np.testing.assert_allclose(steps * told["units_per_step"], exr, atol=0.0011)
        camera = capture.camera_at(0, round(25 * time))
        middle = camera.world_to_camera @ torch.tensor([0.0, 0, -3, 1], dtype=camera.world_to_camera.dtype)
        pixel = camera.K.to(middle) @ middle[:3] / middle[2]
        assert exr[int(pixel[1]), int(pixel[0])] == pytest.approx(float(middle[2]), abs=0.02)
        assert exr[0, 0] == 0 and steps[0, 0] == 0


def test_colmap_opens_the_camera_path(tmp_path: Path) -> None:
    scene, capture = scene_of("linear"), walking_camera()
    export("colmap", scene, capture, tmp_path / "model")
    model = pycolmap.Reconstruction(str(tmp_path / "model"))
    assert len(model.images) == 26 and len(model.cameras) == 1
    for image in model.images.values():
        index = int(image.name[6:11])
        truth = capture.camera_at(0, index)
        np.testing.assert_allclose(image.cam_from_world().matrix(), truth.world_to_camera[:3], atol=1e-6)
        np.testing.assert_allclose(model.cameras[image.camera_id].calibration_matrix(), truth.K, atol=1e-9)


def test_nerfstudio_has_opengl_poses(tmp_path: Path) -> None:
    scene, capture = scene_of("linear"), walking_camera()
    export("nerfstudio", scene, capture, tmp_path / "transforms.json")
    told = json.loads((tmp_path / "transforms.json").read_text())
    frame, truth = told["frames"][9], capture.camera_at(0, 9)
    pose, point = np.array(frame["transform_matrix"]), np.array([0.3, -0.2, 0.5, 1])
    x, y, z, _ = np.linalg.inv(pose) @ point  # right, up, back
    pixel = [frame["fl_x"] * x / -z + frame["cx"], frame["fl_y"] * -y / -z + frame["cy"]]
    seen = truth.K.numpy() @ (truth.world_to_camera.numpy() @ point)[:3]
    assert pixel == pytest.approx((seen[:2] / seen[2]).tolist(), abs=1e-4) and frame["time"] == pytest.approx(9 / 25)


def test_a_gltf_camera_follows_the_path(tmp_path: Path) -> None:
    scene, capture = scene_of("linear"), walking_camera()
    export("camera-gltf", scene, capture, tmp_path / "a.glb")
    glb = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    blob = glb.binary_blob()

    def values(index: int, width: int) -> np.ndarray:
        accessor = glb.accessors[index]
        return np.frombuffer(blob, "<f4", accessor.count * width, glb.bufferViews[accessor.bufferView].byteOffset).reshape(-1, width)

    (animation,) = glb.animations
    samplers = {c.target.path: animation.samplers[c.sampler] for c in animation.channels}
    seconds, places, quats = (
        values(samplers["translation"].input, 1),
        values(samplers["translation"].output, 3),
        values(samplers["rotation"].output, 4),
    )
    np.testing.assert_allclose(seconds[:, 0], capture.timestamps, atol=1e-6)
    turn = y_up(scene).numpy()
    for index in (0, 13, 25):
        truth = capture.camera_at(0, index)
        np.testing.assert_allclose(places[index], 0.5 * turn @ truth.center.numpy(), atol=1e-5)
        x, y, z, w = quats[index].astype(float)
        forward = np.array([-2 * (x * z + y * w), -2 * (y * z - x * w), -(1 - 2 * (x * x + y * y))])  # R (0, 0, -1)
        np.testing.assert_allclose(forward, turn @ truth.world_to_camera[2, :3].numpy(), atol=1e-5)
    lens = glb.cameras[0].perspective
    assert lens.yfov == pytest.approx(2 * math.atan(60 / 150)) and lens.aspectRatio == pytest.approx(160 / 120)
