"""The loader takes the best library that the CPU can run, and says what is wrong where there is none."""

import ctypes
import platform
import re
import types

import pytest

from fourfold.errors import FourfoldError
from fourfold.kernels import library

V2 = {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}
V3 = V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", V4 | {"fpu"}, ("v4", "v3", "v2")),
        ("x86_64", V4 - {"avx512vl"}, ("v3", "v2")),
        ("AMD64", V3 - {"movbe"}, ("v2",)),
        ("x86_64", set(), ()),
        ("aarch64", set(), ("neon",)),
        ("arm64", set(), ("neon",)),
        ("riscv64", set(), ()),
    ],
)
def test_levels_of_cpus(machine, flags, expected):
    assert library.isas_of_cpu(machine, frozenset(flags)) == expected


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Pretends that exactly the named libraries were built, on a CPU of level v3."""
    monkeypatch.setattr(library, "LIBRARY_DIRECTORY", tmp_path)
    monkeypatch.setattr(library, "cpu_flags", lambda: frozenset(V3))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.delenv("FOURFOLD_ISA", raising=False)
    return build


def build(*names: str) -> None:
    for name in names:
        library.library_path(name).touch()
    library._best_built.cache_clear()


def test_takes_the_best_that_is_there_and_runs(built):
    assert library.chosen_isa() is None
    assert library.load() is None
    built("v4", "v2")
    assert library.chosen_isa() == "v2"
    built("v3")
    assert library.chosen_isa() == "v3"


def test_the_environment_decides(built, monkeypatch):
    built("v3", "v2")
    monkeypatch.setenv("FOURFOLD_ISA", "v2")
    assert library.chosen_isa() == "v2"
    monkeypatch.setenv("FOURFOLD_ISA", "reference")
    assert library.chosen_isa() is None
    monkeypatch.setenv("FOURFOLD_ISA", "mmx")
    with pytest.raises(FourfoldError, match=r"^FOURFOLD_ISA is 'mmx', which is not an instruction set: take one of v4, v3, v2, neon or reference$"):
        library.chosen_isa()
    monkeypatch.setenv("FOURFOLD_ISA", "v4")
    with pytest.raises(FourfoldError, match=r"^FOURFOLD_ISA asks for v4, but .*libfourfold_v4.so was not built: unset it or install fourfold again$"):
        library.chosen_isa()


def test_a_set_that_the_cpu_lacks_is_refused(built, monkeypatch):
    built("v4", "v3")
    monkeypatch.setenv("FOURFOLD_ISA", "v4")
    with pytest.raises(FourfoldError, match=r"^FOURFOLD_ISA asks for v4, which this CPU cannot run \(it can v3, v2\): unset it$"):
        library.chosen_isa()


@pytest.mark.parametrize(("system", "name"), [("Linux", "libfourfold_v3.so"), ("Darwin", "libfourfold_v3.dylib"), ("Windows", "libfourfold_v3.dll")])
def test_each_system_has_its_own_suffix(system, name, monkeypatch):
    monkeypatch.setattr("platform.system", lambda: system)
    assert library.library_path("v3").name == name


@pytest.mark.parametrize(("level", "best"), [(1, None), (2, "v2"), (3, "v3"), (4, "v4")])
def test_on_windows_the_library_of_the_lowest_level_asks_the_cpu(level, best, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "LIBRARY_DIRECTORY", tmp_path)
    monkeypatch.setattr(library, "cpu_flags", library.cpu_flags.__wrapped__)
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr(library, "_open", lambda isa: types.SimpleNamespace(ff_x86_level=lambda: level))
    monkeypatch.delenv("FOURFOLD_ISA", raising=False)
    assert library.chosen_isa() is None
    build("v4", "v3", "v2")
    assert library.chosen_isa() == best


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="/proc/cpuinfo of an x86-64 tells the level")
def test_the_cpu_tells_the_level_that_linux_tells(each_isa):
    loaded = library.load()
    if loaded is None or not hasattr(loaded, "ff_x86_level"):
        pytest.skip("no compiled kernel of this version here")
    assert f"v{loaded.ff_x86_level()}" == library.isas_of_cpu("x86_64", library.cpu_flags())[0]


@pytest.mark.parametrize(
    ("machine", "flags", "said"),
    [
        ("riscv64", frozenset(), r"^there are no kernels for riscv64 processors, .*: take an x86-64 or 64-bit ARM machine for speed$"),
        ("x86_64", frozenset(), r"^this processor is older than x86-64-v2 .*, for which there are no kernels, .*: take a newer one for speed$"),
        (
            "x86_64",
            frozenset(V3),
            r"^no kernel was built here, .*: install g\+\+ or clang\+\+, or a wheel of this platform, and install fourfold again$",
        ),
        ("arm64", frozenset(), r"^no kernel was built here, "),
    ],
)
def test_why_no_kernel_serves_is_told_in_a_sentence(machine, flags, said, built, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(library, "cpu_flags", lambda: flags)
    assert library.chosen_isa() is None
    assert re.match(said, library.why_none())


def test_a_damaged_library_is_named(built, monkeypatch):
    built("v3")
    monkeypatch.setattr(library, "_open", library._open.__wrapped__)
    with pytest.raises(FourfoldError, match=r"libfourfold_v3.so cannot be loaded .*: install fourfold again"):
        library.load()


def test_every_built_library_answers(each_isa):
    loaded = library.load()
    if each_isa == library.REFERENCE:
        assert loaded is None
        return
    assert isinstance(loaded, ctypes.CDLL)
    assert loaded is library.load()
    assert loaded.ff_get_threads() >= 1
