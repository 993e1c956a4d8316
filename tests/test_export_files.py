"""PLY, sequences, videos, pictures and track files, read back by independent means."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fourfold.errors import FourfoldError
from fourfold.export.drawing import DrawingConfig, draw_tracks
from fourfold.export.moment_files import write_ply
from fourfold.export.ply_sequence import write_sequence
from fourfold.export.tracks import PointTracks, load_tracks, save_tracks, scene_tracks
from fourfold.export.video import write_mp4, write_pngs
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene


def parse_ply(data: bytes) -> dict[str, list[float]]:
    """A tiny reader of float-only binary PLY, sharing nothing with the writer."""
    head, body = data.split(b"end_header\n", 1)
    lines = head.decode().splitlines()
    assert lines[0] == "ply" and lines[1] == "format binary_little_endian 1.0"
    count = int(next(line.split()[2] for line in lines if line.startswith("element vertex")))
    names = [line.split()[2] for line in lines if line.startswith("property float ")]
    assert len(body) == 4 * count * len(names)
    rows = [struct.unpack_from(f"<{len(names)}f", body, 4 * len(names) * i) for i in range(count)]
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def gaussians(n: int, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(random(n, 3), random(n, 4), random(n, 3), random(n), torch.rand(n, 3, generator=generator), random(n, 8, 3))


def test_ply_holds_what_viewers_expect(tmp_path: Path) -> None:
    whole = gaussians(6)
    visibility = torch.tensor([1.0, 0.5, 0.0, 1.0, 1.0, 1e-4])
    means = whole.means.clone()
    means[4, 1] = float("nan")
    shown = Gaussians(means, whole.quat_wxyz, whole.log_scale, whole.opacity_logit, whole.color, whole.sh_rest, visibility)
    assert write_ply(tmp_path / "a.ply", shown) == 3
    read = parse_ply((tmp_path / "a.ply").read_bytes())
    expected = ["x", "y", "z", "nx", "ny", "nz", *[f"f_dc_{i}" for i in range(3)], *[f"f_rest_{i}" for i in range(24)], "opacity"]
    assert list(read) == [*expected, "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    kept = [0, 1, 3]
    for axis, name in enumerate("xyz"):
        np.testing.assert_allclose(read[name], means[kept, axis], rtol=1e-6)
    for channel in range(3):
        np.testing.assert_allclose(0.5 + 0.28209479177387814 * np.array(read[f"f_dc_{channel}"]), whole.color[kept, channel], atol=1e-6)
        for term in range(8):  # channel by channel
            np.testing.assert_allclose(read[f"f_rest_{8 * channel + term}"], whole.sh_rest[kept, term, channel], rtol=1e-6)
    opacity = 1 / (1 + np.exp(-np.array(read["opacity"])))
    np.testing.assert_allclose(opacity, torch.sigmoid(whole.opacity_logit[kept]) * visibility[kept], rtol=1e-4)
    quats = np.array([read[f"rot_{i}"] for i in range(4)]).T
    np.testing.assert_allclose(quats, whole.quat_wxyz[kept] / whole.quat_wxyz[kept].norm(dim=-1, keepdim=True), atol=1e-6)
    np.testing.assert_allclose(read["scale_2"], whole.log_scale[kept, 2], rtol=1e-6)


def test_ply_of_an_opaque_gaussian_is_finite_and_without_sh(tmp_path: Path) -> None:
    plain = gaussians(2)
    opaque = Gaussians(plain.means, plain.quat_wxyz, plain.log_scale, torch.tensor([90.0, 90.0]), plain.color)
    write_ply(tmp_path / "a.ply", opaque)
    read = parse_ply((tmp_path / "a.ply").read_bytes())
    assert "f_rest_0" not in read and np.isfinite(read["opacity"]).all() and min(read["opacity"]) > 8


def moving_scene() -> Scene:
    still, flying = gaussians(5), gaussians(3, seed=1)

    def splats(g: Gaussians) -> dict[str, torch.Tensor]:
        return {
            "means": g.means,
            "quat_wxyz": g.quat_wxyz,
            "log_scale": g.log_scale,
            "opacity_logit": torch.full((len(g),), 3.0),
            "color_logit": torch.logit(g.color),
        }

    free = {"velocity": torch.tensor([[1.0, 0, 0]] * 3), "time_center": torch.zeros(3), "log_duration": torch.tensor([3.0, 3.0, -3.0])}
    return Scene([Layer("static", "static", Static(), splats(still)), Layer("free", "dynamic", Linear(), splats(flying) | free)], (0.0, 2.0))


def test_sequence_is_numbered_without_gaps_and_alone_in_its_folder(tmp_path: Path) -> None:
    scene = moving_scene()
    assert write_sequence(tmp_path / "out", scene, [0.0, 1.0, 2.0]) == 3
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["frame_00000.ply", "frame_00001.ply", "frame_00002.ply"]
    first, last = (parse_ply((tmp_path / "out" / name).read_bytes()) for name in (names[0], names[-1]))
    assert len(first["x"]) == len(last["x"]) == 8, "a row is one Gaussian all along"
    np.testing.assert_allclose(np.array(last["x"][5:8]) - np.array(first["x"][5:8]), 2.0, atol=1e-5)
    assert first["opacity"][7] > 2 and last["opacity"][7] < -10, "what has faded away is invisible"


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_mp4_plays_back_with_its_frames_rate_and_colours(tmp_path: Path, size: tuple[int, int]) -> None:
    import av

    frames = [np.full((*size, 3), (20 * i, 255 - 20 * i, 128), np.uint8) for i in range(10)]
    assert write_mp4(tmp_path / "a.mp4", iter(frames), fps=12.5) == 10
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p" and float(stream.average_rate) == 12.5
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 10 and decoded[0].shape == (48, 64, 3)
    for sent, got in zip(frames, decoded, strict=True):
        assert np.abs(got[: size[0], : size[1]].astype(int) - sent).max() < 12, "4:2:0 and limited range cost a few grey levels"


def test_bad_videos_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FourfoldError, match="the list of frames is empty"):
        write_mp4(tmp_path / "a.mp4", [], fps=10)
    with pytest.raises(FourfoldError, match="is 20x16, the first was 32x16"):
        write_mp4(tmp_path / "a.mp4", [np.zeros((16, 32, 3), np.uint8), np.zeros((16, 20, 3), np.uint8)], fps=10)
    assert list(tmp_path.iterdir()) == []


def test_pngs_are_exact(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    assert write_pngs(tmp_path / "frames", frames) == 3
    for index, path in enumerate(sorted((tmp_path / "frames").iterdir())):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), frames[index])


def test_tracks_round_trip_without_pickle(tmp_path: Path) -> None:
    tracks = scene_tracks(moving_scene(), np.array([0.0, 0.5, 2.0]))
    assert tracks.xyz.shape == (3, 3, 3) and tracks.color is not None and tracks.color.shape == (3, 3)
    np.testing.assert_allclose(tracks.xyz[:, 2, 0] - tracks.xyz[:, 0, 0], 2.0, atol=1e-5)
    np.testing.assert_allclose(tracks.visibility[:, 2], [1, 1, 0], atol=0.01)
    assert len(scene_tracks(moving_scene(), np.array([0.0]), most=2)) == 2
    save_tracks(tmp_path / "a.npz", tracks)
    again = load_tracks(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.xyz, tracks.xyz)
    assert again.xy is None
    with pytest.raises(FourfoldError, match="there are no tracks at"):
        load_tracks(tmp_path / "b.npz")
    (tmp_path / "b.npz").write_bytes(b"nonsense")
    with pytest.raises(FourfoldError, match="does not hold tracks"):
        load_tracks(tmp_path / "b.npz")


def test_drawn_tracks_fade_into_the_past_and_skip_what_is_hidden() -> None:
    frames = np.zeros((6, 40, 60, 3), np.uint8)
    xy = np.zeros((2, 6, 2), np.float32)
    xy[0], xy[1] = np.stack([5.5 + 8 * np.arange(6), np.full(6, 20.5)], 1), (30.5, 5.5)
    visibility = np.array([[1] * 6, [0] * 6], np.float32)
    tracks = PointTracks(np.arange(6.0), np.zeros((2, 6, 3), np.float32), visibility, xy)
    drawn = draw_tracks(frames, tracks, DrawingConfig(tail=4, width=1, radius=2)).max(-1)
    assert drawn[0, 20, 5] == 255 and drawn[:, :10, :].max() == 0
    along = drawn[5, 20, [10, 18, 26, 34, 45]].astype(int)
    assert along[0] == 0 and (np.diff(along) > 0).all() and along[-1] == 255
    with pytest.raises(FourfoldError, match="track to the cameras"):
        draw_tracks(frames[:3], tracks)
