"""What the published MoSca does late, each by itself in the last quarter of the laptop's recipe. Data.

`in_two_parts` begins that quarter anew and adds nothing: the others are to be compared with it.
"""

from fourfold.density.base import DensityControl
from fourfold.density.scaffold_nodes import ScaffoldControl
from fourfold.initialize.camera_poses import AddCameraPoses
from fourfold.initialize.join_static import CopyToStatic
from fourfold.initialize.learn_skinning import LearnSkinning
from fourfold.losses.scaffold import SmallSkinning
from fourfold.recipes import mosca
from fourfold.recipes.recipe import Rate, Recipe, SceneEdit, Term, replace

CUT = 0.75
"""Of the joint stage. Its tracks and its growth have ended by then."""


def _part(rate: Rate, begin: float, end: float) -> Rate:
    """The part of a rate between two fractions of its stage."""
    return replace(rate, start=rate.start * rate.final**begin, final=rate.final ** (end - begin))


def _sooner(control: DensityControl) -> DensityControl:
    """The control of the whole stage as that of its part before the cut; growth is told in steps and stays."""
    if not isinstance(control, ScaffoldControl):
        return control
    return replace(control, grow_at=tuple(at / CUT for at in control.grow_at), prune_at=tuple(at / CUT for at in control.prune_at))


def _late(enter: tuple[SceneEdit, ...] = (), rates: dict[str, Rate] | None = None, terms: tuple[Term, ...] = ()) -> Recipe:
    """The recipe whose joint stage is cut in two, with something more in the second part."""
    static, joint = mosca.RECIPE.stages
    steps = round(joint.steps * CUT)
    first = replace(
        joint,
        steps=steps,
        terms=tuple(replace(term, end=min(1.0, term.end / CUT)) for term in joint.terms),
        rates={name: _part(rate, 0.0, CUT) for name, rate in joint.rates.items()},
        resolution=tuple((at / CUT, divisor) for at, divisor in joint.resolution),
        density={name: _sooner(control) for name, control in joint.density.items()},
    )
    second = replace(
        joint,
        name="late",
        steps=joint.steps - steps,
        enter=enter,
        terms=(*(term for term in joint.terms if term.end == 1.0), *terms),
        rates={name: _part(rate, CUT, 1.0) for name, rate in joint.rates.items()} | (rates or {}),
        resolution=((0.0, 1),),
        density={},
    )
    return replace(mosca.RECIPE, stages=(static, first, second))


ABLATIONS: dict[str, Recipe] = {
    "full": mosca.RECIPE,
    "in_two_parts": _late(),
    "learned_skinning": _late((LearnSkinning(),), {"object.skinning": Rate(3e-3)}, (Term("skinning", SmallSkinning(), 0.1),)),
    "refined_cameras": _late((AddCameraPoses(),), {"poses.turn": Rate(3e-5, final=0.1), "poses.shift": Rate(3e-5, final=0.1, per_extent=True)}),
    "copied_to_static": _late((CopyToStatic(),)),
}
"""Name of the ablation -> recipe."""
