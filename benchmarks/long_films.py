"""How memory and time grow with the length of a film, and whether the joints of its chunks can be seen.

    python benchmarks/long_films.py --out OUT --frames 200 400 2000 --quality draft

A walk in a room is filmed (`fourfold synth casual --bare`, 192x108, the longest of the lengths); each length takes the film's first frames from bare
video to the player, in a process of its own. Printed: peak resident memory and CPU seconds of every stage, the overall peak over the shortest's,
and, of films that were made in chunks, PSNR of held-out frames near a joint against the others. `--against RUN` compares the longest with a
run of the same film that was cut otherwise, frame by frame.
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
from numpy.typing import NDArray

Array = NDArray[np.float64]

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


def joints(out: Path) -> tuple[Array, Array, Array] | None:
    """PSNR and seconds of the held-out frames, and the seconds of the joints; None where nothing was joined."""
    from fourfold.pipeline import Run
    from fourfold.scene.motion.chunks import Chunks

    run = Run(out)
    motion = next((layer.motion for layer in run.scene.layers if isinstance(layer.motion, Chunks)), None)
    if motion is None or len(motion.begins) < 2:
        return None
    frames = run.report["metrics"]["heldout_frames"]["this scene"]
    score, when = (np.array([frame[name] for frame in frames]) for name in ("psnr", "time"))
    return score, when, np.array(motion.begins[1:])


def near(when: Array, begins: Array) -> NDArray[np.bool_]:
    """Which frames lie within `NEAR` frames of a joint."""
    return np.abs(when[:, None] - begins).min(axis=1) < NEAR / RATE


def paired(one: Path, other: Path) -> None:
    """Print what a joint costs in each of two runs of one film that is cut otherwise, by what it changes at the same held-out frames.

    Of the difference of the runs' PSNR at a frame, what goes with a joint of one or of the other is found by least squares: frames at joints may
    be harder or easier than others, and are the same in both.
    """
    found, against = joints(one), joints(other)
    assert found is not None and against is not None and np.allclose(found[1], against[1])
    columns = np.stack([np.ones(len(found[0])), near(found[1], found[2]), -near(found[1], against[2]).astype(float)], axis=1)
    change = found[0] - against[0]
    cost, *_ = np.linalg.lstsq(columns, change, rcond=None)
    spread = ((change - columns @ cost) ** 2).sum() / (len(change) - 3) * np.diag(np.linalg.inv(columns.T @ columns))
    for words, number in (("a joint", 1), ("a joint of the other run", 2)):
        print(f"        {words} costs {-cost[number]:.2f} +- {np.sqrt(spread[number]):.2f} dB at the same frames")


def compare(out: Path, lengths: list[int]) -> None:
    """Print overall peaks and seams."""
    rows = {n: json.loads((out / f"run_{n}" / "growth.json").read_text()) for n in lengths}
    peaks = {n: max(row[1] for row in found) for n, found in rows.items()}
    for n in lengths:
        print(f"{n:6d} frames: {peaks[n]:6.0f} MiB, {peaks[n] / peaks[lengths[0]]:.2f} of the shortest, {sum(row[2] for row in rows[n]):.0f} CPU s")
        found = joints(out / f"run_{n}")
        if found is not None:
            score, at = found[0], near(found[1], found[2])
            here, elsewhere = score[at].mean(), score[~at].mean()
            print(f"        {at.sum()} held-out frames near a joint {here:.2f} dB, the others {elsewhere:.2f} dB: {here - elsewhere:+.2f}")


def main() -> None:
    """Film, reconstruct each length in a child, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 400, 2000])
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--against", type=Path, help="a finished run of the same film with chunks of another length")
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
    if chosen.against:
        paired(chosen.out / f"run_{lengths[-1]}", chosen.against)


if __name__ == "__main__":
    main()
