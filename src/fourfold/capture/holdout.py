"""Which frames are never trained on: the dataset's own protocol, every n-th frame, whole cameras, or none.

Moments between trained ones say little about a scene that several cameras see: that is why one of four or more calibrated cameras is held out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.source import Source
from fourfold.errors import FourfoldError

SHORT = 10  # frames; a shorter clip holds out the one in its middle
ENOUGH = 4  # calibrated cameras from which one can be spared
TRAINED = "/train:"  # begins the number of cameras that train, at the end of a rule
DEFAULT_EVERY = 8  # frames; every eighth is the habit of the novel-view literature since LLFF


def split(source: Source, rule: str | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_], str]:
    """(V, T) train, (V, T) heldout, and the rule in words.

    A rule that ends with `/train:N` trains on N cameras alone, those that look most as the held-out ones do; `/train:N` by itself: of those that
    no rule would leave. What the others filmed is neither trained on nor measured.

    Args, Raises: as `_split`, and FourfoldError for a number of cameras that cannot be.
    """
    first, asked, count = (rule or "").partition(TRAINED)
    train, heldout, words = _split(source, first or None)
    if not asked:
        return train, heldout, words
    there = int(train.any(axis=1).sum())
    if not count.isdigit() or not 1 <= int(count) <= there:
        raise FourfoldError(f"--holdout got {rule!r}: expected {TRAINED}N with N from 1 to {there}, the cameras that are not held out")
    away = _apart(source, train, heldout)
    train[np.argsort(away, kind="stable")[int(count) :]] = False
    return train, heldout, words + TRAINED + count


def _apart(source: Source, train: NDArray[np.bool_], heldout: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(V,) mean angle between where each training camera looks and where held-out ones look at the same moments; infinite for those that do not
    train. Cameras whose poses or moments tell nothing are equally far, so that the first come first."""
    ahead = np.stack([view.world_to_camera[:, 2, :3] for view in source.views])
    away = np.full(len(ahead), np.inf)
    for view in np.flatnonzero(train.any(axis=1)):
        angles = [
            np.arccos(np.clip((ahead[view] * ahead[other]).sum(1), -1, 1))[train[view] & heldout[other]]
            for other in range(len(ahead))
            if other != view
        ]
        told = np.concatenate([part[np.isfinite(part)] for part in angles]) if angles else np.zeros(0)
        away[view] = told.mean() if len(told) else np.pi
    return away


def _split(source: Source, rule: str | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_], str]:
    """(V, T) train, (V, T) heldout, and the rule in words.

    Args:
        source: views and their frames.
        rule: `every:N` holds out the frames whose number, plus the view's number so that a moment keeps other views, leaves N/2 when divided by N
            (every:8: frames 4, 12, 20, ...; a clip of fewer than 10 frames: the one in the middle); `cameras:NAME_OR_INDEX,...` whole views;
            `moments:N` all views at moments 1, N + 1, 2 N + 1, ...; `standing` the views whose known pose stays the same where others move; `none`;
            None: the dataset's own protocol if it has one, else the camera that the others surround best of four or more calibrated ones that
            filmed together, else `every:8`.

    Raises:
        FourfoldError: the rule cannot be read, names a view that does not exist, or leaves nothing to train on.
    """
    present = np.array([v.present for v in source.views])
    usable = present & ~np.array([v.unused for v in source.views])
    kind, _, argument = (rule or "").partition(":")
    if rule is None and source.protocol is not None:
        heldout, words = np.array([v.heldout for v in source.views]), source.protocol
    elif rule is None and (spared := spare_camera(source)) is not None:
        heldout, words = np.zeros_like(present), f"cameras:{source.views[spared].name} (one of {len(present)} calibrated)"
        heldout[spared] = True
    elif rule is None or kind == "every":
        n = _number(argument, rule) if rule else DEFAULT_EVERY
        heldout, words = every(present, n), f"every:{n}"
    elif kind == "cameras":
        heldout, words = cameras([v.name for v in source.views], argument, present.shape), rule
    elif kind == "moments":
        n = _number(argument, rule or "")
        heldout, words = present & (np.arange(present.shape[1]) % n == 1), f"moments:{n}"
    elif rule == "standing":
        heldout, words = standing(source), "standing"
    elif rule == "none":
        heldout, words = np.zeros_like(present), "none"
    else:
        raise FourfoldError(f"--holdout got {rule!r}: expected every:N, moments:N, cameras:NAME,..., standing, or none, and perhaps {TRAINED}N")
    if rule is not None:
        usable = present
    train, heldout = usable & ~heldout, present & heldout
    if not train.any():
        raise FourfoldError(f"{source.path}: holding out {words!r} leaves no frame to train on")
    return train, heldout, words


