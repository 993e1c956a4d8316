"""Camera paths and point tracking on small analytic scenes."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.formats import FORMATS, export
from fourfold.export.paths import PATHS, PathOptions, camera_between, camera_path, object_center, swing
from fourfold.export.pictures import frame_rate
from fourfold.export.tracking import track_points
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.projection import pixel_grid, project
from fourfold.geometry.rigid import make_rigid
from fourfold.geometry.rotations import so3_exp
from fourfold.render.api import Render, rasterize
from fourfold.scene.edits.parts import movers_alone
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene

K = torch.tensor([[40.0, 0, 20.0], [0, 40.0, 15.0], [0, 0, 1]])
VELOCITY = torch.tensor([0.5, 0.0, 0.0])


def blobs(means: torch.Tensor, size: float, seed: int) -> dict[str, torch.Tensor]:
    n = len(means)
    generator = torch.Generator().manual_seed(seed)
    shape = {"means": means, "quat_wxyz": torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1), "log_scale": torch.full((n, 3), size).log()}
    return shape | {"opacity_logit": torch.full((n,), 5.0), "color_logit": torch.randn(n, 3, generator=generator)}


def plane(half_x: float, half_y: float, depth: float, step: float) -> torch.Tensor:
    x, y = torch.arange(-half_x, half_x + 1e-6, step), torch.arange(-half_y, half_y + 1e-6, step)
    return torch.stack([*torch.meshgrid(x, y, indexing="ij"), torch.full((len(x), len(y)), depth)], dim=-1).reshape(-1, 3)


def scene() -> Scene:
    """A wall at depth 4 and a small plate at depth 2 that flies to the right."""
    wall = Layer("static", "static", Static(), blobs(plane(3.0, 2.4, 4.0, 0.2), 0.1, 0))
    means = plane(0.3, 0.3, 2.0, 0.1)
    free = {
        "velocity": VELOCITY.expand(len(means), 3).clone(),
        "time_center": torch.zeros(len(means)),
        "log_duration": torch.full((len(means),), 9.0),
    }
    return Scene([wall, Layer("free", "dynamic", Linear(), blobs(means, 0.06, 1) | free)], (0.0, 1.0))


def capture(times: int = 5) -> Capture:
    """The camera turns a little and moves a little; the middle frame's pose is not known."""
    steps = torch.linspace(0, 1, times)[:, None]
    rotation = so3_exp(steps * torch.tensor([0.0, 0.1, 0.02]))
    poses = make_rigid(rotation, steps * torch.tensor([0.2, 0.0, 0.1])).double().numpy()[None]
    intrinsics = np.broadcast_to(K.double().numpy(), (1, times, 3, 3)).copy()
    flags = np.ones((1, times), bool)
    moments = np.linspace(0, 1, times)
    return Capture(Path("none"), intrinsics, poses, moments, np.array([[40, 30]]), flags, flags, ~flags, "given", False, "plates", ("camera",))


def tiny_rasterizer(gaussians: Gaussians, camera: Camera, channels: torch.Tensor | None = None, **_: object) -> Render:
    """Isotropic blobs, sorted by depth, composited front to back: slow and obvious."""
    pixels, depth = project(gaussians.means, camera.K, camera.world_to_camera)
    order = depth.argsort()
    radius = (gaussians.scale[:, 0] * camera.K[0, 0] / depth)[order]
    gap = (pixel_grid(camera.height, camera.width)[:, :, None] - pixels[order]).square().sum(-1)
    alpha = (gaussians.opacity[order] * torch.exp(-0.5 * gap / radius**2)).clamp(max=0.999) * (depth[order] > camera.near)
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha[..., :-1]], -1), -1)
    weight = before * alpha
    total = weight.sum(-1)
    blended = None if channels is None else weight @ channels[order]
    return Render(weight @ gaussians.color[order], total, (weight @ depth[order]) / total.clamp_min(1e-6), blended)


