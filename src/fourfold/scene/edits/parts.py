"""Parts of a scene: a box of it, its background, its movers, one of its movers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.scene.edits.rows import kept, moments
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class MoverNumbers:
    """How moving Gaussians are told apart into movers.

    Attributes:
        gap: two Gaussians belong together if at no moment looked at they are farther apart than so many times the median distance to the
            `neighbours`-th nearest; larger joins more.
        neighbours: see `gap`.
        smallest: share of the moving Gaussians below which a group counts to no mover.
    """

    gap: float = 3.0
    neighbours: int = 8
    smallest: float = 0.02


@dataclass(frozen=True)
class Mover:
    """One group of Gaussians that move together: how many, their middle (3,) at the middle of the recording, scene units."""

    gaussians: int
    middle: tuple[float, float, float]


def cropped(scene: Scene, low: tuple[float, float, float], high: tuple[float, float, float]) -> Scene:
    """What lies in the box from `low` to `high`, scene units; of what moves, what is in it at any of a few moments."""
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise FourfoldError(f"the box from {low} to {high} is empty: give its lower corner first")
    with torch.no_grad():
        places = torch.stack([g.means for g in scene.at_times(moments(scene))])
    inside = (places >= places.new_tensor(low)) & (places <= places.new_tensor(high))
    return kept(scene, inside.all(-1).any(0))


def background_alone(scene: Scene) -> Scene:
    """What stands still. FourfoldError where everything moves."""
    return _layers(scene, [n for n, layer in enumerate(scene.layers) if layer.role == "static"], "nothing stands still in this scene")


def movers_alone(scene: Scene) -> Scene:
    """`scene` without anything but its moving objects (`Scene.foreground_rows`), on white. FourfoldError where nothing moves."""
    rows, places = scene.foreground_rows(), scene.slices()
    chosen = [n for n, layer in enumerate(scene.layers) if bool(rows[places[layer.name]].any())]
    return replace(_layers(scene, chosen, "nothing moves in this scene: draw it whole"), background=(1.0, 1.0, 1.0))


def without_layers(scene: Scene, names: tuple[str, ...]) -> Scene:
    """The scene without the layers `names`. FourfoldError if it has no layer of a name, or no other."""
    there = [layer.name for layer in scene.layers]
    missing = [name for name in names if name not in there]
    if missing:
        raise FourfoldError(f"the scene has no layer {missing[0]!r}: it has {', '.join(there)}")
    return _layers(scene, [n for n, name in enumerate(there) if name not in names], "these are all layers of the scene: leave one")


def movers(scene: Scene, numbers: MoverNumbers = MoverNumbers()) -> tuple[list[Mover], Tensor]:
    """The movers, largest first, and (N,) int64 which one each Gaussian belongs to: -1 for what stands still and for small groups."""
    rows = torch.nonzero(scene.foreground_rows())[:, 0]
    of = torch.full((sum(len(layer) for layer in scene.layers),), -1, dtype=torch.int64)
    if len(rows) <= numbers.neighbours:
        return ([], of) if len(rows) == 0 else ([_mover(scene, rows)], of.index_fill(0, rows, 0))
    with torch.no_grad():
        paths = torch.stack([g.means[rows] for g in scene.at_times(moments(scene, 3))]).double().cpu().numpy()
    labels = _together(paths, numbers)
    sizes = np.bincount(labels)
    found: list[Mover] = []
    for label in np.argsort(-sizes, kind="stable"):
        if sizes[label] >= max(1, numbers.smallest * len(rows)):
            mine = rows[torch.from_numpy(labels == label)]
            of[mine] = len(found)
            found.append(_mover(scene, mine))
    return found, of


def with_movers(scene: Scene, numbers: tuple[int, ...], keep: bool) -> Scene:
    """The scene with those of its `movers` alone beside what stands still, or (not `keep`) without them. FourfoldError for a number that is none."""
    found, of = movers(scene)
    wrong = [number for number in numbers if not 0 <= number < len(found)]
    if wrong:
        raise FourfoldError(f"there is no mover {wrong[0]}: the scene has {len(found)}, counted from 0, the largest first")
    chosen = torch.isin(of, torch.tensor(numbers))
    return kept(scene, (chosen | ~scene.foreground_rows().bool().cpu()) if keep else ~chosen)


def _together(paths: NDArray[np.float64], numbers: MoverNumbers) -> NDArray[np.int64]:
    """(N,) group of each of N paths (T, N, 3): chains of paths that stay close to each other at every moment."""
    middle = paths[len(paths) // 2]
    distance, near = cKDTree(middle).query(middle, k=numbers.neighbours + 1)
    reach = numbers.gap * float(np.median(distance[:, -1]))
    one, two = np.repeat(np.arange(len(middle)), numbers.neighbours), near[:, 1:].reshape(-1)
    apart = np.linalg.norm(paths[:, one] - paths[:, two], axis=-1).max(0)
    close = apart <= reach
    graph = coo_matrix((np.ones(int(close.sum())), (one[close], two[close])), shape=(len(middle), len(middle)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _mover(scene: Scene, rows: Tensor) -> Mover:
    with torch.no_grad():
        x, y, z = (float(v) for v in scene.at(sum(scene.time_range) / 2).means[rows].median(0).values)
    return Mover(len(rows), (x, y, z))


def _layers(scene: Scene, numbers: list[int], otherwise: str) -> Scene:
    if not numbers:
        raise FourfoldError(otherwise)
    return replace(scene, layers=[scene.layers[n] for n in numbers])
