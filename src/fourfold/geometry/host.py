"""Copies of small constant tensors on the host, kept: reading a number from a GPU waits for all the work that was given to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_copies = WeakTensorKeyDictionary()  # tensor -> (its version, the copy)


def on_host(values: Tensor) -> Tensor:
    """`values` on the CPU; of a tensor on a GPU the copy is kept as long as the tensor lives and does not change."""
    if values.device.type == "cpu":
        return values
    kept = known_on_host(values)
    if kept is None:
        kept = values.detach().cpu()
        _copies[values] = values._version, kept
    return kept


def known_on_host(values: Tensor) -> Tensor | None:
    """What `on_host` gives if that waits for nothing, else None."""
    if values.device.type == "cpu":
        return values
    kept: tuple[int, Tensor] | None = _copies.get(values)
    return None if kept is None or kept[0] != values._version else kept[1]


def rows_of(values: Tensor, rows: slice) -> Tensor:
    """`values[rows]`, whose copy on the host is known if that of `values` is."""
    some, kept = values[rows], known_on_host(values)
    if kept is not None and kept is not values:
        _copies[some] = some._version, kept[rows]
    return some


def picked(values: Tensor, rows: Tensor) -> Tensor:
    """`values[rows]`, whose copy on the host is known."""
    return values[rows] if values.device.type == "cpu" else sent(on_host(values)[on_host(rows)], values.device)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """`values` of the CPU on `device`, whose copy on the host is known from the start."""
    if device.type == "cpu":
        return values
    there = values.to(device, non_blocking=True)
    _copies[there] = there._version, values
    return there


def joined(parts: Sequence[Tensor]) -> Tensor:
    """`parts` one after the other, whose copy on the host is known."""
    return torch.cat(list(parts)) if parts[0].device.type == "cpu" else sent(torch.cat([on_host(part) for part in parts]), parts[0].device)
