"""HiMoR and 4DGS360 as published: "H n" is section n of spec himor_4dgs360.md. What is not listed there is Shape of Motion's."""

from fourfold.density.adaptive import AdaptiveControl
from fourfold.density.tree_deepening import DeepenNumbers
from fourfold.density.tree_nodes import TreeControl
from fourfold.initialize.motion_tree import PlantTree
from fourfold.losses.depth import DepthDisparity
from fourfold.losses.masks import ForegroundMask
from fourfold.losses.perceptual import Perceptual
from fourfold.losses.tree_calm import TreeAcceleration, TreeRadius
from fourfold.losses.tree_rays import TreeRays
from fourfold.losses.tree_rigidity import TreeRigidity
from fourfold.recipes import fourdgs360, himor
from fourfold.recipes.published.shared_bases import EVERY_QUERY, OBJECT_RATES, PRIORS, STATIC_RATES, TERMS, WHITE, start, whole
from fourfold.recipes.recipe import Rate, Stage, Term, replace

TREE_RATES = {
    "object.node_means_*": Rate(1.6e-5, per_extent=True),
    "object.node_log_radius_*": Rate(5e-4),
    "object.node_logits_*": Rate(1e-2),
    "object.rotation6d_*": Rate(1.6e-4),
    "object.translation_*": Rate(1.6e-4, per_extent=True),
}
"""H 4, rates."""
GROWTH = AdaptiveControl(stop=14_000, jitter=False)  # H 3
TREE_CONTROL = TreeControl(
    gaussians=GROWTH,
    from_gaussians=(0.06, 0.08, 0.1, 0.12),  # H 3: steps 600 to 1200 of the 10 500 that 140 images take
    from_gradients=(0.28, 0.32),  # H 3: 2800 and 3200
    cull_and_deepen=0.4,  # H 3: 4000
    fewest=30,
    deepen=DeepenNumbers(looked_at=1000),
)


def tree_stage(epochs: int, nodes: int, rigidity: Term, *more: Term) -> Stage:
    """The one stage: a tree of `nodes`, planted on the fitted bases before the first step."""
    kept = tuple(term for term in TERMS if term.name != "bases_acceleration")
    own = (
        Term("lpips", Perceptual("alex", size=0.25), 0.01, begin=0.67),  # H 3, 4: from step 14 000 of 21 000
        Term("tree_acceleration", TreeAcceleration(), 0.1),
        Term("tree_radius", TreeRadius(), 1e-4),
        rigidity,
        *more,
    )
    return replace(
        whole(epochs),
        enter=(PlantTree(nodes=nodes, blended=1),),
        terms=(*kept, *own),
        rates=STATIC_RATES | OBJECT_RATES | TREE_RATES,
        density={"static": GROWTH, "object": TREE_CONTROL},
    )


def with_squares(stage: Stage) -> Stage:
    """The stage with mask and depth compared by mean squares: 4DGS360's supplement, A.3."""
    squares = {"mask": ForegroundMask(layers="object", square=True), "depth": DepthDisparity(square=True)}
    return replace(stage, terms=tuple(replace(term, loss=squares.get(term.name, term.loss)) for term in stage.terms))


HIMOR = replace(
    himor.RECIPE,
    priors=PRIORS,
    source="Liang et al. 2025 as released (himor_4dgs360.md 1 to 4)",
    initialize=start(bases=10, tracked=40_000),
    background=WHITE,
    stages=(tree_stage(500, 50, Term("rigidity", TreeRigidity(), 0.5)),),
)
FOURDGS360 = replace(
    fourdgs360.RECIPE,
    source="Jang et al. 2026, its supplement's A.3 (himor_4dgs360.md 1 to 4)",
    priors=("masks", "depth", "flow", EVERY_QUERY, "tracks3d:anchored_every_query"),  # A.1
    initialize=start(bases=15, tracked=50_000),
    background=WHITE,
    stages=(with_squares(tree_stage(600, 70, Term("rigidity", TreeRigidity(among=5), 2.0), Term("rays", TreeRays(), 0.3, begin=0.5))),),  # rays: H 4
)
