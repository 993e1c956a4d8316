"""What was estimated from the images: one output contract per prior, whoever provides it.

All pixel positions have pixel centres at +0.5; all depths run along the optical axis, 0 is unknown; confidence lies in [0, 1].
Images of view v are those the capture stores (its working resolution).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fourfold.errors import FourfoldError
from fourfold.files import give_back
from fourfold.priors.frames_kept import KeptFrames
from fourfold.priors.mapped import load_mapped, save_mapped
from fourfold.priors.schema import check_arrays, check_fit

SCHEMA = 2
HEADER = "fourfold"  # the only metadata key: several would come in no fixed order
_BLOCK = 1 << 20  # observations that are checked at once


@dataclass(frozen=True)
class Provenance:
    """Who made a prior: `provider`, whether it needed learned weights, sentences for the report, and its own figures (JSON-able). `key`, set where it
    is kept, is of all that it was made from, the provider's version included: what is made from another is something else."""

    provider: str
    needs_weights: bool = False
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True)
class Prior:
    """Base of all priors: a set of arrays with a provenance, kept as safetensors. Array fields may be tuples (one array per view).

    Those `on_disk` are never in memory as a whole: arrays that were loaded are views of the file.
    """

    name: ClassVar[str]
    on_disk: ClassVar[bool] = False
    provenance: Provenance

    @property
    def arrays(self) -> dict[str, Any]:
        """The array fields by name; a field with one array per view is a tuple."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "provenance" and getattr(self, f.name) is not None}

    def check(self, sizes: NDArray[np.int64] | None = None, times: int | None = None, where: str = "") -> None:
        """FourfoldError if an array is not what the contract says or, given `sizes` (V, 2) and `times`, not of that capture."""
        where = where or f"the prior {self.name!r} of {self.provenance.provider}"
        self._check_each(self.arrays, where)
        if sizes is not None and times is not None:
            check_fit(self.name, self.arrays, sizes, times, where)

    def save(self, directory: Path) -> Path:
        """Write `directory/<name>.safetensors`. FourfoldError if an array is not what the contract says; nothing is written then."""
        self.check()
        arrays: dict[str, NDArray[Any]] = {}
        for name, value in self.arrays.items():
            parts = {f"{name}.{i:03d}": a for i, a in enumerate(value)} if isinstance(value, tuple) else {name: value}
            arrays |= parts if self.on_disk else {k: np.ascontiguousarray(a) for k, a in parts.items()}
        path = directory / f"{self.name}.safetensors"
        metadata = {HEADER: json.dumps({"schema": SCHEMA, "prior": self.name, "provenance": _plain(self.provenance)})}
        if self.on_disk:
            save_mapped(arrays, path, metadata)
        else:
            save_file(arrays, path, metadata=metadata)
        return path

    @classmethod
    def _read(cls, path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
        if cls.on_disk:
            return load_mapped(path)
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - a safetensors file is not a dict

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote. FourfoldError if it is missing, damaged, of another schema or not what the contract says."""
        path = directory / f"{cls.name}.safetensors"
        try:
            metadata, arrays = cls._read(path)
            header = json.loads(metadata.get(HEADER, "{}"))
        except (OSError, ValueError, SafetensorError) as error:
            raise FourfoldError(f"the prior {path} cannot be read ({error}): delete it and run `fourfold prepare` again") from error
        if header.get("schema") != SCHEMA:
            raise FourfoldError(f"the prior {path} has schema {header.get('schema')}, this version reads {SCHEMA}: delete it and prepare again")
        if header.get("prior") != cls.name:
            raise FourfoldError(f"{path} holds the prior {header.get('prior')!r}, expected {cls.name!r}: delete it and prepare again")
        gathered = _gather(arrays)
        cls._check_each(gathered, f"the prior {path}")
        try:
            provenance = _provenance(header["provenance"])
        except (KeyError, TypeError, ValueError) as error:
            raise FourfoldError(f"the prior {path} does not say where it comes from: delete it and prepare again") from error
        return cls(provenance=provenance, **gathered)

    @classmethod
    def _check_each(cls, arrays: dict[str, Any], where: str) -> None:
        check_arrays(cls.name, arrays, where)


