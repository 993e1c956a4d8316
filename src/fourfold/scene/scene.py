"""A moving scene: named layers of Gaussians, each with a motion model, answering `scene.at(time)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.host import sent

STATIC, DYNAMIC = "static", "dynamic"


class Motion(Protocol):
    """A motion model: a frozen dataclass of numbers that turns a layer's parameters into Gaussians at given times.

    `kind` names it in scene files. A new model is a new file in `scene/motion/`; nothing else learns its name.
    A model that can tell positions alone more cheaply also has `means_at(layer, times) -> (K, N, 3)`; one that tells Gaussians and positions at
    further times more cheaply together than apart `at_and_means(layer, times, further)` (`Layer.at_and_means`); one whose Gaussians fly straight,
    neither turn nor change, also has `flights(layer) -> Flights` (scene/flights.py), which files of moving splats hold exactly, or
    `course(layer) -> Course` (scene/courses.py), which the player evaluates by itself.
    """

    kind: ClassVar[str]

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians of `layer` at each of `times` (K,), seconds. Differentiable in `layer.splats` and `layer.shared`.

        Always all N Gaussians of the layer, in order: invisible ones get `visibility` 0.
        """
        ...


@dataclass
class Layer:
    """Gaussians that share a motion model.

    Attributes:
        name: unique within the scene, for instance "static", "object", "free".
        role: "static" or "dynamic": what the foreground indicator, the masks and the statistics go by.
        motion: the motion model (numbers only).
        splats: per-Gaussian parameters, each (N, ...): always `means` (N, 3), `quat_wxyz` (N, 4), `log_scale` (N, 3),
            `opacity_logit` (N,), `color_logit` (N, 3); optionally `sh_rest`, and what the motion model needs
            (`motion_logits`, `velocity`, ...). Density control duplicates and removes rows of all of them alike.
        shared: trained parameters that are not per Gaussian (motion bases, network weights).
        fixed: untrained tensors that the motion model reads (knot times in seconds, pivots).
    """

    name: str
    role: str
    motion: Motion
    splats: dict[str, Tensor]
    shared: dict[str, Tensor] = field(default_factory=dict)
    fixed: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.splats["means"].shape[0]

    def means_at(self, times: Tensor) -> Tensor:
        """(K, N, 3) positions alone at each of `times` (K,), seconds; differentiable like `Motion.at`."""
        direct = getattr(self.motion, "means_at", None)
        if direct is not None:
            return direct(self, times)
        return torch.stack([gaussians.means for gaussians in self.motion.at(self, times)])

    def at_and_means(self, times: Tensor, further: Sequence[Tensor]) -> tuple[list[Gaussians], list[Tensor]]:
        """Gaussians at each of `times` (Q,), and positions (K, N, 3) alone at each of several `further` times (K,), seconds."""
        together = getattr(self.motion, "at_and_means", None)
        if together is not None:
            return together(self, times, further)
        return self.motion.at(self, times), [self.means_at(moments) for moments in further]

    def canonical(self) -> Gaussians:
        """The layer's own Gaussians, unmoved: what a static layer shows at any time."""
        s = self.splats
        return Gaussians(s["means"], s["quat_wxyz"], s["log_scale"], s["opacity_logit"], torch.sigmoid(s["color_logit"]), s.get("sh_rest"))


@dataclass
class Scene:
    """Layers over a time range; everything downstream only calls `at`.

    Attributes:
        layers: in drawing-independent order; rows of `at(time)` follow it.
        time_range: first and last second of the capture.
        scale: size of one scene unit in metres, or None where it is unknown.
        background: (3,) RGB behind everything.
        up: (3,) unit vector that points up in the scene.
        near: depth before which nothing is drawn, scene units.
    """

    layers: list[Layer]
    time_range: tuple[float, float]
    scale: float | None = None
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    up: tuple[float, float, float] = (0.0, -1.0, 0.0)
    near: float = 0.01

    def at(self, time: float) -> Gaussians:
        """All Gaussians at `time`, seconds. FourfoldError if that is no finite number."""
        try:
            moment = float(time)
        except (TypeError, ValueError, RuntimeError) as error:
            raise FourfoldError(f"a scene is asked for at {str(time)[:40]!r}: give one time, a number of seconds") from error
        return self.at_times([moment])[0]

    def at_times(self, times: Sequence[float] | Tensor) -> list[Gaussians]:
        """Gaussians at each of several times, computed together."""
        return self.at_and_means(times, {})[0]

    def at_and_means(
        self, times: Sequence[float] | Tensor, further: Mapping[str, Sequence[Tensor]]
    ) -> tuple[list[Gaussians], dict[str, list[Tensor]]]:
        """Gaussians at each of `times`, and by the name of a layer its positions (K, N, 3) at each of several `further` times (K,), seconds."""
        first = self.layers[0].splats["means"]
        moments = torch.as_tensor(times, dtype=first.dtype)
        if moments.device.type == "cpu":
            if not bool(torch.isfinite(moments).all()):
                raise FourfoldError("a scene is asked for at a time that is not a number of seconds")
            moments = sent(moments, first.device)
        found = [layer.at_and_means(moments, further.get(layer.name, ())) for layer in self.layers]
        gaussians = [Gaussians.concatenate([moved[i] for moved, _ in found]) for i in range(len(moments))]
        return gaussians, {layer.name: places for layer, (_, places) in zip(self.layers, found, strict=True)}

    def slices(self) -> dict[str, slice]:
        """Rows of each layer in what `at` returns."""
        result, start = {}, 0
        for layer in self.layers:
            result[layer.name] = slice(start, start + len(layer))
            start += len(layer)
        return result

    def layer(self, name: str) -> Layer:
        """The layer called `name`; KeyError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"the scene has no layer {name!r}; it has {[layer.name for layer in self.layers]}")

    def dynamic_rows(self) -> Tensor:
        """(N,) 1.0 for Gaussians of dynamic layers, 0.0 for the rest: the foreground indicator."""
        like = self.layers[0].splats["means"]
        return torch.cat([like.new_full((len(layer),), float(layer.role == DYNAMIC)) for layer in self.layers])

    def foreground_rows(self) -> Tensor:
        """(N,) 1.0 for Gaussians of what moving-object masks show: of the layer "object" where there is one, since residual Gaussians beside it
        explain what lies outside the masks; otherwise of all dynamic layers."""
        rows, places = self.dynamic_rows(), self.slices()
        if "object" not in places:
            return rows
        only = torch.zeros_like(rows)
        only[places["object"]] = rows[places["object"]]
        return only
