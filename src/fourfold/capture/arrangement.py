"""Which images of one list were taken by one camera, and which at one moment: told by names and by poses that stay equal.

A name such as `cam00/0001.png`, `images/cam00_0001.png` or `frame0001/images/cam00.png` has parts that vary over the list. One of them
counts cameras and the rest moments, or one counts moments and the rest cameras. Which it is, cameras that stand still tell; where poses are
not known or move, the words beside the parts do, and folders where there are no words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import natural

CAMERA_WORDS = ("cam", "camera", "view", "sensor", "device", "dev", "gopro", "kinect", "azure", "rig", "webcam", "viewpoint", "angle", "imgcam")
MOMENT_WORDS = ("frame", "time", "t", "img", "image", "moment", "colmap", "timestep", "step", "f", "rgb", "frames", "ts")
SIDE_WORDS = ("left", "right", "centre", "center", "front", "back", "top", "middle", "side")
LEAST_FILLED = 0.5  # share of the pairs of a camera and a moment that must have an image, at least
STANDS = 0.02  # of the extent of all camera centres: a camera whose centre stays within it stands still
TURNS = 0.02  # largest difference of entries of two rotations of a camera that stands still
EQUAL = 1e-6  # of the extent: poses that a rig's calibration repeats word for word
TOKEN = re.compile(r"\d+|[^\W\d_]+|[\W_]+")


@dataclass(frozen=True)
class Arrangement:
    """Cameras and moments of N images.

    Attributes:
        view: (N,) name of the camera of each image.
        moment: (N,) number of the moment of each image, 0 to T - 1 in the order of the names.
        labels: (T,) what the names call each moment.
        because: how it was told, in words.
    """

    view: tuple[str, ...]
    moment: tuple[int, ...]
    labels: tuple[str, ...]
    because: str

    @property
    def views(self) -> int:
        """V."""
        return len(set(self.view))


@dataclass(frozen=True)
class _Column:
    """One part of the names that varies: (N,) values, the word before it, whether it lies in a folder's name, and its words for a camera."""

    values: tuple[str, ...]
    word: str
    folder: bool
    names: tuple[str, ...]

    @property
    def counts(self) -> int:
        return len(set(self.values))

    @property
    def of_cameras(self) -> bool:
        return self.word in CAMERA_WORDS or all(
            v.lower() in SIDE_WORDS or any(v.lower().startswith(w) for w in CAMERA_WORDS[:2]) for v in self.values
        )

    @property
    def of_moments(self) -> bool:
        return self.word in MOMENT_WORDS and not self.of_cameras


def arrange(names: Sequence[str], poses: NDArray[np.float64] | None = None) -> Arrangement | None:
    """The cameras and moments of images called `names` (posix paths), None if they are one camera's images one after the other.

    Args:
        names: (N,) all different.
        poses: (N, 4, 4) world_to_camera, NaN for images without one, or None where no pose is known.
    """
    if len(names) < 4:
        return None
    columns = _columns(names)
    standing = _standing(columns, poses, names) if poses is not None else None
    if standing is not None:
        return standing
    told = _by_words(columns, poses)
    if told is not None or poses is None or not np.isfinite(poses).all():
        return told
    groups = pose_groups(poses)
    counts = np.bincount(groups)
    if len(counts) < 2 or counts.min() < 2 or counts.max() > 2 * counts.min():
        return None
    digits = len(str(int(groups.max())))
    called = {int(g): f"camera {int(g):0{digits}d}" for g in groups}
    return _in_order(names, groups, called, "poses that repeat")


