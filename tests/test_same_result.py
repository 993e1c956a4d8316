"""Cameras, masks and a trained scene are the same to the bit on 1 and 7 threads, each time in a process of its own."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

from fourfold.capture.synthetic import SyntheticOptions, generate

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "same_result.py"
HURRIED = """
from fourfold.recipes.recipe import QUALITIES, Quality
QUALITIES["draft"] = Quality(pixels=45_000, steps=0.02, gaussians=0.05)
"""


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = util.spec_from_file_location("same_result", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PROGRAM = HURRIED + module.PROGRAM
    return module


def test_threads_change_no_bit(benchmark: ModuleType, tmp_path: Path) -> None:
    options = SyntheticOptions(frames=10, width=128, height=72, fps=10.0, tracks=20, supersample=1)
    clip = generate("casual", tmp_path / "clip", options=options).root / "video.mp4"
    found = []
    for threads in (1, 7):
        run = tmp_path / f"run{threads}"
        benchmark.call(threads, ["prepare", str(clip), "-o", str(run), "--quality", "draft", "--only", "cameras,masks,tracks3d"])
        benchmark.call(threads, ["train", str(run), "--recipe", "lived_bases", "--quality", "draft"])
        found.append({name.rpartition("/")[2]: value for name, value in benchmark.parts(run).items()})
    compared = ("longtracks", "cameras", "masks", "still", "flow", "tracks2d", "depth", "tracks3d", "scene")
    assert [found[0][name] for name in compared] == [found[1][name] for name in compared]


def test_the_digest_tells_values_apart_and_no_headers(benchmark: ModuleType, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "one.safetensors", metadata={"written": "today"})
    save_file({"a": np.zeros(3)}, tmp_path / "two.safetensors", metadata={"written": "later"})
    save_file({"a": np.array([0.0, 0.0, 1e-300])}, tmp_path / "three.safetensors")
    one, two, three = (benchmark.digest(tmp_path / f"{name}.safetensors") for name in ("one", "two", "three"))
    assert one == two != three
