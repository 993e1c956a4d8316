"""The compiled CPU kernels: one shared library per instruction set, chosen by what this CPU can do."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from fourfold.errors import FourfoldError

LIBRARY_DIRECTORY = Path(__file__).parent / "lib"
REFERENCE = "reference"  # FOURFOLD_ISA=reference: do as if nothing was compiled

SUFFIXES = {"Windows": ".dll", "Darwin": ".dylib"}  # of a shared library by `platform.system()`; all others call it .so

# What the CPU must report, best set first (x86-64 psABI levels, names of /proc/cpuinfo).
_V2 = frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
X86_LEVELS = {"v4": _V4, "v3": _V3, "v2": _V2}
ISA_NAMES = (*X86_LEVELS, "neon")
MACHINES = ("x86_64", "amd64", "aarch64", "arm64")  # `platform.machine()` in small letters

# macOS tells the same features by other names.
_DARWIN_NAMES = {"sse4.1": "sse4_1", "sse4.2": "sse4_2", "lahf": "lahf_lm", "lzcnt": "abm", "avx1.0": "avx"}


@cache
def cpu_flags() -> frozenset[str]:
    """Feature names this x86 CPU reports, spelled as in /proc/cpuinfo; empty where they cannot be read."""
    if platform.system() == "Linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
        return frozenset()
    if platform.system() == "Darwin":
        keys = ("machdep.cpu.features", "machdep.cpu.leaf7_features", "machdep.cpu.extfeatures")
        answers = [subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=False).stdout for key in keys]
        return frozenset(_DARWIN_NAMES.get(name, name) for name in " ".join(answers).lower().split())
    if platform.system() == "Windows" and library_path("v2").exists():
        return _flags_of_level(_open("v2").ff_x86_level())
    return frozenset()


def _flags_of_level(level: int) -> frozenset[str]:
    """The features that make up level 1 to 4 of x86-64, which `kernels/cpu.cpp` asks the CPU itself for."""
    return X86_LEVELS.get(f"v{level}", frozenset())


def isas_of_cpu(machine: str, flags: frozenset[str]) -> tuple[str, ...]:
    """Instruction sets a CPU can run, best first. `machine` is `platform.machine()`, `flags` are `cpu_flags()`."""
    if machine.lower() in ("aarch64", "arm64"):
        return ("neon",)
    return tuple(isa for isa, needed in X86_LEVELS.items() if needed <= flags)


def library_path(isa: str) -> Path:
    """Where the library for `isa` is installed, whether or not it is there."""
    return _path(LIBRARY_DIRECTORY, isa, platform.system())


def _path(directory: Path, isa: str, system: str) -> Path:
    return directory / f"libfourfold_{isa}{SUFFIXES.get(system, '.so')}"


def chosen_isa() -> str | None:
    """The instruction set whose library `load` takes, or None where no library serves.

    The environment variable FOURFOLD_ISA forces one of v4, v3, v2, neon, or `reference` for none.

    Raises:
        FourfoldError: FOURFOLD_ISA names no known set, one that was not built, or one that this CPU cannot run.
    """
    forced = os.environ.get("FOURFOLD_ISA", "").strip()
    if forced == REFERENCE:
        return None
    if forced:
        if forced not in ISA_NAMES:
            raise FourfoldError(f"FOURFOLD_ISA is {forced!r}, which is not an instruction set: take one of {', '.join(ISA_NAMES)} or {REFERENCE}")
        if not library_path(forced).exists():
            raise FourfoldError(f"FOURFOLD_ISA asks for {forced}, but {library_path(forced)} was not built: unset it or install fourfold again")
        able = isas_of_cpu(platform.machine(), cpu_flags())
        if forced not in able:
            raise FourfoldError(f"FOURFOLD_ISA asks for {forced}, which this CPU cannot run (it can {', '.join(able) or 'none of them'}): unset it")
        return forced
    return _best_built(LIBRARY_DIRECTORY, platform.system(), platform.machine(), cpu_flags())


@cache
def _best_built(directory: Path, system: str, machine: str, flags: frozenset[str]) -> str | None:
    """The best instruction set of a CPU whose library lies in `directory`: asked once, since every call of a kernel wants to know."""
    return next((isa for isa in isas_of_cpu(machine, flags) if _path(directory, isa, system).exists()), None)


def why_none() -> str:
    """Why `chosen_isa` is None on this machine, in one sentence that says what to do."""
    if os.environ.get("FOURFOLD_ISA", "").strip() == REFERENCE:
        return "FOURFOLD_ISA asks for the reference, everything is tens of times slower: unset it"
    slow, machine = "everything is tens of times slower", platform.machine()
    if machine.lower() not in MACHINES:
        return f"there are no kernels for {machine} processors, {slow}: take an x86-64 or 64-bit ARM machine for speed"
    if isas_of_cpu(machine, cpu_flags()) or platform.system() == "Windows":
        return f"no kernel was built here, {slow}: install g++ or clang++, or a wheel of this platform, and install fourfold again"
    return f"this processor is older than x86-64-v2 (SSE4.2), for which there are no kernels, {slow}: take a newer one for speed"


@cache
def _open(isa: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(library_path(isa)))


_loaded: dict[tuple[str, Path], ctypes.CDLL] = {}  # (FOURFOLD_ISA, where libraries lie) -> the library


def load() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there are none and the slow reference has to serve.

    The library of each instruction set is opened once per process; what the environment asked for is remembered, since kernels are called dozens
    of times in a step of training and looking for files takes longer than some of them.

    Raises:
        FourfoldError: FOURFOLD_ISA asks for a set that is not there, or the library is damaged.
    """
    asked = os.environ.get("FOURFOLD_ISA", ""), LIBRARY_DIRECTORY
    known = _loaded.get(asked)
    if known is not None:
        return known
    isa = chosen_isa()
    if isa is None:
        return None
    try:
        _loaded[asked] = _open(isa)
    except OSError as error:
        raise FourfoldError(f"the CPU kernel {library_path(isa)} cannot be loaded ({error}): install fourfold again") from error
    return _loaded[asked]
