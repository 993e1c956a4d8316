"""The parts of the live viewer: who may call, cameras of browsers, what is drawn, the clock, edits and films along keyframes."""

import json
import math
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from every_motion import scene_of, walking_camera
from fourfold.errors import FourfoldError
from fourfold.export.keyed_path import as_entries, through_keyframes
from fourfold.export.paths import PathOptions, camera_path
from fourfold.geometry.camera import Camera
from fourfold.geometry.projection import project
from fourfold.geometry.rigid import make_rigid, se3_exp
from fourfold.live.cameras import Pose, filmed_cameras, first_pose, nearest_filmed
from fourfold.live.clock import Clock
from fourfold.live.drawing import FARTHEST, STANDING, Drawer, Look, group_colors
from fourfold.live.edited import BACKGROUND, Edited, crop, freeze, one_mover
from fourfold.live.film import free_name
from fourfold.live.filmed import compared
from fourfold.live.numbers import corner, within
from fourfold.live.trails import trail_colors
from fourfold.live.viewer import LiveViewer, Rates
from fourfold.render.api import rasterize
from fourfold.scene.edits.parts import background_alone
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene
from fourfold.viewer.callers import meant_for, of_own_page


def _plate(depth: float, side: float, color: float, speed: float = 0.0, at: float = 0.0) -> dict[str, torch.Tensor]:
    """An opaque square of Gaussians that flies to the right."""
    steps = torch.linspace(-side, side, 21)
    x, y = (t.reshape(-1) for t in torch.meshgrid(steps, steps, indexing="ij"))
    n = len(x)
    splats = {"means": torch.stack([x + at, y, torch.full_like(x, depth)], 1), "quat_wxyz": torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1)}
    splats |= {"log_scale": torch.full((n, 3), side / 12).log(), "opacity_logit": torch.full((n,), 6.0), "color_logit": torch.full((n, 3), color)}
    flight = {"velocity": torch.tensor([[speed, 0.0, 0.0]]).repeat(n, 1), "time_center": torch.zeros(n), "log_duration": torch.full((n,), 9.0)}
    return splats | flight


@pytest.fixture
def scene() -> Scene:
    """A white plate 2 before a dark wall at 4; two smaller plates fly apart."""
    wall = _plate(4.0, 3.0, -3.0)
    still = {k: wall[k] for k in ("means", "quat_wxyz", "log_scale", "opacity_logit", "color_logit")}
    left, right = _plate(2.0, 0.2, 3.0, -0.2, -0.5), _plate(2.0, 0.2, 3.0, 0.2, 0.5)
    moving = {k: torch.cat([left[k], right[k][:200]]) for k in left}
    return Scene([Layer("static", STATIC, Static(), still), Layer("free", DYNAMIC, Linear(), moving)], (0.0, 1.0), background=(0.0, 0.2, 0.0))


CAMERA = Camera([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]], np.eye(4, dtype=np.float32), 64, 48)


