"""Whether cameras, masks and scene come out the same to the bit, whatever the number of threads and however busy the machine is.

    python benchmarks/same_result.py --clips ../shared/data/clips/duck --out out/same --quality draft

Each clip is reconstructed with 1, 2 and 7 threads, and once more with 2 while another process keeps every core busy. Prints one JSON object a
clip: for every part the runs that differ from the first, which should be none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
PROGRAM = """
import sys, cv2, torch
from fourfold.cli import main
from fourfold.render.cpu import set_threads
threads = int(sys.argv[1])
cv2.setNumThreads(threads)
torch.set_num_threads(threads)
set_threads(threads)
sys.exit(main(sys.argv[2:]))
"""


def digest(path: Path) -> str:
    """A hash of the tensors of a safetensors file, its header left out: that tells when and by which program it was written."""
    value = hashlib.sha256()
    with safe_open(path, framework="numpy") as file:
        for name in sorted(file.keys()):
            array = file.get_tensor(name)
            value.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return value.hexdigest()[:16]


def parts(run: Path) -> dict[str, str]:
    """Hash of every prior, named by provider and prior, and of the scene of a run's folder."""
    files = {str(p.relative_to(run / "priors").with_suffix("")): p for p in sorted((run / "priors").rglob("*.safetensors"))}
    files["scene"] = run / "scene.safetensors"
    return {name: digest(path) for name, path in files.items() if path.exists()}


def call(threads: int, arguments: list[str]) -> None:
    """Run the fourfold command `arguments` in a process of its own with `threads` threads for every library."""
    command = [sys.executable, "-c", PROGRAM, str(threads), *arguments]
    subprocess.run(command, env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)), check=True, stdout=subprocess.DEVNULL)


def make(clip: Path, run: Path, threads: int, arguments: list[str]) -> dict[str, str]:
    """Hashes of what a reconstruction of `clip` with `threads` threads makes."""
    if not (run / "scene.safetensors").exists():
        call(threads, ["reconstruct", str(clip), "-o", str(run), "--no-baselines", *arguments])
    return parts(run)


def spin() -> None:
    """Keep one core busy."""
    while True:
        pass


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """A machine on which `processes` others compete."""
    load = [multiprocessing.Process(target=spin, daemon=True) for _ in range(processes)]
    for process in load:
        process.start()
    try:
        yield
    finally:
        for process in load:
            process.terminate()


def compare(clip: Path, out: Path, arguments: list[str]) -> dict[str, list[str]]:
    """For every part the names of the runs that differ from the one with one thread."""
    runs = {f"{n} threads": make(clip, out / f"{clip.stem}_{n}", n, arguments) for n in (1, 2, 7)}
    with busy(os.cpu_count() or 1):
        runs["2 threads, busy"] = make(clip, out / f"{clip.stem}_busy", 2, arguments)
    first, names = runs["1 threads"], sorted({name for found in runs.values() for name in found})
    return {name: [who for who, found in runs.items() if found.get(name) != first.get(name)] for name in names}


def main() -> None:
    """Compare every clip; exit code 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path("out/same"))
    parser.add_argument("--quality", default="draft", choices=("draft", "normal", "best"))
    parser.add_argument("--max-frames", type=int, default=24)
    chosen = parser.parse_args()
    differs = False
    for clip in chosen.clips:
        found = compare(clip, chosen.out, ["--quality", chosen.quality, "--max-frames", str(chosen.max_frames)])
        differs |= any(found.values())
        print(
            json.dumps(
                {"clip": str(clip), "differs": {name: who for name, who in found.items() if who}, "same": [n for n, w in found.items() if not w]}
            )
        )
    sys.exit(int(differs))


if __name__ == "__main__":
    main()
