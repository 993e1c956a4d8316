"""Time the rasterizers on the benchmark's scenes and print one JSON object.

python benchmarks/rasterizer.py [--threads 1 2] [--repeats 10] [--export DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fourfold.evaluation.bench_rasterizer import bench, export_scenes


def main() -> None:
    """Run the benchmark, or write its scenes as .npz files for other renderers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--export", type=Path, default=None, help="write the scenes here instead of timing them")
    options = parser.parse_args()
    if options.export is not None:
        print(json.dumps({"files": [str(path) for path in export_scenes(options.export)]}))
    else:
        print(json.dumps(bench(options.threads, options.repeats), indent=1))


if __name__ == "__main__":
    main()
