"""Scenes that bend, turn or change as `keyframe-delta`: a state per moment, straight motion within it, and what changed since the last one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.dot4dgs.columns import columns
from fourfold.export.dot4dgs.straight import StraightConfig, about, finer
from fourfold.export.dot4dgs.surroundings import front_records
from fourfold.scene.flights import Flights
from fourfold.scene.scene import Scene

ENDLESS = 1e6  # seconds: the library's writer wants a finite fading, and this one changes nothing in a lifetime


@dataclass(frozen=True)
class KeyframeConfig:
    """Numbers of a `keyframe-delta` file.

    Attributes:
        profile: the format's name for its finest steps; see `steps` for positions.
        every: seconds from one whole state to the next, what a player must read to begin in the middle.
        straight: how many states there are.
        most_states: Gaussians times moments that are held at once; the library wants them all (about 250 bytes each).
    """

    profile: str = "fine"
    every: float = 1.0
    straight: StraightConfig = StraightConfig()
    most_states: int = 40_000_000


def encode_keyframes(scene: Scene, capture: Capture, times: NDArray[np.float64], config: KeyframeConfig = KeyframeConfig()) -> bytes:
    """The file of any scene, with states for each of `times` (seconds)."""
    from fourdgs.keyframe_delta_file import write_sequence
    from fourdgs.keyframe_delta_writer import KeyframeDeltaOptions

    begin, end = scene.time_range
    length = max(end - begin, 1e-3)
    count = sum(len(layer) for layer in scene.layers)
    cuts = finer(scene, capture, times, config.straight, config.most_states // max(count, 1))
    check_states(count, len(cuts), config.most_states)
    with torch.no_grad():
        samples = [_sample(scene, center, (first, last if last < end else begin + length), length) for center, (first, last) in cuts.pieces()]
    per_group = max(1, round(config.every * len(samples) / length))
    data = write_sequence(
        samples, length, kd=KeyframeDeltaOptions(keyframe_every=per_group), profile=config.profile, cutoff=1 / 255, library="fourfold"
    )
    return _with_records(data, front_records(scene, capture))


def check_states(count: int, moments: int, most: int) -> None:
    """FourfoldError if `count` Gaussians at `moments` are more than `most` states."""
    if count * moments > most:
        raise FourfoldError(f"{count} Gaussians at {moments} moments are more than a .4dgs file is written of at once: give fewer --frames")


def _sample(scene: Scene, center: float, piece: tuple[float, float], length: float) -> Any:
    """What is visible about `center`, moving straight from the piece's beginning to its end."""
    from fourdgs.keyframe_delta_writer import Sample

    rows, looks, velocity = about(scene, center, piece)
    one, begin = torch.ones(len(rows)), scene.time_range[0]
    flown = Flights(torch.arange(len(rows)), looks.means, velocity, center * one, ENDLESS * one, begin * one, (begin + 2 * length) * one)
    return Sample(piece[0] - begin, rows.numpy(), columns(replace(looks, sh_rest=None), flown, rows, begin))


def _with_records(data: bytes, records: list[bytes]) -> bytes:
    """`data` with `records` between its chunks and its index: offsets of chunks stay, only the footer points farther."""
    from fourdgs import opcode
    from fourdgs.records import Footer
    from fourdgs.serialization import MAGIC, iter_records

    at, footer = next((record.offset, Footer.parse(record.content)) for record in iter_records(data, len(MAGIC)) if record.opcode == opcode.FOOTER)
    extra = b"".join(records)
    moved = Footer(footer.summary_start + len(extra), 0, footer.summary_crc)
    return data[: footer.summary_start] + extra + data[footer.summary_start : at] + moved.encode() + MAGIC
