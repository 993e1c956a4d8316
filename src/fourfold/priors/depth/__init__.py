"""Depth of what stands still, by plane sweeps and the surface that encloses a stage."""
