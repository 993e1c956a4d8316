"""PlayCanvas' SOG, version 2: lossless WebP pictures with a pixel per Gaussian and a JSON that tells their meaning, in one ZIP.

Source of the format: https://developer.playcanvas.com/user-manual/gaussian-splatting/formats/sog/
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.gaussians import Gaussians
from fourfold.splats.codebook import book, palette
from fourfold.splats.convention import SH_DC, TERMS, degree_of, from_smallest_three, smallest_three
from fourfold.splats.drawn import LEAST_OPAQUE, MOST_OPAQUE
from fourfold.untrusted.images import MOST_PIXELS

FIRST_TAG = 252  # the alpha of a quaternion says which part is the largest: 252 w, 253 x, 254 y, 255 z
PER_ROW = 64  # entries of the palette in a row of its picture
MOST_META = 1 << 20  # bytes
NO_DATE = (1980, 1, 1, 0, 0, 0)  # the same scene gives the same bytes


def encode_sog(gaussians: Gaussians) -> bytes:
    """The file of `gaussians` (`drawn.plain` ones), all in order: neighbours in the list should be neighbours in space."""
    g = gaussians
    width = max(4, math.ceil(math.sqrt(max(len(g), 1)) / 4) * 4)
    logged = (g.means.sign() * g.means.abs().log1p()).double().numpy()
    low, high = (logged.min(0), logged.max(0)) if len(g) else (np.zeros(3), np.zeros(3))
    steps = np.rint((logged - low) / np.maximum(high - low, 1e-30) * 65535).astype(np.uint16)
    sizes, size_of = book(g.log_scale.numpy())
    tints, tint_of = book(((g.color - 0.5) / SH_DC).numpy())
    largest, others = smallest_three(g.quat_wxyz)
    turns = torch.cat([((others * 2**0.5 + 1) * 127.5).round().clamp(0, 255), (FIRST_TAG + largest)[:, None]], dim=1)
    alpha = (torch.sigmoid(g.opacity_logit) * 255).round()[:, None]
    pictures = {
        "means_l.webp": _picture((steps & 255).astype(np.uint8), width),
        "means_u.webp": _picture((steps >> 8).astype(np.uint8), width),
        "scales.webp": _picture(size_of, width),
        "quats.webp": _picture(turns.to(torch.uint8).numpy(), width),
        "sh0.webp": _picture(np.concatenate([tint_of, alpha.to(torch.uint8).numpy()], axis=1), width),
    }
    meta: dict[str, Any] = {
        "version": 2,
        "asset": {"generator": "fourfold"},
        "count": len(g),
        "antialias": False,
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": sizes.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": tints.tolist(), "files": ["sh0.webp"]},
    }
    if g.sh_rest is not None and len(g) and g.sh_rest.shape[1]:
        meta["shN"], more = _harmonics_to_pictures(g.sh_rest, width)
        pictures |= more
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in {"meta.json": json.dumps(meta).encode(), **pictures}.items():
            archive.writestr(zipfile.ZipInfo(name, NO_DATE), data)
    return out.getvalue()


def decode_sog(data: bytes, name: str) -> Gaussians:
    """The Gaussians of a file of version 2. FourfoldError, naming the file, for anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            meta = json.loads(_member(archive, "meta.json", MOST_META))
            if meta.get("version") != 2:
                raise FourfoldError(f"{name} is no SOG file of version 2: write it again with a newer program")
            return _from_pictures(archive, meta, len(data), name)
    except FourfoldError:
        raise
    except Exception as error:  # damaged ZIP, JSON and WebP fail in many ways, found by changing bytes of good files
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise FourfoldError(f"{name} is no SOG file, or damaged ({said}): copy it again or write it again") from error


