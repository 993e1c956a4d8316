"""The README is true: its example runs as it stands, and it names only commands and files that are there."""

import re
from pathlib import Path

import numpy as np
import torch

import fourfold
from fourfold.capture.capture import Capture
from fourfold.cli.finder import found
from fourfold.pipeline import Run
from fourfold.scene.file import save_scene
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _finished_run(root: Path) -> Run:
    """A run's folder as `reconstruct` leaves it, of one Gaussian before one camera."""
    K = np.array([[40.0, 0, 16], [0, 40.0, 12], [0, 0, 1]])
    frames = np.zeros((2, 24, 32, 3), np.uint8)
    capture = Capture(
        root=root / "capture",
        K=np.tile(K, (1, 2, 1, 1)),
        world_to_camera=np.tile(np.eye(4), (1, 2, 1, 1)),
        timestamps=np.array([0.0, 1.0]),
        sizes=np.array([[32, 24]]),
        present=np.ones((1, 2), bool),
        train=np.ones((1, 2), bool),
        heldout=np.zeros((1, 2), bool),
        cameras="given",
        metric=False,
        name="clip",
        view_names=("clip",),
    )
    capture.root.mkdir(parents=True)
    np.save(capture.root / "frames_000.npy", frames)
    capture.save()
    splats = {
        "means": torch.tensor([[0.0, 0.0, 2.0]]),
        "quat_wxyz": torch.tensor([[1.0, 0, 0, 0]]),
        "log_scale": torch.full((1, 3), -1.5),
        "opacity_logit": torch.tensor([4.0]),
        "color_logit": torch.tensor([[3.0, -3.0, -3.0]]),
    }
    save_scene(Scene([Layer("static", "static", Static(), splats)], (0.0, 1.0)), root / "scene.safetensors")
    return Run(root)


def test_the_python_example_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    asked = []

    def reconstruct(paths, out):
        asked.append((paths, out))
        return _finished_run(tmp_path / out)

    monkeypatch.setattr(fourfold, "reconstruct", reconstruct, raising=False)
    names: dict = {}
    exec(code.group(1), names)
    assert asked == [("clip.mp4", "run")]
    assert names["gaussians"].means.shape == (1, 3)
    assert names["image"].shape == (24, 32, 3)
    assert names["image"][12, 16, 0] > 0.5 > names["image"][12, 16, 1]


def test_the_commands_it_names_are_there_and_none_is_left_out():
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `fourfold"))
    spoken = " ".join(re.findall(r"`([^`]*)`", table)).replace("fourfold ", "")
    assert set(re.findall(r"(?<![-\w])[a-z]{2,}\b", spoken)) == {word for words in found() for word in words}


def test_every_make_target_it_names_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (demo|test|[a-z]+)(?=\s{2,}|`| VIDEO)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