@pytest.mark.parametrize(
    ("host", "own", "answer"),
    [
        ("localhost:7007", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("[::1]:7007", "127.0.0.1", True),
        ("evil.example", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example:7007", "127.0.0.1", False),
        ("[", "127.0.0.1", False),
        ("", "", False),
    ],
)
def test_only_its_own_address_is_answered(host, own, answer):
    assert meant_for(host, own) is answer


def test_only_its_own_page_may_open_a_websocket():
    assert of_own_page(None, "127.0.0.1:7007") and of_own_page("http://127.0.0.1:7007", "127.0.0.1:7007")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:8000", "http://127.0.0.1:7007.evil.example"):
        assert not of_own_page(origin, "127.0.0.1:7007")


def test_the_server_refuses_who_is_not_meant(capfd):
    pytest.importorskip("viser")
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    from fourfold.live.serving import live_server, stop

    server = live_server("127.0.0.1", 0)
    try:
        port = server.get_port()
        address, protocol = f"ws://127.0.0.1:{port}", f"viser-v{pytest.importorskip('viser').__version__}"
        with connect(address, origin=f"http://127.0.0.1:{port}", subprotocols=[protocol]) as own:
            assert own.recv(timeout=10)
        for headers in ({"origin": "http://evil.example"}, {"origin": "null"}):
            with pytest.raises(InvalidStatus, match="403"), connect(address, subprotocols=[protocol], **headers):
                pass
        for host, status in (("evil.example", b"403"), (f"localhost:{port}", b"200"), ("evil.example\r\nHost: localhost", b"403")):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answer = raw.recv(4096)
            assert answer.startswith(b"HTTP/1.1 " + status), host
            assert status != b"200" or b"content-security-policy" in answer.lower()
        with socket.create_connection(("127.0.0.1", port)) as broken:
            broken.sendall(b"GET / HT")
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert server.request_share_url() is None, "nothing is handed on to the world"
    finally:
        stop(server)
    said = capfd.readouterr()
    assert said.out == "" and "Traceback" not in said.err


def test_a_browsers_camera_sees_what_the_filmed_one_sees():
    turned = replace(CAMERA, world_to_camera=se3_exp(torch.tensor([0.2, -0.1, 0.4, 0.3, -0.5, 0.2])).float())
    again = Pose.of_filmed(turned).camera(64)
    assert (again.width, again.height) == (64, 48)
    torch.testing.assert_close(again.world_to_camera, turned.world_to_camera, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.K, turned.K, atol=1e-4, rtol=0)
    assert Pose.of_filmed(turned).camera(32).K[0, 0] == pytest.approx(30.0)


def test_the_first_look_is_the_first_filmed_camera_or_shows_the_scene(scene):
    capture = walking_camera()
    pose, _ = first_pose(scene_of("linear"), capture)
    assert pose == Pose.of_filmed(capture.camera_at(0, 0))
    pose, middle = first_pose(scene, None)
    camera = pose.camera(100)
    pixels, depth = project(scene.at(0.0).means, camera.K, camera.world_to_camera)
    inside = (pixels > 0).all(1) & (pixels < torch.tensor([camera.width, camera.height])).all(1) & (depth > 0)
    assert inside.float().mean() > 0.9
    assert (camera.world_to_camera[1, :3] @ torch.tensor(scene.up)) < -0.99, "up is up in the picture"
    centre, _ = project(torch.tensor(middle[None], dtype=torch.float32), camera.K, camera.world_to_camera)
    torch.testing.assert_close(centre[0], torch.tensor([camera.width / 2, camera.height / 2]), atol=0.01, rtol=0)


def test_the_nearest_frame_is_of_the_moment_and_the_direction():
    capture = walking_camera()
    both = replace(
        capture,
        **{name: np.concatenate([getattr(capture, name)] * 2) for name in ("K", "world_to_camera", "sizes", "present", "train", "heldout")},
        view_names=("a", "b"),
        focal_hint=np.zeros(2),
    )
    behind = make_rigid(torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64)), torch.zeros(3, dtype=torch.float64)).numpy()
    both.world_to_camera[1] = behind @ both.world_to_camera[1]
    moment = float(capture.timestamps[5])
    for view in (0, 1):
        pose = Pose.of_filmed(both.camera_at(view, 5))
        assert nearest_filmed(both, moment + 1e-3, pose) == (view, 5)
    both.world_to_camera[:] = np.nan
    assert filmed_cameras(both) == [] and nearest_filmed(both, moment, pose) is None


def test_what_is_drawn(scene):
    drawer = Drawer(scene)
    truth = rasterize(scene.at(0.5), CAMERA, background=torch.tensor(scene.background))
    plain = drawer.draw(Look(0.5), CAMERA)
    assert np.abs(plain.image.astype(float) - truth.color.clamp(0, 1).numpy() * 255).max() <= 0.5 + 1e-3
    assert plain.depth[24, 32] == pytest.approx(4.0, abs=0.1)
    opaque = drawer.draw(Look(0.5, "opacity"), CAMERA).image
    assert np.abs(opaque[..., 0] - truth.alpha.numpy() * 255).max() <= 1
    only = drawer.draw(Look(0.5, hidden=frozenset({"static"})), CAMERA)
    assert only.depth[24, 32] == FARTHEST and tuple(only.image[24, 32]) == (0, 51, 0)
    x = round(32 + 60 * -0.6 / 2.0)  # where the left plate is by then
    assert only.depth[24, x] == pytest.approx(2.0, abs=0.1)
    near = drawer.draw(Look(0.5, "depth"), CAMERA).image.astype(int)
    assert near[24, x, 0] > near[24, x, 2] and near[24, 32, 2] > near[24, 32, 0], "red is near, blue is far"


