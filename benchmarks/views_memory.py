"""Memory of `fourfold reconstruct --recipe freetimegs --export 4dgs` on generated synchronised views, by their number of moments.

python benchmarks/views_memory.py OUT [--moments 30 300] [--width 96] [--height 72]

Each length is a process of its own; printed are its peak resident memory, CPU seconds, and the sizes of the page and the `.4dgs`.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from fourfold.capture.synthetic import SyntheticOptions, generate


def measured(words: list[str]) -> tuple[float, float]:
    """Peak resident memory in MB and CPU seconds of a process that must succeed."""
    process = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *words])
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed with {status}")
    return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def main() -> None:
    """Print a line of JSON per length."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--moments", type=int, nargs="+", default=[30, 300])
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--height", type=int, default=72)
    given = parser.parse_args()
    for moments in given.moments:
        views, run, since = given.out / f"views_{moments}", given.out / f"run_{moments}", time.perf_counter()
        generate("dense_rig", views, options=SyntheticOptions(frames=moments, width=given.width, height=given.height, supersample=1))
        words = ["-m", "fourfold", "reconstruct", str(views), "-o", str(run), "--recipe", "freetimegs", "--quality", "draft"]
        peak, seconds = measured([*words, "--holdout", "none", "--no-baselines", "--export", "4dgs"])
        sizes = {name: (run / name).stat().st_size for name in ("player.html", "exports/scene.4dgs")}
        wall = round(time.perf_counter() - since)
        print(json.dumps({"moments": moments, "peak_mb": round(peak), "cpu_s": round(seconds), "wall_s": wall} | sizes), flush=True)


if __name__ == "__main__":
    main()
