"""A COLMAP text model beside `images/CAMERA/FRAME.png` and `masks/`, as LetCamsGo's captures come. Source: COLMAP's format documentation."""

from __future__ import annotations

from pathlib import Path

from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.capture.writers.writer import (
    Writer,
    holdout_losses,
    kind_losses,
    present_frames,
    save_image,
    save_masks,
    time_losses,
    unknown_cameras,
)

READ_AS = 30.0


def write(capture: Capture, folder: Path) -> list[str]:
    """`sparse/0/{cameras,images,points3D}.txt` with a PINHOLE camera per distinct intrinsics, images and masks in one folder per view."""
    cameras: dict[str, int] = {}
    images = []
    for number, (v, t) in enumerate(present_frames(capture), 1):
        K, pose, (width, height) = capture.K[v, t], capture.world_to_camera[v, t], (int(n) for n in capture.sizes[v])
        line = f"PINHOLE {width} {height} " + " ".join(repr(float(x)) for x in (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
        camera = cameras.setdefault(line, len(cameras) + 1)
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        values = " ".join(repr(float(n)) for n in (w, x, y, z, *pose[:3, 3]))
        name = f"{_folder(capture, v)}/{t:05d}.png"
        images += [f"{number} {values} {camera} {name}", ""]
        save_image(folder / "images" / name, capture, v, t)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("".join(f"{number} {line}\n" for line, number in cameras.items()))
    (model / "images.txt").write_text("\n".join(images) + "\n")
    (model / "points3D.txt").write_text("")
    lost = save_masks(capture, lambda v, t: folder / "masks" / _folder(capture, v) / f"{t:05d}.png")
    return lost + holdout_losses(capture) + kind_losses(capture, "masks") + time_losses(capture, READ_AS)


def _folder(capture: Capture, view: int) -> str:
    """The view's name without spaces, at which COLMAP would end an image's name."""
    return capture.view_names[view].replace(" ", "_")


WRITERS = (Writer("colmap", "a COLMAP model with one folder of images per camera", unknown_cameras, write),)
