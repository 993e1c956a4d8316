"""What a writer of a layout is, and the parts that writers share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture

Matrix = NDArray[np.float64]
CLOCK = 90_000  # ticks per second of the videos written, MPEG's habit
SAME = 1e-9  # relative difference below which two numbers of a camera are one


@dataclass(frozen=True)
class Writer:
    """One layout that a capture can be written in.

    Attributes:
        name: what `fourfold convert --to` calls it.
        layout: what it is, in words.
        refuses: (capture) -> None, or the reason, continuing "... cannot be written: ", why this layout cannot hold the capture.
        write: (capture, empty folder) -> sentences on what of the capture the layout has no place for.
    """

    name: str
    layout: str
    refuses: Callable[[Capture], str | None]
    write: Callable[[Capture, Path], list[str]]


def save_image(path: Path, capture: Capture, view: int, index: int) -> None:
    """One image as PNG, RGBA where the capture knows which pixels are valid."""
    image, alpha = capture.image(view, index), capture.alpha(view, index)
    if alpha is not None and capture.facts.get("alpha_means") == "valid":
        image = np.dstack([image, alpha])
    save_png(path, image)


def save_png(path: Path, image: NDArray[np.uint8]) -> None:
    """An image as PNG; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(path, compress_level=1)


def save_masks(capture: Capture, place: Callable[[int, int], Path], on: int = 255) -> list[str]:
    """The object masks as PNGs with `on` for the object; says so if pixels to ignore became background."""
    ignored = False
    for view, index in present_frames(capture):
        mask = capture.mask(view, index)
        if mask is not None:
            save_png(place(view, index), np.where(mask > 0, on, 0).astype(np.uint8))
            ignored |= bool((mask == 0).any())
    return ["mask pixels that were neither object nor background became background"] if ignored else []


def save_json(path: Path, value: Any) -> None:
    """`value` as JSON with every digit of its numbers; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def save_video(path: Path, capture: Capture, view: int) -> None:
    """The frames of a view as a lossless H.264 RGB video with their own times."""
    import av

    width, height = (int(n) for n in capture.sizes[view])
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=max(1, round(rate_of(capture))), options={"crf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        for index in range(capture.times):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(capture.image(view, index)), format="rgb24")
            frame.pts, frame.time_base = round(float(capture.timestamps[index]) * CLOCK), Fraction(1, CLOCK)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def present_frames(capture: Capture) -> list[tuple[int, int]]:
    """(view, time index) of every image."""
    return [(int(v), int(t)) for v, t in np.argwhere(capture.present)]


def rate_of(capture: Capture) -> float:
    """Mean frames per second; 30 for a single moment."""
    return (capture.times - 1) / float(capture.timestamps[-1] - capture.timestamps[0]) if capture.times > 1 else 30.0


def time_losses(capture: Capture, read_as: float | None) -> list[str]:
    """What a layout that only numbers its frames loses: `read_as` is the rate at which they are read again, None for the capture's own mean."""
    rate, gaps = rate_of(capture), np.diff(capture.timestamps)
    lost = ["the moments are not evenly spaced, the layout only numbers them"] if len(gaps) and np.ptp(gaps) > 1e-3 * gaps.mean() else []
    if read_as is not None and abs(rate - read_as) > 1e-3 * rate:
        lost.append(f"the frame rate of {rate:.6g} is not stored: {read_as:g} frames per second are assumed by readers")
    return lost


def holdout_losses(capture: Capture) -> list[str]:
    """For layouts that cannot say what is held out."""
    return ["which frames are held out is not stored: give --holdout when it is read"] if capture.heldout.any() else []


def kind_losses(capture: Capture, *stored: str) -> list[str]:
    """A sentence for masks and depth that are there and not among the `stored` kinds."""
    return [f"{kind} are not stored" for kind in ("masks", "depth") if kind not in stored and any(capture.has(kind, v) for v in range(capture.views))]


def unknown_cameras(capture: Capture) -> str | None:
    """The reason why nothing that stores cameras can hold the capture, or None."""
    known = np.isfinite(capture.K).all((2, 3)) & np.isfinite(capture.world_to_camera).all((2, 3))
    return None if known[capture.present].all() else "its cameras are not known, estimate them with `fourfold prepare` and convert that run"


def moving_view(capture: Capture) -> str | None:
    """The reason why a layout of fixed cameras cannot hold the capture, or None."""
    for v in range(capture.views):
        at = np.flatnonzero(capture.present[v])
        if not (close(capture.world_to_camera[v, at], capture.world_to_camera[v, at[0]]) and close(capture.K[v, at], capture.K[v, at[0]])):
            return f"the camera of view {capture.view_names[v]!r} moves and the layout is of fixed cameras"
    return None


def missing_frame(capture: Capture) -> str | None:
    """The reason why a layout of whole videos cannot hold the capture, or None."""
    return None if capture.present.all() else "a view has no image at some moments and the layout needs all of them"


def off_centre(capture: Capture) -> str | None:
    """The reason why a layout with one focal length and a centred principal point cannot hold the capture, or None."""
    for v, t in present_frames(capture):
        (width, height), K = capture.sizes[v], capture.K[v, t]
        if not close(np.array([K[0, 0], K[0, 2], K[1, 2], K[0, 1]]), np.array([K[1, 1], width / 2, height / 2, 0.0]), float(width)):
            return (
                f"view {capture.view_names[v]!r} has a principal point off the centre, and the layout stores one focal length and the image's centre"
            )
    return None


def other_sizes(capture: Capture) -> str | None:
    """The reason why a layout with one image size cannot hold the capture, or None."""
    return None if (capture.sizes == capture.sizes[0]).all() else "its views have images of different sizes and the layout states one"


def first_reason(capture: Capture, checks: Sequence[Callable[[Capture], str | None]]) -> str | None:
    """The first reason that any of `checks` gives."""
    return next((reason for check in checks if (reason := check(capture)) is not None), None)


def close(a: Matrix, b: Matrix, scale: float | None = None) -> bool:
    """Whether all numbers agree to SAME of `scale` (of the largest number if not given)."""
    return bool(np.abs(a - b).max() <= SAME * (scale if scale is not None else max(1.0, float(np.abs(b).max()))))


def camera_to_world(world_to_camera: Matrix) -> Matrix:
    """(..., 4, 4) inverse of a rigid transform."""
    rotation = np.swapaxes(world_to_camera[..., :3, :3], -1, -2)
    result = np.zeros_like(world_to_camera)
    result[..., :3, :3], result[..., 3, 3] = rotation, 1.0
    result[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, world_to_camera[..., :3, 3])
    return result
