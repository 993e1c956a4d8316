"""Whether a run ends the same to the bit whatever happens to it on the way: random disturbances in every stage.

    python benchmarks/soak.py --out out/soak --films 14 --photos 6 --seed 0

Two small bare inputs are generated: a film, reconstructed from images to report, and photos without order, whose cameras are found by
structure from motion in child processes. Each is run undisturbed first. Then every run is disturbed once in every stage, at a random moment of
it: by SIGKILL, SIGTERM, SIGINT, a flipped bit or a cut or missing file while it is stopped, a full disk, or a second process; the same
command continues it. Kinds are dealt so that each stage meets each kind equally often. In the end cameras, every other prior and the scene
must be those of the undisturbed run, and so must the losses of every step that `metrics.jsonl` tells (all, unless that file was damaged).
One JSON line an event goes to OUT/events.jsonl, one a run to OUT/runs.jsonl; `--table` prints what they hold. A full disk needs the right to
mount a tmpfs and is left out without it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.files import key_of
from fourfold.owner import OWNER_FILE
from fourfold.training.metrics_log import read_metrics
from same_result import parts
from soak_events import KINDS, ROOMY, Event, Place, damage, fill_up, second, stop
from soak_process import BEGINS, Watched, leftovers

FINISHED = "finished"
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}


@dataclass(frozen=True)
class Case:
    """An input, the command that works on it, and the undisturbed run.

    Attributes:
        stages: (stage, seconds that it took), in order.
        result: hash by name of what was made.
    """

    name: str
    words: tuple[str, ...]
    stages: tuple[tuple[str, float], ...]
    result: dict[str, str]


def result_of(run: Path) -> dict[str, str]:
    """Hashes of cameras, priors and scene, and of the losses of every step."""
    steps = [{k: v for k, v in line.items() if k != "ms"} for line in read_metrics(run / "metrics.jsonl")]
    return parts(run) | {f"losses {line['stage']} {line['step']}": key_of(line) for line in steps}


def differing(case: Case, now: dict[str, str], events: Sequence[Event]) -> list[str]:
    """What is not as in the undisturbed run. Of a metrics file that was damaged lines may be missing."""
    names = sorted(name for name in case.result.keys() | now.keys() if case.result.get(name) != now.get(name))
    torn = any(event.detail == "metrics.jsonl" for event in events)
    return [name for name in names if not (torn and name.startswith("losses") and name not in now)]


def make_inputs(folder: Path) -> dict[str, tuple[str, ...]]:
    """Write the film and the photos; returns the words after `fourfold` and before `-o RUN` for each."""
    size = SyntheticOptions(frames=16, width=96, height=54, supersample=1, fps=8.0)
    film = generate("casual", folder / "film", seed=0, options=size).root / "video.mp4"
    size = SyntheticOptions(frames=12, width=192, height=108, supersample=1, fps=8.0)
    images = np.load(generate("casual", folder / "walk", seed=0, options=size).root / "frames_000.npy")
    photos = folder / "photos"
    photos.mkdir()
    for number, index in enumerate(np.random.default_rng(1).permutation(len(images))):
        Image.fromarray(images[index]).save(photos / f"{number:03d}.png")
    return {
        "film": ("reconstruct", str(film), "--quality", "draft", "--device", "cpu"),
        "photos": ("prepare", str(photos), "--quality", "draft", "--only", "cameras"),
    }


def undisturbed(name: str, words: tuple[str, ...], place: Place) -> Case:
    """Run a command to its end and measure its stages."""
    process = Watched([*words, "-o", str(place.run)], place.temporary)
    if process.end() != 0:
        raise SystemExit(f"the undisturbed run of {name} failed: {process.sentence}")
    begins = [at for _, at in process.stages]
    seconds = [later - at for at, later in zip(begins, [*begins[1:], time.monotonic()], strict=True)]
    result = result_of(place.run)
    clear(place)
    return Case(name, words, tuple(zip((n for n, _ in process.stages), seconds, strict=True)), result)


def clear(place: Place) -> None:
    """Remove the run and its temporary files."""
    shutil.rmtree(place.run, ignore_errors=True)
    shutil.rmtree(place.temporary, ignore_errors=True)
    place.temporary.mkdir()


def plan(case: Case, number: int, place: Place) -> list[tuple[str, str]]:
    """(stage, kind) of the events of run `number`: every stage in order, kinds dealt in turn; on a finished run only files can be damaged."""
    kinds = [kind for kind in KINDS if kind != "full" or place.mounted]
    dealt = [(stage, kinds[(number + 3 * at) % len(kinds)]) for at, (stage, _) in enumerate(case.stages)]
    return [*dealt, (FINISHED, ("flip", "cut")[number % 2])]


def disturbed(case: Case, number: int, place: Place, random: np.random.Generator) -> tuple[list[Event], list[str]]:
    """One run with all its events; returns them, and what is not as in the undisturbed run."""
    words = [*case.words, "-o", str(place.run)]
    events, stale = [], set[str]()
    for stage, kind in plan(case, number, place):
        if stage == FINISHED:
            finish(words, place, events[-1])
        process = Watched(words, place.temporary) if stage != FINISHED else None
        if process is not None:
            await_stage(process, case, stage, random)
        event = Event(kind, stage if process is None else process.stage or BEGINS)
        events.append(event)
        if kind in SIGNALS and process is not None:
            stop(process, SIGNALS[kind], place, event)
        elif kind == "full" and process is not None:
            fill_up(process, place, event)
        elif kind == "second" and process is not None:
            second(words, place, process, event)
            stop(process, signal.SIGTERM, place, event)
        else:
            if process is not None:
                stop(process, signal.SIGKILL, place, event)
            spoil(words, place, event, random)
        if (
            stale
            and process is not None
            and process.stage not in (None, BEGINS, "capture")
            and (stays := stale & leftovers(place.run, place.temporary))
        ):
            event.faults.append(f"still there after the next start: {', '.join(sorted(stays))}")
        stale = {name for name in leftovers(place.run, place.temporary) if not name.endswith(OWNER_FILE)}  # the next start has its own
        print(json.dumps(asdict(event)), flush=True)
    finish(words, place, events[-1])
    return events, differing(case, result_of(place.run), events)


def await_stage(process: Watched, case: Case, stage: str, random: np.random.Generator) -> None:
    """Wait until the process is in `stage` or beyond, and then for a random part of the time that the stage takes."""
    names = [name for name, _ in case.stages]
    beyond = set(names[names.index(stage) :])
    while process.stage not in beyond and process.code() is None:
        time.sleep(0.002)
    began = time.monotonic()
    wait = random.random() * dict(case.stages)[stage]
    while time.monotonic() - began < wait and process.code() is None:
        time.sleep(0.002)


def spoil(words: Sequence[str], place: Place, event: Event, random: np.random.Generator) -> None:
    """Damage a file of the stopped run. Where the command then refuses to continue, in one sentence, the file is put back."""
    spoilt = damage(event.kind, place.run, random)
    if spoilt is None:
        event.detail = "no file yet"
        return
    file, before = spoilt
    event.detail = str(file.relative_to(place.run))
    process = Watched(words, place.temporary)
    while process.code() is None and process.stage in (None, BEGINS, "capture"):
        time.sleep(0.01)
    if process.code() is None:
        time.sleep(0.5)
        stop(process, signal.SIGKILL, place, event)
        notes = [line for line in process.lines if line.startswith("note: ")]
        event.answer = notes[0] if notes else "went on"
    elif process.end() != 0:
        event.answer = process.sentence.removeprefix("fourfold: error: ")
        if process.code() != 2 or process.traceback:
            event.faults.append(f"exit code {process.code()}, {process.traceback or process.sentence}")
        file.write_bytes(before)


def finish(words: Sequence[str], place: Place, event: Event) -> None:
    """Run the command to its end; what goes wrong is the fault of the last event."""
    process = Watched(words, place.temporary)
    code = process.end()
    if code != 0 or process.traceback:
        event.faults.append(f"the run cannot be finished: exit code {code}, {process.traceback or process.sentence}")
    if stays := leftovers(place.run, place.temporary):
        event.faults.append(f"left after the end: {', '.join(sorted(stays))}")


@contextmanager
def room(out: Path) -> Iterator[Place]:
    """A tmpfs for the runs, or a plain folder where none may be mounted."""
    box = out / "box"
    shutil.rmtree(box, ignore_errors=True)
    box.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(box)], capture_output=True).returncode == 0
    try:
        yield Place(box.resolve(), mounted)
    finally:
        if mounted:
            subprocess.run(["umount", str(box)], check=False)


def table(out: Path) -> str:
    """Events by stage and kind as Markdown, and what was found."""
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    runs = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    counts = Counter((e["stage"], e["kind"]) for e in events)
    stages = list(dict.fromkeys(e["stage"] for e in events))
    lines = [f"| stage | {' | '.join(KINDS)} | all |", "|---" * (len(KINDS) + 2) + "|"]
    for stage in stages:
        row = [counts[stage, kind] for kind in KINDS]
        lines.append(f"| {stage} | {' | '.join(map(str, row))} | {sum(row)} |")
    total = [sum(counts[stage, kind] for stage in stages) for kind in KINDS]
    lines.append(f"| all | {' | '.join(map(str, total))} | {sum(total)} |")
    same = sum(not run["differs"] for run in runs)
    took = sorted(e["seconds"] for e in events if e["seconds"] is not None)
    lines += ["", f"{len(runs)} runs, {same} ended with the same cameras, priors, scene and losses."]
    lines += [f"After SIGTERM or SIGINT they ended in {np.median(took):.1f} s (median), {took[-1]:.1f} s at most, of {len(took)}."] if took else []
    lines += [f"- run {e['case']} {e['run']}, {e['kind']} in {e['stage']} ({e['detail']}): {'; '.join(e['faults'])}" for e in events if e["faults"]]
    return "\n".join([*lines, *(f"- run {run['case']} {run['run']}: {', '.join(run['differs'])} differ" for run in runs if run["differs"])])


def soak(out: Path, films: int, photos: int, seed: int, first: int) -> None:
    """Do all runs and write what became of them."""
    shutil.rmtree(out / "inputs", ignore_errors=True)
    inputs = make_inputs(out / "inputs")
    with room(out) as place, (out / "events.jsonl").open("a") as told, (out / "runs.jsonl").open("a") as ended:
        place.temporary.mkdir()
        for name, count in (("film", films), ("photos", photos)):
            if not count:
                continue
            case = undisturbed(name, inputs[name], place)
            print(f"{name}: {json.dumps(case.stages)}", flush=True)
            for number in range(first, first + count):
                key = int(hashlib.sha256(f"{seed} {name} {number}".encode()).hexdigest()[:8], 16)
                events, differs = disturbed(case, number, place, np.random.default_rng(key))
                for event in events:
                    told.write(json.dumps({"case": name, "seed": seed, "run": number, **asdict(event)}) + "\n")
                ended.write(json.dumps({"case": name, "seed": seed, "run": number, "events": len(events), "differs": differs}) + "\n")
                told.flush(), ended.flush()
                print(f"{name} {number}: {len(events)} events, {sum(bool(e.faults) for e in events)} with faults, differs: {differs}", flush=True)
                clear(place)


def main() -> None:
    """Disturb, or print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    parser.add_argument("--films", type=int, default=14)
    parser.add_argument("--photos", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first run: each deals the kinds another way")
    parser.add_argument("--table", action="store_true", help="print what an earlier call found")
    chosen = parser.parse_args()
    if not chosen.table:
        soak(chosen.out, chosen.films, chosen.photos, chosen.seed, chosen.first)
    print(table(chosen.out))


if __name__ == "__main__":
    main()
