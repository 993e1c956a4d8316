"""`.4dgs` files as scenes, written by us or by somebody else; both temporal models become straight flights within windows of time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.export.dot4dgs.columns import harmonics_from_bytes
from fourfold.export.dot4dgs.surroundings import NOTES
from fourfold.scene.motion.flights import EVER, Flying
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene
from fourfold.untrusted.files import read_bytes

MOST_BYTES = 4 << 30
MOST_OPAQUE = 1 - 1e-6
FADELESS = 1e4  # seconds: the library's keyframe writer has no word for what never fades, so writers put a large number
KEPT_COLOR = 1e-4  # colours are kept this far from 0 and 1, where their logits end


@dataclass(frozen=True)
class Pieces:
    """Columns of M pieces as NumPy arrays: see `scene.flights.Flights`, times in seconds of the file, and `identity` (M,) of their Gaussian."""

    identity: NDArray[np.int64]
    means: NDArray[np.float64]
    scales: NDArray[np.float64]
    quat_wxyz: NDArray[np.float64]
    colors: NDArray[np.float64]
    velocity: NDArray[np.float64]
    moment: NDArray[np.float64]
    sigma: NDArray[np.float64]
    begin: NDArray[np.float64]
    end: NDArray[np.float64]
    harmonics: NDArray[Any] | None = None


def read_4dgs(path: Path) -> Scene:
    """The scene in a `.4dgs` file; its Gaussians lie in layers "static" and "moving", or in the layers that Fourfold wrote.

    Raises:
        FourfoldError: the file is missing, damaged, cut short, or of a kind that the library does not know.
    """
    return pieces_and_scene(path)[1]


def pieces_and_scene(path: Path) -> tuple[list[NDArray[np.int64]], Scene]:
    """The scene in a file, and per layer (M,) which Gaussian of the scene that was written each of its rows is a piece of."""
    data = read_bytes(Path(path), MOST_BYTES)
    try:
        from fourdgs.exceptions import FourdgsError

        try:
            header, told = _front(data)
            pieces = _keyframes(data) if header.temporal_model == "keyframe-delta" else _births(data)
        except FourdgsError as error:
            raise FourfoldError(f"{path} is not a .4dgs file that can be read ({_short(error)}): copy it again or write it again") from error
        return _scene(pieces, header, told)
    except FourfoldError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError, RuntimeError, AttributeError) as error:
        raise FourfoldError(f"{path} is damaged ({_short(error)}): copy it again or write it again") from error


def _front(data: bytes) -> tuple[Any, dict[str, str]]:
    """The header, and our notes where Fourfold wrote the file."""
    from fourdgs import opcode
    from fourdgs.records import Header, Metadata
    from fourdgs.serialization import MAGIC, check_magic, iter_records

    check_magic(data)
    header, told = None, {}
    for record in iter_records(data, len(MAGIC)):
        if record.opcode == opcode.HEADER and header is None:
            header = Header.parse(record.content)
        elif record.opcode == opcode.METADATA:
            entry = Metadata.parse(record.content)
            told = entry.entries if entry.name == NOTES else told
    if header is None:
        raise FourfoldError("a .4dgs file without a header cannot be read: write it again")
    return header, told


def _births(data: bytes) -> Pieces:
    import fourdgs

    g = fourdgs.read(data, recover_truncated=False).gaussians
    named = g.source_index is not None and len(g.source_index) == g.count
    identity = np.asarray(g.source_index, np.int64).reshape(-1) if named else np.arange(g.count)
    looks = (_wide(g.positions), _wide(g.scales), _wide(g.rotations)[:, [3, 0, 1, 2]], _wide(g.colors), _wide(g.motions))
    return Pieces(identity, *looks, _wide(g.mu_t), _wide(g.sigma_t), _wide(g.win_lo), _wide(g.win_hi), g.sh if g.sh_degree else None)


def _keyframes(data: bytes) -> Pieces:
    """One piece per Gaussian and state; a state that goes on as before lengthens the piece before."""
    from fourdgs import keyframe_delta_file as kdf

    decoded = kdf.decode_streamed(data)
    grids, parts = decoded.grids, []
    for chunk in decoded.chunks:
        state = kdf._dequantize(chunk.state, grids)  # pyright: ignore[reportPrivateUsage]
        count = chunk.state.count
        last = np.inf if chunk is decoded.chunks[-1] else chunk.t1
        span = np.full(count, chunk.t0), np.full(count, last)
        looks = (state["positions"], state["scales"], state["rotations"][:, [3, 0, 1, 2]], state["colors"], state["motions"])
        sigma = np.where(state["sigma_t"] > FADELESS, np.inf, state["sigma_t"])
        parts.append(Pieces(np.asarray(chunk.state.ids, np.int64), *looks, state["mu_t"], sigma, *span))
    return _merged(parts)


def _merged(parts: list[Pieces]) -> Pieces:
    """All pieces in order of Gaussian and time, with those joined that neither move nor look different from the one before."""
    columns = ["identity", "means", "scales", "quat_wxyz", "colors", "velocity", "moment", "sigma", "begin", "end"]
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    order = np.lexsort((whole["begin"], whole["identity"]))
    whole = {name: value[order] for name, value in whole.items()}
    same = whole["identity"][1:] == whole["identity"][:-1]
    same &= (whole["begin"][1:] == whole["end"][:-1]) & (np.abs(whole["velocity"][1:]).max(axis=1, initial=0) == 0)
    for name in ("means", "scales", "quat_wxyz", "colors", "velocity", "sigma"):
        value = whole[name].reshape(len(order), -1)
        same &= (value[1:] == value[:-1]).all(axis=1)
    starts = np.flatnonzero(np.concatenate([[True], ~same])[: len(order)])
    ends = np.concatenate([starts[1:], [len(order)]]) - 1
    last = whole["end"][ends] if len(starts) else whole["end"]
    whole = {name: value[starts] for name, value in whole.items()}
    return Pieces(**(whole | {"end": last}))


def _scene(pieces: Pieces, header: Any, told: dict[str, str]) -> tuple[list[NDArray[np.int64]], Scene]:
    begin = float(told.get("begin", "0"))
    span = (begin, float(told["end"]) if "end" in told else begin + header.duration_sec)
    layers: list[Layer] = []
    identities: list[NDArray[np.int64]] = []
    for name, role, rows in _parts(pieces, told):
        if len(rows):
            layers.append(_layer(name, role, pieces, rows, begin))
            identities.append(pieces.identity[rows])
    if not layers:
        layers, identities = [_layer("static", STATIC, pieces, np.arange(0), begin)], [np.zeros(0, np.int64)]
    background, up = (tuple(float(x) for x in json.loads(told.get(key, default))) for key, default in (("background", "[0,0,0]"), ("up", "[0,1,0]")))
    scale = json.loads(told.get("scale", "null"))
    (red, green, blue), (x, y, z) = background, up
    return identities, Scene(layers, span, None if scale is None else float(scale), (red, green, blue), (x, y, z), float(told.get("near", "0.01")))


def _parts(pieces: Pieces, told: dict[str, str]) -> list[tuple[str, str, NDArray[np.int64]]]:
    """(name, role, rows) of each layer: as Fourfold noted them, otherwise what stands for ever and the rest."""
    if "layers" in told:
        named, start, result = json.loads(told["layers"]), 0, []
        for name, role, count in named:
            inside = (pieces.identity >= start) & (pieces.identity < start + int(count))
            result.append((str(name), str(role), np.flatnonzero(inside)))
            start += int(count)
        return result
    stands = ~np.isfinite(pieces.sigma) & (np.abs(pieces.velocity).max(axis=1, initial=0) == 0) & ~np.isfinite(pieces.end) & (pieces.begin <= 0)
    return [("static", STATIC, np.flatnonzero(stands)), ("moving", DYNAMIC, np.flatnonzero(~stands))]


def _layer(name: str, role: str, pieces: Pieces, rows: NDArray[np.int64], begin: float) -> Layer:
    """The pieces at `rows` as a layer; without motion where all of them stand for ever."""
    alpha = _tensor(pieces.colors[rows, 3]).clamp(1e-6, MOST_OPAQUE)
    splats = {
        "means": _tensor(pieces.means[rows]),
        "quat_wxyz": _tensor(pieces.quat_wxyz[rows]),
        "log_scale": _tensor(pieces.scales[rows]).clamp_min(1e-12).log(),
        "opacity_logit": torch.logit(alpha),
        "color_logit": torch.logit(_tensor(pieces.colors[rows, :3]).clamp(KEPT_COLOR, 1 - KEPT_COLOR)),
    }
    if pieces.harmonics is not None:
        splats["sh_rest"] = harmonics_from_bytes(pieces.harmonics[rows])
    first, last, sigma = pieces.begin[rows] + begin, pieces.end[rows] + begin, pieces.sigma[rows]
    if role == STATIC and not np.isfinite(sigma).any() and np.all(pieces.velocity[rows] == 0) and not np.isfinite(last).any():
        return Layer(name, role, Static(), splats)
    lived = {
        "velocity": _tensor(pieces.velocity[rows]),
        "time_center": _tensor(pieces.moment[rows] + begin),
        "log_duration": _tensor(np.log(np.clip(sigma, 1e-9, EVER))),
        "begin": _tensor(np.clip(np.where(first <= begin, -EVER, first), -EVER, EVER)),
        "end": _tensor(np.clip(last, -EVER, EVER)),
    }
    return Layer(name, role, Flying(), splats | lived)


def _wide(value: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(value, np.float64)


def _tensor(value: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value, np.float32))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
