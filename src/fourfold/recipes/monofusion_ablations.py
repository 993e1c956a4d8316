"""The ablations of MonoFusion's Tables 2 and 3: data, each one change away from the recipe."""

from fourfold.initialize.monofusion import MonoFusionStart
from fourfold.initialize.object_layer import ObjectNumbers
from fourfold.initialize.shape_of_motion import BackgroundAndObject
from fourfold.recipes import monofusion, mv_shape_of_motion
from fourfold.recipes.recipe import Recipe, replace

FULL = monofusion.RECIPE
_START = FULL.initialize if isinstance(FULL.initialize, MonoFusionStart) else MonoFusionStart()


def with_depth(recipe: Recipe, provider: str) -> Recipe:
    """`recipe` with the depth of this provider."""
    return replace(recipe, priors=tuple(f"depth:{provider}" if name.partition(":")[0] == "depth" else name for name in recipe.priors))


def without(recipe: Recipe, term: str) -> Recipe:
    """`recipe` without one of its losses."""
    return replace(recipe, stages=tuple(replace(stage, terms=tuple(t for t in stage.terms if t.name != term)) for stage in recipe.stages))


_TRACK_BASES = replace(
    FULL,
    priors=(*FULL.priors, "tracks2d", "tracks3d"),
    initialize=BackgroundAndObject(_START.background, ObjectNumbers(count=_START.foreground.count)),
)

ABLATIONS: dict[str, Recipe] = {
    "full": FULL,
    "view_consistent_depth": with_depth(FULL, "view_consistent"),  # Table 2: consistent between the views only
    "time_consistent_depth": with_depth(FULL, "time_consistent"),  # Table 2: consistent over time only
    "identity_trajectories": replace(FULL, initialize=replace(_START, foreground=replace(_START.foreground, trajectories="identity"))),
    "position_groups": replace(
        FULL, initialize=replace(_START, foreground=replace(_START.foreground, groups=replace(_START.foreground.groups, features=0.0)))
    ),
    "no_feature_loss": without(FULL, "features"),  # Table 3
    "track_bases": _TRACK_BASES,  # Table 3, last row off: bases from the velocities of lifted tracks
    "baseline": mv_shape_of_motion.RECIPE,  # Table 3, first row
}
"""Name of the ablation -> recipe; all but the baseline keep the recipe's own name."""