def _from_pictures(archive: zipfile.ZipFile, meta: dict[str, Any], size: int, name: str) -> Gaussians:
    count, most = int(meta["count"]), 4 * size + MOST_META  # WebP inside a ZIP hardly packs
    if not 0 <= count <= MOST_PIXELS:
        raise FourfoldError(f"{name} promises {count} Gaussians, at most {MOST_PIXELS} are read: write it in parts")

    def pixels(what: str, index: int = 0) -> NDArray[np.uint8]:
        return _pixels(_member(archive, str(meta[what]["files"][index]), most), count)

    low, high = (np.array(meta["means"][side], np.float64) for side in ("mins", "maxs"))
    steps = pixels("means")[:, :3].astype(np.int64) | (pixels("means", 1)[:, :3].astype(np.int64) << 8)
    logged = torch.from_numpy(low + (high - low) * (steps / 65535.0))
    means = (logged.sign() * logged.abs().expm1()).float()
    turns = pixels("quats")
    others = (torch.from_numpy(turns[:, :3].astype(np.float32)) / 127.5 - 1) / 2**0.5
    quats = from_smallest_three(torch.from_numpy(turns[:, 3].astype(np.int64) - FIRST_TAG).clamp(0, 3), others)
    sizes, tints = (np.array(meta[what]["codebook"], np.float32) for what in ("scales", "sh0"))
    shade = pixels("sh0")
    opacity = torch.logit((torch.from_numpy(shade[:, 3].astype(np.float32)) / 255).clamp(LEAST_OPAQUE, MOST_OPAQUE))
    color = torch.from_numpy(tints[shade[:, :3]]) * SH_DC + 0.5
    rest = None
    if "shN" in meta:
        labels = pixels("shN", 1)[:, :2].astype(np.int64) @ [1, 256]
        rest = _entries(meta["shN"], _member(archive, str(meta["shN"]["files"][0]), most))[torch.from_numpy(labels)]
    return Gaussians(means, quats, torch.from_numpy(sizes[pixels("scales")[:, :3]]), opacity, color, rest)


def _harmonics_to_pictures(rest: Tensor, width: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `meta.json` says of harmonics (N, terms, 3), and the pictures of their palette and of which entry each Gaussian has."""
    terms = rest.shape[1]
    centers, labels = palette(rest.flatten(1))
    values, value_of = book(centers.numpy())
    rows = math.ceil(len(centers) / PER_ROW)
    entries = np.zeros((rows * PER_ROW, terms, 3), np.uint8)
    entries[: len(centers)] = value_of.reshape(len(centers), terms, 3)
    of = np.stack([labels.numpy() & 255, labels.numpy() >> 8, np.zeros(len(labels), np.int64)], axis=1).astype(np.uint8)
    meta = {
        "count": len(centers),
        "bands": degree_of(terms),
        "codebook": values.tolist(),
        "files": ["shN_centroids.webp", "shN_labels.webp"],
    }
    return meta, {"shN_centroids.webp": _webp(entries.reshape(rows, PER_ROW * terms, 3)), "shN_labels.webp": _picture(of, width)}


def _entries(meta: dict[str, Any], data: bytes) -> Tensor:
    """(P, terms, 3) the palette of harmonics."""
    terms = TERMS[int(meta["bands"])]
    picture = _opened(data)
    rows, values = picture.shape[0], np.array(meta["codebook"], np.float32)
    return torch.from_numpy(values[picture[..., :3].reshape(rows * PER_ROW, terms, 3)])


def _picture(pixels: NDArray[np.uint8], width: int) -> bytes:
    """A picture with the rows of `pixels` (N, 3 or 4) as its pixels, `width` of them side by side."""
    height = max(4, math.ceil(len(pixels) / width / 4) * 4)
    whole = np.zeros((height * width, pixels.shape[1]), np.uint8)
    whole[: len(pixels)] = pixels
    return _webp(whole.reshape(height, width, -1))


def _webp(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, exact=True, quality=75, method=4)
    return out.getvalue()


def _pixels(data: bytes, count: int) -> NDArray[np.uint8]:
    """(count, 4) the first pixels of a picture. ValueError if it has fewer."""
    picture = _opened(data).reshape(-1, 4)
    if len(picture) < count:
        raise ValueError(f"a picture has {len(picture)} pixels for {count} Gaussians")
    return picture[:count]


def _opened(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
        if picture.size[0] * picture.size[1] > MOST_PIXELS:
            raise ValueError(f"a picture is {picture.size[0]}x{picture.size[1]}")
        return np.asarray(picture.convert("RGBA"))


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """One file of the ZIP, of at most `most` bytes. ValueError if it is larger."""
    if archive.getinfo(name).file_size > most:
        raise ValueError(f"{name} unpacks to more than the file has")
    with archive.open(name) as file:
        return file.read(most)
