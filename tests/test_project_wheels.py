"""Wheels: what a library's header says is read right, and a wheel with the wrong libraries is told."""

import importlib.util
import platform
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from fourfold.kernels import library

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("wheels", ROOT / ".ci" / "wheels.py")
wheels = importlib.util.module_from_spec(SPEC)
sys.modules["wheels"] = wheels  # a dataclass looks its module up
SPEC.loader.exec_module(wheels)
BY_TAG = {each.tag: each for each in wheels.PLATFORMS}


def elf(machine):
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine)


def pe(machine):
    return b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", machine)


def mach(processor):
    return b"\xcf\xfa\xed\xfe" + struct.pack("<I", processor)


KINDS = {
    "ELF x86-64": elf(62),
    "ELF aarch64": elf(183),
    "PE x86-64": pe(0x8664),
    "Mach-O aarch64": mach(0x0100000C),
    "Mach-O x86-64": mach(0x01000007),
}


@pytest.mark.parametrize("kind", KINDS)
def test_headers_are_read(kind):
    assert wheels.kind_of(KINDS[kind]) == kind


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="the built libraries are not those of Linux on x86-64")
def test_the_libraries_built_here_are_what_they_are():
    built = [library.library_path(isa) for isa in ("v4", "v3", "v2") if library.library_path(isa).exists()]
    if not built:
        pytest.skip("no compiled kernel here")
    for path in built:
        content = path.read_bytes()
        assert wheels.kind_of(content) == "ELF x86-64"
        assert (2, 2) < wheels.newest_glibc(content) < (3, 0)


def test_every_function_that_python_calls_is_looked_for():
    from foreign_sizes import SIZES

    # not called in emulators: one answers with a double, which `foreign_host.cpp` does not take, one takes structures in structures
    by_nobody = {"ff_body_step", "ff_body_cost", "ff_sweep_costs"}
    assert set(wheels.entries()) == set(SIZES) | by_nobody


def wheel(folder, tag, content, names):
    path = folder / f"fourfold-0.1.0-py3-none-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fourfold/__init__.py", "")
        archive.writestr("fourfold-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: fourfold\nVersion: 0.1.0\n")
        archive.writestr("fourfold-0.1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-{tag}\n")
        archive.writestr("fourfold-0.1.0.dist-info/RECORD", "")
        for name in names:
            archive.writestr(f"fourfold/kernels/lib/{name}", content)
    return path


def everything(kind):
    return KINDS[kind] + b"\0" + b"\0".join(entry.encode() for entry in wheels.entries())


@pytest.mark.parametrize("tag", BY_TAG)
def test_a_good_wheel_has_no_faults_and_a_bad_one_is_told(tag, tmp_path):
    of = BY_TAG[tag]
    names = [f"libfourfold_{isa}{of.suffix}" for isa in of.sets]
    assert wheels.faults(wheel(tmp_path, tag, everything(of.kind), names), of) == []
    other = next(kind for kind in KINDS if kind != of.kind)
    mistaken = wheels.faults(wheel(tmp_path, tag, everything(other), names), of)
    assert mistaken == [f"fourfold/kernels/lib/{name} is {other}, not {of.kind}" for name in sorted(names)]
    told = wheels.faults(wheel(tmp_path, tag, everything(of.kind), ["libfourfold_mmx.so"]), of)
    assert len(told) == len(names) + 1
    assert "does not belong there" in told[-1]
    without = everything(of.kind).replace(b"ff_ssim", b"ff_sim")
    assert all("has no ff_ssim" in fault for fault in wheels.faults(wheel(tmp_path, tag, without, names), of))


def test_a_library_that_wants_a_newer_glibc_is_told(tmp_path):
    of = BY_TAG["manylinux_2_28_aarch64"]
    content = everything(of.kind) + b"\0GLIBC_2.17\0GLIBC_2.34\0"
    assert wheels.newest_glibc(content) == (2, 34)
    assert wheels.faults(wheel(tmp_path, of.tag, content, ["libfourfold_neon.so"]), of) == [
        "fourfold/kernels/lib/libfourfold_neon.so needs glibc 2.34"
    ]


def test_pip_takes_the_wheel_of_a_platform_and_no_other(tmp_path):
    of = BY_TAG["win_amd64"]
    wheel(tmp_path, of.tag, everything(of.kind), [])
    assert wheels.taken_by_pip(tmp_path, of)
    assert not wheels.taken_by_pip(tmp_path, BY_TAG["macosx_11_0_arm64"])
