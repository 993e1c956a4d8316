"""One wheel per platform, all built on this machine by zig, and a check of what is in them.

    python -m pip install ziglang scikit-build-core wheel cmake ninja
    python .ci/wheels.py build --out dist [--only win_amd64]
    python .ci/wheels.py check dist

The kernels know no Python, so a wheel is `py3-none-PLATFORM` and serves every Python and torch. `check` reads the libraries' own headers (which
processor, which system, which glibc), and asks pip, for each platform, whether it would take the wheel.
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
X86, ARM = ("v4", "v3", "v2"), ("neon",)


@dataclass(frozen=True)
class Platform:
    """A kind of machine that a wheel is for.

    Attributes:
        tag: what pip calls it; in it stands the oldest system that the wheel runs on.
        target: what zig calls it, with the same oldest system.
        system: what CMake calls its operating system.
        sets: instruction sets that the kernels are built for.
        suffix: of a shared library.
        link: flags for linking. A library of Linux must find its own C++ runtime in itself, whatever else the process has loaded.
        kind: what a library's header says: format and processor.
    """

    tag: str
    target: str
    system: str
    sets: tuple[str, ...]
    suffix: str
    link: tuple[str, ...]
    kind: str


PLATFORMS = (
    Platform("manylinux_2_28_x86_64", "x86_64-linux-gnu.2.28", "Linux", X86, ".so", ("-Wl,-Bsymbolic",), "ELF x86-64"),
    Platform("manylinux_2_28_aarch64", "aarch64-linux-gnu.2.28", "Linux", ARM, ".so", ("-Wl,-Bsymbolic",), "ELF aarch64"),
    Platform("win_amd64", "x86_64-windows-gnu", "Windows", X86, ".dll", ("-s",), "PE x86-64"),
    Platform("macosx_11_0_arm64", "aarch64-macos.11.0", "Darwin", ARM, ".dylib", ("-s",), "Mach-O aarch64"),
    Platform("macosx_10_15_x86_64", "x86_64-macos.10.15", "Darwin", X86, ".dylib", ("-s",), "Mach-O x86-64"),
)
_ELF, _PE, _MACH = {62: "x86-64", 183: "aarch64"}, {0x8664: "x86-64", 0xAA64: "aarch64"}, {0x01000007: "x86-64", 0x0100000C: "aarch64"}


def kind_of(library: bytes) -> str:
    """Format and processor of a shared library, from its header: "ELF aarch64"."""
    if library[:4] == b"\x7fELF":
        return f"ELF {_ELF.get(struct.unpack_from('<H', library, 18)[0], 'other')}"
    if library[:2] == b"MZ":
        header = struct.unpack_from("<I", library, 60)[0]
        return f"PE {_PE.get(struct.unpack_from('<H', library, header + 4)[0], 'other')}"
    if library[:4] == b"\xcf\xfa\xed\xfe":
        return f"Mach-O {_MACH.get(struct.unpack_from('<I', library, 4)[0], 'other')}"
    return "unknown"


def newest_glibc(library: bytes) -> tuple[int, int]:
    """The newest version of glibc that a library of Linux asks for; (0, 0) for none."""
    return max(((int(a), int(b)) for a, b in re.findall(rb"\x00GLIBC_(\d+)\.(\d+)", library)), default=(0, 0))


def entries() -> list[str]:
    """The names of all functions that Python calls in a kernel library, from their sources."""
    text = "".join(path.read_text() for path in sorted((ROOT / "src" / "fourfold" / "kernels").glob("*.cpp")))
    return sorted(set(re.findall(r"^(?:extern \"C\" )?[a-z_:]+[ *]+(ff_[a-z0-9_]+)\(", text, re.MULTILINE)))


def faults(wheel: Path, platform: Platform) -> list[str]:
    """What is wrong with the libraries of a wheel, in words; empty where nothing is."""
    wanted = {f"fourfold/kernels/lib/libfourfold_{isa}{platform.suffix}" for isa in platform.sets}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if name.startswith("fourfold/kernels/lib/")}
        wrong = [f"{name} is missing" for name in sorted(wanted - found)] + [f"{name} does not belong there" for name in sorted(found - wanted)]
        wrong += [f"{name} is no part of an installation" for name in archive.namelist() if name.endswith((".cpp", ".h"))]
        for name in sorted(wanted & found):
            library = archive.read(name)
            if kind_of(library) != platform.kind:
                wrong.append(f"{name} is {kind_of(library)}, not {platform.kind}")
            if platform.system == "Linux" and newest_glibc(library) > (2, 28):
                wrong.append(f"{name} needs glibc {'.'.join(map(str, newest_glibc(library)))}")
            wrong += [f"{name} has no {entry}" for entry in entries() if entry.encode() not in library]
    return wrong


def taken_by_pip(wheels: Path, platform: Platform) -> bool:
    """Whether pip on such a platform would install fourfold from a folder of wheels."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--no-index", "--no-deps", "--only-binary=:all:", "--platform", platform.tag, "--python-version", "3.12"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--find-links", str(wheels), "--dest", folder, *options, "fourfold"]
        done = subprocess.run(command, capture_output=True, check=False)
        return done.returncode == 0 and [path.name.endswith(f"py3-none-{platform.tag}.whl") for path in Path(folder).iterdir()] == [True]


def build(platform: Platform, out: Path) -> Path:
    """The wheel of `platform`, in `out`."""
    defined = {
        "FOURFOLD_CXX": ";".join((sys.executable, "-m", "ziglang", "c++", "-target", platform.target)),
        "FOURFOLD_SYSTEM": platform.system,
        "FOURFOLD_SETS": ";".join(platform.sets),
        "FOURFOLD_LINK": ";".join(platform.link),
    }
    settings = [f"--config-settings=cmake.define.{name}={value}" for name, value in defined.items()]
    settings.append(f"--config-settings=build-dir={ROOT / 'build' / 'wheels' / platform.tag}")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", *settings, "-w", folder, str(ROOT)]
        subprocess.run(command, check=True)
        (native,) = Path(folder).glob("*.whl")
        rename = ["tags", "--remove", "--python-tag", "py3", "--abi-tag", "none", "--platform-tag", platform.tag, str(native)]
        subprocess.run([sys.executable, "-m", "wheel", *rename], check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, out / wheel.name))


def check(wheels: Path, platforms: Sequence[Platform]) -> bool:
    """Print a line per platform; whether all are good."""
    good = True
    for platform in platforms:
        found = sorted(wheels.glob(f"*-py3-none-{platform.tag}.whl"))
        wrong = faults(found[-1], platform) if found else ["there is no wheel"]
        if found and not taken_by_pip(wheels, platform):
            wrong.append("pip does not take it")
        good = good and not wrong
        size = f"{found[-1].stat().st_size / 1e6:.1f} MB" if found else ""
        print(f"{platform.tag:24s} {size:>8s}  {'; '.join(wrong) or 'good: ' + ', '.join(platform.sets)}")
    return good


def main() -> int:
    """Build or check; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    building, checking = commands.add_parser("build"), commands.add_parser("check")
    building.add_argument("--out", type=Path, default=ROOT / "dist")
    checking.add_argument("wheels", type=Path)
    for each in (building, checking):
        each.add_argument("--only", choices=[platform.tag for platform in PLATFORMS], action="append")
    chosen = parser.parse_args()
    platforms = [platform for platform in PLATFORMS if not chosen.only or platform.tag in chosen.only]
    if chosen.command == "check":
        return int(not check(chosen.wheels, platforms))
    for platform in platforms:
        print(build(platform, chosen.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