def test_groups_that_move_together_have_a_colour_of_their_own(scene):
    colors = group_colors(scene)
    of = {name: {tuple(c) for c in colors[place].tolist()} for name, place in scene.slices().items()}
    assert of["static"] == {tuple(torch.tensor(STANDING).tolist())}
    assert len(of["free"]) == 2 and not of["free"] & of["static"], "two plates that fly apart"
    bases = scene_of("se3_bases")
    colors, logits = group_colors(bases)[bases.slices()["moving"]], bases.layer("moving").splats["motion_logits"]
    assert len({tuple(c) for c in colors.tolist()}) == len(set(logits.argmax(1).tolist())) > 1


def test_time_runs_stops_and_begins_again():
    clock = Clock(1.0, 3.0, 1.5, playing=True, speed=2.0)
    assert clock.advance(0.5) and clock.time == 2.5
    assert clock.advance(0.5) and clock.time == pytest.approx(1.5)
    clock.loop = False
    assert clock.advance(5.0) and (clock.time, clock.playing) == (3.0, False)
    assert not clock.advance(1.0)
    clock.over(0.0, 2.0)
    assert clock.time == 2.0
    clock = Clock(0.0, 0.0, playing=True)
    assert not clock.advance(1.0)


def test_edits_are_made_taken_back_and_made_again(scene):
    edited = Edited(scene)
    edited.add(one_mover(0, keep=False))
    assert len(edited.scene.layer("free")) == 200
    edited.add(freeze(0.5))
    torch.testing.assert_close(edited.scene.at(0.0).means, edited.scene.at(1.0).means)
    edited.undo()
    assert [line.name for line in edited.lines] == ["drop mover 0"]
    edited.add(crop((-9, -9, 3), (9, 9, 5)))
    assert [layer.name for layer in edited.scene.layers] == ["static"]
    with pytest.raises(FourfoldError, match="is empty"):
        edited.add(crop((0, 0, 0), (0, 1, 1)))
    assert len(edited.lines) == 2, "what does not work changes nothing"
    assert edited.renew(background_alone(scene)) == ["drop mover 0"], "the new scene has no mover"
    edited.add(BACKGROUND)
    assert edited.scene.at(0.0).means.shape == scene.layer("static").splats["means"].shape


def test_a_film_goes_through_its_keyframes(tmp_path):
    """On a circle about the origin, looking inward: centres stay near it, cameras keep looking at it, times run evenly."""

    def on_circle(angle: float, size: int = 64) -> Camera:
        c, s = math.cos(angle), math.sin(angle)
        rotation = torch.tensor([[c, 0, -s], [0, 1.0, 0], [s, 0, c]])
        return Camera(CAMERA.K, make_rigid(rotation, torch.tensor([0, 0, 3.0])), 64, 48).scaled(size / 64)

    keys = [(0.1 * i, on_circle(0.3 * i)) for i in range(5)]
    path = through_keyframes(keys, 41)
    assert [t for t, _ in path] == pytest.approx(np.linspace(0, 0.4, 41).tolist(), abs=1e-9)
    for i, (_, camera) in enumerate(keys):
        torch.testing.assert_close(path[10 * i][1].world_to_camera, camera.world_to_camera, atol=1e-5, rtol=0)
    inner = path[10:31]  # at the ends the curve has no neighbour to bend towards
    assert max(abs(float(camera.center.norm()) - 3) for _, camera in inner) < 3 * 0.3**4 / 16, "a parabola's slope: fourth order"
    assert max(float((project(torch.zeros(1, 3), c.K, c.world_to_camera)[0][0] - torch.tensor([32.0, 24.0])).norm()) for _, c in inner) < 0.1
    mixed = through_keyframes([keys[0], (0.1, on_circle(0.3, 128))], 3)
    torch.testing.assert_close(mixed[2][1].K, CAMERA.K)
    with pytest.raises(FourfoldError, match="got 1 keyframes"):
        through_keyframes(keys[:1], 9)
    (tmp_path / "path.json").write_text(json.dumps(as_entries(path)))
    again = camera_path("json", scene_of("linear"), walking_camera(), PathOptions(file=tmp_path / "path.json"))
    assert len(again) == 41 and all(torch.equal(a.world_to_camera, b.world_to_camera) for (_, a), (_, b) in zip(again, path, strict=True))


