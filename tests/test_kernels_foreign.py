"""The kernels for 64-bit ARM, built by a cross compiler and run by an emulator: the bits of x86-64-v2, whatever the number of threads.

Skipped where `aarch64-linux-gnu-g++` or `qemu-aarch64` is missing (Debian: g++-aarch64-linux-gnu, qemu-user).
"""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from foreign_kernels import Foreign
from fourfold.kernels import library
from fourfold.kernels.adam import adam_step
from fourfold.losses.robust import trimmed_l1
from fourfold.losses.ssim import ssim
from fourfold.render.api import RasterOptions
from render_truth import loss, problem

ROOT = Path(__file__).parents[1]
COMPILER, EMULATOR, SYSTEM = "aarch64-linux-gnu-g++", "qemu-aarch64", "/usr/aarch64-linux-gnu"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which(COMPILER) and shutil.which(EMULATOR)), reason=f"{COMPILER} or {EMULATOR} is not here"),
]


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """The library for ARM in the emulator, built with the flags of CMakeLists.txt."""
    folder = tmp_path_factory.mktemp("arm")
    text = (ROOT / "CMakeLists.txt").read_text()
    flags = [word for name in ("common_flags", "flags_neon") for word in re.search(rf"set\({name} (.*)\)", text)[1].split()]
    sources = sorted(map(str, (ROOT / "src" / "fourfold" / "kernels").glob("*.cpp")))
    subprocess.run([COMPILER, *flags, "-fPIC", "-shared", *sources, "-o", str(folder / "libfourfold_neon.so")], check=True)
    subprocess.run([COMPILER, "-O1", str(ROOT / "tests" / "foreign_host.cpp"), "-ldl", "-o", str(folder / "host")], check=True)
    foreign = Foreign([EMULATOR, "-L", SYSTEM, str(folder / "host"), str(folder / "libfourfold_neon.so")])
    yield foreign
    foreign.process.kill()


def results(loaded, monkeypatch):
    """What the kernels of `loaded` make of fixed inputs."""
    monkeypatch.setattr(library, "chosen_isa", lambda: "v2")
    monkeypatch.setattr(library, "_open", lambda isa: loaded)
    everything = []
    for options in (RasterOptions(), RasterOptions(antialias=True), RasterOptions(depth="median", top_contributor=True)):
        p = problem(300, channels=3, width=61, height=35, seed=4, size=-2.5, sh=8).to(torch.float32)
        render = p.render("cpu", options)
        loss(render, torch.ones((), dtype=torch.bool), render.alpha).backward()
        everything += [render.color, render.alpha, render.depth, render.channels, render.screen.gradient, *p.gradients().values()]
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand((37, 53, 3), generator=generator).requires_grad_() for _ in range(2))
    value = ssim(first, second.detach())
    value.backward()
    trimmed = trimmed_l1(second[..., 0] - 0.5, None, 0.9)
    trimmed.backward()
    param, grad, moments = torch.randn(1001, 3, generator=generator), torch.randn(1001, 3, generator=generator), torch.zeros(2, 1001, 3)
    adam_step(param, grad, moments[0], moments[1], 1, 0.1)
    return [t.detach() for t in (*everything, value, first.grad, trimmed, second.grad, param, *moments)]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.skipif(not library.library_path("v2").exists(), reason="no kernel for x86-64-v2 was built here")
def test_arm_gives_the_bits_of_the_second_level_of_x86(arm, monkeypatch):
    assert same(results(arm, monkeypatch), results(ctypes.CDLL(str(library.library_path("v2"))), monkeypatch))


def test_arm_gives_the_same_bits_for_any_number_of_threads(arm, monkeypatch):
    found = []
    for threads in (1, 2, 5):
        arm.ff_set_threads(threads)
        assert arm.ff_get_threads() == threads
        found.append(results(arm, monkeypatch))
    assert all(same(other, found[0]) for other in found[1:])
