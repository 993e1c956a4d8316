"""CAT3D: a 3D point tracker without learned weights, on images, depth and rigidity (spec himor_4dgs360.md section 5.1 (ii)).

A window begins with rigid motions of the whole and of parts, fitted to anchors and to matched patches, which place every point in the
new frames. Each iteration then tests what is visible, matches patches of visible points nearby, and relaxes all points to be as rigid as
possible. Points marked at different times share one canonical shape: a new point takes its place on it from the known points around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.anchored_tracking.bodies import BodyNumbers, Evidence, Shape, bring_back, move, part_labels, predict, turned_normals
from fourfold.priors.anchored_tracking.interface import Clip, Iterate, Window
from fourfold.priors.anchored_tracking.patch_search import LabPyramid, Sought, lab_pyramid, search
from fourfold.priors.anchored_tracking.relax import Graph, Problem, RelaxNumbers, build_graph, local_rotations, relax
from fourfold.priors.anchored_tracking.surface import Surface, normals_at, project

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

MATCH_WEIGHT = 0.5
"""Weight of a matched patch beside an anchor's 1 when rigid motions are fitted."""
FADED = 0.3
"""Weight of a known point that is only predicted, when a new point looks for its place among its neighbours."""


@dataclass
class Memory:
    """What lasts through a pass: the clip made ready, the canonical shape, how many frames are done, and how far anchors were from predictions.

    `surprise` is (T, R), scene units, for every row of the job; 0 where nothing was predicted.
    """

    clip: Clip
    pyramid: LabPyramid
    shape: Shape = field(default_factory=Shape)
    done: int = 0
    surprise: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def surprises(self, rows: NDArray[np.intp]) -> Array:
        """A view-like copy (T, N) of the `surprise` of `rows`."""
        missing = int(rows.max(initial=-1)) + 1 - self.surprise.shape[1]
        if missing > 0:
            self.surprise = np.concatenate([self.surprise.reshape(len(self.clip), -1), np.zeros((len(self.clip), missing))], axis=1)
        return self.surprise[:, rows]


@dataclass
class Opened:
    """One window under way; `graph`, the templates' frames and pixels (W, N), (W, N, 2) come from the first iteration, `solved` from the last."""

    memory: Memory
    window: Window
    surface: Surface
    alive: Flags
    graph: Graph = Graph(np.zeros((0, 2), np.intp), np.zeros((0, 3)))
    solved: Array = field(default_factory=lambda: np.zeros(0))
    template_frame: NDArray[np.intp] | None = None
    template_xy: Array | None = None


