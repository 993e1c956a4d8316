"""Does a run's page show what our rasterizer draws? Headless Chromium opens it from its file with the network off, at three moments and four sides.

    python benchmarks/player_pictures.py RUN [--width 320] [--out FOLDER]    # at most the width of the images

Prints a line of Markdown per moment, PSNR in dB for each side; FOLDER gets a picture per moment, above what the page shows and below what we draw.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.evaluation.metrics import psnr
from fourfold.export.paths import camera_between, swing
from fourfold.pipeline import Run
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene
from fourfold.viewer.cameras import focus_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import Browser, find_browser

SHARES = (0.17, 0.43, 0.71)  # of the recording: moments between frames
YAWS = (0, 45, 90, 180)  # degrees


def drawn(scene: Scene, capture: Capture, time: float, yaw: float, width: int) -> NDArray[np.float32]:
    """(H, W, 3) what our rasterizer draws, seen from the first view that was trained on, turned by `yaw` degrees about the page's focus."""
    view = int(np.flatnonzero(capture.train.any(axis=1))[0])
    camera = camera_between(capture, view, time).scaled(width / int(capture.sizes[view][0]))
    camera = replace(swing(camera, torch.tensor(focus_of(scene)), float(-np.radians(yaw)), 0.0), near=scene.near)
    with torch.no_grad():
        return rasterize(scene.at(time), camera, background=torch.tensor(scene.background)).color.clamp(0, 1).numpy()


def shown(browser: Browser, time: float, yaw: float) -> NDArray[np.float32]:
    """What the page shows when its picture has settled."""
    browser.ask(f"state.clock = {time}; state.yaw = {np.radians(yaw)}; document.body.dataset.drawn = 'no'; 0")
    browser.until("document.body.dataset.drawn === 'yes'", 600)
    return browser.picture()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    program = find_browser()
    if program is None:
        raise SystemExit("there is no Chromium here")
    run = Run(given.run)
    scene, capture = run.scene, run.capture
    begin, end = scene.time_range
    narrow = min(given.width, int(capture.sizes[0][0]))
    print("| seconds | " + " | ".join(f"yaw {yaw}" for yaw in YAWS) + " |\n|---|" + "---|" * len(YAWS))
    with tempfile.TemporaryDirectory() as profile, Browser(program, Path(profile)) as browser:
        for time in (begin + share * (end - begin) for share in SHARES):
            truths = [drawn(scene, capture, time, yaw, narrow) for yaw in YAWS]
            if not browser.requests:
                height, width = truths[0].shape[:2]
                browser.open(f"{(given.run / 'player.html').resolve().as_uri()}?time=0&yaw=0&plain", width, height)
                browser.until("document.body && document.body.dataset.drawn === 'yes'", 600)
            seen = [shown(browser, time, yaw) for yaw in YAWS]
            print(f"| {time:.2f} | " + " | ".join(f"{psnr(a, b):.1f}" for a, b in zip(seen, truths, strict=True)) + " |", flush=True)
            if given.out is not None:
                given.out.mkdir(parents=True, exist_ok=True)
                rows = np.concatenate([np.concatenate(row, axis=1) for row in (seen, truths)])
                Image.fromarray((rows * 255).round().astype(np.uint8)).save(given.out / f"{time:.2f}.png")
        if browser.errors:
            print(browser.errors, file=sys.stderr)


if __name__ == "__main__":
    main()
