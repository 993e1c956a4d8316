"""How memory and time grow with the length of a film, and whether the joints of its chunks can be seen.

    python benchmarks/long_films.py --out OUT --frames 200 400 2000 --quality draft

A walk in a room is filmed (`fourfold synth casual --bare`, 192x108, the longest of the lengths); each length takes the film's first frames from bare
video to the player, in a process of its own. Printed: peak resident memory and CPU seconds of every stage, the overall peak over the shortest's,
and, of films that were made in chunks, PSNR of held-out frames near a joint against the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SIZE = (192, 108)
RATE = 24.0  # frames per second
NEAR = 8  # frames on either side of a joint


@dataclass
class Stages:
    """Peaks (MiB) and CPU seconds by stage, told apart by what the pipeline reports."""

    now: str = "start"
    since: float = 0.0
    rows: list[tuple[str, float, float]] = field(default_factory=list)

    def report(self, stage: str, done: int, total: int | None, note: str = "") -> None:
        """A pipeline's `Report`: a new stage ends the one before."""
        if done == 0 and stage != self.now:
            self.end(stage)

    def end(self, following: str) -> None:
        """Close the stage and forget its peak."""
        self.rows.append((self.now, peak(), time.process_time() - self.since))
        print(f"{self.rows[-1][1]:6.0f} MiB {self.rows[-1][2]:7.1f} s  {self.now}", flush=True)
        Path("/proc/self/clear_refs").write_text("5")
        self.now, self.since = following, time.process_time()


def peak() -> float:
    """Peak resident memory of this process since it was last forgotten, MiB."""
    line = next(text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def one(film: Path, frames: int, out: Path, quality: str) -> None:
    """Reconstruct the first `frames` frames and write `out/growth.json`."""
    from fourfold.options import Options
    from fourfold.pipeline import reconstruct

    stages = Stages()
    options = Options(quality=quality, baselines=False, end=(frames - 0.5) / RATE)  # type: ignore[arg-type]
    reconstruct(film, out, options=options, report=stages.report)
    stages.end("")
    (out / "growth.json").write_text(json.dumps(stages.rows))


def seam(out: Path) -> tuple[float, float, int] | None:
    """Mean PSNR of held-out frames near a joint and of the others, and how many are near; None where nothing was joined."""
    from fourfold.pipeline import Run
    from fourfold.scene.motion.chunks import Chunks

    run = Run(out)
    motion = next((layer.motion for layer in run.scene.layers if isinstance(layer.motion, Chunks)), None)
    if motion is None or len(motion.begins) < 2:
        return None
    frames = run.report["metrics"]["heldout_frames"]["this scene"]
    score, when = (np.array([frame[name] for frame in frames]) for name in ("psnr", "time"))
    near = np.abs(when[:, None] - np.array(motion.begins[1:])).min(axis=1) < NEAR / RATE
    return float(score[near].mean()), float(score[~near].mean()), int(near.sum())


def compare(out: Path, lengths: list[int]) -> None:
    """Print overall peaks and seams."""
    rows = {n: json.loads((out / f"run_{n}" / "growth.json").read_text()) for n in lengths}
    peaks = {n: max(row[1] for row in found) for n, found in rows.items()}
    for n in lengths:
        print(f"{n:6d} frames: {peaks[n]:6.0f} MiB, {peaks[n] / peaks[lengths[0]]:.2f} of the shortest, {sum(row[2] for row in rows[n]):.0f} CPU s")
        found = seam(out / f"run_{n}")
        if found is not None:
            print(f"        {found[2]} held-out frames near a joint {found[0]:.2f} dB, the others {found[1]:.2f} dB: {found[0] - found[1]:+.2f}")


def main() -> None:
    """Film, reconstruct each length in a child, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 400, 2000])
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--one", type=int, help="of one child: its number of frames")
    chosen = parser.parse_args()
    film, lengths = chosen.out / "film" / "video.mp4", sorted(chosen.frames)
    if chosen.one is not None:
        one(film, chosen.one, chosen.out / f"run_{chosen.one}", chosen.quality)
        return
    if not film.exists():
        from fourfold.capture.synthetic import SyntheticOptions, generate

        generate("casual", film.parent, options=SyntheticOptions(frames=lengths[-1], width=SIZE[0], height=SIZE[1], bare=True))
    for n in lengths:
        print(f"{n} frames", flush=True)
        subprocess.run([sys.executable, __file__, "--out", str(chosen.out), "--quality", chosen.quality, "--one", str(n)], check=True)
    compare(chosen.out, lengths)


if __name__ == "__main__":
    main()
