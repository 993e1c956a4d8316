"""The newest scene of a run, while it is trained and afterwards."""

import os

import pytest
import torch

from every_motion import moving_layers, scene_of
from fourfold.errors import FourfoldError
from fourfold.owner import owned
from fourfold.scene.file import save_scene
from fourfold.training.checkpoint import save_checkpoint
from fourfold.training.snapshots import newest_scene
from fourfold.training.state import TrainingState


def _age(path, seconds):
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("kind", sorted(set(moving_layers()) - {"chunks", "retimed"}))
def test_a_checkpoint_holds_the_scene(kind, tmp_path):
    scene = scene_of(kind)
    save_checkpoint(tmp_path / "checkpoints", TrainingState(scene=scene, step=3), "key")
    name, again = newest_scene(tmp_path)
    assert name.startswith("stage_00_step_000003 ") and again.time_range == scene.time_range
    assert [layer.name for layer in again.layers] == [layer.name for layer in scene.layers]
    for time in (0.1, 0.7):
        torch.testing.assert_close(again.at(time).means, scene.at(time).means, rtol=0, atol=0)
    assert newest_scene(tmp_path, name) is None, "nothing newer"


def test_what_is_newest(tmp_path):
    assert newest_scene(tmp_path) is None
    state = TrainingState(scene=scene_of("linear"), step=1)
    folder = tmp_path / "checkpoints"
    with owned(tmp_path):
        _age(save_checkpoint(folder, state, "key"), 1000)
        state.step = 2
        newer = save_checkpoint(folder, state, "key")
        _age(newer, 2000)
        assert newest_scene(tmp_path)[0].startswith("stage_00_step_000002")
        newer.write_bytes(newer.read_bytes()[:-40])
        assert newest_scene(tmp_path)[0].startswith("stage_00_step_000001"), "a damaged one gives way"
        save_scene(scene_of("linear"), tmp_path / "scene.safetensors")
        _age(tmp_path / "scene.safetensors", 500)
        assert newest_scene(tmp_path)[0].startswith("stage_00_step_000001"), "the scene of an earlier training"
        _age(tmp_path / "scene.safetensors", 3000)
        assert newest_scene(tmp_path)[0].startswith("scene ")
        _age(tmp_path / "scene.safetensors", 500)
    assert newest_scene(tmp_path)[0].startswith("scene "), "nobody works on it: copies of files have any age"
    (tmp_path / "scene.safetensors").write_bytes(b"short")
    with pytest.raises(FourfoldError, match="damaged"):
        newest_scene(tmp_path)


def test_numbers_that_are_not_finite_are_not_shown(tmp_path):
    scene = scene_of("linear")
    scene.layers[1].splats["means"][0, 0] = torch.nan
    save_checkpoint(tmp_path / "checkpoints", TrainingState(scene=scene), "key")
    assert newest_scene(tmp_path) is None
