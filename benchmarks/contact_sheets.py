"""Contact sheets of real clips: a row per moment with what was filmed, the masks of what moves, and the scene from 0, -20 and +20 degrees.

    python benchmarks/contact_sheets.py --data ../shared/data/clips --clips duck teddy.mp4 --runs out/sheets --out docs/images

A clip is reconstructed as a user would, with nothing said but the quality; a run that is there continues or serves. Held-out moments are shown,
so that neither column was trained on. Each sheet is a JPEG of less than 200 kB.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fourfold.evaluation.heldout import scorable_frames
from fourfold.evaluation.side_view import SideOptions, front_camera, side_score, views_beside
from fourfold.pipeline import Run, reconstruct
from fourfold.priors.providers import prepare_priors
from fourfold.render.api import rasterize

COLUMNS = ("filmed, held out", "what moves", "scene", "-20 degrees", "+20 degrees")
MOST_BYTES = 200_000
BAR = 16  # pixels of the line of words above the pictures
Image8 = NDArray[np.uint8]


def reduced(image: Image8, size: tuple[int, int]) -> Image8:
    """`image` at `size` (width, height), averaged over areas."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BOX))


def outlined(image: Image8, mask: NDArray[np.int8] | None) -> Image8:
    """`image` dimmed where nothing moves; as it is where masks are missing."""
    if mask is None:
        return image
    return np.where((mask > 0)[..., None], image, image // 4 + np.uint8(24)).astype(np.uint8)


def row(run: Run, masks: Any, frame: tuple[int, int], options: SideOptions) -> Image8:
    """(h, 5 w, 3) the pictures of one moment."""
    capture, scene = run.capture, run.scene
    camera = front_camera(scene, capture, frame, options.longest)
    size = (camera.width, camera.height)
    filmed = reduced(capture.image(*frame), size)
    mask = None if masks is None else masks.mask[frame[0]][frame[1]]
    shown = outlined(capture.image(*frame), mask)
    beside = views_beside(scene, capture, frame, options)
    if beside is None:  # nothing moves here: the scene itself, three times
        picture = rasterize(scene.at(float(capture.timestamps[frame[1]])), camera).color.detach().clamp(0, 1)
        beside = [(picture * 255 + 0.5).byte().cpu().numpy()] * 3
    return np.concatenate([filmed, reduced(shown, size), beside[1], beside[0], beside[2]], axis=1)


def sheet(run: Run, rows: int, longest: int) -> Image.Image:
    """The sheet of a finished run, with the names of the columns above it and the figures below."""
    options = SideOptions(longest=longest)
    masks = prepare_priors(run.capture, ("masks",), run.root / "priors").priors.masks
    frames = scorable_frames(run.capture)
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, rows + 2).round().astype(int)[1:-1])]
    body = np.concatenate([row(run, masks, frame, options) for frame in chosen])
    page = Image.new("RGB", (body.shape[1], body.shape[0] + 2 * BAR), "white")
    page.paste(Image.fromarray(body), (0, BAR))
    pen, width = ImageDraw.Draw(page), body.shape[1] // len(COLUMNS)
    for number, words in enumerate(COLUMNS):
        pen.text((number * width + 4, 2), words, fill="black")
    pen.text((4, body.shape[0] + BAR + 2), figures(run), fill="black")
    return page


def figures(run: Run) -> str:
    """The report's figures in a line."""
    report, side = run.report, side_score(run.scene, run.capture)
    ours, copied = report["metrics"]["heldout"], report["baselines"]["nearest_frame"]
    parts = [f"{report['recipe']}, {report['quality']}"]
    for name, words in (("psnr", "whole"), ("psnr_dynamic", "moving")):
        if ours.get(name) is not None and copied.get(name) is not None:
            parts.append(f"{words} {ours[name]:.2f} dB (nearest frame {copied[name]:.2f})")
    return ", ".join([*parts, "nothing moves" if side is None else f"side score {side.score:.2f}"])


def save_small(page: Image.Image, path: Path) -> None:
    """Write a JPEG of at most MOST_BYTES, with the best quality that fits."""
    for quality in range(90, 20, -5):
        buffer = io.BytesIO()
        page.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def main() -> None:
    """Reconstruct every clip and write its sheet; prints one JSON object a clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the clips")
    parser.add_argument("--clips", nargs="+", required=True, help="names of videos or folders in it")
    parser.add_argument("--runs", type=Path, default=Path("out/sheets"), help="folder of the runs, one per clip")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--quality", default="normal", choices=("draft", "normal", "best"))
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--longest", type=int, default=256, help="longer side of a picture, pixels")
    chosen = parser.parse_args()
    for clip in chosen.clips:
        run = Run(chosen.runs / Path(clip).stem)
        if not (run.root / "report.json").exists():
            run = reconstruct(chosen.data / clip, run.root, quality=chosen.quality)
        path = chosen.out / f"sheet_{run.root.name}.jpg"
        save_small(sheet(run, chosen.rows, chosen.longest), path)
        print(json.dumps({"clip": clip, "sheet": str(path), "bytes": path.stat().st_size, "figures": figures(run)}), flush=True)


if __name__ == "__main__":
    main()
