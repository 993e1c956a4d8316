"""`Capture`: what was filmed. V views x T times on disk, read lazily."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fourfold.errors import FourfoldError
from fourfold.files import check_undamaged, give_back, reseal, write_json
from fourfold.geometry.camera import Camera
from fourfold.untrusted.arrays import load_array
from fourfold.untrusted.records import Record, load_record

CameraSource = Literal["given", "estimated", "rotation", "fixed", "unknown"]
SCHEMA = 1
LARGEST_SIDE = 100_000  # pixels; a file that states a longer image is damaged


@dataclass(frozen=True)
class Capture:
    """V views x T times of undistorted images with their cameras.

    One casual clip is V = 1; a fixed rig has the same pose at every T; nothing else asks which it is.

    Attributes:
        root: directory with `capture.json`, `cameras.safetensors` and per view v the memory-mapped arrays
            `frames_VVV.npy` (T, H, W, 3) uint8 and, where known, `alpha_VVV.npy` (T, H, W) uint8,
            `grey_VVV.npy` (T, H', W') uint8 (see `grey`), `masks_VVV.npy` (T, H, W) int8 (+1 object, -1 background, 0 ignore)
            and `depth_VVV.npy` (T, H, W) float32 (along the optical axis, 0 unknown).
        K: (V, T, 3, 3) float64 intrinsics in pixels of the stored images, pixel centres at +0.5; NaN where unknown.
        world_to_camera: (V, T, 4, 4) float64, OpenCV axes; NaN where unknown.
        timestamps: (T,) float64 seconds, increasing, the first is 0.
        sizes: (V, 2) int width and height of the stored images of each view.
        present: (V, T) bool, an image exists.
        train: (V, T) bool, may be trained on.
        heldout: (V, T) bool, is never trained on and measures the result.
        cameras: where the cameras come from: "given" with the data, "estimated" from the images, "rotation" (the camera
            only turned, depth cannot be known), "fixed" (it stood still), or "unknown" (not estimated yet).
        metric: True if one scene unit is one metre.
        name: what to call it in reports.
        view_names: (V,) names.
        facts: anything else worth reporting (source path, frame rate, rotation flag, ...), JSON-able.
        focal_hint: (V,) float64 likely focal length, pixels of the stored images, that the files themselves name (EXIF, a phone's metadata); good
            to a tenth, NaN where they name none.
        rows: (T,) the row of the stored arrays that holds each moment, or None where that is its own number. See `moments`.
    """

    root: Path
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    timestamps: NDArray[np.float64]
    sizes: NDArray[np.int64]
    present: NDArray[np.bool_]
    train: NDArray[np.bool_]
    heldout: NDArray[np.bool_]
    cameras: CameraSource
    metric: bool
    name: str
    view_names: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    focal_hint: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    rows: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.focal_hint.shape != (self.views,):
            object.__setattr__(self, "focal_hint", np.full(self.views, np.nan))

    @property
    def views(self) -> int:
        """V, the number of cameras."""
        return self.present.shape[0]

    @property
    def times(self) -> int:
        """T, the number of moments."""
        return self.present.shape[1]

    @property
    def posed(self) -> NDArray[np.bool_]:
        """(V, T) where both intrinsics and pose are known."""
        return np.isfinite(self.K).all(axis=(2, 3)) & np.isfinite(self.world_to_camera).all(axis=(2, 3))

    def image(self, view: int, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) RGB of `view` at time index `index`, a view into the file on disk."""
        array = self._array("frames", view)
        if array is None:
            raise FourfoldError(f"{self.root}/frames_{view:03d}.npy is missing: prepare the capture again")
        return array[self._row(index)]

    def grey(self, view: int, index: int) -> NDArray[np.uint8] | None:
        """(H', W') luminance of the same image at a finer size, for tracking; None where the stored images are as fine as is of use."""
        return self._maybe("grey", view, index)

    def alpha(self, view: int, index: int) -> NDArray[np.uint8] | None:
        """(H, W) opacity given with the image, or None."""
        return self._maybe("alpha", view, index)

    def mask(self, view: int, index: int) -> NDArray[np.int8] | None:
        """(H, W) given object mask: +1 object, -1 background, 0 ignore; None if the capture brought none."""
        return self._maybe("masks", view, index)

    def depth(self, view: int, index: int) -> NDArray[np.float32] | None:
        """(H, W) given depth along the optical axis, scene units, 0 unknown; None if the capture brought none."""
        return self._maybe("depth", view, index)

    def has(self, kind: Literal["alpha", "masks", "depth"], view: int = 0) -> bool:
        """Whether the capture brought this kind of image for `view`."""
        return self._array(kind, view) is not None

    def camera_at(self, view: int, index: int) -> Camera:
        """The camera of `view` at time index `index`, float32 on the CPU. FourfoldError if it is not known."""
        self._check(view)
        K, pose = self.K[view, index], self.world_to_camera[view, index]
        if not (np.isfinite(K).all() and np.isfinite(pose).all()):
            raise FourfoldError(
                f"the camera of view {self.view_names[view]!r} at time index {index} is not known; estimate it with `fourfold prepare` first"
            )
        width, height = (int(n) for n in self.sizes[view])
        return Camera(torch.tensor(K, dtype=torch.float32), torch.tensor(pose, dtype=torch.float32), width, height)

    def camera(self, view: int = 0, time: float = 0.0) -> Camera:
        """The camera of `view` at the recorded moment nearest to `time`, seconds. FourfoldError if that is no finite number."""
        self._check(view)
        if not np.isfinite(time):
            raise FourfoldError(f"a camera is asked for at {time} s: give a number of seconds")
        known = np.isfinite(self.world_to_camera[view]).all(axis=(1, 2))
        if not known.any():
            return self.camera_at(view, 0)
        distance = np.where(known, np.abs(self.timestamps - time), np.inf)
        return self.camera_at(view, int(distance.argmin()))

    def _check(self, view: int) -> None:
        if not -self.views <= view < self.views:
            raise FourfoldError(f"{self.name} has no view {view}: its views are 0 to {self.views - 1} ({', '.join(self.view_names)})")

    def train_frames(self) -> list[tuple[int, int]]:
        """(view, time index) of every training image, by time and then by view."""
        return [(int(v), int(t)) for t, v in np.argwhere(self.train.T)]

    def heldout_frames(self) -> list[tuple[int, int]]:
        """(view, time index) of every held-out image, by time and then by view."""
        return [(int(v), int(t)) for t, v in np.argwhere(self.heldout.T)]

    def with_cameras(self, K: NDArray[np.float64], world_to_camera: NDArray[np.float64], source: CameraSource) -> Capture:
        """The same capture with other cameras; images stay where they are."""
        return replace(self, K=K, world_to_camera=world_to_camera, cameras=source)

    def moments(self, chosen: NDArray[np.intp]) -> Capture:
        """The moments `chosen` (K,), increasing, as a capture of its own: images stay where they are, and its seconds are those of the whole.

        It lives in memory only: `save` is for the whole.
        """
        facts = dict(self.facts)
        if "frame_names" in facts:
            facts["frame_names"] = [[names[i] for i in chosen] for names in facts["frame_names"]]
        return replace(
            self,
            K=self.K[:, chosen],
            world_to_camera=self.world_to_camera[:, chosen],
            timestamps=self.timestamps[chosen],
            present=self.present[:, chosen],
            train=self.train[:, chosen],
            heldout=self.heldout[:, chosen],
            facts=facts,
            rows=np.asarray(chosen, np.int64) if self.rows is None else self.rows[chosen],
        )

    def release(self) -> None:
        """Give back the memory of images that were looked at: they are read from the disk again when they are asked for."""
        for kind in ("frames", "grey", "alpha", "masks", "depth"):
            for view in range(self.views):
                give_back(self._array(kind, view))

    def save(self) -> None:
        """Write `capture.json` and `cameras.safetensors` into `root`; the images are there already."""
        arrays = {k: np.ascontiguousarray(getattr(self, k)) for k in ("K", "world_to_camera", "timestamps", "sizes", "focal_hint")}
        arrays |= {k: np.ascontiguousarray(getattr(self, k).astype(np.uint8)) for k in ("present", "train", "heldout")}
        self.root.mkdir(parents=True, exist_ok=True)
        save_file(arrays, self.root / "cameras.safetensors")
        write_json(
            self.root / "capture.json",
            {
                "schema": SCHEMA,
                "name": self.name,
                "cameras": self.cameras,
                "metric": self.metric,
                "view_names": list(self.view_names),
                "facts": self.facts,
            },
        )
        reseal(self.root)

    @staticmethod
    def load(root: Path) -> Capture:
        """Read a capture that `save` wrote. FourfoldError if there is none or it is of another schema."""
        root = Path(root)
        again = "run the same `fourfold prepare` or `fourfold reconstruct` again, which makes it anew"
        try:
            if not (root / "capture.json").is_file():
                raise FileNotFoundError(root)
            header = load_record(root / "capture.json")
            check_undamaged(root, again)
            if (schema := header.value.get("schema")) != SCHEMA:
                raise FourfoldError(f"{root}/capture.json has schema {schema}, this version reads {SCHEMA}: prepare the capture again")
            return _from_files(root, header, load_file(root / "cameras.safetensors"))
        except FileNotFoundError as error:
            raise FourfoldError(f"{_nothing_there(root)}: run `fourfold prepare` or `fourfold reconstruct` first") from error
        except (ValueError, TypeError, OSError, SafetensorError) as error:
            raise FourfoldError(f"the prepared capture in {root} is damaged ({error}): {again}") from error

    def _array(self, kind: str, view: int) -> NDArray[Any] | None:
        path = self.root / f"{kind}_{view:03d}.npy"
        if not path.exists():
            return None
        stat = path.stat()
        return _open_array(path, stat.st_ino, stat.st_mtime_ns)

    def _maybe(self, kind: str, view: int, index: int) -> NDArray[Any] | None:
        array = self._array(kind, view)
        return None if array is None else array[self._row(index)]

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])


