"""4DGS360 for a laptop: HiMoR's tree, started from 3D tracks that also know where hidden points are, and held rigid between far moments.

"H n" is section n of spec himor_4dgs360.md.
"""

from fourfold.density.tree_nodes import TreeControl
from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.motion_tree import PlantTree
from fourfold.initialize.object_layer import ObjectNumbers
from fourfold.initialize.shape_of_motion import BackgroundAndObject
from fourfold.losses.tree_rays import TreeRays
from fourfold.losses.tree_rigidity import TreeRigidity
from fourfold.recipes.himor import TREE_TERMS, tree_stages
from fourfold.recipes.recipe import Recipe, Term

TERMS_360 = (
    *TREE_TERMS,
    Term("rigidity", TreeRigidity(), 0.5),  # H 4: 2.0 over ten times the steps; that much costs .01 of silhouette IoU here
    Term("rays", TreeRays(), 0.3, begin=0.5),  # H 4: from step 5000
)

RECIPE = Recipe(
    name="fourdgs360",
    summary="one moving camera far around a mover: anchored 3D tracks, movers on a rigid tree of nodes",
    source="Jang et al. 2026 (himor_4dgs360.md); schedule of calibration.md, part E",
    priors=("masks", "depth", "flow", "tracks2d", "tracks3d:anchored"),
    initialize=BackgroundAndObject(BackgroundNumbers(count=55_000), ObjectNumbers(count=14_000)),
    background=(0.4, 0.4, 0.4),
    stages=tree_stages(TERMS_360, PlantTree(nodes=70), TreeControl()),  # H 1
)