@dataclass(frozen=True)
class Cameras(Prior):
    """Estimated cameras.

    K (V, T, 3, 3) and world_to_camera (V, T, 4, 4) float64, NaN where a frame was not registered. points (P, 3) sparse cloud in the
    same world with points_error (P,) mean reprojection error in pixels and points_length (P,) number of images, all possibly empty.
    `provenance.figures["source"]` is the capture's `cameras` value: "estimated", "rotation" or "fixed".
    """

    name: ClassVar[str] = "cameras"
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    points: NDArray[np.float32]
    points_error: NDArray[np.float32]
    points_length: NDArray[np.int32]


@dataclass(frozen=True)
class Masks(Prior):
    """Moving-object masks: per view (T, H, W) int8, +1 moving object, -1 background, 0 do not use."""

    name: ClassVar[str] = "masks"
    on_disk: ClassVar[bool] = True
    mask: tuple[NDArray[np.int8], ...]

    def moving(self, view: int, time: int) -> NDArray[np.bool_]:
        """(H, W) where an image shows what moves."""
        return np.asarray(self.mask[view][time] > 0)


@dataclass(frozen=True)
class Depth(Prior):
    """Depth: per view depth (T, H, W) float16/float32 along the optical axis in scene units, 0 unknown, and confidence (T, H, W) float16."""

    name: ClassVar[str] = "depth"
    on_disk: ClassVar[bool] = True
    depth: tuple[NDArray[np.floating[Any]], ...]
    confidence: tuple[NDArray[np.floating[Any]], ...]


@dataclass(frozen=True)
class Disparity(Prior):
    """Relative disparity: per view disparity (T, H, W) float16/float32, an unknown affine function of 1/depth, larger is nearer, 0 unknown,
    and confidence (T, H, W) float16. Never used before it is aligned to a `Depth`."""

    name: ClassVar[str] = "disparity"
    disparity: tuple[NDArray[np.floating[Any]], ...]
    confidence: tuple[NDArray[np.floating[Any]], ...]


@dataclass(frozen=True)
class PointMaps(Prior):
    """Point maps: per view xyz (T, H, W, 3) float16/float32, the point seen by each pixel in the OpenCV axes of the image's own camera,
    NaN unknown, and confidence (T, H, W) float16. `provenance.figures["scale"]` is "scene" where a unit is a scene unit, or "relative".
    """

    name: ClassVar[str] = "pointmaps"
    xyz: tuple[NDArray[np.floating[Any]], ...]
    confidence: tuple[NDArray[np.floating[Any]], ...]


@dataclass(frozen=True)
class Matches(Prior):
    """P points seen in two images each.

    images (M, 4) int32 rows (view a, time index a, view b, time index b) of the image pairs; pair (P,) int32 row of `images`;
    xy_a, xy_b (P, 2) float32 pixels in the two images; confidence (P,) float16.
    """

    name: ClassVar[str] = "matches"
    images: NDArray[np.int32]
    pair: NDArray[np.int32]
    xy_a: NDArray[np.float32]
    xy_b: NDArray[np.float32]
    confidence: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Features(Prior):
    """Pixel features with one meaning in all images: per view feature (T, h, w, C) float16 on a grid that covers the image evenly
    (cell (i, j) is centred at pixel ((j + 0.5) W / w, (i + 0.5) H / h)); each channel has a standard deviation of about 1 over the capture.
    """

    name: ClassVar[str] = "features"
    feature: tuple[NDArray[np.floating[Any]], ...]


