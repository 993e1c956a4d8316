"""What all tests share: one torch thread, repeatable hypothesis, real captures by name, every built instruction set."""

import os
import platform
from pathlib import Path

import hypothesis
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports Triton's kernels

from fourfold.kernels import library

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)
hypothesis.settings.register_profile("fourfold", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.load_profile("fourfold")


@pytest.fixture
def real_data():
    """A function from a capture's name to its folder under FOURFOLD_DATA (default ../shared/data); skips where it is not there."""

    def find(name: str) -> Path:
        path = Path(os.environ.get("FOURFOLD_DATA", ROOT.parent / "shared" / "data")) / name
        if not path.exists():
            pytest.skip(f"the real capture {name} is not here")
        return path

    return find


def _runnable() -> list[str]:
    able = library.isas_of_cpu(platform.machine(), library.cpu_flags())
    return [isa for isa in able if library.library_path(isa).exists()]


@pytest.fixture(params=_runnable() or [library.REFERENCE])
def each_isa(request, monkeypatch):
    """Runs the test once per compiled kernel that this CPU can run; with none, on the slow reference."""
    monkeypatch.setenv("FOURFOLD_ISA", request.param)
    return request.param


@pytest.fixture(scope="session")
def casual_capture(tmp_path_factory):
    """A synthetic clip of 14 frames of 96 x 64 with its cameras, depth and masks."""
    from fourfold.capture.synthetic import SyntheticOptions, generate

    folder = tmp_path_factory.mktemp("casual") / "clip"
    generate("casual", folder, seed=0, options=SyntheticOptions(frames=14, width=96, height=64, supersample=1))
    return folder


@pytest.fixture(scope="session")
def hurry():
    """Quality "draft" with hardly any steps and Gaussians, for the whole session."""
    from fourfold.recipes.recipe import QUALITIES, Quality

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(QUALITIES, "draft", Quality(pixels=45_000, steps=0.04, gaussians=0.05))
        yield


@pytest.fixture(scope="session")
def finished_run(casual_capture, hurry, tmp_path_factory):
    """The folder of a whole reconstruction of `casual_capture`; do not change it."""
    from fourfold.cli import main

    root = tmp_path_factory.mktemp("runs") / "casual"
    assert main(["reconstruct", str(casual_capture), "-o", str(root), "--quality", "draft"]) == 0
    return root


@pytest.fixture
def copied_run(finished_run, tmp_path):
    """A copy of `finished_run` that a test may change."""
    import shutil

    return Path(shutil.copytree(finished_run, tmp_path / "copied"))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One headless Chromium for the whole session; skips where there is none."""
    from browser import Browser, find_browser

    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here")
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def browser(chromium):
    """That browser with an empty page and the network off."""
    chromium.begin()
    return chromium
