"""As few coefficients as each Gaussian needs: its motion by shared motions and straight lines, compared with what it should be.

x(t) = R(t) (mean - pivot) + pivot + tau(t) + d(t), where d runs straight from `early` at the first second at which it is seen to 0 at its own
moment, and from there to `late` at the last. On shared motions the own moment may lie outside: what is beside them does not turn with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fourfold.geometry.rotations import matrix_to_quat, quat_multiply, rotation6d_to_matrix
from fourfold.scene.courses import Course
from fourfold.viewer.packing.config import COEFFICIENTS, WHOLE, PackConfig

LOT = 2048  # Gaussians that are looked at together
SHARE = 0.5  # of the tolerance that the motion may use up: rounding takes the rest


@dataclass(frozen=True)
class Window:
    """(N,) seconds: when each Gaussian is seen first and last, and its own moment."""

    first: Tensor
    center: Tensor
    last: Tensor

    def select(self, rows: Tensor) -> Window:
        """The Gaussians `rows`."""
        return Window(self.first[rows], self.center[rows], self.last[rows])

    def inside(self, begin: float, tick: float) -> Window:
        """The same with own moments at which the Gaussians are seen, whole `tick` seconds after `begin`."""
        center = torch.minimum(torch.maximum(self.center, self.first), self.last)
        return Window(self.first, begin + ((center - begin) / tick).round() * tick, self.last)

    def straight(self, times: Tensor, early: Tensor, late: Tensor) -> Tensor:
        """(..., N, 3) d at `times` (..., N), of which the ends are `early` and `late` (N, 3)."""
        before = ((times - self.center) / (self.first - self.center).clamp_max(-1e-9)).clamp(0, 1)
        after = ((times - self.center) / (self.last - self.center).clamp_min(1e-9)).clamp(0, 1)
        return before[..., None] * early + after[..., None] * late


@dataclass(frozen=True)
class Fitted:
    """Gaussians that need equally many coefficients.

    Attributes:
        rows: (M,) which ones of the course; center: (M,) their own moments, seconds.
        means: (M, 3) about the pivot where there are coefficients, else in the scene; quats: (M, 4).
        index, weight: (M, K) shared motions, the strongest first, and whole weights that sum to `WHOLE`.
        early, late: (M, 3), or None where the Gaussians need no lines of their own.
    """

    rows: Tensor
    center: Tensor
    means: Tensor
    quats: Tensor
    index: Tensor
    weight: Tensor
    early: Tensor | None
    late: Tensor | None


@dataclass(frozen=True)
class _Lot:
    """Some Gaussians at J moments, the last two of which are their own, once inside and once as it is: what to match, and shared motions."""

    places: Tensor  # (J, n, 3)
    turns: Tensor  # (J, n, 3, 3)
    motions: Tensor | None  # (J, n, B, 9)
    times: Tensor  # (J, n)
    window: Window
    inside: Window


def fitted(course: Course, quats: Tensor, spread: Tensor, tolerance: Tensor, window: tuple[Window, Window], config: PackConfig) -> list[Fitted]:
    """The Gaussians of `course` by what they need: `quats` (N, 4) are theirs, `spread` (N,) how much longer than wide they are and `tolerance`
    (N,) how far they may lie wrong, scene units; `window` tells when they are seen, once with their own moments and once with ones inside."""
    parts: dict[tuple[int, bool], list[Fitted]] = {}
    for rows in (window[0].last - window[0].first).argsort(stable=True).split(LOT):
        some = course.select(rows)
        for key, part in _by_need(
            _lot(some, (window[0].select(rows), window[1].select(rows)), config), some, quats[rows], spread[rows], SHARE * tolerance[rows]
        ):
            parts.setdefault(key, []).append(replace(part, rows=rows[part.rows]))
    return [_joined(parts[key]) for key in sorted(parts)]


def _lot(course: Course, windows: tuple[Window, Window], config: PackConfig) -> _Lot:
    window, inside = windows
    longest = float((window.last - window.first).max())
    inner = min(config.moments + int(config.moments * longest), config.most_moments)
    share = ((0.5 + 0.6180339887 * torch.arange(1, inner)) % 1.0).sort().values  # at no beat, which a swing might keep
    share = torch.cat([torch.zeros(1), share, torch.ones(1)])[:, None]
    times = torch.cat([window.first + share * (window.last - window.first), inside.center[None], window.center[None]])
    places, turns = zip(*(course.places(at) for at in times), strict=True)
    motions = None if course.weights is None else torch.stack([course.shared_motions(at) for at in times])
    return _Lot(torch.stack(places), torch.stack(turns), motions, times, window, inside)


def _by_need(lot: _Lot, course: Course, quats: Tensor, spread: Tensor, allowed: Tensor) -> list[tuple[tuple[int, bool], Fitted]]:
    """The Gaussians of a lot with as few coefficients, and lines only where they need them."""
    bases = 0 if course.weights is None else course.weights.shape[1]
    counts = [k for k in COEFFICIENTS if k < bases] + [bases]
    left, found = torch.arange(len(quats)), list[tuple[tuple[int, bool], Fitted]]()
    for count in counts:
        for lines in (False, True):
            if not len(left):
                break
            part, wrong = _tried(lot, course, quats, left, (count, lines))
            error = torch.maximum(wrong[0], wrong[1] * spread[left])
            good = (error <= allowed[left]) if (count, lines) != (counts[-1], True) else torch.ones_like(left, dtype=torch.bool)
            found.append(((count, lines), _chosen(part, good)))
            left = left[~good]
    return [(key, part) for key, part in found if len(part.rows)]


def _tried(lot: _Lot, course: Course, quats: Tensor, rows: Tensor, key: tuple[int, bool]) -> tuple[Fitted, tuple[Tensor, Tensor]]:
    """`rows` of the lot with key[0] coefficients and lines if key[1], and how wrong they are: (n,) scene units and radians."""
    count, lines = key
    pivot = course.means.new_zeros(3) if course.pivot is None or not count else course.pivot
    places, turns, times = lot.places[:, rows], lot.turns[:, rows], lot.times[:, rows]
    rotation, shift, index, weight = _motion(lot, course, rows, count)
    own, window = (-1, lot.window.select(rows)) if count else (-2, lot.inside.select(rows))
    back = rotation[own].transpose(1, 2)
    means = (back @ (places[own] - pivot - shift[own])[..., None])[..., 0]
    rest = (places - ((rotation @ means[..., None])[..., 0] + pivot + shift))[:-1]
    early, late = rest[0], rest[-2]
    if lines:
        rest = rest - window.straight(times[:-1], early, late)
    mended = back @ turns[own]
    angle = (rotation @ mended - turns)[:-1].square().sum((-1, -2)).div(2).sqrt()
    turned = quat_multiply(matrix_to_quat(mended), torch.nn.functional.normalize(quats[rows], dim=1))
    part = Fitted(rows, window.center, means, turned, index, weight, early if lines else None, late if lines else None)
    return part, (rest.norm(dim=-1).amax(0), angle.amax(0))


def _motion(lot: _Lot, course: Course, rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(J, n, 3, 3) rotations and (J, n, 3) translations by the `count` strongest shared motions, which they are and their whole weights (n, K)."""
    if count == 0 or lot.motions is None or course.weights is None:
        none = torch.zeros_like(lot.places[:, rows])
        eye = torch.eye(3).expand(*none.shape[:2], 3, 3)
        return eye, none, torch.zeros(len(rows), 0, dtype=torch.int64), torch.zeros(len(rows), 0, dtype=torch.int64)
    weights = course.weights[rows]
    top, index = weights.topk(count, dim=1)
    share = WHOLE * top / top.sum(1, keepdim=True)
    weight = share.round().long()
    weight[:, 0] += WHOLE - weight.sum(1)
    dense = torch.zeros_like(weights).scatter(1, index, weight.float() / WHOLE)
    values = torch.einsum("jnbc,nb->jnc", lot.motions[:, rows], dense)
    return rotation6d_to_matrix(values[..., :6]), values[..., 6:], index, weight


def _chosen(part: Fitted, good: Tensor) -> Fitted:
    early, late = (None if x is None else x[good] for x in (part.early, part.late))
    return Fitted(part.rows[good], part.center[good], part.means[good], part.quats[good], part.index[good], part.weight[good], early, late)


def _joined(parts: list[Fitted]) -> Fitted:
    def all_of(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    names = ("rows", "center", "means", "quats", "index", "weight", "early", "late")
    return Fitted(**{name: all_of(name) for name in names})  # type: ignore[arg-type]
