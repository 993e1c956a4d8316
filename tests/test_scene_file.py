"""Scene files: round trip, stable bytes, and one sentence for every kind of damage."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fourfold.errors import FourfoldError
from fourfold.scene.file import HEADER, load_scene, save_scene
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene
from scene_example import example


def test_round_trip_and_stable_bytes(tmp_path: Path) -> None:
    scene = example()
    save_scene(scene, tmp_path / "a.safetensors")
    again = load_scene(tmp_path / "a.safetensors")
    save_scene(again, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"], "nothing temporary stays"
    assert (again.time_range, again.scale, again.background, again.up, again.near) == ((0.0, 1.0), 0.25, (1.0, 0.5, 0.0), (0.0, 0.0, 1.0), 0.05)
    for one, two in zip(scene.layers, again.layers, strict=True):
        assert (one.name, one.role, one.motion) == (two.name, two.role, two.motion)
        for group in ("splats", "shared", "fixed"):
            assert {k: v.tolist() for k, v in getattr(one, group).items()} == {k: v.tolist() for k, v in getattr(two, group).items()}
    assert torch.equal(scene.at(0.37).means, again.at(0.37).means)


def test_numbers_of_a_motion_model_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Numbered(Static):
        kind: ClassVar[str] = "numbered"
        degree: int = 3
        widths: tuple[int, ...] = (4, 5)
        name: str = "x"

    monkeypatch.setattr("fourfold.scene.file.motion_kinds", lambda: {"numbered": Numbered})
    scene = example()
    only = Scene([Layer("only", "static", Numbered(7, (1, 2, 3), "y"), scene.layers[0].splats)], (0.0, 1.0))
    save_scene(only, tmp_path / "s.safetensors")
    assert load_scene(tmp_path / "s.safetensors").layers[0].motion == Numbered(7, (1, 2, 3), "y")


def rewrite(path: Path, change) -> None:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])
    tensors = load_file(path)
    change(header, tensors)
    save_file(tensors, path, metadata={HEADER: json.dumps(header)})


def test_every_damage_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with pytest.raises(FourfoldError, match="there is no scene at"):
        load_scene(path)

    def broken(change, match: str) -> None:
        save_scene(example(), path)
        rewrite(path, change)
        with pytest.raises(FourfoldError, match=match):
            load_scene(path)

    broken(lambda header, _: header.update(schema=99), "has schema 99, this version reads 1")
    broken(lambda header, _: header["layers"][1].update(motion="telepathy"), "motion model 'telepathy', which this version does not have")
    broken(lambda header, _: header.pop("near"), "is damaged")
    broken(lambda header, _: header["layers"][0].update(numbers={"speed": 3}), "is damaged")
    broken(lambda _, tensors: tensors.pop("0.splats.quat_wxyz"), "lacks .'quat_wxyz'.")
    broken(lambda _, tensors: tensors.update({"0.splats.opacity_logit": torch.zeros(2)}), "unequal rows")
    save_scene(example(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FourfoldError, match="is damaged"):
        load_scene(path)
    path.write_bytes(b"")
    with pytest.raises(FourfoldError, match="is damaged"):
        load_scene(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(FourfoldError, match="not a Fourfold scene"):
        load_scene(path)
