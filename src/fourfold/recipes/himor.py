"""HiMoR for a laptop: Shape of Motion's background and start, then movers on a motion tree, coarse to fine.

"H n" is section n of spec himor_4dgs360.md; terms and rates without a source are those of recipe `shape_of_motion`. The release trains some
9000 steps of 8 images, ours are 2000 of one with the tree: bases take Shape of Motion's rates, nodes move a few times faster than H 4.
"""

from fourfold.density.tree_nodes import TreeControl
from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.motion_tree import PlantTree
from fourfold.initialize.object_layer import ObjectNumbers
from fourfold.initialize.shape_of_motion import BackgroundAndObject
from fourfold.losses.tree_calm import TreeAcceleration, TreeRadius
from fourfold.losses.tree_rigidity import TreeRigidity
from fourfold.recipes.recipe import Rate, Recipe, Stage, Suits, Term, replace
from fourfold.recipes.shape_of_motion import MOVING_TERMS, OBJECT_RATES, STATIC_RATES
from fourfold.recipes.shape_of_motion import RECIPE as SHAPE_OF_MOTION

TREE_RATES = {
    "object.node_means_*": Rate(1.6e-5, per_extent=True),  # H 4
    "object.node_log_radius_*": Rate(2e-3),  # H 4: 5e-4
    "object.node_logits_*": Rate(1e-2),  # H 4
    "object.rotation6d_*": Rate(4e-3, final=0.1),  # as the bases of shape_of_motion; H 4: 1.6e-4
    "object.translation_*": Rate(7e-4, final=0.1, per_extent=True),
}
TREE_TERMS = (
    *(term for term in MOVING_TERMS if term.name != "bases_acceleration"),
    Term("tree_acceleration", TreeAcceleration(typical=2e-2), 0.1),  # H 4: bases accel, summed over levels
    Term("tree_radius", TreeRadius(), 1e-4),  # H 4
)


def tree_stages(terms: tuple[Term, ...], plant: PlantTree, control: TreeControl) -> tuple[Stage, ...]:
    """Background, movers on shared bases, background and movers on a tree, then what no mover explains: the steps and images of `shape_of_motion`."""
    static, moving, joint, residual = SHAPE_OF_MOTION.stages
    tree = replace(
        joint,
        name="tree",
        enter=(*joint.enter, plant),
        terms=terms,
        rates=STATIC_RATES | OBJECT_RATES | TREE_RATES,
        density={"object": control},
    )
    return static, moving, tree, residual


RECIPE = Recipe(
    name="himor",
    summary="one moving camera: movers on a tree of nodes, coarse to fine",
    source="Liang et al. 2025 (himor_4dgs360.md); schedule of calibration.md, part E",
    priors=("masks", "depth", "flow", "tracks2d", "tracks3d"),
    initialize=BackgroundAndObject(BackgroundNumbers(count=55_000), ObjectNumbers(count=14_000)),
    background=(0.4, 0.4, 0.4),
    suits=Suits(  # docs/recipes/auto.md; a longer film is made in chunks, which this recipe is not
        views=(1, 1),
        arc=120.0,
        video=True,
        images=(21, 300),
        rank=72,
        because="a camera that goes round sees each side at another time; nodes carry it on",
    ),
    stages=tree_stages((*TREE_TERMS, Term("rigidity", TreeRigidity(), 0.5)), PlantTree(nodes=50), TreeControl()),
)