@dataclass(frozen=True)
class Cat3D:
    """The weight-free tracker.

    Attributes:
        radii: search radius of each iteration, pixels.
        gate, gate_width: correlation at which a match counts half, and how softly.
        hint: weight of the one-sided pull on hidden points that the images contradict.
        doubt: an anchor farther than this many typical distances from where the rigid motions put it does not hold its neighbours (its own
            entry is the driver's to set): confident 2D tracks do sit on the wrong surface now and then.
    """

    name: str = "cat3d"
    window: int = 16
    stride: int = 8
    iterations: int = 6
    bidirectional: bool = True
    needs_weights: bool = False
    radii: tuple[float, ...] = (16, 12, 8, 6, 4, 3)
    gate: float = 0.5
    gate_width: float = 0.1
    hint: float = 0.05
    doubt: float = 4.0
    bodies: BodyNumbers = BodyNumbers()
    solver: RelaxNumbers = RelaxNumbers()

    def encode(self, clip: Clip) -> Memory:
        """Image pyramids and an empty shape."""
        return Memory(clip, lab_pyramid(clip.rgb))

    def open_window(self, context: Memory, window: Window) -> Opened:
        """The window's surfaces."""
        frames = np.arange(window.start, window.end)
        return Opened(context, window, Surface(context.clip, frames), frames[:, None] >= window.query_time)

    def step(self, opened: Opened, state: Iterate, fixed: Flags, iteration: int) -> Iterate:
        """One iteration: predict (the first only), test visibility, match, relax."""
        xyz = state.xyz.copy()
        if iteration == 0:
            _choose_templates(opened, xyz, fixed)
            self._place_new_frames(opened, xyz, fixed)
            canonical = opened.memory.shape.of(opened.window.rows)
            opened.graph = build_graph(canonical, xyz, opened.alive, fixed & opened.alive, self.solver)
            opened.solved = xyz
        doubted = self._doubted(opened, fixed)
        fixed, xyz = fixed & ~doubted & opened.alive, np.where(doubted[..., None], opened.solved, xyz)
        rotation = local_rotations(opened.graph, xyz)
        seen = self._seen_everywhere(opened, xyz, rotation)
        asked = opened.alive & ~fixed & (seen > 0.5)
        target, score = self._match(opened, xyz, asked, self.radii[min(iteration, len(self.radii) - 1)])
        gate = _sigmoid((score - self.gate) / self.gate_width)
        weight = np.where(fixed, 1.0, seen * gate * np.maximum(score, 0))
        hint, contradicted = opened.surface.hidden_hint(xyz)
        hinted = opened.alive & ~fixed & contradicted & (weight < self.hint)
        target = np.where(hinted[..., None], hint, np.where(fixed[..., None], xyz, target))
        free = opened.alive & ~fixed
        if opened.window.start > 0:
            free[0] &= opened.window.query_time == opened.window.start  # what earlier windows found is held
        problem = Problem(target, np.where(hinted, self.hint, weight), free, opened.alive)
        opened.solved = relax(opened.graph, xyz, rotation, problem, self.solver)
        visible = np.where(asked, seen * np.maximum(gate, 0.5), np.where(fixed, 1.0, seen * 0.5))
        return Iterate(opened.solved, _logit(visible), _logit(problem.weight))

    def _doubted(self, opened: Opened, fixed: Flags) -> Flags:
        """(W, N) anchors that the rigid motions contradict."""
        window = opened.window
        surprise = opened.memory.surprises(window.rows)[window.start : window.end]
        measured = surprise[fixed & (surprise > 0)]
        return fixed & (surprise > self.doubt * np.median(measured)) if len(measured) else np.zeros(fixed.shape, bool)

    def _doubted_at(self, opened: Opened, now: int, known: NDArray[np.intp]) -> Flags:
        """(M,) the same of the `known` points at one frame, by that frame alone."""
        surprise = opened.memory.surprises(opened.window.rows[known])[opened.window.start + now]
        measured = surprise[surprise > 0]
        return surprise > self.doubt * np.median(measured) if len(measured) else np.zeros(len(known), bool)

    def close_window(self, opened: Opened, state: Iterate) -> None:
        """The window's frames are done."""
        opened.memory.done = max(opened.memory.done, opened.window.end)

    def _place_new_frames(self, opened: Opened, xyz: Array, fixed: Flags) -> None:
        """Predict, frame by frame, every known point in the frames no window has seen, and give new points their place on the shape."""
        memory, window = opened.memory, opened.window
        labels: list[NDArray[np.intp]] = []
        known = np.flatnonzero(np.isfinite(memory.shape.of(window.rows)).all(1))
        for t in range(max(window.start, memory.done), window.end):
            now = t - window.start
            if len(known) and now > 0:
                labels = labels or part_labels(memory.shape.of(window.rows[known]), self.bodies)
                self._predict_frame(opened, xyz, fixed, now, known, labels)
            new = np.flatnonzero(window.query_time == t)
            if len(new):
                around = np.where(fixed[now, known], 1.0, FADED)
                back = bring_back(xyz[now, new], memory.shape.of(window.rows[known]), xyz[now, known], around, self.bodies.neighbours)
                facing = np.einsum("nij,nj->ni", back[:, :3, :3], normals_at(memory.clip, t, xyz[now, new]))
                memory.shape.learn(window.rows[new], move(back, xyz[now, new]), facing)
                known, labels = np.concatenate([known, new]), []

    def _predict_frame(self, opened: Opened, xyz: Array, fixed: Flags, now: int, known: NDArray[np.intp], labels: list[NDArray[np.intp]]) -> None:
        before = xyz[now - 1, known]
        moving = (now > 1) & (opened.window.query_time[known] < opened.window.start + now - 1)
        guess = before + np.where(moving[:, None], before - xyz[max(now - 2, 0), known], 0)
        trial = xyz.copy()
        trial[now, known] = np.where(fixed[now, known, None], xyz[now, known], guess)
        asked = np.zeros(fixed.shape, bool)
        shape, rows = opened.memory.shape, opened.window.rows[known]
        normal = turned_normals(shape.of(rows), shape.normal[rows], before, self.bodies.around)
        seen_now = opened.surface.visibility_at(trial[now, known], now) * opened.surface.facing(trial[now, known], normal, now)
        asked[now, known] = ~fixed[now, known] & (seen_now > 0.5)
        target, score = self._match(opened, trial, asked, self.radii[0])
        matched = np.where(asked[now, known], MATCH_WEIGHT * np.maximum(score[now, known] - self.gate, 0) / (1 - self.gate), 0)
        weight = np.where(fixed[now, known], 1.0, matched)
        seen = Evidence(np.where(fixed[now, known, None], xyz[now, known], target[now, known]), weight)
        enough = (weight > 0).sum() >= 6
        place = predict(shape.of(rows), before, seen, labels, self.bodies) if enough else guess
        held = fixed[now, known]
        opened.memory.surprises(rows)
        if enough:
            opened.memory.surprise[opened.window.start + now, rows] = np.where(held, np.linalg.norm(place - xyz[now, known], axis=1), 0)
            held = held & ~self._doubted_at(opened, now, known)
        xyz[now, known] = np.where(held[:, None], xyz[now, known], place)

    def _seen_everywhere(self, opened: Opened, xyz: Array, rotation: Array) -> Array:
        """(W, N) how surely points (W, N, 3) with local `rotation` (W, N, 3, 3) are seen: by depth, by mask, and by where they face."""
        normal = np.einsum("wnij,nj->wni", rotation, opened.memory.shape.normal[opened.window.rows])
        each = [opened.surface.visibility_at(p, t) * opened.surface.facing(p, normal[t], t) for t, p in enumerate(xyz)]
        return np.nan_to_num(np.stack(each))

    def _match(self, opened: Opened, xyz: Array, asked: Flags, radius: float) -> tuple[Array, Array]:
        """Where the patches of the `asked` entries are found: target (W, N, 3) and correlation (W, N), 0 where not asked or not found."""
        target, score = xyz.copy(), np.zeros(asked.shape)
        if opened.template_frame is None or opened.template_xy is None or not asked.any():
            return target, score
        t, n = np.nonzero(asked)
        clip, start = opened.memory.clip, opened.window.start
        guess = project(xyz[t, n], clip.K[start + t], clip.world_to_camera[start + t])[0]
        sought = Sought(opened.template_frame[t, n], opened.template_xy[t, n], start + t, guess)
        found, value = search(opened.memory.pyramid, sought, radius)
        world, good = opened.surface.lift(found, t)
        target[t[good], n[good]] = world[good]
        score[t, n] = np.where(good, value, 0)
        return target, score


def _choose_templates(opened: Opened, xyz: Array, fixed: Flags) -> None:
    """Each entry is compared with the nearest frame in which its point was anchored, or with its query: no drift through templates."""
    window, clip = opened.window, opened.memory.clip
    frames = np.arange(window.start, window.end)
    query_xy = project(window.query_xyz, clip.K[window.query_time], clip.world_to_camera[window.query_time])[0]
    frame = np.repeat(window.query_time[None], len(frames), axis=0)
    places = np.repeat(query_xy[None], len(frames), axis=0)
    nearest = np.abs(frame - frames[:, None])
    for t, number in enumerate(frames):
        xy = project(xyz[t], clip.K[number][None], clip.world_to_camera[number][None])[0]
        nearer = fixed[t] & (np.abs(number - frames)[:, None] < nearest)
        frame = np.where(nearer, number, frame)
        places = np.where(nearer[..., None], xy, places)
        nearest = np.where(nearer, np.abs(number - frames)[:, None], nearest)
    opened.template_frame, opened.template_xy = frame.astype(np.intp), places


def _sigmoid(value: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(value, -50, 50)))


def _logit(probability: Array) -> Array:
    clipped = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped))
