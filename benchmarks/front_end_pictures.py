"""One track of a finished run on its way from pixels to a Gaussian: a picture of every stage, and the track's own figures as JSON.

    fourfold reconstruct ../shared/data/clips/duck -o out/duck
    python benchmarks/front_end_pictures.py --run out/duck --out docs/images/front_end.jpg

The track is the longest of those that stay inside the masks of what moves; a circle marks it in every picture. See docs/front_end.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from contact_sheets import outlined, reduced, save_small
from fourfold.capture.capture import Capture
from fourfold.evaluation.side_view import views_beside
from fourfold.geometry.gaussians import Gaussians
from fourfold.pipeline import Run
from fourfold.priors.contracts import Cameras, LongTracks, Masks, Still, Tracks3D
from fourfold.render.api import RasterOptions, rasterize

Image8 = NDArray[np.uint8]
WIDTH = 320  # pixels of a picture
SHOWN = 8  # frames of a track's tail
SPARSE = 8  # one track in so many is drawn
TITLES = ("1 tracks", "2 cameras from above", "3 what moves", "4 what stands still", "5 tracks in space", "6 Gaussians, 20 degrees aside")


def kept(root: Path, prior: type[Any]) -> Any:
    """The newest prior of a kind in a run's folder."""
    files = sorted(root.glob(f"priors/*/{prior.name}.safetensors"), key=lambda p: p.stat().st_mtime)
    return prior.load(files[-1].parent)


def chosen_track(tracks: LongTracks, masks: Masks) -> NDArray[np.int64]:
    """Numbers of the observations of the longest track of which nine tenths lie inside the masks."""
    x, y = (tracks.xy.astype(int)[:, i] for i in (0, 1))
    view = tracks.view[tracks.track]
    inside = np.array([masks.mask[v][t, r, c] > 0 for v, t, r, c in zip(view, tracks.time, y, x, strict=True)])
    length = np.bincount(tracks.track)
    share = np.bincount(tracks.track, inside) / np.maximum(length, 1)
    return np.flatnonzero(tracks.track == np.argmax(np.where(share >= 0.9, length, 0)))


def tails(image: Image8, tracks: LongTracks, moment: int) -> Image8:
    """`image` with the last SHOWN frames of one in SPARSE tracks seen in it, long ones warm, short ones cold."""
    drawn, length = image.copy(), np.bincount(tracks.track)
    recent = (tracks.time <= moment) & (tracks.time > moment - SHOWN) & (tracks.view[tracks.track] == 0)
    for number in np.unique(tracks.track[(tracks.time == moment) & recent])[::SPARSE]:
        path = tracks.xy[recent & (tracks.track == number)]
        warm = min(1.0, length[number] / 30)
        cv2.polylines(drawn, [np.round(path).astype(np.int32)], False, (int(255 * warm), 160, int(255 * (1 - warm))), 1, cv2.LINE_AA)
    return drawn