@dataclass(frozen=True)
class Flow(Prior):
    """Optical flow between neighbouring present frames of each view.

    Per view: forward (T, H, W, 2) float16, pixels (dx, dy) from frame t to the next present frame (zeros for the last), backward the
    same to the previous one, and forward_confidence, backward_confidence (T, H, W) float16 from the forward-backward check.
    """

    name: ClassVar[str] = "flow"
    forward: tuple[NDArray[np.floating[Any]], ...]
    backward: tuple[NDArray[np.floating[Any]], ...]
    forward_confidence: tuple[NDArray[np.floating[Any]], ...]
    backward_confidence: tuple[NDArray[np.floating[Any]], ...]


@dataclass(frozen=True)
class LongTracks(Prior):
    """Image tracks of whatever can be followed, found before cameras or masks are known; P tracks with M observations, track after track.

    xy (M, 2) float32 pixels of the stored images (the position is sub-pixel and may have been found at a higher resolution); time (M,) int32
    time index of each observation, increasing within a track, with a gap where it was hidden; track (M,) int32 number of its track,
    not decreasing; view (P,) int32. A track whose last observation is before its view's last present frame was lost there.
    """

    name: ClassVar[str] = "longtracks"
    xy: NDArray[np.float32]
    time: NDArray[np.int32]
    track: NDArray[np.int32]
    view: NDArray[np.int32]


@dataclass(frozen=True)
class FilmTracks(Prior):
    """The long tracks of a long film of one view, moment after moment, on the disk: M observations at T moments.

    xy (M, 2) float32 pixels of the stored images; track (M,) int32 number of the track, any order within a moment; first (T + 1,) int64 the
    first observation of each moment, and M.
    """

    name: ClassVar[str] = "filmtracks"
    on_disk: ClassVar[bool] = True
    xy: NDArray[np.float32]
    track: NDArray[np.int32]
    first: NDArray[np.int64]

    def at(self, moments: NDArray[np.intp]) -> LongTracks:
        """What is seen at the time indices `moments` (K,), which are numbered anew; tracks without an observation there are left out."""
        spans = [slice(int(self.first[t]), int(self.first[t + 1])) for t in moments]
        xy, track = (np.concatenate([np.array(values[span]) for span in spans]) for values in (self.xy, self.track))
        time = np.repeat(np.arange(len(moments), dtype=np.int32), [span.stop - span.start for span in spans])
        order = np.argsort(track, kind="stable")
        kept, number = np.unique(track[order], return_inverse=True)
        self.release()
        return LongTracks(self.provenance, xy[order], time[order], number.astype(np.int32), np.zeros(len(kept), np.int32))

    def release(self) -> None:
        """Give back the memory of what was looked at."""
        for values in (self.xy, self.track):
            give_back(values)

    @classmethod
    def _check_each(cls, arrays: dict[str, Any], where: str) -> None:
        """Block by block, so that the whole is never in memory."""
        for start in range(0, max(1, len(arrays.get("xy", ()))), _BLOCK):
            check_arrays(cls.name, {k: v if k == "first" else v[start : start + _BLOCK] for k, v in arrays.items()}, where)
            for values in arrays.values():
                give_back(values)


@dataclass(frozen=True)
class Still(Prior):
    """What stands still, as N Gaussians that were fitted to all frames while whatever moves was left out: the static layer's start.

    means (N, 3) scene units, quat_wxyz (N, 4), log_scale (N, 3), opacity_logit (N,), color (N, 3) RGB and log_residual (N,), the logarithm of
    the colour difference (0 to 1) that this Gaussian's texture leaves unexplained although it stands still; all float32.
    """

    name: ClassVar[str] = "still"
    means: NDArray[np.float32]
    quat_wxyz: NDArray[np.float32]
    log_scale: NDArray[np.float32]
    opacity_logit: NDArray[np.float32]
    color: NDArray[np.float32]
    log_residual: NDArray[np.float32]


