"""The naive extension of MoSca to several cameras: tracks of each camera alone, lifted by depth (spec sparse_dynamic_cameras.md section 9).

Everything else as in sparse_dynamic, so that the two differ in the tracks alone (the paper's Table 2, row "MoSca").
"""

from fourfold.recipes import sparse_dynamic
from fourfold.recipes.recipe import Suits, replace

RECIPE = replace(
    sparse_dynamic.RECIPE,
    name="mosca_naive",
    summary="several moving cameras, each tracked alone: the baseline of sparse_dynamic",
    priors=("masks", "depth", "flow", "tracks2d:chained_lucas_kanade", "tracks3d:lifted_tracks"),
    suits=Suits(),
)