def test_the_input_path_is_the_filmed_camera_and_interpolates_between_frames() -> None:
    recorded, moving = capture(), scene()
    path = camera_path("input", moving, recorded)
    assert [time for time, _ in path] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    for index, (_, camera) in enumerate(path):
        assert torch.allclose(camera.world_to_camera, recorded.camera_at(0, index).world_to_camera, atol=1e-6)
    recorded.world_to_camera[0, 2] = np.nan  # an unregistered frame is bridged
    between = camera_between(recorded, 0, 0.5)
    neighbours = torch.stack([recorded.camera_at(0, 1).center, recorded.camera_at(0, 3).center])
    assert torch.allclose(between.center, neighbours.mean(0), atol=1e-6)
    assert torch.allclose(between.world_to_camera[:3, :3], so3_exp(torch.tensor([0.0, 0.05, 0.01])), atol=1e-6)
    assert len(camera_path("input", moving, recorded, PathOptions(frames=9))) == 9


def test_paths_keep_the_object_at_its_pixel_and_distance() -> None:
    recorded, moving = capture(), scene()
    for name in ("orbit", "wiggle", "bullet-time", "turntable"):
        path = camera_path(name, moving, recorded, PathOptions(amplitude=0.25, frames=8))
        assert len(path) == 8
        times = [time for time, _ in path]
        assert (len(set(times)) == 1) == (name in ("bullet-time", "turntable"))
        travelled = []
        for time, camera in path:
            filmed = camera_between(recorded, 0, time)
            center = object_center(moving, time, filmed)
            assert torch.allclose(center, VELOCITY * time + torch.tensor([0.0, 0.0, 2.0]), atol=0.051), "the middle of the plate"
            before, after = (project(center[None], c.K, c.world_to_camera)[0] for c in (filmed, camera))
            assert name == "turntable" or torch.allclose(before, after, atol=1e-3)
            assert float((camera.center - center).norm()) == pytest.approx(float((filmed.center - center).norm()), rel=1e-4)
            travelled.append(float((camera.center - filmed.center).norm()))
        if name == "turntable":
            assert max(travelled) > 1.9 * 2.0, "the other side"
            continue
        assert max(travelled) < 0.26 * 2.2 and max(travelled) > (0.1 if name == "wiggle" else 0.4)
    assert camera_path("bullet-time", moving, recorded, PathOptions(frames=3))[0][0] == pytest.approx(0.5)


def test_a_turntable_stays_at_its_height_above_the_floor() -> None:
    """Whichever way the one filmed camera is tilted, the path is a level circle about the mean vertical of all cameras."""
    recorded, moving = capture(), scene()
    recorded.world_to_camera[0, :3] = make_rigid(so3_exp(torch.tensor([0.4, 0.0, 0.0])), torch.zeros(3)).numpy() @ recorded.world_to_camera[0, :3]
    down = torch.nn.functional.normalize(torch.from_numpy(recorded.world_to_camera[0, :, 1, :3].mean(axis=0)), dim=0)
    centers = torch.stack([camera.center for _, camera in camera_path("turntable", moving, recorded, PathOptions(frames=12))]).double()
    height = centers @ down
    assert float(height.max() - height.min()) < 1e-5
    gaps = (centers.roll(-1, 0) - centers).norm(dim=1)
    assert float(gaps.max() - gaps.min()) < 1e-5 and float(gaps.min()) > 0.1, "equal steps, and round it closes"


def test_movers_alone_stand_on_white() -> None:
    moving = movers_alone(scene())
    assert [layer.name for layer in moving.layers] == ["free"] and moving.background == (1.0, 1.0, 1.0)
    with pytest.raises(FourfoldError, match="nothing moves"):
        movers_alone(Scene(scene().layers[:1], (0.0, 1.0)))


def test_swing_directions_and_a_static_scene() -> None:
    camera = Camera(K, torch.eye(4), 40, 30)
    turned = swing(camera, torch.tensor([0.0, 0.0, 2.0]), yaw=0.1, pitch=0.0).center
    assert turned[0] < -0.19 and abs(turned[1]) < 1e-6, "left"
    assert swing(camera, torch.tensor([0.0, 0.0, 2.0]), yaw=0.0, pitch=0.1).center[1] < -0.19, "up"
    only_wall = Scene(scene().layers[:1], (0.0, 1.0))
    assert torch.allclose(object_center(only_wall, 0.0, camera), torch.tensor([0.0, 0.0, 4.0]), atol=0.21), "one step of the lattice"
    behind = make_rigid(torch.diag(torch.tensor([-1.0, 1, -1])), torch.zeros(3))
    assert torch.isfinite(object_center(only_wall, 0.0, Camera(K, behind, 40, 30))).all()


