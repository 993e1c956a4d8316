"""Photos in colours of their own ICC profile, such as a phone's Display P3, as sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from fourfold.errors import FourfoldError
from fourfold.untrusted.images import opened_image

LARGEST = 4 << 20  # bytes of a profile; those of printers have 2 MB
ALIKE = 2  # levels by which colours may differ for a profile to be taken as sRGB itself
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's words for a profile's colour space
STEPS = (0, 51, 102, 153, 204, 255)


def in_srgb(image: Image.Image) -> Image.Image:
    """`image` (RGB, RGBA, L or CMYK) in sRGB, opacity as it was; as it is without a profile, or with one that says nothing else or is damaged."""
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or image.mode not in ("RGB", "RGBA", "L", "CMYK"):
        return image
    transform = _transform(data, "RGB" if image.mode == "RGBA" else image.mode)[0]
    if transform is None:
        return image
    done = ImageCms.applyTransform(image.convert("RGB") if image.mode == "RGBA" else image, transform)
    if done is not None and image.mode == "RGBA":
        done.putalpha(image.getchannel("A"))
    return image if done is None else done


def profile_words(path: Path) -> str:
    """What is done to the colours of a photo by its profile, "" if nothing."""
    try:
        with opened_image(path) as image:
            data, mode = image.info.get("icc_profile"), "RGB" if image.mode == "RGBA" else image.mode
            if not isinstance(data, bytes):
                return ""
            transform, name = _transform(data, mode)
            return f"colours of the profile {name!r} brought to sRGB" if transform is not None else ""
    except FourfoldError:  # a damaged photo is told when it is decoded
        return ""


@lru_cache(maxsize=8)
def _transform(data: bytes, mode: str) -> tuple[Any, str]:
    """From the profile `data` to sRGB for images of `mode`, None where nothing has to be done; and the profile's name."""
    if len(data) > LARGEST:
        return None, ""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        name = " ".join(ImageCms.getProfileDescription(profile).split())[:60]
        opened: Any = profile.profile  # Pillow's stubs know it as a file only
        if MODES.get(str(opened.xcolor_space).strip()) != mode:
            return None, name
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
        if mode == "RGB" and _same(transform):
            return None, name
        return transform, name
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None, ""


def _same(transform: Any) -> bool:
    colours = Image.fromarray(np.array(list(product(STEPS, repeat=3)), np.uint8)[None])
    done = ImageCms.applyTransform(colours, transform)
    return done is not None and int(np.abs(np.asarray(done).astype(int) - np.asarray(colours)).max()) <= ALIKE
