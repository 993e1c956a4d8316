"""What HiMoR's tree is worth: data. Each is one change away from the recipe, but for the system that it is built on."""

from fourfold.density.tree_nodes import TreeControl
from fourfold.initialize.motion_tree import PlantTree
from fourfold.recipes import himor, shape_of_motion
from fourfold.recipes.fourdgs360_ablations import without_residual
from fourfold.recipes.recipe import Recipe, replace

FULL = himor.RECIPE


def with_tree(plant: PlantTree, control: TreeControl) -> Recipe:
    """The recipe with another tree."""
    stages = []
    for stage in FULL.stages:
        enter = tuple(plant if isinstance(edit, PlantTree) else edit for edit in stage.enter)
        density = {name: control if isinstance(one, TreeControl) else one for name, one in stage.density.items()}
        stages.append(replace(stage, enter=enter, density=density))
    return replace(FULL, stages=tuple(stages))


ABLATIONS: dict[str, Recipe] = {
    "full": FULL,
    "one_level": with_tree(PlantTree(nodes=50), TreeControl(cull_and_deepen=2.0)),  # a share of the stage that never comes
    "more_nodes": with_tree(PlantTree(nodes=150), TreeControl()),
    "shape_of_motion": shape_of_motion.RECIPE,
    "shape_of_motion_no_residual": without_residual(shape_of_motion.RECIPE),  # bases against the tree, with nothing that flies along
}
"""Name of the ablation -> recipe; shape_of_motion keeps its own name."""
