"""What all tests share: one torch thread, repeatable hypothesis, real captures by name, every built instruction set."""

import os
import platform
from pathlib import Path

import hypothesis
import pytest
import torch

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
