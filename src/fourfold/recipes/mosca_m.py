"""MoSca-M: the tracks of a 3D tracker in the place of matched and triangulated ones (spec sparse_dynamic_cameras.md section 9).

The paper takes MVTracker, which serves where its weights are; otherwise anchored tracking, which knows of no matches between cameras either.
"""

from fourfold.recipes import sparse_dynamic
from fourfold.recipes.recipe import Suits, replace

RECIPE = replace(
    sparse_dynamic.RECIPE,
    name="mosca_m",
    summary="several moving cameras with a 3D tracker's tracks: a baseline of sparse_dynamic",
    priors=("masks", "depth", "flow", "tracks2d:chained_lucas_kanade", "tracks3d:mvtracker|anchored"),
    suits=Suits(),
)
