"""Stiffness and calm of a motion scaffold while images are fitted (spec mosca.md sections 6 and 9). Lengths in extents of the scene."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fourfold.geometry.host import on_host
from fourfold.geometry.rotations import quat_normalize
from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import scored
from fourfold.losses.base import Step, mean_of
from fourfold.scene.rigidity import rigidity
from fourfold.scene.scaffold_nodes import Topology, accelerations, velocities
from fourfold.scene.scene import Layer


def scaffold_windows(step: Step, around: int) -> list[tuple[Tensor, Tensor, Topology]]:
    """Per scaffold and image of the batch: node positions (W, M, 3) in extents, unit quaternions (W, M, 4) and topology.

    The window are the knots up to `around` from the image's time; images with the same window share it. Computed once.
    """
    key = f"scaffold:{around}"
    if key not in step.memo:
        found: dict[tuple[str, int, int], tuple[Tensor, Tensor, Topology]] = {}
        for layer in step.scene.layers:
            if "node_xyz" in layer.shared:
                for sample in step.samples:
                    first, last = _window(layer, sample.time, around)
                    if (layer.name, first, last) not in found:
                        found[layer.name, first, last] = _poses(layer, first, last, step.extent)
        step.memo[key] = list(found.values())
    return step.memo[key]


def _window(layer: Layer, time: float, around: int) -> tuple[int, int]:
    knots = layer.fixed["knots"]
    middle = int((on_host(knots) - time).abs().argmin())
    return max(middle - around, 0), min(middle + around + 1, len(knots))


def _poses(layer: Layer, first: int, last: int, extent: float) -> tuple[Tensor, Tensor, Topology]:
    topology = Topology(layer.fixed["near"], layer.fixed["near_valid"])
    return layer.shared["node_xyz"][first:last] / extent, quat_normalize(layer.shared["node_quat"][first:last]), topology


@dataclass(frozen=True)
class ScaffoldRigidity:
    """Mean change of the neighbours' local coordinates plus `length` times that of their distances, over shifts in time.

    Attributes:
        length: weight of the distances beside the coordinates (1 in all released settings).
        shifts, weights: in knots (spec section 9: 1, 3, 6 with .6, .3, .1).
    """

    length: float = 1.0
    shifts: tuple[int, ...] = (1, 3, 6)
    weights: tuple[float, ...] = (0.6, 0.3, 0.1)

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over scaffolds and images; 0 without a scaffold."""
        windows = scaffold_windows(step, max(self.shifts))
        losses = [rigidity(*window, self.shifts, self.weights, (1.0, self.length)) for window in windows]
        return mean_of(losses, step.gaussians[0].means)


@dataclass(frozen=True)
class SmallSkinning:
    """Mean size of what was added to the weights of the nodes: they leave what distances say only where images ask for it (spec section 9)."""

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss; 0 where no weights are learned."""
        changes = [layer.splats["skinning"] for layer in step.scene.layers if "skinning" in layer.splats and len(layer)]
        return mean_of([change.abs().mean() for change in changes], step.scene.layers[0].splats["means"])


@dataclass(frozen=True)
class ScaffoldSmoothness:
    """Mean lengths of the nodes' steps and of their second differences, and of the angles they turn (radians) and their changes.

    Attributes:
        velocity, acceleration: weights of positions; turn_velocity, turn_acceleration: of rotations. MoSca: all alike.
        around: knots to either side of an image's time.
    """

    velocity: float = 1.0
    acceleration: float = 1.0
    turn_velocity: float = 1.0
    turn_acceleration: float = 1.0
    around: int = 6

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over scaffolds and images; 0 without a scaffold of at least three knots."""
        losses = []
        for xyz, quat, _ in scaffold_windows(step, self.around):
            if len(xyz) < 3:
                continue
            losses.append(unrest(xyz, quat, (self.velocity, self.turn_velocity, self.acceleration, self.turn_acceleration)))
        return mean_of(losses, step.gaussians[0].means)


def unrest(xyz: Tensor, quat: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Scalar weighted sum of mean lengths of steps, angles turned, second differences and changes of angles, of nodes at K >= 3 knots.

    Args:
        xyz: (K, M, 3); quat: (K, M, 4), unit length. CPU float32 goes through the compiled kernel.
    """
    library = compiled(xyz, quat)
    if library is None or xyz.numel() == 0:
        return unrest_reference(xyz, quat, weights)
    knots, nodes = xyz.shape[:2]

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, sizes = ctypes.c_double(), (ctypes.c_int64(knots), ctypes.c_int64(nodes))
        if library.ff_smooth_nodes(*map(pointer, inputs), *sizes, (ctypes.c_float * 4)(*weights), ctypes.byref(value), *map(pointer, gradients)):
            raise MemoryError(f"no memory for the motion of {nodes} nodes")
        return value.value

    return scored(kernel, xyz, quat)


def unrest_reference(xyz: Tensor, quat: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """The plain twin of `unrest`."""
    speed, spin = velocities(xyz, quat)
    bend, twist = accelerations(xyz, spin)
    return weights[0] * speed.mean() + weights[1] * spin.mean() + weights[2] * bend.mean() + weights[3] * twist.mean()
