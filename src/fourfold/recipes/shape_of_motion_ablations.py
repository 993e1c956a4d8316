"""The ablations of Shape of Motion's Table 4: data, each one change away from the recipe."""

from fourfold.initialize.own_motion import OwnMotion, RestartBases
from fourfold.recipes import shape_of_motion
from fourfold.recipes.recipe import Rate, Recipe, SceneEdit, Stage, replace

FULL = shape_of_motion.RECIPE
BASES = ("object.motion_logits", "object.rotation6d", "object.translation")
OWN = {
    "object.shift_keys": shape_of_motion.OBJECT_RATES["object.translation"],  # a Gaussian's own place moves as fast as a basis would move it
    "object.quat_keys": shape_of_motion.OBJECT_RATES["object.rotation6d"],
}


def changed(edit: SceneEdit, leave_out: tuple[str, ...] = (), more: dict[str, Rate] | None = None) -> Recipe:
    """The recipe with the movers edited before they are first trained, without some rates and with others."""

    def one(stage: Stage) -> Stage:
        if stage.name in ("static", "residual"):
            return stage
        enter = (*stage.enter, edit) if stage.name == "object" else stage.enter
        rates = {name: rate for name, rate in stage.rates.items() if name not in leave_out} | (more or {})
        return replace(stage, enter=enter, rates=rates)

    return replace(FULL, stages=tuple(one(stage) for stage in FULL.stages))


def without(*terms: str) -> Recipe:
    """The recipe without some of its losses."""
    return replace(FULL, stages=tuple(replace(s, terms=tuple(t for t in s.terms if t.name not in terms)) for s in FULL.stages))


ABLATIONS: dict[str, Recipe] = {
    "full": FULL,
    "translation_bases": changed(RestartBases("translation"), leave_out=("object.rotation6d",)),
    "own_se3": changed(OwnMotion(), leave_out=BASES, more=OWN),
    "own_translation": changed(OwnMotion(turning=False), leave_out=BASES, more={"object.shift_keys": OWN["object.shift_keys"]}),
    "no_se3_start": changed(RestartBases("rest")),
    "no_tracks": without("tracks", "track_depth"),
}
"""Name of the ablation -> recipe; all keep the recipe's own name."""