def spare_camera(source: Source) -> int | None:
    """Of four or more cameras with known poses that all filmed more than half of several moments, the one nearest in angle to its two nearest
    neighbours, as seen from the point they look at; None for other sources."""
    present = np.array([v.present for v in source.views])
    if source.cameras != "given" or len(present) < ENOUGH or present.shape[1] < 2 or (present.mean(axis=1) <= 0.5).any():
        return None
    first = [v.world_to_camera[np.flatnonzero(v.present)[0]] for v in source.views]
    poses = np.stack(first)
    if not np.isfinite(poses).all():
        return None
    centres = -np.einsum("vji,vj->vi", poses[:, :3, :3], poses[:, :3, 3])
    across = np.eye(3) - poses[:, 2, :3, None] * poses[:, 2, None, :3]
    damping = 1e-6 * len(poses)  # parallel axes meet nowhere: then the middle of the cameras
    middle = np.linalg.solve(across.sum(0) + damping * np.eye(3), np.einsum("vij,vj->i", across, centres) + damping * centres.mean(0))
    away = centres - middle
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    angles = np.arccos(np.clip(away @ away.T, -1, 1))
    np.fill_diagonal(angles, np.inf)
    return int(np.sort(angles, axis=1)[:, :2].sum(axis=1).round(9).argmin())


def every(present: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """(V, T) bool: per view, of the frames that exist, those whose running number plus the view's number leaves n // 2 when divided by n."""
    heldout = np.zeros_like(present)
    for view, row in enumerate(present):
        there = np.flatnonzero(row)
        if len(present) == 1 and len(there) < SHORT:
            chosen = there[len(there) // 2 : len(there) // 2 + 1] if len(there) > 2 else there[:0]
        else:
            chosen = there[(np.arange(len(there)) + view) % n == n // 2]
        heldout[view, chosen] = True
    return heldout


def cameras(names: Sequence[str], argument: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(V, T) bool: all frames of the views named in `argument`, by name or, where no view has that name, by number from 0."""
    heldout = np.zeros(shape, bool)
    for word in (w.strip() for w in argument.split(",")):
        if word in names:
            heldout[list(names).index(word)] = True
        elif word.isdigit() and int(word) < len(names):
            heldout[int(word)] = True
        else:
            raise FourfoldError(f"--holdout cameras: there is no view {word!r}: the views are {', '.join(names)}")
    return heldout


def standing(source: Source) -> NDArray[np.bool_]:
    """(V, T) bool: all frames of the views that stand still. FourfoldError if the poses are not known, or if all or none of the views do."""
    still = np.zeros(len(source.views), bool)
    for number, view in enumerate(source.views):
        poses = view.world_to_camera[view.present]
        if not np.isfinite(poses).all():
            raise FourfoldError(f"--holdout standing needs known cameras, and {source.path} does not bring them: name the test camera, cameras:NAME")
        still[number] = np.allclose(poses, poses[:1], atol=1e-5)
    if still.all() or not still.any():
        which = "every camera stands" if still.all() else "no camera stands"
        raise FourfoldError(f"--holdout standing: {which} still in {source.path}, so that none is told apart: name the test camera, cameras:NAME")
    return np.repeat(still[:, None], len(source.timestamps), axis=1)


def _number(argument: str, rule: str) -> int:
    if not argument.isdigit() or int(argument) < 2:
        raise FourfoldError(f"--holdout got {rule!r}: expected every:N or moments:N with a whole N of 2 or more")
    return int(argument)
