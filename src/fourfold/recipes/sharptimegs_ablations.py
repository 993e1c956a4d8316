"""The ablations of SharpTimeGS's Table 2 and the paper's single set: data, each one change away from the recipe."""

from fourfold.density.base import DensityControl
from fourfold.density.capped import CappedGrowth
from fourfold.initialize.lifespan_clouds import LifespanClouds
from fourfold.initialize.timed_clouds import TimedClouds
from fourfold.recipes import fourdgs, freetimegs, sharptimegs
from fourfold.recipes.recipe import Recipe, Stage, replace
from fourfold.scene.motion.lifespan import Lifespan


def _growing_on(stage: Stage) -> Stage:
    """The stage with growth by gradients in the place of relocation."""
    return replace(stage, density={"free": CappedGrowth(most=55_000, absolute=True)}) if stage.name == "refine" else stage


def _in_stage(name: str, density: dict[str, DensityControl]) -> Recipe:
    """The recipe with other density control in one stage."""
    stages = tuple(replace(stage, density=density) if stage.name == name else stage for stage in sharptimegs.RECIPE.stages)
    return replace(sharptimegs.RECIPE, stages=stages)


ABLATIONS: dict[str, Recipe] = {
    "full": sharptimegs.RECIPE,
    "representation_off": fourdgs.RECIPE,  # Table 2: native 4D Gaussians
    "lifespan_off": replace(sharptimegs.RECIPE, initialize=LifespanClouds(motion=Lifespan(flat=False))),
    "densification_off": replace(sharptimegs.RECIPE, stages=tuple(_growing_on(stage) for stage in sharptimegs.RECIPE.stages)),
    "relocation_off": _in_stage("refine", {}),
    "still_growth_off": _in_stage("grow", {"free": sharptimegs.RECIPE.stages[0].density["free"]}),
    "initialisation_off": replace(sharptimegs.RECIPE, initialize=LifespanClouds(informed=False)),
    "single_set": replace(sharptimegs.RECIPE, initialize=LifespanClouds(split=False)),
    "freetimegs_single_set": replace(freetimegs.RECIPE, initialize=TimedClouds(split=False)),
}
"""Name of the ablation -> recipe; other systems keep their own names."""
