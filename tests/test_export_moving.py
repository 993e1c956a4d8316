"""Moving scenes as glTF, USD and .splatv: opened by programs that are not ours, or by a reader written from the player's shader."""

import json
import struct
from pathlib import Path

import fourdgs
import numpy as np
import pygltflib
import pytest
import torch
from pxr import Usd, UsdGeom, UsdVol

from every_motion import moving_layers, scene_of, walking_camera
from fourfold.export.axes import y_up, z_up
from fourfold.export.formats import export
from fourfold.export.gltf_splats import encode_gltf
from fourfold.export.usd import write_usd
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import matrix_to_quat, quat_multiply
from fourfold.scene.motion.flights import EVER
from fourfold.splats.drawn import drawn

TIMES = np.linspace(0, 1, 5)


def placed(g: Gaussians, turn: torch.Tensor, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Where Gaussians lie in another program's world, and their rotations there, x y z w."""
    quats = quat_multiply(matrix_to_quat(turn[None]).float(), g.quat_wxyz)
    return (scale * g.means.double() @ turn.T).numpy(), quats[:, [1, 2, 3, 0]].numpy()


@pytest.mark.parametrize("up", [(0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.3, -0.8, 0.2), (0.0, 0.0, 1.0)])
def test_axes_are_rotations_that_put_up_where_it_belongs(up: tuple[float, float, float]) -> None:
    scene = scene_of("static")
    scene.up = up
    for turn, target in ((y_up(scene), [0, 1, 0]), (z_up(scene), [0, 0, 1])):
        torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=torch.float64))
        assert float(torch.linalg.det(turn)) == pytest.approx(1)
        unit = torch.tensor(up, dtype=torch.float64)
        torch.testing.assert_close(turn @ unit / unit.norm(), torch.tensor(target, dtype=torch.float64), atol=1e-7, rtol=0)


def test_a_gltf_of_one_moment_is_read_by_the_4dgs_library(tmp_path: Path) -> None:
    scene = scene_of("se3_bases")
    (tmp_path / "a.glb").write_bytes(encode_gltf(scene, np.array([0.4])))
    read = fourdgs.from_gltf(str(tmp_path / "a.glb"))
    _, shown = drawn(scene.at(0.4))
    means, quats = placed(shown, y_up(scene), 0.5)
    g = read.gaussians
    assert read.metadata["color_space"] == "srgb-rec709-display"
    np.testing.assert_allclose(g.positions, means, atol=1e-5)
    np.testing.assert_allclose(g.scales, 0.5 * shown.scale, rtol=1e-5)
    np.testing.assert_allclose(np.abs((g.rotations * quats).sum(1)), 1, atol=1e-5)
    np.testing.assert_allclose(g.colors[:, :3], shown.color, atol=1e-5)
    np.testing.assert_allclose(g.colors[:, 3], shown.opacity, atol=1e-5)


def test_an_animated_gltf_shows_each_moment_at_its_time(tmp_path: Path) -> None:
    scene = scene_of("linear", terms=3)
    (tmp_path / "a.glb").write_bytes(encode_gltf(scene, TIMES))
    glb = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    blob = glb.binary_blob()

    def values(index: int) -> np.ndarray:
        accessor = glb.accessors[index]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor.type]
        view = glb.bufferViews[accessor.bufferView]
        assert view.byteOffset % 4 == 0
        return np.frombuffer(blob, "<f4", accessor.count * width, view.byteOffset).reshape(-1, width)

    assert glb.extensionsUsed == ["KHR_gaussian_splatting"] and len(glb.nodes[0].children) == 6
    (animation,) = glb.animations
    for index, channel in enumerate(animation.channels):
        assert channel.target.path == "scale" and animation.samplers[channel.sampler].interpolation == "STEP"
        sampler = animation.samplers[channel.sampler]
        keys, scales = values(sampler.input)[:, 0], values(sampler.output)
        shown = [float(scales[np.searchsorted(keys, time, side="right") - 1, 0]) for time in TIMES + 0.1]
        assert shown == [float(k == index) for k in range(5)]
        primitive = glb.meshes[glb.nodes[channel.target.node].mesh].primitives[0]
        _, truth = drawn(type(scene)(scene.layers[1:], scene.time_range).at(float(TIMES[index])))
        np.testing.assert_allclose(values(primitive.attributes.POSITION), truth.means, atol=1e-6)
        harmonic = getattr(primitive.attributes, "KHR_gaussian_splatting:SH_DEGREE_1_COEF_2")
        np.testing.assert_allclose(values(harmonic), truth.sh_rest[:, 2], atol=1e-6)
        assert primitive.mode == 0 and primitive.extensions["KHR_gaussian_splatting"]["kernel"] == "ellipse"


