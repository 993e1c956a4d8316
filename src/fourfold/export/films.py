"""WebM with VP9, which keeps transparency, and animated GIF."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold.errors import FourfoldError
from fourfold.files import replacing

QUALITY = "18"  # VP9's constant quality: close to what is seen as lossless; a larger number makes smaller files
SHOWN = 128  # of 255: a GIF's pixel is there or not
TICKS = 100  # per second: a GIF counts time in hundredths


def write_webm(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> int:
    """Encode frames (H, W, 3) RGB or (H, W, 4) RGBA, all of one size, as a WebM; returns how many.

    Colours are 4:2:0, so sizes are made even by leaving the last odd row or column out. FourfoldError without frames or encoder.
    """
    import av
    from av.codec.codec import UnknownCodecError

    first, rest = _begun(path, frames)
    alpha, count = first.shape[2] == 4, 0
    with replacing(Path(path)) as temporary, av.open(str(temporary), mode="w", format="webm") as container:
        try:
            stream = container.add_stream("libvpx-vp9", rate=Fraction(fps).limit_denominator(1001))
        except (UnknownCodecError, ValueError) as error:
            raise FourfoldError("this build of PyAV has no libvpx-vp9: install PyAV from PyPI, or write PNG frames instead") from error
        stream.height, stream.width = (max(2, n - n % 2) for n in first.shape[:2])
        stream.pix_fmt = "yuva420p" if alpha else "yuv420p"
        stream.options = {"crf": QUALITY, "b:v": "0", "deadline": "good", "cpu-used": "4", "auto-alt-ref": "0"}
        for frame in rest:
            pixels = np.ascontiguousarray(frame[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba" if alpha else "rgb24")))
            count += 1
        container.mux(stream.encode(None))
    return count


def write_gif(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> int:
    """Write frames (H, W, 3) RGB or (H, W, 4) RGBA as an endless GIF of 256 colours a frame; returns how many. FourfoldError without frames."""
    _, rest = _begun(path, frames)
    pictures = [_paletted(frame) for frame in rest]
    edges = np.rint(np.arange(len(pictures) + 1) * TICKS / fps).astype(int)  # rounded sums: the film keeps its length
    steps = [int(step) * 1000 // TICKS for step in np.maximum(np.diff(edges), 2)]
    options = {"transparency": 255, "disposal": 2} if pictures[0].info.get("transparency") is not None else {}
    with replacing(Path(path)) as temporary:
        pictures[0].save(temporary, "GIF", save_all=True, append_images=pictures[1:], duration=steps, loop=0, optimize=False, **options)
    return len(pictures)


def _paletted(frame: NDArray[np.uint8]) -> Image.Image:
    """The frame in 256 colours, in 255 and one for what is not there."""
    if frame.shape[2] == 3:
        return Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE)
    picture = Image.fromarray(np.ascontiguousarray(frame[..., :3])).quantize(255, dither=Image.Dither.NONE)
    index = np.asarray(picture).copy()
    index[frame[..., 3] < SHOWN] = 255
    colors = picture.getpalette() or []
    result = Image.fromarray(index)
    result.putpalette([*colors, *[0] * (768 - len(colors))])
    result.info["transparency"] = 255
    return result


def _begun(path: Path, frames: Iterable[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], Iterable[NDArray[np.uint8]]]:
    """The first frame and all of them. FourfoldError if there is none."""
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise FourfoldError(f"there is nothing to write into {path}: the list of frames is empty")
    return first, chain([first], stream)