def _from_files(root: Path, header: Record, arrays: dict[str, NDArray[Any]]) -> Capture:
    """The capture that header and arrays describe. FourfoldError if they do not agree with each other."""
    json.dumps(header.value, allow_nan=False)  # ValueError where a number of the facts is none: they are written again with every copy
    names = header.listed("view_names")
    views, times = len(names), len(arrays["timestamps"]) if arrays.get("timestamps", np.zeros(())).ndim else 0
    shapes = {"K": (views, times, 3, 3), "world_to_camera": (views, times, 4, 4), "timestamps": (times,), "sizes": (views, 2)}
    shapes |= dict.fromkeys(("present", "train", "heldout"), (views, times))
    wrong = next((k for k, shape in shapes.items() if k not in arrays or arrays[k].shape != shape), None)
    source = header.text("cameras")
    if wrong or not (views and times) or not all(isinstance(n, str) for n in names) or source not in get_args(CameraSource):
        told = f"its {wrong} is not of {views} views and {times} moments" if wrong else "it names views or cameras that cannot be"
        raise FourfoldError(f"the prepared capture in {root} is damaged ({told}): delete it and prepare it again")
    sizes, at = arrays["sizes"].astype(np.int64), arrays["timestamps"].astype(np.float64)
    if not (np.isfinite(at).all() and (np.diff(at) > 0).all() and (sizes > 0).all() and (sizes <= LARGEST_SIDE).all()):
        raise FourfoldError(f"the prepared capture in {root} is damaged (its times or sizes are not increasing or not above 0): prepare it again")
    return Capture(
        root=root,
        K=arrays["K"],
        world_to_camera=arrays["world_to_camera"],
        timestamps=at,
        sizes=sizes,
        present=arrays["present"].astype(bool),
        train=arrays["train"].astype(bool),
        heldout=arrays["heldout"].astype(bool),
        cameras=cast(CameraSource, source),
        metric=bool(header.value.get("metric", False)),
        name=header.text("name"),
        view_names=tuple(names),
        facts=header.record("facts").value,
        focal_hint=arrays.get("focal_hint", np.zeros(0)),  # older captures have none
    )


@lru_cache(maxsize=1024)
def _open_array(path: Path, inode: int, changed: int) -> NDArray[Any]:
    """The array in `path`; a file that took its place (another inode or time of change) is opened anew."""
    return load_array(path, mapped=True)


def _nothing_there(root: Path) -> str:
    """Why `root`, the capture of a run, is none."""
    run = root.parent
    if run.is_file():
        return f"{run} is a file and not a run's folder"
    return f"{root} holds no prepared capture" if run.exists() else f"{run} does not exist"