def from_above(cameras: Cameras, still: Still, size: tuple[int, int]) -> Image8:
    """(H, W, 3) what stands still and the camera path on the plane of the middle camera's right and forward axes."""
    pose = cameras.world_to_camera[0]
    centres = -np.einsum("tji,tj->ti", pose[:, :3, :3], pose[:, :3, 3])
    axes = pose[len(pose) // 2][[0, 2], :3]
    flat, path = still.means[::3] @ axes.T, centres @ axes.T
    low, high = np.percentile(np.concatenate([flat, path]), [3, 90], axis=0)
    low, high = np.minimum(low, path.min(0)), np.maximum(high, path.max(0))
    scale = 0.9 * np.min(np.array(size) / np.maximum(high - low, 1e-9))

    def place(points: NDArray[Any]) -> NDArray[np.int32]:
        at = (points - (low + high) / 2) * scale * [1, -1] + np.array(size) / 2
        return np.round(at).astype(np.int32)

    picture = np.full((size[1], size[0], 3), 255, np.uint8)
    for x, y in place(flat):
        cv2.circle(picture, (int(x), int(y)), 1, (120, 120, 120), -1)
    cv2.polylines(picture, [place(path)], False, (200, 30, 30), 2, cv2.LINE_AA)
    return picture


def still_picture(still: Still, capture: Capture, moment: int) -> Image8:
    """The static scene through the filmed camera."""
    values = (torch.from_numpy(np.ascontiguousarray(v)) for v in (still.means, still.quat_wxyz, still.log_scale, still.opacity_logit, still.color))
    color = rasterize(Gaussians(*values), capture.camera_at(0, moment)).color
    return (color.clamp(0, 1) * 255 + 0.5).byte().numpy()


def in_space(image: Image8, tracks: Tracks3D, capture: Capture, moment: int) -> Image8:
    """`image`, dimmed, with every 3D track at its place, near ones warm and far ones cold."""
    pose, K = capture.world_to_camera[0, moment], capture.K[0, moment]
    local = tracks.xyz[:, moment] @ pose[:3, :3].T + pose[:3, 3]
    local = local[local[:, 2] > 0]
    drawn, rank = image // 3, np.argsort(np.argsort(local[:, 2])) / max(len(local) - 1, 1)
    for (x, y), far in zip(local[:, :2] / local[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2], rank, strict=True):
        cv2.circle(drawn, (round(x), round(y)), 1, (int(255 * (1 - far)), 140, int(255 * far)), -1, cv2.LINE_AA)
    return drawn


def told(run: Run, tracks: LongTracks, own: NDArray[np.int64], at: NDArray[np.float32], moment: int) -> dict[str, Any]:
    """The track's figures, and those of the Gaussian that shows its pixel at `moment`."""
    capture, scene = run.capture, run.scene
    camera, gaussians = replace(capture.camera_at(0, moment), near=scene.near), scene.at(float(capture.timestamps[moment]))
    drawn = rasterize(gaussians, camera, options=RasterOptions(top_contributor=True))
    row = -1 if drawn.top is None else int(drawn.top[int(at[1]), int(at[0])])
    layer = next((name for name, rows in scene.slices().items() if rows.start <= row < rows.stop), None)
    opacity = None if row < 0 else round(float(gaussians.opacity[row]), 3)
    times = tracks.time[own]
    figures = {"track": int(tracks.track[own[0]]), "observations": len(own), "first": int(times[0]), "last": int(times[-1]), "moment": moment}
    return figures | {"pixel": [round(float(v), 2) for v in at], "gaussian": row, "layer": layer, "opacity": opacity}


def main() -> None:
    """Write the picture of a run and print the figures of its track."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run of one film")
    parser.add_argument("--out", type=Path, default=Path("docs/images/front_end.jpg"))
    chosen = parser.parse_args()
    run = Run(chosen.run)
    capture, tracks, masks = run.capture, kept(chosen.run, LongTracks), kept(chosen.run, Masks)
    own = chosen_track(tracks, masks)
    middle = own[len(own) // 2]
    moment, at = int(tracks.time[middle]), tracks.xy[middle]
    image = np.array(capture.image(0, moment))
    size = (WIDTH, round(WIDTH * image.shape[0] / image.shape[1]))
    aside = views_beside(run.scene, capture, (0, moment))
    pictures = [
        tails(image, tracks, moment),
        from_above(kept(chosen.run, Cameras), kept(chosen.run, Still), size),
        outlined(image, masks.mask[0][moment]),
        still_picture(kept(chosen.run, Still), capture, moment),
        in_space(image, kept(chosen.run, Tracks3D), capture, moment),
        image if aside is None else aside[2],
    ]
    cells = []
    for number, (picture, title) in enumerate(zip(pictures, TITLES, strict=True)):
        cell = Image.fromarray(reduced(picture, size))
        pen = ImageDraw.Draw(cell)
        if number in (0, 2, 4):  # pictures through the filmed camera that show the mover
            x, y = at * size[0] / image.shape[1]
            pen.ellipse((x - 6, y - 6, x + 6, y + 6), outline=(255, 0, 255), width=2)
        pen.rectangle((0, 0, 8 + 6 * len(title), 13), fill="white")
        pen.text((4, 1), title, fill="black")
        cells.append(np.asarray(cell))
    page = np.concatenate([np.concatenate(cells[:3], 1), np.concatenate(cells[3:], 1)])
    save_small(Image.fromarray(page), chosen.out)
    print(json.dumps(told(run, tracks, own, at, moment)))


if __name__ == "__main__":
    main()
