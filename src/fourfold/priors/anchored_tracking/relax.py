"""As-rigid-as-possible positions of many points over a window of frames: one local and one global step.

Source: spec himor_4dgs360.md section 5.1, weight-free tracker, steps 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RelaxNumbers:
    """Numbers of the solver.

    Attributes:
        neighbours: edges per point, the nearest by curve distance among `candidates` canonically nearest.
        rigidity, smoothness: weights of edges and of accelerations beside data of weight 1.
        stretch: an edge breaks if its length on anchors leaves [1 / stretch, stretch] canonical lengths.
        rounds: conjugate gradient iterations.
    """

    neighbours: int = 8
    candidates: int = 24
    rigidity: float = 1.0
    smoothness: float = 0.5
    stretch: float = 2.0
    rounds: int = 30


@dataclass(frozen=True)
class Graph:
    """Edges (E, 2) between N points and their canonical offsets (E, 3)."""

    edges: NDArray[np.intp]
    offset: Array

    def incidence(self, count: int, signed: bool) -> sparse.csr_matrix:
        """(E, N): +1 at the first end, -1 (or +1 where not `signed`) at the second."""
        number = np.arange(len(self.edges))
        values = np.r_[np.ones(len(number)), (-1.0 if signed else 1.0) * np.ones(len(number))]
        return sparse.csr_matrix((values, (np.r_[number, number], np.r_[self.edges[:, 0], self.edges[:, 1]])), (len(number), count))


def build_graph(canonical: Array, xyz: Array, alive: Flags, fixed: Flags, numbers: RelaxNumbers) -> Graph:
    """Connect points (N, 3) that stay near each other over the window's positions `xyz` (W, N, 3) where both are `alive` (W, N)."""
    count = len(canonical)
    near = min(numbers.candidates, count - 1)
    if near < 1:
        return Graph(np.zeros((0, 2), np.intp), np.zeros((0, 3)))
    index = cKDTree(canonical).query(canonical, k=near + 1)[1][:, 1:]
    first = np.repeat(np.arange(count), near)
    second = index.ravel()
    both = alive[:, first] & alive[:, second]
    distance = np.linalg.norm(xyz[:, first] - xyz[:, second], axis=2)
    curve = np.where(both, distance, 0).max(0)
    length = np.linalg.norm(canonical[first] - canonical[second], axis=1)
    curve = np.maximum(curve, length)
    held = fixed[:, first] & fixed[:, second]
    ratio = distance / np.maximum(length, 1e-12)
    broken = (held & ((ratio > numbers.stretch) | (ratio < 1 / numbers.stretch))).sum(0) > 0.5 * np.maximum(held.sum(0), 1)
    order = np.argsort(np.where(broken, np.inf, curve).reshape(count, near), axis=1)[:, : numbers.neighbours]
    chosen = np.take_along_axis(np.arange(count * near).reshape(count, near), order, 1).ravel()
    chosen = chosen[~broken[chosen]]
    pairs = np.unique(np.sort(np.stack([first[chosen], second[chosen]], 1), axis=1), axis=0)
    return Graph(pairs.astype(np.intp), canonical[pairs[:, 0]] - canonical[pairs[:, 1]])


def local_rotations(graph: Graph, xyz: Array) -> Array:
    """(W, N, 3, 3) rotation of each point's canonical neighbourhood into `xyz` (W, N, 3) (Sorkine and Alexa 2007)."""
    count = xyz.shape[1]
    gather = graph.incidence(count, signed=False).T
    now = xyz[:, graph.edges[:, 0]] - xyz[:, graph.edges[:, 1]]
    outer = np.einsum("wei,ej->weij", now, graph.offset).reshape(len(xyz), -1, 9)
    covariance = np.stack([gather @ o for o in outer]).reshape(len(xyz), count, 3, 3)
    u, _, vh = np.linalg.svd(covariance)
    u[..., 2] *= np.where(np.linalg.det(u @ vh) < 0, -1.0, 1.0)[..., None]
    return u @ vh


@dataclass(frozen=True)
class Problem:
    """One window: target (W, N, 3) with weight (W, N); `free` (W, N) entries are solved for, others stay; `alive` (W, N) entries exist."""

    target: Array
    weight: Array
    free: Flags
    alive: Flags


def relax(graph: Graph, xyz: Array, rotation: Array, problem: Problem, numbers: RelaxNumbers) -> Array:
    """(W, N, 3) `xyz` after one global step with the `local_rotations` (W, N, 3, 3)."""
    frames, count = problem.free.shape
    a, b = graph.edges.T
    turned = 0.5 * np.einsum("weij,ej->wei", rotation[:, a] + rotation[:, b], graph.offset)
    both = (problem.alive[:, a] & problem.alive[:, b]).astype(np.float64)
    incidence = graph.incidence(count, signed=True)
    blocks = [incidence.T @ sparse.diags(numbers.rigidity * both[t]) @ incidence for t in range(frames)]
    pull = numbers.rigidity * np.stack([incidence.T @ (both[t, :, None] * turned[t]) for t in range(frames)])
    matrix = sparse.block_diag(blocks) + sparse.diags(problem.weight.ravel())
    if frames > 2:
        whole = problem.alive[:-2] & problem.alive[1:-1] & problem.alive[2:]
        rows = np.arange(frames - 2)
        ones = np.ones(frames - 2)
        places = np.tile(rows, 3), np.concatenate([rows, rows + 1, rows + 2])
        second = sparse.coo_matrix((np.concatenate([ones, -2 * ones, ones]), places), (frames - 2, frames))
        bend = sparse.diags(whole.ravel().astype(np.float64)) @ sparse.kron(second, sparse.eye(count))
        matrix = matrix + numbers.smoothness * (bend.T @ bend)
    right = (pull + problem.weight[..., None] * problem.target).reshape(-1, 3)
    return _solve(sparse.csr_matrix(matrix), right, xyz.reshape(-1, 3), problem.free.ravel(), numbers.rounds).reshape(xyz.shape)


def _solve(matrix: sparse.csr_matrix, right: Array, start: Array, free: Flags, rounds: int) -> Array:
    """Jacobi-preconditioned conjugate gradients for the free rows, the others held at `start`."""
    inner = np.flatnonzero(free)
    result = start.copy()
    if len(inner) == 0:
        return result
    rows = matrix[inner]
    held = np.where(free[:, None], 0, start)
    wanted = right[inner] - rows @ held
    system = rows[:, inner]
    diagonal = np.maximum(system.diagonal(), 1e-9)
    system = system + sparse.diags(np.where(system.diagonal() < 1e-9, 1e-9, 0))
    precondition = LinearOperator(system.shape, lambda v: v / diagonal)
    for axis in range(3):
        result[inner, axis] = cg(system, wanted[:, axis], x0=start[inner, axis], rtol=1e-6, maxiter=rounds, M=precondition)[0]
    return result