@dataclass(frozen=True)
class Tracks2D(Prior):
    """P image tracks: xy (P, T, 2) float32 pixels, visibility (P, T) and confidence (P, T) float16, view (P,) int32, query_time (P,)
    int32 time index where the track was started. Where visibility is 0, xy is only a guess."""

    name: ClassVar[str] = "tracks2d"
    xy: NDArray[np.float32]
    visibility: NDArray[np.floating[Any]]
    confidence: NDArray[np.floating[Any]]
    view: NDArray[np.int32]
    query_time: NDArray[np.int32]


@dataclass(frozen=True)
class Tracks3D(Prior):
    """P tracks of moving points in the world.

    xyz (P, T, 3) float32 at every time index; visibility (P, T) float16 and confidence (P, T) float16; color (P, 3) float32 RGB;
    spacing (P,) float32 distance to the neighbouring points, scene units; group (P,) int32 number of the moving object (0, 1, ...);
    native (P,) uint8, 1 where xyz is a valid estimate also while hidden (a 3D tracker, a rigid object), 0 where it was lifted from 2D
    and must be filled in between visible moments.
    """

    name: ClassVar[str] = "tracks3d"
    xyz: NDArray[np.float32]
    visibility: NDArray[np.floating[Any]]
    confidence: NDArray[np.floating[Any]]
    color: NDArray[np.float32]
    spacing: NDArray[np.float32]
    group: NDArray[np.int32]
    native: NDArray[np.uint8]

    def rows(self, which: NDArray[np.generic]) -> Tracks3D:
        """Some of the tracks."""
        return replace(self, **{f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "provenance"})


@dataclass(frozen=True)
class Clouds(Prior):
    """P coloured points of what moves, each at one moment, moments listed in order.

    xyz (P, 3) float32 scene units; index (P,) int32 time index at which the point was there; velocity (P, 3) float32 scene units per
    second at that moment; color (P, 3) float32 RGB; spacing (P,) float32 distance to the neighbouring points of its moment, scene units.
    """

    name: ClassVar[str] = "clouds"
    xyz: NDArray[np.float32]
    index: NDArray[np.int32]
    velocity: NDArray[np.float32]
    color: NDArray[np.float32]
    spacing: NDArray[np.float32]


P = TypeVar("P", bound=Prior)


@dataclass
class Priors:
    """All priors of one capture; None where the recipe asked for none. `advice` are plain sentences for the report; `kept` keeps a slow
    provider's finished frames while it works."""

    masks: Masks | None = None
    depth: Depth | None = None
    flow: Flow | None = None
    tracks2d: Tracks2D | None = None
    tracks3d: Tracks3D | None = None
    clouds: Clouds | None = None
    disparity: Disparity | None = None
    pointmaps: PointMaps | None = None
    matches: Matches | None = None
    features: Features | None = None
    cameras: Cameras | None = None
    longtracks: LongTracks | None = None
    filmtracks: FilmTracks | None = None
    still: Still | None = None
    advice: list[str] = field(default_factory=list)
    kept: KeptFrames = field(default_factory=KeptFrames)

    def require(self, kind: type[P]) -> P:
        """The prior of a kind; FourfoldError naming it where it is missing."""
        found = getattr(self, kind.name)
        if found is None:
            raise FourfoldError(f"this recipe needs the prior {kind.name!r}, and no provider could make it for this capture")
        return found


def _plain(provenance: Provenance) -> dict[str, Any]:
    return {f.name: getattr(provenance, f.name) for f in fields(provenance)}


def _provenance(value: dict[str, Any]) -> Provenance:
    return Provenance(value["provider"], value["needs_weights"], tuple(value["notes"]), value["figures"], value.get("key", ""))


def _gather(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key in sorted(arrays):
        stem, _, part = key.partition(".")
        if part:
            result.setdefault(stem, []).append(arrays[key])
        else:
            result[stem] = arrays[key]
    return {k: tuple(v) if isinstance(v, list) else v for k, v in result.items()}
