"""The schema of the priors: shape, kind and range of every array, checked before a prior is written and after it is read.

Letters in a shape are sizes that must agree: small letters within one view, T over the whole prior, P, M, N and C wherever they appear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.files import give_back

Arrays = Mapping[str, NDArray[Any] | tuple[NDArray[Any], ...]]


@dataclass(frozen=True)
class Field:
    """What one array must be.

    Attributes:
        shape: numbers are exact, letters must agree.
        kinds: numpy's kinds of its type: "f" floating, "i" and "u" integers.
        low, high: inclusive range of the finite values, None for any.
        nan: NaN may stand for "unknown".
        per_view: a tuple with one array per view.
    """

    shape: tuple[str | int, ...]
    kinds: str = "f"
    low: float | None = None
    high: float | None = None
    nan: bool = False
    per_view: bool = False


def _image(*channels: str | int, kinds: str = "f", low: float | None = None, high: float | None = None, nan: bool = False) -> Field:
    return Field(("T", "h", "w", *channels), kinds, low, high, nan, per_view=True)


_KINDS = {"f": "floating", "i": "integer", "u": "unsigned"}
_SHARE = _image(low=0, high=1)
_PER_POINT = Field(("P",))

SCHEMAS: dict[str, dict[str, Field]] = {
    "cameras": {
        "K": Field(("V", "T", 3, 3), nan=True),
        "world_to_camera": Field(("V", "T", 4, 4), nan=True),
        "points": Field(("P", 3)),
        "points_error": _PER_POINT,
        "points_length": Field(("P",), "iu", low=0),
    },
    "masks": {"mask": _image(kinds="i", low=-1, high=1)},
    "depth": {"depth": _image(low=0), "confidence": _SHARE},
    "disparity": {"disparity": _image(low=0), "confidence": _SHARE},
    "pointmaps": {"xyz": _image(3, nan=True), "confidence": _SHARE},
    "matches": {
        "images": Field(("M", 4), "i", low=0),
        "pair": Field(("P",), "i", low=0),
        "xy_a": Field(("P", 2)),
        "xy_b": Field(("P", 2)),
        "confidence": Field(("P",), low=0, high=1),
    },
    "features": {"feature": _image("C")},
    "flow": {"forward": _image(2), "backward": _image(2), "forward_confidence": _SHARE, "backward_confidence": _SHARE},
    "longtracks": {
        "xy": Field(("M", 2)),
        "time": Field(("M",), "i", low=0),
        "track": Field(("M",), "i", low=0),
        "view": Field(("P",), "i", low=0),
    },
    "filmtracks": {"xy": Field(("M", 2)), "track": Field(("M",), "i", low=0), "first": Field(("F",), "i", low=0)},
    "still": {
        "means": Field(("N", 3)),
        "quat_wxyz": Field(("N", 4)),
        "log_scale": Field(("N", 3)),
        "opacity_logit": Field(("N",)),
        "color": Field(("N", 3)),
        "log_residual": Field(("N",)),
    },
    "tracks2d": {
        "xy": Field(("P", "T", 2)),
        "visibility": Field(("P", "T"), low=0, high=1),
        "confidence": Field(("P", "T"), low=0, high=1),
        "view": Field(("P",), "i", low=0),
        "query_time": Field(("P",), "i", low=0),
    },
    "tracks3d": {
        "xyz": Field(("P", "T", 3)),
        "visibility": Field(("P", "T"), low=0, high=1),
        "confidence": Field(("P", "T"), low=0, high=1),
        "color": Field(("P", 3)),
        "spacing": Field(("P",), low=0),
        "group": Field(("P",), "i"),
        "native": Field(("P",), "u", low=0, high=1),
    },
    "clouds": {
        "xyz": Field(("P", 3)),
        "index": Field(("P",), "i", low=0),
        "velocity": Field(("P", 3)),
        "color": Field(("P", 3)),
        "spacing": Field(("P",), low=0),
    },
}


def check_arrays(prior: str, arrays: Arrays, where: str = "") -> None:
    """FourfoldError naming the first array of the prior `prior` that is not what its schema says; `where` begins the sentence.

    A prior that has no schema is not checked.
    """
    for problem in _problems(prior, arrays):
        raise FourfoldError(f"{where or f'the prior {prior!r}'} {problem}")


def check_fit(prior: str, arrays: Arrays, sizes: NDArray[np.int64], times: int, where: str = "") -> None:
    """FourfoldError if a prior is not of a capture with V views of `sizes` (V, 2) width and height and `times` moments."""
    for name, field in SCHEMAS.get(prior, {}).items():
        value = arrays.get(name)
        if value is None:
            continue
        parts = value if isinstance(value, tuple) else (value,)
        views = len(parts) if field.per_view else (parts[0].shape[0] if field.shape[0] == "V" else len(sizes))
        got = [p.shape[field.shape.index("T")] for p in parts if "T" in field.shape]
        if views != len(sizes) or any(n != times for n in got):
            what = f"{where or f'the prior {prior!r}'} is of {views} views and {got[0] if got else times} moments"
            raise FourfoldError(f"{what}, the capture has {len(sizes)} and {times}: it belongs to another capture")
        if field.per_view and prior != "features":
            for view, part in enumerate(parts):
                if tuple(part.shape[1:3]) != (sizes[view][1], sizes[view][0]):
                    raise FourfoldError(
                        f"{where or f'the prior {prior!r}'} is {part.shape[2]}x{part.shape[1]} pixels in view {view}, the capture "
                        f"{sizes[view][0]}x{sizes[view][1]}: it belongs to another capture"
                    )


def _problems(prior: str, arrays: Arrays) -> Iterator[str]:
    fields = SCHEMAS.get(prior)
    if fields is None:
        return
    if missing := sorted(fields.keys() - {k for k, v in arrays.items() if v is not None}):
        yield f"has no array {missing[0]!r}"
    if unknown := sorted(arrays.keys() - fields.keys()):
        yield f"has an array {unknown[0]!r} that its schema does not know"
    shared: dict[str, int] = {}
    per_view: dict[tuple[int, str], int] = {}
    for name, field in fields.items():
        value = arrays[name]
        if isinstance(value, tuple) != field.per_view:
            ways = ("as one array", "one array per view") if field.per_view else ("per view", "one array")
            yield f"holds {name} {ways[0]}, expected {ways[1]}"
        for view, array in enumerate(value if isinstance(value, tuple) else (value,)):
            called = f"{name} of view {view}" if field.per_view else name
            yield from _array_problems(called, array, field, shared, per_view, view)
            give_back(array)  # of those that lie on the disk
    counts = {len(v) for v in arrays.values() if isinstance(v, tuple)}
    if len(counts) > 1:
        yield f"has arrays of {sorted(counts)} views, expected the same number of views in all"


def _array_problems(
    called: str, array: NDArray[Any], field: Field, shared: dict[str, int], per_view: dict[tuple[int, str], int], view: int
) -> Iterator[str]:
    if array.dtype.kind not in field.kinds:
        kinds = " or ".join(_KINDS[kind] for kind in field.kinds)
        yield f"holds {called} as {array.dtype}, expected {kinds} numbers"
    if array.ndim != len(field.shape):
        yield f"holds {called} of shape {array.shape}, expected {_shape(field)}"
        return
    for size, wanted in zip(array.shape, field.shape, strict=True):
        if isinstance(wanted, int):
            known = wanted
        else:
            known = per_view.setdefault((view, wanted), size) if wanted.islower() else shared.setdefault(wanted, size)
        if size != known:
            yield f"holds {called} of shape {array.shape}, expected {_shape(field)}" + (
                "" if isinstance(wanted, int) else f" with {wanted} = {known}"
            )
    if not array.size or array.dtype.kind not in "fiu":
        return
    low, high = _extremes(array, field.nan)
    if not field.nan and not (np.isfinite(low) and np.isfinite(high)):
        yield f"holds {called} with a number that is not finite"
    if (field.low is not None and low < field.low) or (field.high is not None and high > field.high):
        limits = f"{'' if field.low is None else f'{field.low:g}'}..{'' if field.high is None else f'{field.high:g}'}"
        yield f"holds {called} from {low:g} to {high:g}, expected {limits}"


def _extremes(array: NDArray[Any], nan: bool) -> tuple[float, float]:
    """Least and largest value; of the finite ones where NaN stands for unknown."""
    if nan:
        array = array[np.isfinite(array)]
        return (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    return float(array.min()), float(array.max())


def _shape(field: Field) -> str:
    return f"({', '.join(str(s) for s in field.shape)})"