def test_usd_holds_the_same_gaussians_all_along(tmp_path: Path) -> None:
    scene = scene_of("lived_bases", terms=3)
    write_usd(tmp_path / "a.usdc", scene, TIMES)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 0.5
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode(), stage.GetTimeCodesPerSecond()) == (0, 4, 4)
    still, moving = (UsdVol.ParticleField3DGaussianSplat(stage.GetPrimAtPath(f"/scene/{n}")) for n in ("still", "moving"))
    assert not still.GetPositionsAttr().ValueMightBeTimeVarying() and len(still.GetPositionsAttr().Get()) > 50
    count = len(moving.GetPositionsAttr().Get(0))
    truth = type(scene)(scene.layers[1:], scene.time_range).at(0.5)
    ever = torch.stack([type(scene)(scene.layers[1:], scene.time_range).at(float(t)).opacity for t in TIMES]).amax(0) >= 1 / 255
    assert count == int(ever.sum())
    world = np.array(UsdGeom.Xformable(moving.GetPrim()).ComputeLocalToWorldTransform(Usd.TimeCode(2)))
    points = np.c_[np.array(moving.GetPositionsAttr().Get(2)), np.ones(count)] @ world
    expected, _ = placed(truth.select(ever), y_up(scene), 1.0)
    np.testing.assert_allclose(points[:, :3], expected, atol=1e-5)
    np.testing.assert_allclose(np.array(moving.GetScalesAttr().Get(2)), truth.scale[ever], rtol=1e-5)
    np.testing.assert_allclose(np.array(moving.GetOpacitiesAttr().Get(2)), truth.opacity[ever], atol=2e-6)
    quats = np.array([[q.GetReal(), *q.GetImaginary()] for q in moving.GetOrientationsAttr().Get(2)])
    unit = torch.nn.functional.normalize(truth.quat_wxyz[ever], dim=1).numpy()
    np.testing.assert_allclose(np.abs((quats * unit).sum(1)), 1, atol=1e-5)
    harmonics = np.array(moving.GetRadianceSphericalHarmonicsCoefficientsAttr().Get(2)).reshape(count, 4, 3)
    np.testing.assert_allclose(harmonics[:, 0] * 0.28209479177 + 0.5, truth.color[ever], atol=1e-5)
    np.testing.assert_allclose(harmonics[:, 1:], truth.sh_rest[ever], atol=1e-6)
    between = (np.array(moving.GetPositionsAttr().Get(1)) + np.array(moving.GetPositionsAttr().Get(2))) / 2
    np.testing.assert_allclose(np.array(moving.GetPositionsAttr().Get(1.5)), between, atol=1e-6)


def shader(data: bytes, time: float) -> dict[str, np.ndarray]:
    """What gsplat.js' vertex shader makes of a `.splatv` at `time` in [0, 1], number by number."""
    magic, length = struct.unpack_from("<ii", data)
    (about,) = json.loads(data[8 : 8 + length])
    assert magic == 0x674B and about["texwidth"] * about["texheight"] * 16 == about["size"] == len(data) - 8 - length
    words = np.frombuffer(data, "<u4", offset=8 + length).reshape(-1, 16)
    half = words.view("<f2").astype(np.float64)  # two of each word
    center, width = half[:, 30], half[:, 31]
    words, half, dt = words[width > 0], half[width > 0], (time - center)[width > 0, None]
    fade = np.exp(-((dt[:, 0] / half[:, 31]) ** 2))
    shift = half[:, 16:19] * dt + half[:, 19:22] * dt**2 + half[:, 22:25] * dt**3
    rgba = np.ascontiguousarray(words[:, 7:8]).view(np.uint8) / 255.0
    quats = np.concatenate([half[:, 6:8], half[:, 8:10]], 1) + half[:, 26:30] * dt
    means = np.ascontiguousarray(words[:, :3]).view("<f4") + shift
    return {"means": means, "quats": quats, "scales": half[:, 10:13], "rgb": rgba[:, :3], "opacity": rgba[:, 3] * np.where(fade < 0.02, 0, fade)}


@pytest.mark.parametrize("kind", ["linear", "polynomial"])
def test_splatv_holds_cubics_exactly(kind: str, tmp_path: Path) -> None:
    scene = scene_of(kind)
    lost = export("splatv", scene, walking_camera(), tmp_path / "a.splatv")
    assert lost is not None and lost.worst_pixels < 0.1 and lost.decibels > 55
    data = (tmp_path / "a.splatv").read_bytes()
    ever = torch.stack([scene.at(t).opacity for t in np.union1d(walking_camera().timestamps, np.linspace(0, 1, 9))]).amax(0) >= 1 / 255
    for time in (0.13, 0.5, 0.91):
        truth, drawn_there = scene.at(time).select(ever), shader(data, time)
        shown = truth.opacity.numpy() > 0.05
        assert len(drawn_there["means"]) == len(truth) and shown.sum() > 60
        np.testing.assert_allclose(drawn_there["means"][shown], truth.means[shown], atol=2e-3)
        np.testing.assert_allclose(drawn_there["opacity"][shown], truth.opacity[shown], atol=0.01)
        np.testing.assert_allclose(drawn_there["scales"][shown], truth.scale[shown], rtol=2e-3)
        np.testing.assert_allclose(drawn_there["rgb"][shown], truth.color[shown], atol=0.003)
        one, two = drawn_there["quats"][shown], truth.quat_wxyz[shown].numpy()
        cosine = np.abs((one * two).sum(1)) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
        assert cosine.min() > 1 - 1e-4


@pytest.mark.parametrize("kind", sorted(moving_layers()))
def test_splatv_says_how_good_its_cubics_are(kind: str, tmp_path: Path) -> None:
    lost = export("splatv", scene_of(kind), walking_camera(), tmp_path / "a.splatv")
    assert lost is not None and lost.worst_pixels < 15 and lost.decibels > 30


@pytest.mark.parametrize("name", ["gltf", "usd", "splatv", "compressed-ply", "spz", "sog"])
@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_can_be_written(name: str, count: int, tmp_path: Path) -> None:
    scene = scene_of("flights")
    scene.layers = [scene.layers[1]]
    splats = {k: v[:count].clone() for k, v in scene.layers[0].splats.items()}
    splats["begin"], splats["end"], splats["opacity_logit"] = splats["begin"] * 0 - EVER, splats["end"] * 0 + EVER, splats["opacity_logit"] * 0 + 3
    scene.layers[0].splats = splats
    export(name, scene, walking_camera(3), tmp_path / "out")
    assert (tmp_path / "out").stat().st_size > 0
