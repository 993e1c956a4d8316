"""The ablations of MonoFusion's Tables 2 and 3: data, each one change away from the recipe."""

from fourfold.initialize.monofusion import MonoFusionStart
from fourfold.initialize.object_layer import ObjectNumbers
from fourfold.initialize.shape_of_motion import BackgroundAndObject
from fourfold.losses.tracks import TrackDepth, TrackReprojection
from fourfold.recipes import monofusion, mv_shape_of_motion
from fourfold.recipes.recipe import Recipe, Term, replace

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

TRACK_TERMS = (Term("tracks", TrackReprojection(), 2.0), Term("track_depth", TrackDepth(), 0.1))  # Table 5: track and depth.const


def with_tracks(recipe: Recipe) -> Recipe:
    """`recipe` with tracks in the images as supervision (never as a start)."""
    stages = tuple(replace(stage, terms=(*stage.terms, *TRACK_TERMS), track_targets=2) if stage.terms else stage for stage in recipe.stages)
    return replace(recipe, priors=(*recipe.priors, "tracks2d"), stages=stages)


_PIXELS = replace(FULL, initialize=replace(_START, foreground=replace(_START.foreground, points="pixels")))
_IDENTITY = replace(FULL, initialize=replace(_START, foreground=replace(_START.foreground, trajectories="identity")))

ABLATIONS: dict[str, Recipe] = {
    "full": FULL,
    "view_consistent_depth": with_depth(_PIXELS, "view_consistent"),  # Table 2: consistent between the views only; against pixel_points
    "time_consistent_depth": with_depth(_PIXELS, "time_consistent"),  # Table 2: consistent over time only; against pixel_points
    "pixel_points": _PIXELS,  # the paper's: the foreground starts from the pixels of all cameras and their depth
    "identity_trajectories": _IDENTITY,
    "with_tracks": with_tracks(FULL),
    "position_groups": replace(
        FULL, initialize=replace(_START, foreground=replace(_START.foreground, groups=replace(_START.foreground.groups, features=0.0)))
    ),
    "no_feature_loss": without(FULL, "features"),  # Table 3
    "track_bases": _TRACK_BASES,  # Table 3, last row off: bases from the velocities of lifted tracks
    "baseline": mv_shape_of_motion.RECIPE,  # Table 3, first row
}
"""Name of the ablation -> recipe; all but the baseline keep the recipe's own name."""
