"""Chunks of time as one layer: each moment is its own chunk's, exactly, whatever the chunks have and lack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from every_motion import walking_camera
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.motion.chunks import Chunks, joined
from fourfold.scene.motion.lived_bases import LivedBases
from fourfold.scene.scene import Layer, Scene
from fourfold.viewer.packing.write import pack
from test_lived_bases import lived_layer

BEGINS = (0.0, 0.5, 1.2, 1.4)


def _parts() -> list[Layer | None]:
    """Four chunks: other numbers of Gaussians and bases, the third without any."""
    parts = [lived_layer(6, 3, 0, torch.float32), lived_layer(2, 5, 1, torch.float32), None, lived_layer(4, 1, 2, torch.float32)]
    return [None if part is None else replace(part, motion=LivedBases(rests=True)) for part in parts]  # its numbers are kept, too


def _joined() -> Layer:
    layer = joined(_parts(), BEGINS)
    assert layer is not None
    return layer


def test_every_moment_shows_its_own_chunk_and_nothing_of_the_others() -> None:
    layer = _joined()
    assert isinstance(layer.motion, Chunks) and (layer.name, len(layer)) == ("object", 12)
    times = torch.tensor([1.45, -3.0, 0.5, 0.49, 1.3, 0.7, 99.0])
    for time, number, moved in zip(times, (3, 0, 1, 0, 2, 1, 3), layer.motion.at(layer, times), strict=True):
        rows, part = layer.motion.rows(number), _parts()[number]
        assert len(moved) == 12 and moved.visibility is not None
        outside = torch.ones(12, dtype=torch.bool)
        outside[rows] = False
        assert not moved.visibility[outside].any()
        if part is not None:
            alone = part.motion.at(part, time[None])[0]
            assert torch.equal(moved.means[rows], alone.means) and torch.equal(moved.quat_wxyz[rows], alone.quat_wxyz)
            assert torch.equal(moved.visibility[rows], alone.visibility) and torch.equal(moved.color[rows], alone.color)


def test_a_part_is_the_chunk_as_it_was() -> None:
    layer, parts = _joined(), _parts()
    for number, part in enumerate(parts):
        again = layer.motion.part(layer, number)
        if part is None:
            assert len(again) == 0
            continue
        assert again.motion == part.motion
        for group in ("splats", "shared", "fixed"):
            mine, theirs = getattr(again, group), getattr(part, group)
            assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_chunks_of_different_models_are_no_layer() -> None:
    with pytest.raises(ValueError, match="move by different models"):
        joined([lived_layer(2), replace(lived_layer(2), motion=LivedBases(rests=True))], (0.0, 1.0))


def test_without_any_mover_there_is_no_layer() -> None:
    assert joined([None, None], (0.0, 1.0)) is None


def test_the_scene_file_keeps_the_chunks(tmp_path: Path) -> None:
    scene = Scene([_joined()], (0.0, 2.0))
    save_scene(scene, tmp_path / "scene.safetensors")
    again = load_scene(tmp_path / "scene.safetensors")
    assert again.layers[0].motion == scene.layers[0].motion
    for time in (0.1, 0.6, 1.3, 1.9):
        one, two = scene.at(time), again.at(time)
        assert torch.equal(one.means, two.means) and torch.equal(one.opacity, two.opacity)


def test_a_scene_of_chunks_whose_first_is_empty_is_read_again(tmp_path: Path) -> None:
    layer = joined([None, *_parts()[:2]], BEGINS[:3])
    assert layer is not None
    save_scene(Scene([layer], (0.0, 2.0)), tmp_path / "scene.safetensors")
    assert torch.equal(load_scene(tmp_path / "scene.safetensors").at(0.7).means, layer.motion.at(layer, torch.tensor([0.7]))[0].means)


def test_a_chunk_in_which_nothing_is_visible_is_an_empty_part_of_the_player() -> None:
    layer = _joined()
    layer.splats["opacity_logit"][layer.motion.rows(1)] = -20.0
    parts = pack(Scene([layer], (0.0, 2.0)), walking_camera()).strands[0]
    assert [part.count > 0 for part in parts] == [layer.motion.counts[n] > 0 and n != 1 for n in range(len(parts))]
    assert parts[1].block.sections == [] and (parts[1].begin, parts[1].end) == (BEGINS[1], BEGINS[2])
