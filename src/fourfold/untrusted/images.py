"""Image files of unknown origin through Pillow: sizes are checked before pixels are decoded, and damage gets a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from fourfold.errors import FourfoldError
from fourfold.untrusted.files import BoundedReader

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
MOST_PIXELS = 100_000_000  # of one image: three times 8K; more is not a frame of a film


@cache
def reads_heif() -> bool:
    """Whether photos of phones in HEIC can be read: with the library pillow-heif."""
    return find_spec("pillow_heif") is not None


@cache
def _prepare_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def declared_pixels(path: Path) -> int | None:
    """How many pixels the header of an image states, None where Pillow does not understand it."""
    try:
        with BoundedReader(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                return image.size[0] * image.size[1]
    except Image.DecompressionBombError:
        return MOST_PIXELS + 1
    except Exception:  # as for `opened_image`; who reads the file says what is wrong with it
        return None


def exif_tags(path: Path) -> dict[int, Any]:
    """What EXIF says of an image, its camera's part too, by the tags' numbers; nothing of a damaged one, which is told when it is decoded."""
    try:
        with opened_image(path) as image:
            exif = image.getexif()
            return dict(exif) | dict(exif.get_ifd(0x8769))
    except FourfoldError:
        return {}


@contextmanager
def opened_image(path: Path, what: str = "an image") -> Iterator[Image.Image]:
    """The image in `path`, not decoded yet. Whatever goes wrong with it while it is open is a FourfoldError.

    Raises:
        FourfoldError: it is missing, damaged, of an unknown kind, or of more than `MOST_PIXELS` pixels.
    """
    try:
        if path.suffix.lower() in HEIF_SUFFIXES and reads_heif():
            _prepare_heif()
        with BoundedReader(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes that are checked here
            with Image.open(file) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise FourfoldError(f"{path} is {width}x{height}, at most {MOST_PIXELS // 10**6} million pixels are read: reduce it first")
                yield image
    except FourfoldError:
        raise
    except FileNotFoundError as error:
        raise FourfoldError(f"{path} is missing: replace it") from error
    except Exception as error:  # Pillow's decoders raise whatever their parsers meet in a damaged file
        raise FourfoldError(f"{path} cannot be read as {what}: replace or remove it") from error
