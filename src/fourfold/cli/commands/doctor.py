"""Say what this machine has, what is missing and what that costs."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fourfold import __version__
from fourfold.cli.frame import Command, Result

NEEDED = ("torch", "numpy", "scipy", "opencv-python-headless", "pycolmap", "av", "tyro", "rich", "safetensors", "pillow")
OPTIONAL = {
    "triton": "no GPU rasterizer without a build: `--device auto` trains on the CPU (pip install triton, or torch's GPU build, which brings it)",
    "gsplat": "no second GPU rasterizer: Triton's kernels serve (pip install fourfold[gpu])",
    "transformers": "no learned depth, masks, features or CLIP scores: the priors without weights serve (pip install fourfold[foundation])",
    "viser": "no live viewer: `fourfold export --format html` still makes a player in one file (pip install fourfold[viewer])",
    "submitit": "no batches on a cluster: captures are done one after the other here (pip install fourfold[fleet])",
}
GIBIBYTE = 2**30


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Say what this machine has (backends, CPU kernel, threads, memory, disk, packages), what is missing and what that costs."""

    gpu: bool = False
    """Instead draw, time and train on the GPU, for some minutes, and print a table to paste into an issue."""

    def run(self) -> Result:
        return self._gpu() if self.gpu else self._machine()

    def _gpu(self) -> Result:
        import torch

        from fourfold.benchmarking.gpu_check import check
        from fourfold.errors import FourfoldError

        if not torch.cuda.is_available():
            raise FourfoldError("this machine has no GPU that torch can use: nothing to check (`fourfold doctor` says what it has)")
        value = check(torch.device("cuda"))
        return Result(value, ok=value["training"]["error"] is None and any(row["agrees"] for row in value["parity"]))

    def _machine(self) -> Result:
        needed = {name: _version(name) for name in NEEDED if name != "pycolmap" or _has_pycolmap()}
        optional = [{"package": name, "version": _version(name), "without_it": cost} for name, cost in OPTIONAL.items()]
        value = {
            "fourfold": _version("fourfold"),
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "backends": _backends(needed["torch"] is not None),
            "kernel": _kernel(),
            "threads": {
                "cores": _cores(),
                "torch": _torch_threads(needed["torch"] is not None),
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            },
            "memory_gib": _memory(),
            "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / GIBIBYTE, 1),
            "packages": needed,
            "optional": optional,
            "missing": [name for name, found in needed.items() if found is None],
        }
        return Result(value, ok=not value["missing"])

    def show(self, result: Result) -> None:
        if self.gpu:
            from fourfold.benchmarking.gpu_check import markdown

            print(markdown(result.value))
            return
        super().show(result)
        if not result.ok:
            print(
                f"fourfold cannot run without {', '.join(result.value['missing'])}: pip install {' '.join(result.value['missing'])}", file=sys.stderr
            )


def _has_pycolmap() -> bool:
    """Whether pycolmap has wheels for this machine; without it sets of loose photos find no cameras, and all else works."""
    return platform.system() != "Linux" or platform.machine() == "x86_64"


def _version(package: str) -> str | None:
    if package == "fourfold":  # a clone that is not installed has no version of a package
        return __version__
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _torch_threads(there: bool) -> int | None:
    if not there:
        return None
    import torch

    return torch.get_num_threads()


def _kernel() -> dict[str, Any]:
    from fourfold.errors import FourfoldError
    from fourfold.kernels import library

    able = library.isas_of_cpu(platform.machine(), library.cpu_flags())
    built = [isa for isa in library.ISA_NAMES if library.library_path(isa).exists()]
    try:
        chosen, fault = library.chosen_isa(), None
        library.load()
    except FourfoldError as error:
        chosen, fault = None, str(error)
    if chosen is None and fault is None:
        fault = library.why_none()
    return {"isa": chosen, "cpu_can": list(able), "built": built, "fault": fault}


def _backends(torch_there: bool) -> list[dict[str, Any]]:
    from fourfold.errors import FourfoldError
    from fourfold.kernels import library

    try:
        cpu = library.load() is not None
    except FourfoldError:
        cpu = False
    gpu_name = None
    if torch_there:
        import torch

        gpu_name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    gsplat, triton = _version("gsplat"), _version("triton")
    return [
        {
            "backend": "triton",
            "available": gpu_name is not None and triton is not None,
            "version": triton,
            "on": gpu_name or "no GPU that torch can use",
        },
        {
            "backend": "cuda",
            "available": gpu_name is not None and gsplat is not None,
            "version": gsplat,
            "on": gpu_name or "no NVIDIA GPU that torch can use",
        },
        {"backend": "cpu", "available": cpu, "version": _version("fourfold"), "on": platform.processor() or platform.machine()},
        {"backend": "reference", "available": torch_there, "version": _version("torch"), "on": "any device, slow"},
    ]


def _memory() -> dict[str, float | None]:
    """Total and available memory in GiB; null where the system does not say."""
    names = getattr(os, "sysconf_names", {})

    def pages(name: str) -> float | None:
        return round(os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") / GIBIBYTE, 1) if name in names else None

    return {"total": pages("SC_PHYS_PAGES"), "available": pages("SC_AVPHYS_PAGES")}
