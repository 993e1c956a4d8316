"""What a reader owes damaged files: one sentence that names the file, never another exception."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourfold.errors import FourfoldError


def damage_is_one_sentence(
    read: Callable[[Path], Any], bad: Path, whole: bytes, lengths: Iterable[int], changes: int, bytes_each: int, rng: np.random.Generator
) -> None:
    """`whole` cut to each of `lengths` is refused, and changed at random, `changes` times in `bytes_each` bytes, read or refused."""
    for length in lengths:
        bad.write_bytes(whole[:length])
        with pytest.raises(FourfoldError, match=bad.name.replace(".", r"\.")):
            read(bad)
    for _ in range(changes):
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), bytes_each):
            changed[at] = rng.integers(0, 256)
        bad.write_bytes(bytes(changed))
        try:
            read(bad)
        except FourfoldError as error:
            assert bad.name in str(error) and "\n" not in str(error)
