"""Movers of one camera.

Read in this order: `mover_regions` and `touching_movers` (which masks are one body), `object_sfm` (a rigid body's shape and path, up to its size),
`object_align` (where tracks fail), `object_sweep` (its surface), `mover_models` (rigid, bending or flat), `object_evidence` and `object_scale` (its
size against the world), `body_path` (how steadily it moves), `loose_parts` (limbs), `movers` (depth and 3D tracks).
"""
