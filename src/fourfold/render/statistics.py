"""Gathering what density control reads of renderings."""

from __future__ import annotations

from torch import Tensor

from fourfold.render.api import ScreenStatistics


def add_screen_gradients(screen: ScreenStatistics, gradient: Tensor, absolute: Tensor) -> None:
    """Add one backward pass to the statistics: several losses on one rendering sum up, as gradients do."""
    screen.gradient = gradient if screen.gradient is None else screen.gradient + gradient
    screen.absolute_gradient = absolute if screen.absolute_gradient is None else screen.absolute_gradient + absolute