def test_small_things(tmp_path):
    pair, error = compared(np.full((4, 6, 3), 10, np.uint8), np.full((8, 12, 3), 61, np.uint8))
    assert pair.shape == (4, 12, 3) and pair[0, 0, 0] == 10 and pair[0, 11, 0] == 61 and error == pytest.approx(51 / 255)
    assert free_name(tmp_path / "new", "film", ".mp4").name == "film_1.mp4"
    (tmp_path / "new" / "film_1.mp4").touch()
    assert free_name(tmp_path / "new", "film", ".mp4").name == "film_2.mp4"
    colors = trail_colors(9).astype(int)
    assert colors[0, 2] > colors[0, 0] and colors[-1, 0] > colors[-1, 2]


class _Browser:
    """What the viewer asks of a client, and the pictures it was sent."""

    client_id = 1

    def __init__(self) -> None:
        self.camera = SimpleNamespace(position=np.zeros(3), wxyz=np.array([1.0, 0, 0, 0]), fov=0.8, image_width=320, image_height=240)
        self.pictures, self.said = [], []
        self.scene = SimpleNamespace(set_background_image=lambda image, **rest: self.pictures.append((image, rest)))

    def add_notification(self, title, sentence, **rest):
        self.said.append(sentence)


def _viewer(scene, browser, **more):
    server = SimpleNamespace(
        scene=SimpleNamespace(set_up_direction=lambda up: None), initial_camera=SimpleNamespace(), get_clients=lambda: {1: browser}
    )
    rates = Rates(rest=0.0, idle=0.001, follow=0.0)
    return LiveViewer(server, Edited(scene), None, Path("none"), rates=rates, **more)


def test_who_looks_gets_a_picture_when_something_has_changed(scene):
    browser = _Browser()
    viewer = _viewer(scene, browser)
    viewer.turn()
    viewer.turn()
    assert len(browser.pictures) == 1 and browser.pictures[0][0].shape == (240, 320, 3) and browser.pictures[0][1]["depth"] is None
    viewer.ask(lambda: viewer.go_to(0.7))
    viewer.overlay("trails", True)
    viewer.turn()
    assert len(browser.pictures) == 2 and browser.pictures[1][1]["depth"].shape == (240, 320)
    viewer.rates = replace(viewer.rates, rest=1e6)
    browser.camera.position = np.array([0.1, 0.0, 0.0])
    viewer.turn()
    viewer.turn()
    assert len(browser.pictures) == 3 and max(browser.pictures[2][0].shape) <= 320, "coarse while it moves"
    viewer.rates = replace(viewer.rates, rest=0.0)
    viewer.turn()
    assert len(browser.pictures) == 4 and browser.pictures[3][0].shape == (240, 320, 3), "and fine at rest"


def test_a_newer_scene_is_edited_as_the_one_before(scene):
    browser, newer = _Browser(), iter([("second", background_alone(scene)), None, None])
    viewer = _viewer(scene, browser, newest=lambda known: next(newer))
    viewer.edited.add(one_mover(0, keep=True))
    viewer.turn()
    assert viewer.stamp == "second" and [layer.name for layer in viewer.scene.layers] == ["static"]
    assert browser.said == ["the new scene does not allow: keep mover 0"]


@pytest.mark.parametrize(("what", "value"), [("fov", math.nan), ("fov", 0.0), ("position", np.array([np.inf, 0, 0])), ("wxyz", np.zeros(4))])
def test_cameras_that_are_none_get_no_picture(what, value, scene):
    browser = _Browser()
    setattr(browser.camera, what, value)
    viewer = _viewer(scene, browser)
    viewer.turn()
    assert browser.pictures == []


def test_numbers_of_any_kind_are_refused_in_a_sentence(scene):
    browser = _Browser()
    viewer = _viewer(scene, browser)
    viewer.ask(lambda: viewer.go_to(math.nan))
    viewer.ask(lambda: viewer.show_as("no such thing"))
    viewer.turn()
    assert viewer.look == Look(0.0) and browser.said == ["got 'nan': expected a number from 0 to 1"]
    assert within(7, 0, 3) == 3.0 and corner((1, 2, 3)) == (1.0, 2.0, 3.0)
    for wrong in ("1", None, math.inf):
        with pytest.raises(FourfoldError, match="expected a number"):
            within(wrong, 0, 1)
    with pytest.raises(FourfoldError, match="expected x, y and z"):
        corner((1, 2))
