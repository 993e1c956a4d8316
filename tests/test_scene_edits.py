"""Edits of scenes: what stays is as it was at every time, of every motion model; and the command that makes them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from every_motion import looks, moving_layers, scene_of, walking_camera
from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.export.dot4dgs.write import write_4dgs
from fourfold.export.moment_files import write_ply
from fourfold.export.paths import camera_path
from fourfold.export.scene_files import read_scene
from fourfold.scene.edits.floaters import relative_spacing, without_floaters
from fourfold.scene.edits.joined import joined
from fourfold.scene.edits.parts import background_alone, cropped, movers, movers_alone, with_movers, without_layers
from fourfold.scene.edits.rows import kept
from fourfold.scene.edits.time import frozen, retimed
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.flights import scene_flights
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene

KINDS = sorted(moving_layers())
TIMES = (0.0, 0.37, 0.5, 0.93)


def equal(one, two) -> None:
    for name in ("means", "quat_wxyz", "log_scale", "opacity", "color"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_stay_move_as_before(kind: str) -> None:
    scene = scene_of(kind)
    rows = torch.rand(sum(map(len, scene.layers)), generator=torch.Generator().manual_seed(0)) < 0.4
    fewer = kept(scene, rows)
    for time in TIMES:
        equal(scene.at(time).select(rows), fewer.at(time))


@pytest.mark.parametrize("kind", KINDS)
def test_slow_motion_shows_each_moment_later(kind: str, tmp_path: Path) -> None:
    scene = scene_of(kind)
    scene.time_range = (0.1, 1.0)
    slow = retimed(scene, 0.5)
    assert slow.time_range == pytest.approx((0.1, 1.9))
    save_scene(slow, tmp_path / "a.safetensors")
    again = load_scene(tmp_path / "a.safetensors")
    for time in (0.1, 0.4, 0.83):
        equal(scene.at(time), again.at(0.1 + (time - 0.1) / 0.5))
    back = retimed(slow, 2.0)
    assert back.time_range == pytest.approx((0.1, 1.0))
    equal(back.at(0.4), scene.at(0.4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_scene_is_that_moment_for_ever(kind: str) -> None:
    scene = scene_of(kind)
    still = frozen(scene, 0.37)
    shown = scene.at(0.37).opacity >= 1e-4
    for time in TIMES:
        equal(still.at(time), scene.at(0.37).select(shown))
    with pytest.raises(FourfoldError, match=r"cannot be stopped at 1\.5 s: it goes from 0 to 1 s"):
        frozen(scene, 1.5)


def test_slowed_flights_are_still_flights() -> None:
    slow = retimed(scene_of("lifespan"), 0.25)
    flown = scene_flights(slow)
    assert flown is not None
    now = slow.at(1.3)
    there = (flown.begin <= 1.3) & (flown.end > 1.3)
    means = flown.means + flown.velocity * (1.3 - flown.moment)[:, None]
    torch.testing.assert_close(means[there], now.means[flown.rows[there]], atol=1e-4, rtol=1e-4)
    share = torch.exp(-0.5 * ((1.3 - flown.moment) / flown.sigma) ** 2)[there]
    torch.testing.assert_close(share * torch.sigmoid(now.opacity_logit)[flown.rows[there]], now.opacity[flown.rows[there]], atol=1e-4, rtol=1e-3)


def test_a_box_keeps_what_is_ever_in_it() -> None:
    means = torch.tensor([[0.0, 0, 0], [3.0, 0, 0], [-3.0, 0, 0]])
    flying = looks(3, 0) | {"means": means, "velocity": torch.tensor([[0.0, 0, 0], [0.0, 0, 0], [4.0, 0, 0]])}
    flying |= {"time_center": torch.zeros(3), "log_duration": torch.full((3,), 5.0)}
    scene = Scene([Layer("a", "dynamic", Linear(), flying)], (0.0, 1.0))
    boxed = cropped(scene, (-1, -1, -1), (1, 1, 1))
    assert boxed.layers[0].splats["means"].tolist() == [[0, 0, 0], [-3, 0, 0]]
    with pytest.raises(FourfoldError, match="would leave nothing"):
        cropped(scene, (50, 50, 50), (51, 51, 51))
    with pytest.raises(FourfoldError, match="give its lower corner first"):
        cropped(scene, (1, 0, 0), (0, 1, 1))


def three_movers() -> Scene:
    """A wall, a cloud of 300 that stays left, one of 200 on the right, and one of 100 that starts inside the first and leaves it."""
    g = torch.Generator().manual_seed(1)
    parts = [(300, -3.0, 0.0), (200, 3.0, 0.0), (100, -3.0, 6.0)]
    means = torch.cat([torch.tensor([x, 0, 0]) + 0.3 * torch.randn(n, 3, generator=g) for n, x, _ in parts])
    velocity = torch.cat([torch.tensor([0, v, 0.0]).expand(n, 3) for n, _, v in parts])
    flying = looks(600, 2) | {"means": means, "velocity": velocity, "time_center": torch.zeros(600), "log_duration": torch.full((600,), 5.0)}
    return Scene([Layer("static", "static", Static(), looks(40, 3)), Layer("object", "dynamic", Linear(), flying)], (0.0, 1.0))


def test_movers_are_told_apart_by_where_they_go() -> None:
    scene = three_movers()
    found, of = movers(scene)
    assert len(found) == 3 and [m.gaussians for m in found] == pytest.approx([300, 200, 100], abs=12)
    assert (of[:40] == -1).all() and found[1].middle[0] == pytest.approx(3, abs=0.1) and found[2].middle[1] == pytest.approx(3, abs=0.2)
    alone = with_movers(scene, (2,), keep=True)
    assert len(alone.layers[0]) == 40 and (alone.layers[1].splats["velocity"][:, 1] == 6).all()
    rest = with_movers(scene, (0, 1), keep=False)
    assert (rest.layers[1].splats["velocity"][:, 1] == 6).float().mean() > 0.85
    with pytest.raises(FourfoldError, match="there is no mover 3: the scene has 3"):
        with_movers(scene, (3,), keep=True)


def test_background_and_movers_part_the_scene() -> None:
    scene = three_movers()
    assert [y.name for y in background_alone(scene).layers] == ["static"] and [y.name for y in movers_alone(scene).layers] == ["object"]
    assert movers_alone(scene).background == (1.0, 1.0, 1.0)
    assert [y.name for y in without_layers(scene, ("static",)).layers] == ["object"]
    with pytest.raises(FourfoldError, match="has no layer 'x': it has static, object"):
        without_layers(scene, ("x",))
    with pytest.raises(FourfoldError, match="nothing stands still"):
        background_alone(movers_alone(scene))


def test_floaters_go_and_what_is_sparse_as_a_whole_stays() -> None:
    g = torch.Generator().manual_seed(4)
    dense, sparse = torch.rand(2000, 3, generator=g), 40 + 20 * torch.rand(300, 3, generator=g)
    stray = torch.tensor([[3.0, 3, 3], [-2.0, 0, 4], [0.5, -3, 0.5]])
    splats = looks(2303, 5) | {"means": torch.cat([dense, sparse, stray]), "log_scale": torch.full((2303, 3), -4.0)}
    scene = Scene([Layer("static", "static", Static(), splats)], (0.0, 1.0))
    clean = without_floaters(scene).layers[0].splats["means"]
    assert not (clean[:, None] == stray).all(-1).any(), "all three are gone"
    assert 2295 <= len(clean) <= 2300
    large = replace(scene, layers=[replace(scene.layers[0], splats=splats | {"log_scale": torch.full((2303, 3), 1.0)})])
    assert len(without_floaters(large).layers[0]) == 2303, "what is large fills its own surroundings"
    spacing, ratio = relative_spacing(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [10, 0, 0]]), 2)
    assert spacing.tolist() == [1.5, 1, 1.5, 8.5] and ratio[3] == pytest.approx(8.5 / 1.25)


def test_two_scenes_in_one() -> None:
    one, two = scene_of("linear"), scene_of("polynomial")
    two.time_range, two.near = (0.0, 2.0), 0.001
    both = joined(one, two)
    assert [y.name for y in both.layers] == ["static", "moving", "static 2", "moving 2"]
    assert both.time_range == (0.0, 2.0) and both.near == 0.001 and both.scale == 0.5
    equal(both.at(0.4).select(torch.arange(sum(map(len, one.layers)))), one.at(0.4))
    two.scale = 0.25
    with pytest.raises(FourfoldError, match=r"0\.5 m in the first scene and 0\.25 m"):
        joined(one, two)


def test_a_steadied_path_shakes_less_and_goes_the_same_way() -> None:
    scene, capture = scene_of("linear"), walking_camera(51)
    shake = np.random.default_rng(0).normal(size=(51, 3)) * 0.05
    capture.world_to_camera[0, :, :3, 3] += shake
    filmed, steady = (camera_path(name, scene, capture) for name in ("input", "steady"))
    centers = [torch.stack([camera.center for _, camera in path]) for path in (filmed, steady)]
    jerk = [float(c.diff(n=2, dim=0).norm(dim=1).mean()) for c in centers]
    assert jerk[1] < 0.05 * jerk[0]
    assert float((centers[0] - centers[1])[10:-10].norm(dim=1).mean()) < 0.12
    R = steady[20][1].world_to_camera[:3, :3]
    torch.testing.assert_close(R @ R.T, torch.eye(3, dtype=R.dtype), atol=1e-6, rtol=0)
    assert float((R - filmed[20][1].world_to_camera[:3, :3]).abs().max()) < 0.02


def test_every_scene_file_is_read_and_others_refused(tmp_path: Path) -> None:
    scene, capture = scene_of("linear", terms=3), walking_camera()
    save_scene(scene, tmp_path / "scene.safetensors")
    write_4dgs(tmp_path / "a.4dgs", scene, capture, capture.timestamps)
    write_ply(tmp_path / "a.ply", scene.at(0.5))
    equal(read_scene(tmp_path).at(0.3), scene.at(0.3))
    assert len(read_scene(tmp_path / "a.4dgs").layers) == 2
    still = read_scene(tmp_path / "a.ply")
    assert still.time_range == (0.0, 0.0) and still.layers[0].splats["sh_rest"].shape[1:] == (3, 3)
    with pytest.raises(FourfoldError, match="does not exist"):
        read_scene(tmp_path / "nothing.ply")
    (tmp_path / "a.obj").touch()
    with pytest.raises(FourfoldError, match="is no scene by its name"):
        read_scene(tmp_path / "a.obj")


def test_the_command_edits_and_lists_movers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_scene(three_movers(), tmp_path / "in.safetensors")
    arguments = ["edit", str(tmp_path / "in.safetensors"), "-o", str(tmp_path / "out.safetensors"), "--json"]
    assert main([*arguments, "--drop-mover", "0", "1", "--speed", "0.5", "--crop", "-9", "-9", "-9", "9", "9", "9"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seconds"] == [0, 2] and len(told["movers"]) == 1 and told["movers"][0]["gaussians"] == pytest.approx(100, abs=15)
    edited = load_scene(tmp_path / "out.safetensors")
    assert edited.layers[1].motion.kind == "retimed" and len(edited.layers[1]) == told["layers"]["object"]
    assert main([*arguments, "--background-only", "--movers-only"]) == 2
    assert "leave nothing together" in capsys.readouterr().err
