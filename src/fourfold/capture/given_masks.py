"""Masks that came with the images: how they are to be read is told by what they hold, and said.

Tools differ in polarity: COLMAP and instant-ngp mark what is to be left out, trackers and matting mark the object. An object seldom fills most of
the image and most of its border too, so a mask that does is of the background, unless what it leaves out touches the border and stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import FrameFiles, FrameList, image_orientation, load_mask, load_valid, stored_size
from fourfold.capture.mask_levels import LOOKED_AT, MaskReading, decide, mask_values, read_object_mask, read_valid_mask, sample
from fourfold.capture.source import Source, ViewSource, noted
from fourfold.errors import FourfoldError

MOST = 0.5  # share of the image, and of its border, above which what is on is the background
ALMOST_ALL, ALL_ROUND = 0.9, 0.97  # shares of the image and of its border above which motion is not asked
UNSURE = 0.1  # that much more of the image may be the object where motion cannot be asked
MORE_MOTION = 2.0  # change where a mask is on over change where it is off, from which it is the object all the same
BORDER = 0.02  # of the shorter side
SHAPE = 0.02  # relative difference of side ratios up to which two sizes are of one picture
UNSIZED = frozenset({".npy", ".npz"})  # files whose header no image library reads
SMALL = (160, 96)  # images of which motion is looked at
VIEWS_LOOKED_AT, PAIRS_LOOKED_AT = 8, 4


def settle_masks(source: Source) -> Source:
    """`source` with its mask files read as they are meant, and notes of how. FourfoldError for a mask of another shape than its image."""
    views = tuple(_settled_valid(view) for view in source.views)
    having = [v for v in views if isinstance(v.masks, FrameFiles) and v.masks.load is load_mask]
    looked_at = [having[i] for i in np.unique(np.linspace(0, len(having) - 1, VIEWS_LOOKED_AT).round().astype(int))] if having else []
    if not looked_at:
        return replace(source, views=views)
    for view in having:
        _check_shapes(view)
    each = max(2, LOOKED_AT // len(looked_at))
    files = [p for v in looked_at for p in sample(_used(v.masks), each)]
    if not files:
        return replace(source, views=views)
    reading = decide(files)
    share, border = shares(files, reading)
    sure = share > ALMOST_ALL or border > ALL_ROUND
    background = share > MOST and border > MOST and (sure or _motion_ratio(looked_at[0], reading) < MORE_MOTION)
    reading = replace(reading, inverted=background)
    settled = {v.name: _with_reading(v, reading) for v in having}
    done = replace(source, views=tuple(settled.get(v.name, v) for v in views))
    return noted(done, *_sentences(reading, share, border))


def inverted(files: Sequence[Path], reading: MaskReading) -> bool:
    """Whether masks without images to look at are on over nearly all pixels and most of the border."""
    share, border = shares(sample(files), reading)
    return share > ALMOST_ALL - UNSURE and border > MOST and share < 1


def shares(files: Sequence[Path], reading: MaskReading) -> tuple[float, float]:
    """Share of all pixels, and of those at the images' borders, that are on before any inversion."""
    on, at_border = [], []
    for file in files:
        mask = read_object_mask(file, replace(reading, inverted=False)) > 0
        width = max(1, round(BORDER * min(mask.shape)))
        edge = np.ones(mask.shape, bool)
        edge[width:-width, width:-width] = False
        on.append(float(mask.mean()))
        at_border.append(float(mask[edge].mean()))
    return float(np.mean(on)), float(np.mean(at_border))


def _sentences(reading: MaskReading, share: float, border: float) -> list[str]:
    said = [reading.words] if reading.words else []
    if reading.inverted:
        said.append(
            f"masks are on over {share:.0%} of the images and {border:.0%} of their border: taken as the background, what is off as the object"
        )
    elif share > MOST:
        said.append(f"masks are on over {share:.0%} of the images: more than half is taken as the object")
    elif share == 0:
        said.append("masks are given and mark nothing in any image looked at: no object")
    return said


def _used(frames: FrameList | None) -> list[Path]:
    return [p for p in frames.paths if p is not None] if isinstance(frames, FrameFiles) else []


def _with_reading(view: ViewSource, reading: MaskReading) -> ViewSource:
    """`view` whose object masks are read so."""
    masks = view.masks
    if not isinstance(masks, FrameFiles):
        return view
    return replace(view, masks=replace(masks, load=partial(read_object_mask, reading=_as_shown(reading, masks, view))))


def _check_shapes(view: ViewSource) -> None:
    """FourfoldError for a mask that no scaling brings over its image, upright or as it was stored."""
    width, height = view.frames.size
    for path in _used(view.masks):
        if path.suffix.lower() in UNSIZED:
            continue
        w, h = stored_size(path)
        allowed = SHAPE + 1 / min(w, h)
        if min(abs(a * height / (b * width) - 1) for a, b in ((w, h), (h, w))) > allowed:
            raise FourfoldError(
                f"{path} is {w}x{h} for images of {width}x{height}: give masks of the shape of their images, or take that folder away"
            )


def _as_shown(reading: MaskReading, masks: FrameFiles, view: ViewSource) -> MaskReading:
    """`reading`, turned where masks lie as the stored photo does and not as the upright one."""
    shown = sample(_used(view.frames), 1)
    orientation = image_orientation(shown[0]) if shown else reading.orientation
    high, wide = mask_values(_used(masks)[0])[0].shape
    fits = [abs(w * view.frames.size[1] / (h * view.frames.size[0]) - 1) < SHAPE for w, h in ((wide, high), (high, wide))]
    return replace(reading, orientation=orientation) if orientation.transposed and fits == [False, True] else reading


def _settled_valid(view: ViewSource) -> ViewSource:
    """`view` whose files of valid pixels are read at half of their range; which side is valid is part of their layout."""
    valid = view.valid
    if not isinstance(valid, FrameFiles) or valid.load is not load_valid or not _used(valid):
        return view
    reading = _as_shown(decide(sample(_used(valid))), valid, view)
    return replace(view, valid=replace(valid, load=partial(read_valid_mask, reading=reading)))


def _motion_ratio(view: ViewSource, reading: MaskReading) -> float:
    """How much more changes between consecutive images where the masks are on than where they are off; 0 where that cannot be told."""
    masks = view.masks
    pairs = [(int(a), int(b)) for a, b in zip(view.frame_of_time, view.frame_of_time[1:], strict=False) if 0 <= a < b]
    if not pairs or not isinstance(masks, FrameFiles):
        return 0.0
    inside, outside = [], []
    for pair in [pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, PAIRS_LOOKED_AT).round().astype(int))]:
        path = masks.paths[pair[0]]
        if path is None:
            continue
        before, after = (_grey(f) for f in view.frames.decode(pair))
        on = cv2.resize((read_object_mask(path, reading) > 0).astype(np.uint8), SMALL, interpolation=cv2.INTER_NEAREST) > 0
        if on.any() and not on.all():
            inside.append(float(np.abs(after - before)[on].mean()))
            outside.append(float(np.abs(after - before)[~on].mean()))
    return float(np.mean(inside) / max(np.mean(outside), 1e-6)) if inside else 0.0


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.resize(image[..., :3].mean(axis=2).astype(np.float32), SMALL, interpolation=cv2.INTER_AREA)
