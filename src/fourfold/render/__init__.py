"""Rendering: one call, four backends."""

from fourfold.render.api import RasterOptions, Render, ScreenStatistics, rasterize

__all__ = ["RasterOptions", "Render", "ScreenStatistics", "rasterize"]
