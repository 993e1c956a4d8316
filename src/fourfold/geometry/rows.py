"""Tables: frozen dataclasses of arrays that all have one row for each of the same things."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """Arrays with one row for each of P things."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def rows(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Those `which`."""
        return type(self)(*(getattr(self, f.name)[which] for f in fields(self)))

    @classmethod
    def joined(cls, parts: list[Any]) -> Self:
        """All of `parts`, tables of this kind, of which there is one at least."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))
