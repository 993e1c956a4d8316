"""4D reconstruction from sparse dynamic cameras: MoSca's scaffold on tracks that all cameras agree on (spec sparse_dynamic_cameras.md).

"S n" is section n of that spec. Changed against mosca: the tracks (S 2), ordinal depth (S 4), batches (S 5), static scales without a bound and
no correction of cameras (S 3).
"""

from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.scaffold import BackgroundAndScaffold
from fourfold.losses.ordinal_depth import OrdinalDepth
from fourfold.recipes import mosca
from fourfold.recipes.recipe import Recipe, Stage, Suits, Term, replace
from fourfold.training.samplers_diverse import DiverseImages

BATCH = 3  # S 5: as many as the paper has cameras


def _with(stage: Stage) -> Stage:
    """The stage of mosca with ordinal depth and diverse batches; half the steps, each of three images."""
    terms = tuple(Term("depth", OrdinalDepth(), 0.03) if term.name == "depth" else term for term in stage.terms)
    return replace(stage, terms=terms, sampler=DiverseImages(batch=BATCH), steps=stage.steps // 2)


RECIPE = Recipe(
    name="sparse_dynamic",
    summary="two to eight moving cameras: movers on a scaffold of tracks that all cameras agree on",
    source="4D Reconstruction from Sparse Dynamic Cameras, 2026 (sparse_dynamic_cameras.md) on MoSca (mosca.md)",
    priors=("masks", "depth", "flow", "matches", "tracks3d:multiview_tracks_cotracker|multiview_tracks"),  # S 2
    initialize=BackgroundAndScaffold(BackgroundNumbers(count=55_000)),
    suits=Suits(views=(2, 8), moving=True, video=True, rank=40, because="several moving cameras see the movers at the same moments"),
    background=mosca.RECIPE.background,
    stages=tuple(_with(stage) for stage in mosca.RECIPE.stages),
)
