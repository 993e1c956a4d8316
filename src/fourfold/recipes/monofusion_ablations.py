"""The ablations of MonoFusion's Tables 2 and 3: data, each one change away from the recipe."""

from typing import Any

from fourfold.initialize.monofusion import MonoFusionStart
from fourfold.losses.tracks import TrackDepth, TrackReprojection
from fourfold.recipes import monofusion, mv_shape_of_motion
from fourfold.recipes.recipe import Rate, Recipe, Stage, Term, replace

FULL = monofusion.RECIPE
_START = FULL.initialize if isinstance(FULL.initialize, MonoFusionStart) else MonoFusionStart()


def with_depth(recipe: Recipe, provider: str) -> Recipe:
    """`recipe` with the depth of this provider."""
    return replace(recipe, priors=tuple(f"depth:{provider}" if name.partition(":")[0] == "depth" else name for name in recipe.priors))


def without(recipe: Recipe, term: str) -> Recipe:
    """`recipe` without one of its losses."""
    return replace(recipe, stages=tuple(replace(stage, terms=tuple(t for t in stage.terms if t.name != term)) for stage in recipe.stages))


TRACK_TERMS = (Term("tracks", TrackReprojection(), 2.0), Term("track_depth", TrackDepth(), 0.1))  # Table 5: track and depth.const


def with_tracks(recipe: Recipe) -> Recipe:
    """`recipe` with tracks in the images as supervision (never as a start)."""
    stages = tuple(replace(stage, terms=(*stage.terms, *TRACK_TERMS), track_targets=2) if stage.terms else stage for stage in recipe.stages)
    return replace(recipe, priors=(*recipe.priors, "tracks2d"), stages=stages)


def weighing(recipe: Recipe, **weights: float) -> Recipe:
    """`recipe` with other weights of some losses."""
    stages = tuple(replace(s, terms=tuple(replace(t, weight=weights.get(t.name, t.weight)) for t in s.terms)) for s in recipe.stages)
    return replace(recipe, stages=stages)


def _without_colour(stage: Stage) -> dict[str, Rate]:
    return {name: rate for name, rate in stage.rates.items() if name != "object.color_logit"}


def started(recipe: Recipe, **changes: Any) -> Recipe:
    """`recipe` with other numbers of the foreground's start."""
    return replace(recipe, initialize=replace(_START, foreground=replace(_START.foreground, **changes)))


def with_track_bases(recipe: Recipe, **changes: Any) -> Recipe:
    """`recipe` with the bases of lifted tracks in the place of those of feature groups: the same points, losses and surroundings."""
    return replace(started(recipe, trajectories="tracked", **changes), priors=(*recipe.priors, "tracks2d", "tracks3d"))


_PIXELS = started(FULL, points="pixels")
_PIXELS_TRACKED = with_track_bases(FULL, points="pixels")
_EACH_ALONE = with_depth(_PIXELS_TRACKED, "time_consistent")

ABLATIONS: dict[str, Recipe] = {
    "full": FULL,
    "pixel_points": _PIXELS,  # the paper's: the foreground starts from the pixels of all cameras and their depth
    # Table 2, against pixel_points: consistent between the views only, over time only
    "view_consistent_depth": with_depth(_PIXELS, "view_consistent"),
    "time_consistent_depth": with_depth(_PIXELS, "time_consistent"),
    "dust3r_depth": with_depth(_PIXELS, "dust3r_preset"),  # where the weights are: the paper's own sources, and both in one
    "dav2_on_unidepth_depth": with_depth(_PIXELS, "dav2_on_unidepth"),
    "dav2_on_dust3r_depth": with_depth(_PIXELS, "dav2_on_dust3r"),
    "monst3r_depth": with_depth(_PIXELS, "monst3r_video"),
    "monst3r_on_dust3r_depth": with_depth(_PIXELS, "monst3r_on_dust3r"),
    # Table 3, each row against the one above it, the last against pixel_points: depth of each camera alone, bases of tracks, no feature loss
    "table3_base": without(_EACH_ALONE, "features"),
    "table3_features": _EACH_ALONE,
    "table3_depth": without(_PIXELS_TRACKED, "features"),
    "table3_depth_features": _PIXELS_TRACKED,
    "identity_trajectories": started(FULL, trajectories="identity"),
    "with_tracks": with_tracks(FULL),
    "position_groups": started(FULL, groups=replace(_START.foreground.groups, features=0.0)),
    "feature_groups": started(FULL, groups=replace(_START.foreground.groups, position=0.0)),  # the paper's
    "ten_groups": started(FULL, groups=replace(_START.foreground.groups, groups=10)),  # appendix D: fewer than 20 lose limbs
    "no_feature_loss": without(FULL, "features"),
    "published_feature_loss": weighing(FULL, features=7.0),  # Table 5: as much as the colours
    "frozen_colours": replace(FULL, stages=tuple(replace(s, rates=_without_colour(s)) for s in FULL.stages)),  # section 3.1
    "track_bases": with_track_bases(FULL),
    "baseline": mv_shape_of_motion.RECIPE,
}
"""Name of the ablation -> recipe; all but the baseline keep the recipe's own name."""
