"""Files changed at random, as many as one likes: what is read, refused, raises, aborts, hangs or takes memory.

Inputs are shared between forked processes of 100, each with a limit on its address space; one that takes more than five seconds of its own
processor time for one input has hung, one that dies has aborted. The targets take turns, so that a run that is ended by --minutes tried all of
them alike. Results: counts, and each uncaught exception once by its place with the changed files in OUT/PLACE. Run:
    nice python benchmarks/fuzz.py --inputs 1000000 --minutes 60 [--seed 0] [--only PATTERN] [--out OUT]
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzz_targets import Target, targets, tried

BATCH = 100
SECONDS = 5.0  # of the processor for one input
MEMORY = 1 << 30  # bytes of address space that a batch may take more than it began with


def main() -> None:
    """Run and print one JSON object."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2000, help="changed inputs in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no further batch begins after as many minutes")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input of each target")
    parser.add_argument("--only", default="*", help="names of targets, with * for any letters")
    parser.add_argument("--out", type=Path, help="folder for the inputs that failed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fourfold-fuzz-") as folder:
        chosen = [t for t in targets(Path(folder) / "good") if fnmatch.fnmatch(t.name, options.only)]
        each = -(-options.inputs // len(chosen))
        total: Counter[str] = Counter()
        failed: dict[str, str] = {}
        begin = time.monotonic()
        for first in range(options.seed, options.seed + each, BATCH):
            seeds = range(first, min(first + BATCH, options.seed + each))
            for target in chosen:
                if time.monotonic() - begin < 60 * options.minutes:
                    _batch(target, seeds, Path(folder), total, failed, options.out)
                    print(target.name, seeds.start, dict(total), *failed, file=sys.stderr)
    print(json.dumps({"targets": len(chosen), **total, "uncaught at": failed}, indent=1))
    sys.exit(1 if failed else 0)


def _batch(target: Target, seeds: range, folder: Path, total: Counter[str], failed: dict[str, str], out: Path | None) -> None:
    """One forked process over `seeds`; after one that died it goes on behind the input that killed it."""
    left = list(seeds)
    while left:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _work(target, left, folder, write)
        os.close(write)
        with os.fdopen(read) as lines:
            told = [json.loads(line) for line in lines]
        _, status = os.waitpid(child, 0)
        for line in told:
            total[line["verdict"]] += 1
            if line["verdict"] == "uncaught" and line["place"] not in failed:
                failed[line["place"]] = f"{target.name} seed {line['seed']}: {line['detail']}"
                _keep(target, line["seed"], out, line["place"])
        if len(told) < len(left):
            seed, why = left[len(told)], "hang" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGVTALRM else f"abort {status}"
            total[why] += 1
            failed.setdefault(f"{why} in {target.name}", f"seed {seed}")
        left = left[len(told) + 1 :] if len(told) < len(left) else []


def _work(target: Target, seeds: list[int], folder: Path, write: int) -> None:
    """In the child: try each seed, tell what happened, leave."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    work, scratch = folder / f"work{os.getpid()}", folder / f"scratch{os.getpid()}"
    shutil.copytree(target.root, work)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    with os.fdopen(write, "w", buffering=1) as lines:
        for seed in seeds:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            found = tried(target, seed, work, scratch)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            lines.write(json.dumps({"seed": seed, "verdict": found.verdict, "place": found.place, "detail": found.detail}) + "\n")
    shutil.rmtree(work, ignore_errors=True)
    os._exit(0)


def _keep(target: Target, seed: int, out: Path | None, place: str) -> None:
    """The input of a failure, made again below `out`, with how to make it."""
    if out is None:
        return
    folder = out / "".join(c if c.isalnum() else "_" for c in place)
    shutil.copytree(target.root, folder, dirs_exist_ok=True)
    kept: Any = Target(target.name, target.root, target.files, lambda root, scratch: shutil.copytree(root, folder / "changed", dirs_exist_ok=True))
    tried(kept, seed, folder, folder / "scratch")
    (folder / "why.txt").write_text(f"{target.name}, seed {seed}: {place}\n")


if __name__ == "__main__":
    main()
