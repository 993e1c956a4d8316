"""How large the player's page is, what its packing loses, and how busy it keeps its own thread, on generated scenes of ten seconds.

A room of coloured walls, and in it bodies that walk and turn on ten shared motions with a knot per frame; 300 frames filmed by one slowly circling
camera. Gaussians lie on surfaces and are coloured like their neighbours up to a little noise; sizes, rotations and opacities are random. Each page is
opened from its file in headless Chromium with the network off and played for a while; the page itself counts the milliseconds that a frame keeps
its thread besides drawing. Prints Markdown. Run:
    python benchmarks/player_size.py [--counts 50000 200000 1000000] [--seconds 10] [--play 20]
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro

from fourfold.capture.capture import Capture
from fourfold.export.packing import PackingError
from fourfold.geometry.rigid import make_rigid, se3_exp
from fourfold.geometry.rotations import matrix_to_rotation6d, so3_exp
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene
from fourfold.viewer.player import write_player

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import Browser, find_browser

MOVING = {50_000: 15_000, 200_000: 50_000, 1_000_000: 300_000}
BASES, RATE = 10, 30
BEFORE = {50_000: 9.4, 200_000: 34.6, 1_000_000: 200.7}  # MB of the page with forty baked keyframes, of scenes of the same numbers


@dataclass(frozen=True)
class Settings:
    """What to try."""

    counts: list[int] = field(default_factory=lambda: [50_000, 200_000, 1_000_000])
    """Gaussians."""

    seconds: float = 10.0
    """Length of the recording."""

    play: float = 20.0
    """Seconds that a page is played at least."""

    width: int = 320
    """Of the browser's window, pixels; its height is three quarters of that."""

    out: Path | None = None
    """Where the pages are kept; nowhere if not given."""


def looks(points: torch.Tensor, random: torch.Generator) -> dict[str, torch.Tensor]:
    """Gaussians at `points` (N, 3), coloured by place."""
    count = len(points)
    waves = torch.sin(points @ torch.randn(3, 3, generator=random) * 1.5 + torch.arange(3.0))
    return {
        "means": points,
        "quat_wxyz": torch.randn(count, 4, generator=random),
        "log_scale": 0.4 * torch.randn(count, 3, generator=random) - 4.2,
        "opacity_logit": 1.5 * torch.randn(count, generator=random) + 1,
        "color_logit": 1.2 * waves + 0.15 * torch.randn(count, 3, generator=random),
    }


def room(count: int, random: torch.Generator) -> torch.Tensor:
    """(N, 3) points on the walls and the floor of a room of six units."""
    points = 6 * torch.rand(count, 3, generator=random) - 3
    wall = torch.randint(3, (count,), generator=random)
    points[torch.arange(count), wall] = 3.0
    return points


def walkers(count: int, frames: int, seconds: float, random: torch.Generator) -> Layer:
    """Bodies on shared motions that swing, turn and go about the room."""
    body = torch.randint(5, (count,), generator=random)
    around = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=1) * torch.tensor([0.3, 0.9, 0.25])
    middle = torch.tensor([[-1.5, 1.5, 0.0], [0.0, 1.6, -1.0], [1.4, 1.5, 0.3], [-0.6, 1.7, 1.0], [0.8, 1.4, -0.2]])
    points = around + middle[body]
    times = torch.linspace(0, seconds, frames)
    phase, speed = 6.3 * torch.rand(BASES, 6, generator=random), 1 + 5 * torch.rand(BASES, 6, generator=random)
    size = torch.tensor([0.25, 0.1, 0.25, 0.15, 0.5, 0.15]) * torch.rand(BASES, 6, generator=random)
    poses = se3_exp(size[:, None] * torch.sin(phase[:, None] + speed[:, None] * times[:, None]))
    home = torch.randn(BASES, 3, generator=random) * torch.tensor([0.8, 0.5, 0.6]) + middle[torch.arange(BASES) % 5]
    logits = -4 * (points[:, None] - home).square().sum(-1) + 0.1 * torch.randn(count, BASES, generator=random)
    shared = {"rotation6d": matrix_to_rotation6d(poses[..., :3, :3]), "translation": poses[..., :3, 3]}
    return Layer("walkers", DYNAMIC, SE3Bases(), looks(points, random) | {"motion_logits": logits}, shared, {"knots": times, "pivot": middle.mean(0)})


def circling(frames: int, seconds: float) -> Capture:
    """One camera that swings a quarter of a radian to both sides, 640 x 480."""
    angle = 0.25 * torch.sin(torch.linspace(0, 6.28, frames, dtype=torch.float64))
    rotation = so3_exp(angle[:, None] * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    poses = make_rigid(rotation, torch.tensor([0.0, -0.5, 5.5], dtype=torch.float64).expand(frames, 3))
    flags = np.ones((1, frames), bool)
    K = np.array([[520.0, 0, 320], [0, 520.0, 240], [0, 0, 1]])
    times = np.linspace(0, seconds, frames)
    where = (np.tile(K, (1, frames, 1, 1)), poses.numpy()[None], times, np.array([[640, 480]]))
    return Capture(Path("none"), *where, flags, flags, ~flags, "given", False, "walkers", ("camera",))


def generated(count: int, seconds: float) -> tuple[Scene, Capture]:
    """The scene of `count` Gaussians and what filmed it."""
    random, frames, moving = torch.Generator().manual_seed(0), round(seconds * RATE), MOVING.get(count, count // 4)
    still = Layer("room", STATIC, Static(), looks(room(count - moving, random), random))
    return Scene([still, walkers(moving, frames, seconds, random)], (0.0, seconds), near=0.05), circling(frames, seconds)


def played(page: Path, settings: Settings) -> tuple[float, float, int]:
    """Seconds until the page shows its first picture, milliseconds a frame besides drawing, and frames."""
    program = find_browser()
    if program is None:
        return float("nan"), float("nan"), 0
    with tempfile.TemporaryDirectory() as profile, Browser(program, Path(profile)) as browser:
        since = time.perf_counter()
        browser.open(page.as_uri(), settings.width, settings.width * 3 // 4)
        browser.until("document.body && screen && screen.sorted", 600)
        opened = time.perf_counter() - since
        time.sleep(settings.play)
        browser.until("document.body.dataset.frames", 600)
        if browser.errors:
            print(browser.errors, file=sys.stderr)
        return opened, float(browser.ask("document.body.dataset.busy")), int(browser.ask("document.body.dataset.frames"))


def main(settings: Settings) -> None:
    """Print a line for each number of Gaussians."""
    print("| Gaussians (moving) | page before, MB | page, MB | pixels | dB | written, s | opened, s | ms a frame besides drawing | frames |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for count in settings.counts:
            scene, capture = generated(count, settings.seconds)
            page = (settings.out or Path(scratch)) / f"player_{count}.html"
            since = time.process_time()
            error: PackingError = write_player(page, scene, capture)
            spent = time.process_time() - since
            opened, busy, frames = played(page, settings)
            size, moving = page.stat().st_size / 1e6, len(scene.layers[1])
            told = f"{error.pixels:.3f} | {error.decibels:.1f} | {spent:.0f} | {opened:.1f} | {busy:.2f} | {frames}"
            print(f"| {count:,} ({moving:,}) | {BEFORE.get(count, float('nan'))} | {size:.2f} | {told} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Settings))
