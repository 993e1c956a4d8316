"""The ablations of 4DGS360: data, each one change away from the recipe."""

from fourfold.initialize.residual_layer import ResidualLayer
from fourfold.losses.tree_rigidity import TreeRigidity
from fourfold.recipes import fourdgs360, himor, shape_of_motion
from fourfold.recipes.recipe import Recipe, Term, replace

FULL = fourdgs360.RECIPE


def with_tracks_of(provider: str) -> Recipe:
    """The recipe started from another provider's 3D tracks."""
    return replace(FULL, priors=tuple(f"tracks3d:{provider}" if name.startswith("tracks3d") else name for name in FULL.priors))


def with_terms(change: dict[str, Term | None]) -> Recipe:
    """The recipe with the losses named in `change` replaced, or left out where None."""
    stages = []
    for stage in FULL.stages:
        terms = [change.get(term.name, term) for term in stage.terms]
        stages.append(replace(stage, terms=tuple(term for term in terms if term is not None)))
    return replace(FULL, stages=tuple(stages))


def without_residual(recipe: Recipe) -> Recipe:
    """The recipe without residual Gaussians."""
    stages = []
    for stage in recipe.stages:
        kept = tuple(one for one in stage.enter if not isinstance(one, ResidualLayer))
        terms = tuple(term for term in stage.terms if term.name != "little_opacity")
        rates = {name: rate for name, rate in stage.rates.items() if not name.startswith("free.")}
        stages.append(replace(stage, enter=kept, terms=terms, rates=rates))
    return replace(recipe, stages=tuple(stages))


ABLATIONS = {
    "full": FULL,
    "without_anchors": with_tracks_of("unanchored"),
    "anchors_above_03": with_tracks_of("anchored_03"),  # the supplement's figure 12
    "anchors_above_07": with_tracks_of("anchored_07"),
    "anchors_by_share": with_tracks_of("anchored_by_share"),
    "without_3d_start": with_tracks_of("lifted_tracks"),
    "without_rays": with_terms({"rays": None}),
    "lengths_only": with_terms({"rays": None, "rigidity": Term("rigidity", TreeRigidity(local=0.0), 0.5)}),
    "without_rigidity": with_terms({"rays": None, "rigidity": None}),
    "himor": himor.RECIPE,
    "shape_of_motion": shape_of_motion.RECIPE,
    "shape_of_motion_no_residual": without_residual(shape_of_motion.RECIPE),  # neither has the tree: tells what that alone is worth
}
