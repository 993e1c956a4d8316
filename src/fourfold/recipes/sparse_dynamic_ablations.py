"""The rows of the paper's Tables 3, 4 and 5, each one change away from the recipe (spec sparse_dynamic_cameras.md sections 2, 4 and 5), and
baselines: those of its Table 2 (section 9), and Shape of Motion on the tracks of every camera alone, as mosca_naive. Data.
"""

from fourfold.losses.normalised_depth import NormalisedDepth
from fourfold.recipes import mosca_m, mosca_naive, shape_of_motion, sparse_dynamic
from fourfold.recipes.recipe import Recipe, Sampler, Term, replace
from fourfold.training.samplers_diverse import DiverseImages


def _tracks(provider: str) -> Recipe:
    """The recipe with the tracks of another provider."""
    priors = tuple(f"tracks3d:{provider}" if name.startswith("tracks3d") else name for name in sparse_dynamic.RECIPE.priors)
    return replace(sparse_dynamic.RECIPE, priors=priors)


def _depth(term: Term | None) -> Recipe:
    """The recipe with another depth loss, or none."""
    stages = []
    for stage in sparse_dynamic.RECIPE.stages:
        terms = [term if old.name == "depth" else old for old in stage.terms]
        stages.append(replace(stage, terms=tuple(one for one in terms if one is not None)))
    return replace(sparse_dynamic.RECIPE, stages=tuple(stages))


def _batches(sampler: Sampler) -> Recipe:
    """The recipe with other batches."""
    return replace(sparse_dynamic.RECIPE, stages=tuple(replace(stage, sampler=sampler) for stage in sparse_dynamic.RECIPE.stages))


ABLATIONS: dict[str, Recipe] = {
    "full": sparse_dynamic.RECIPE,
    "no_epipolar_no_triangulation": _tracks("multiview_neither_cotracker|multiview_neither"),
    "no_triangulation": _tracks("multiview_no_triangulation_cotracker|multiview_no_triangulation"),
    "no_epipolar": _tracks("multiview_no_epipolar_cotracker|multiview_no_epipolar"),
    "no_depth_loss": _depth(None),
    "normalised_depth": _depth(Term("depth", NormalisedDepth(), 0.03)),
    "same_view": _batches(DiverseImages(batch=sparse_dynamic.BATCH, views="same")),
    "same_time": _batches(DiverseImages(batch=sparse_dynamic.BATCH, times="same")),
    "mosca_naive": mosca_naive.RECIPE,
    "mosca_m": mosca_m.RECIPE,
    "shape_of_motion": replace(shape_of_motion.RECIPE, priors=mosca_naive.RECIPE.priors),
}
"""Name of the ablation -> recipe; the baselines keep their own names."""
