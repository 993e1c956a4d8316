"""Adam with one state per tensor and one rate per pattern; rows that no image showed are left alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fourfold.kernels.adam import AdamNumbers, AdamTensor, adam_steps, all_finite
from fourfold.kernels.devices import on_gpu
from fourfold.recipes.recipe import Rate
from fourfold.scene.scene import Scene
from fourfold.training.schedule import rate_at, rate_of
from fourfold.training.state import Lengths, Moments, parameters


def watch(scene: Scene, rates: Mapping[str, Rate]) -> None:
    """Make exactly the tensors with a rate require gradients, with none gathered yet."""
    for layer in scene.layers:
        for key, group, name in parameters(layer):
            tensor = group[name]
            wanted = rate_of(rates, key) is not None and tensor.is_floating_point()
            if tensor.requires_grad != wanted or not tensor.is_leaf:
                group[name] = tensor = tensor.detach().requires_grad_(wanted)
            tensor.grad = None


def trainable(scene: Scene, rates: Mapping[str, Rate]) -> bool:
    """Whether any tensor of `scene` has a rate."""
    return any(rate_of(rates, key) is not None for layer in scene.layers if len(layer) for key, _, _ in parameters(layer))


def gradients_finite(scene: Scene) -> bool:
    """Whether no gradient of `scene` holds a NaN or an infinity."""
    found = [group[name].grad for layer in scene.layers for _, group, name in parameters(layer)]
    gradients = [gradient for gradient in found if gradient is not None and gradient.numel()]
    if not gradients or gradients[0].device.type == "cpu":
        return all_finite(gradients)
    norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateUsage]
    return math.isfinite(float(torch.stack(list(norms)).sum()))  # on a GPU in few launches; no norm is negative, none hides another


def not_finite(losses: Mapping[str, float], scene: Scene) -> str:
    """Where a step went wrong: the losses that are not finite, or else the tensors whose gradients are not."""
    wild = [name for name, value in losses.items() if not math.isfinite(value)]
    if wild:
        return f"in the loss {' and '.join(wild)}"
    keys = [key for layer in scene.layers for key, group, name in parameters(layer) if _wild(group[name].grad)]
    return f"in the gradient of {' and '.join(keys) or 'the sum of all'}"


def _wild(gradient: Tensor | None) -> bool:
    return gradient is not None and not bool(torch.isfinite(gradient).all())


@torch.no_grad()
def update(
    scene: Scene,
    moments: dict[str, Moments],
    rates: Mapping[str, Rate],
    rows: Mapping[str, Tensor],
    progress: float,
    lengths: Lengths,
    caution: float = 1.0,
    numbers: AdamNumbers = AdamNumbers(),
) -> None:
    """One Adam step on every tensor that has a gradient, in place.

    Args:
        rows: layer name -> (N,) bool, the Gaussians that an image of the batch showed; the others keep value and moments.
        progress: 0..1 through the stage; lengths: in which rates are told; caution: factor on all rates.
    """
    together: list[AdamTensor] = []
    for layer in scene.layers:
        seen = rows.get(layer.name)
        for key, group, name in parameters(layer):
            tensor, rate = group[name], rate_of(rates, key)
            if rate is None or tensor.grad is None:
                continue
            if key not in moments:
                moments[key] = _fresh(tensor)
            memory = moments[key]
            memory.steps += 1
            now = caution * rate_at(rate, progress, lengths.extent, lengths.pixels.get(layer.name, 0.0))
            shown = seen if group is layer.splats else None
            together.append(AdamTensor(tensor.data, tensor.grad, memory.first, memory.second, memory.steps, now, shown))
    adam_steps(together, numbers)


def _fresh(tensor: Tensor) -> Moments:
    """Moments of zero; on a GPU the kernel does not ask at the first step what they hold."""
    if on_gpu(tensor) and tensor.is_contiguous():
        return Moments(torch.empty_like(tensor), torch.empty_like(tensor))
    return Moments(torch.zeros_like(tensor), torch.zeros_like(tensor))
