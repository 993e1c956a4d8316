"""Depth of what stands still.

`plane_sweep` with `sweep_views` (which images), `sweep_cost` and `sweep_references` (one of them) is the way; `enclosed_depth` puts the
surface around a stage (`enclosure`) behind it; `rig` tells what several cameras look at, `fill` closes holes.
"""
