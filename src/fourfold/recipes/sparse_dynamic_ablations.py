"""The rows of the paper's Tables 3, 4 and 5, each one change away from the recipe (spec sparse_dynamic_cameras.md sections 2, 4 and 5), and
baselines: those of its Table 2 (section 9), and Shape of Motion on the tracks of every camera alone, as mosca_naive. Data.
"""

from fourfold.initialize.residual_layer import ResidualLayer
from fourfold.losses.normalised_depth import NormalisedDepth
from fourfold.recipes import mosca_m, mosca_naive, shape_of_motion, sparse_dynamic
from fourfold.recipes.recipe import Rate, Recipe, Sampler, Term, replace
from fourfold.recipes.shape_of_motion import FREE_RATES
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


def _free_gaussians() -> Recipe:
    """The recipe whose last third has short-lived, straight-flying Gaussians beside the scaffold, where movers fail by then: what no two cameras
    share has no nodes of its own."""
    static, joint = sparse_dynamic.RECIPE.stages
    first = joint.steps * 2 // 3
    rates = {name: _lasting(rate, 0.0, 2 / 3) for name, rate in joint.rates.items()}
    late = {name: _lasting(rate, 2 / 3, 1.0) for name, rate in joint.rates.items()} | FREE_RATES
    begun = replace(joint, steps=first, rates=rates)
    added = replace(
        joint,
        name="free",
        steps=joint.steps - first,
        enter=(ResidualLayer(inside_movers=True),),
        terms=tuple(term for term in joint.terms if term.end == 1.0),
        rates=late,
        resolution=((0.0, 1),),
        density={},
    )
    return replace(sparse_dynamic.RECIPE, stages=(static, begun, added))


def _lasting(rate: Rate, begin: float, end: float) -> Rate:
    """The part of a rate between two fractions of its stage."""
    return replace(rate, start=rate.start * rate.final**begin, final=rate.final ** (end - begin))


ABLATIONS: dict[str, Recipe] = {
    "full": sparse_dynamic.RECIPE,
    "no_epipolar_no_triangulation": _tracks("multiview_neither_cotracker|multiview_neither"),
    "no_triangulation": _tracks("multiview_no_triangulation_cotracker|multiview_no_triangulation"),
    "no_epipolar": _tracks("multiview_no_epipolar_cotracker|multiview_no_epipolar"),
    "no_depth_loss": _depth(None),
    "normalised_depth": _depth(Term("depth", NormalisedDepth(), 0.03)),
    "same_view": _batches(DiverseImages(batch=sparse_dynamic.BATCH, views="same")),
    "same_time": _batches(DiverseImages(batch=sparse_dynamic.BATCH, times="same")),
    "free_gaussians": _free_gaussians(),
    "mosca_naive": mosca_naive.RECIPE,
    "mosca_m": mosca_m.RECIPE,
    "shape_of_motion": replace(shape_of_motion.RECIPE, priors=mosca_naive.RECIPE.priors),
}
"""Name of the ablation -> recipe; the baselines keep their own names."""