def test_json_paths(tmp_path: Path) -> None:
    recorded, moving, file = capture(), scene(), tmp_path / "path.json"
    entries = [
        {"time": 0.5, "world_to_camera": np.eye(4).tolist()},
        {"time": 0.1, "world_to_camera": np.eye(4).tolist(), "K": K.tolist(), "width": 8, "height": 6},
    ]
    file.write_text(json.dumps(entries))
    path = camera_path("json", moving, recorded, PathOptions(file=file))
    assert [(t, c.width, c.height) for t, c in path] == [(0.5, 40, 30), (0.1, 8, 6)]
    for text, match in (("{", "is not a list"), ("[]", "it is empty"), ('[{"time": 1}]', "KeyError: 'world_to_camera'"), ("[3]", "is not a list")):
        file.write_text(text)
        with pytest.raises(FourfoldError, match=match):
            camera_path("json", moving, recorded, PathOptions(file=file))
    for options in (PathOptions(), PathOptions(file=tmp_path / "missing.json")):
        with pytest.raises(FourfoldError, match="camera path"):
            camera_path("json", moving, recorded, options)
    with pytest.raises(FourfoldError, match="choose one of input, steady, orbit"):
        camera_path("spiral", moving, recorded)
    assert set(PATHS) == {"input", "steady", "orbit", "wiggle", "bullet-time", "turntable", "json"}


@pytest.mark.parametrize("draw", [tiny_rasterizer, partial(rasterize, backend="reference")], ids=["tiny", "reference"])
def test_tracks_follow_the_plate_and_the_wall_and_know_what_is_hidden(draw: Callable[..., Render]) -> None:
    moving, camera = scene(), Camera(K, torch.eye(4), 40, 30)
    shifted = Camera(K, make_rigid(torch.eye(3), torch.tensor([-0.1, 0.05, 0.0])), 40, 30)
    targets = [(0.0, camera), (1.0, camera), (1.0, shifted), *[(0.04 * k, camera) for k in range(25)]]  # more than one call's channels
    pixels = torch.tensor([[20.0, 15.0], [8.0, 8.0], [30.0, 15.0]])  # plate, wall, wall that the plate will hide
    tracks = track_points(moving, (0.0, camera), pixels, targets, draw)
    assert tracks.xyz.shape == (3, 28, 3) and tracks.xy is not None
    np.testing.assert_allclose(tracks.xy[:, 0], pixels, atol=1e-3)
    np.testing.assert_allclose(tracks.xyz[0, 1] - tracks.xyz[0, 0], VELOCITY, atol=1e-4)
    np.testing.assert_allclose(tracks.xyz[1, 1], tracks.xyz[1, 0], atol=1e-6)
    np.testing.assert_allclose(tracks.xyz[:, 0, 2], [2, 4, 4], atol=1e-3)
    np.testing.assert_allclose(tracks.xy[0, 2], [20 + 40 * 0.4 / 2, 15 + 40 * 0.05 / 2], atol=0.01)
    assert tracks.visibility[:, 0].tolist() == [1, 1, 1] and tracks.visibility[:, 1].tolist() == [1, 1, 0]
    np.testing.assert_allclose(tracks.xyz[0, -1] - tracks.xyz[0, 0], VELOCITY * 0.96, atol=1e-4)
    away = track_points(moving, (0.0, camera), pixels, [(1.0, Camera(K, make_rigid(torch.eye(3), torch.tensor([9.0, 0, 0])), 40, 30))], draw)
    assert away.visibility.max() == 0, "outside the target image nothing is visible"


def test_formats_are_listed_and_unknown_ones_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, moving = capture(), scene()
    monkeypatch.setattr("fourfold.export.pictures.rasterize", tiny_rasterizer)
    for name in set(FORMATS) - {"html"}:
        out = tmp_path / FORMATS[name].default_name
        lost = export(name, moving, recorded, out)
        assert out.exists() and (lost is None or (lost.worst_pixels < 1 and lost.decibels > 30)), (name, lost)
    assert len(list((tmp_path / "sequence").iterdir())) == 5 and len(list((tmp_path / "frames").iterdir())) == 5
    with pytest.raises(FourfoldError, match="no export format 'obj': choose one of scene, 4dgs, gltf"):
        export("obj", moving, recorded, tmp_path / "x")
    assert frame_rate(recorded.timestamps) == pytest.approx(4.0) and frame_rate(np.array([0.0])) == 10.0