def pose_groups(poses: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) number of the pose of each image, in the order in which they come first; poses are one if they are equal to rounding."""
    centres = _centres(poses)
    extent = max(float(np.ptp(centres, axis=0).max()), 1e-9)
    known: list[int] = []
    groups = np.zeros(len(poses), np.int64)
    for at in range(len(poses)):
        near = np.abs(centres[known] - centres[at]).max(axis=1) <= EQUAL * extent if known else np.zeros(0, bool)
        near &= np.abs(poses[known, :3, :3] - poses[at, :3, :3]).max(axis=(1, 2)) <= EQUAL if known else near
        groups[at] = int(near.argmax()) if near.any() else len(known)
        if not near.any():
            known.append(at)
    return groups


def _standing(columns: list[_Column], poses: NDArray[np.float64], names: Sequence[str]) -> Arrangement | None:
    """The arrangement under which every camera stands still and not all at one place; where each counts its own images on, by their order."""
    known = np.isfinite(poses).all(axis=(1, 2))
    if known.sum() < 4 or not np.ptp(_centres(poses[known]), axis=0).max() > 0:
        return None
    for cameras, moments in _choices(columns):
        if _fits(cameras, moments) and _still(cameras, poses, known):
            return _result(cameras, moments, "names, and poses that stay the same")
    for column in columns:
        members = _members([column])
        if (
            len(members) > 1
            and min(map(len, members)) >= 2
            and max(map(len, members)) <= 2 * min(map(len, members))
            and _still([column], poses, known)
        ):
            number = {value: i for i, value in enumerate(dict.fromkeys(column.values))}
            called = {number[v]: c for v, c in zip(column.values, column.names, strict=True)}
            return _in_order(names, np.array([number[v] for v in column.values]), called, "names, and poses that stay the same")
    return None


def _still(cameras: list[_Column], poses: NDArray[np.float64], known: NDArray[np.bool_]) -> bool:
    """Whether each camera stays where it is and looks the same way."""
    centres = _centres(poses)
    extent = float(np.linalg.norm(np.ptp(centres[known], axis=0)))
    for group in (there for members in _members(cameras) if (there := [i for i in members if known[i]])):
        apart = np.linalg.norm(centres[group] - np.median(centres[group], axis=0), axis=1).max()
        turned = np.abs(poses[group, :3, :3] - poses[group[0], :3, :3]).max()
        if apart > STANDS * extent or turned > TURNS:
            return False
    return True


def _by_words(columns: list[_Column], poses: NDArray[np.float64] | None) -> Arrangement | None:
    """The arrangement that the words in the names tell, or folders of files with the same names."""
    found: list[tuple[int, list[_Column], list[_Column], str]] = []
    for cameras, moments in _choices(columns):
        if not _fits(cameras, moments):
            continue
        called = sum(c.of_cameras for c in cameras) + sum(m.of_moments for m in moments)
        against = sum(c.of_moments for c in cameras) + sum(m.of_cameras for m in moments)
        if called > against and not (poses is not None and not any(c.of_cameras for c in cameras)):
            found.append((called - against + 1, cameras, moments, "names"))
        elif not against and all(c.folder for c in cameras) and not any(m.folder for m in moments):
            found.append((1, cameras, moments, "folders"))
    if not found:
        return None
    _, cameras, moments, because = max(found, key=lambda f: (f[0], -len(set(_key(f[1])))))
    return _result(cameras, moments, because)


def _choices(columns: list[_Column]) -> list[tuple[list[_Column], list[_Column]]]:
    """Ways to share the columns: one for the cameras, the rest for the moments; and the other way round."""
    if not 2 <= len(columns) <= 6:
        return []
    rest = [[other for other in columns if other is not one] for one in columns]
    ways = [([one], others) for one, others in zip(columns, rest, strict=True)]
    return ways + ([(others, [one]) for one, others in zip(columns, rest, strict=True)] if len(columns) > 2 else [])


def _fits(cameras: list[_Column], moments: list[_Column]) -> bool:
    """Whether no camera has two images of one moment, and most pairs have one."""
    views, times = _key(cameras), _key(moments)
    pairs = set(zip(views, times, strict=True))
    counted = len(set(views)), len(set(times))
    return min(counted) >= 2 and len(pairs) == len(views) and len(pairs) > LEAST_FILLED * counted[0] * counted[1]


def _result(cameras: list[_Column], moments: list[_Column], because: str) -> Arrangement:
    names = ["_".join(dict.fromkeys(parts)) for parts in zip(*(c.names for c in cameras), strict=True)]
    keys = ["_".join(key) for key in _key(moments)]
    labels = sorted(set(keys), key=natural)
    place = {label: i for i, label in enumerate(labels)}
    return Arrangement(tuple(names), tuple(place[k] for k in keys), tuple(labels), because)


def _in_order(names: Sequence[str], groups: NDArray[np.int64], called: dict[int, str], because: str) -> Arrangement:
    """Cameras that are known; the moments are the order of each camera's images."""
    order = sorted(range(len(names)), key=lambda i: natural(names[i]))
    seen: dict[int, int] = {}
    moment = [0] * len(names)
    for at in order:
        group = int(groups[at])
        moment[at] = seen.get(group, 0)
        seen[group] = moment[at] + 1
    labels = tuple(str(i) for i in range(max(seen.values())))
    return Arrangement(tuple(called[int(g)] for g in groups), tuple(moment), labels, because)


def _key(columns: list[_Column]) -> list[tuple[str, ...]]:
    return list(zip(*(c.values for c in columns), strict=True))


def _members(cameras: list[_Column]) -> list[list[int]]:
    keys = _key(cameras)
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    return [list(group) for _, group in groupby(order, key=lambda i: keys[i])]


def _centres(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])


def _columns(names: Sequence[str]) -> list[_Column]:
    """The parts of the names that vary, each once: parts that vary together are one."""
    stems = [PurePosixPath(n).with_suffix("").as_posix() for n in names]
    rows = [TOKEN.findall(s) for s in stems]
    if len({len(r) for r in rows}) > 1:  # names of several forms: only folders and file names can be compared
        rows = [s.split("/") for s in stems]
        if len({len(r) for r in rows}) > 1:
            return []
        rows = [[part for piece in r for part in (piece, "/")][:-1] for r in rows]
    columns: list[_Column] = []
    last_slash = max((i for i, token in enumerate(rows[0]) if "/" in token), default=-1)
    for at, values in enumerate(zip(*rows, strict=True)):
        if len(set(values)) == 1:
            continue
        column = _Column(values, _word(rows[0], at), at < last_slash, tuple(_called(r, at) for r in rows))
        if not any(_together(column, other) for other in columns):
            columns.append(column)
    return columns


def _together(one: _Column, other: _Column) -> bool:
    """Whether each value of one goes with one value of the other."""
    return len(set(zip(one.values, other.values, strict=True))) == one.counts == other.counts


def _word(tokens: Sequence[str], at: int) -> str:
    """The word directly before a part, `_` and `-` between them left out."""
    before = [t for t in tokens[max(0, at - 2) : at] if t.strip("_- .")]
    return before[-1].lower() if before and before[-1].isalpha() else ""


def _called(tokens: Sequence[str], at: int) -> str:
    """What to call a camera: the part with the word that stands before it."""
    start = at - 1 if at and tokens[at - 1].isalpha() else at - 2 if at > 1 and tokens[at - 2].isalpha() and tokens[at - 1] in "_-" else at
    return "".join(tokens[start : at + 1])
