"""What following a training costs it: CPU seconds per step of the training process, alone and with a live viewer in which a browser plays.

python benchmarks/live_viewer.py RUN [--recipe NAME] [--seconds 40] [--rounds 2]

RUN is a finished run of a small capture, copied. Trainings take turns (alone, followed, alone, ...), each for the same time; the first fifth
of the steps, in which things are loaded, is left out. Needs Chromium and `fourfold[viewer]`.
"""

import argparse
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import Browser, find_browser

TRAINING = """
import json, os, sys
from fourfold import pipeline
from fourfold.cli import main
from fourfold.recipes.recipe import QUALITIES, Quality
QUALITIES["draft"] = Quality(pixels=45_000, steps=50.0, gaussians=0.5)
log = open(sys.argv.pop(1), "w")
def follow(report):
    def told(step):
        used = os.times()
        log.write(json.dumps([step.step, used.user + used.system]) + "\\n")
        log.flush()
    return told
pipeline.follow = follow
sys.exit(main(sys.argv[1:]))
"""


def per_step(log: Path) -> float:
    """CPU seconds per step of the last four fifths."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    kept = lines[len(lines) // 5 :]
    return (kept[-1][1] - kept[0][1]) / (len(kept) - 1)


def trained(source: Path, recipe: str, seconds: float, followed: bool) -> float:
    """CPU seconds per step of one training, which is ended after `seconds` of steps."""
    with tempfile.TemporaryDirectory() as folder:
        run, log = Path(shutil.copytree(source, Path(folder) / "run")), Path(folder) / "steps"
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
        (run / "scene.safetensors").unlink(missing_ok=True)
        words = [sys.executable, "-c", TRAINING, str(log), "train", str(run), "--quality", "draft", "--recipe", recipe]
        training = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not (log.exists() and log.stat().st_size):
                time.sleep(0.2)
                if training.poll() is not None:
                    raise SystemExit("the training ended before its first step")
            if followed:
                watched(run, Path(folder), seconds)
            else:
                time.sleep(seconds)
            return per_step(log)
        finally:
            training.send_signal(signal.SIGTERM)
            training.wait()


def watched(run: Path, folder: Path, seconds: float) -> None:
    """Play the scene in a browser for `seconds`."""
    program = find_browser()
    if program is None:
        raise SystemExit("no Chromium here")
    with (folder / "view").open("w") as file:
        viewing = subprocess.Popen([sys.executable, "-m", "fourfold", "view", str(run), "--port", "0"], stderr=file)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", (folder / "view").read_text())):
            time.sleep(0.2)
        with Browser(program, folder / "profile") as page:
            page.network(True)
            page.open(found[0], 800, 520)
            page.until("document.body?.innerText.includes('Layers')", 120)
            box = "[...document.querySelectorAll('input[type=checkbox]')][0].getBoundingClientRect()"
            page.press(page.ask(f"{box}.x") + 5, page.ask(f"{box}.y") + 5)  # Play
            time.sleep(seconds)
    finally:
        viewing.send_signal(signal.SIGTERM)
        viewing.wait()


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--recipe", default="freetimegs")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    alone, followed = list[float](), list[float]()
    for _ in range(given.rounds):
        alone.append(trained(given.run, given.recipe, given.seconds, followed=False))
        followed.append(trained(given.run, given.recipe, given.seconds, followed=True))
    slower = statistics.median(followed) / statistics.median(alone) - 1
    print(json.dumps({"alone_cpu_s_per_step": alone, "followed_cpu_s_per_step": followed, "slower": slower}))


if __name__ == "__main__":
    main()
