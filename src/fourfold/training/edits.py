"""Applying an `Edit` of density control to a layer and to the optimiser's moments."""

from __future__ import annotations

import torch

from fourfold.density.base import Edit, GrowthStatistics
from fourfold.errors import FourfoldError
from fourfold.scene.scene import Layer
from fourfold.training.state import Moments


@torch.no_grad()
def apply_edit(layer: Layer, edit: Edit, moments: dict[str, Moments]) -> GrowthStatistics:
    """Change the rows of `layer` and of its `moments` in place; returns fresh growth statistics for the new rows.

    Raises:
        FourfoldError: the edit names a parameter the layer lacks or has the wrong number of rows.
    """
    rows = len(edit.source)
    for name, value in edit.changes.items():
        if name not in layer.splats or value.shape != (rows, *layer.splats[name].shape[1:]):
            raise FourfoldError(
                f"an edit of layer {layer.name!r} gives {name!r} the shape {tuple(value.shape)}, expected {rows} rows of an existing parameter"
            )
    for name, old in layer.splats.items():
        changed = edit.changes.get(name)
        layer.splats[name] = (old.detach()[edit.source] if changed is None else changed.detach().to(old.dtype)).contiguous()
        memory = moments.get(f"{layer.name}.{name}")
        if memory is None:
            continue
        memory.first, memory.second = memory.first[edit.source].contiguous(), memory.second[edit.source].contiguous()
        for moment in (memory.first, memory.second):
            if name in edit.reset:
                moment.zero_()
            else:
                moment[edit.fresh] = 0
    for name, value in edit.shared.items():
        layer.shared[name] = value.detach().contiguous()
        moments.pop(f"{layer.name}.{name}", None)
    layer.fixed.update({name: value.detach() for name, value in edit.fixed.items()})
    return GrowthStatistics.zeros(rows, layer.splats["means"].device)
