"""Plain sentences about what is weak in a result, and what it is likely to come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FEW_IMAGES = 20  # training images
CUT_SHORT = 0.9  # of the planned steps
FEW_HELDOUT = 4  # held-out images below which a difference may be chance
CLOSE_RIVAL = 0.95  # of the best answer's score: nearer than that, the second best may be the true one
TORN_BETWEEN = 6.0  # dB by which what moves is worse between filmed moments than at them
ONE_PICTURE = 45.0  # dB of a copied frame beyond which the images of a film are one picture
FAR_BESIDE = 40.0  # degrees between cameras beyond which they hardly see the same surfaces
POOR_SMEAR, POOR_RELIEF = 0.3, 2.0  # of `SideScore`: worse than these, a mover is no body any more
WHOLE, FLAT, DEEP, SMEARED, TRANSLUCENT = 0.9, 0.1, 0.8, 0.1, 0.45  # of `SideScore`: solid at least, relief below and above, smear above, front below


def advice(report: Mapping[str, Any], from_priors: Sequence[str]) -> list[str]:
    """What is weak, from the report's own figures and from the priors; for a mover that a copied frame beats also the likely cause."""
    said = list(dict.fromkeys(from_priors))
    capture = report["capture"]
    if capture["camera_model"] == "rotation":
        said.append("The camera only turned and hardly moved sideways, so distances cannot be known: it plays well near the filmed path only.")
    if capture["camera_model"] == "fixed":
        said.append("The camera stood still, so neither distances nor the focal length can be known: the scene plays well near the filmed path only.")
    kind, _, names = capture.get("holdout", "").partition(":")
    if kind == "cameras":
        said.append(
            f"The figures are of the camera {names.partition('/')[0]}, which was held out whole, not of moments between those that were trained on."
        )
    if capture["train_images"] < FEW_IMAGES:
        said.append(f"Only {capture['train_images']} images were trained on; a longer clip gives more views of every part.")
    if report["scene"]["gaussians_dynamic"] == 0 and "tracks3d" in report.get("priors", {}):
        said.append(
            "Nothing that moves was found; the scene is static. If something does move, give masks of it in a folder 'masks' beside the images."
        )
    said += cut_short(report.get("training") or {})
    side = report.get("side")
    said += _far_cameras(report) + _between_moments(report)
    return [*said, *_against_baselines(report), *([side_words(side)] if side is not None and not looks_whole(side) else []), *_verdict(report)]


def cut_short(training: Mapping[str, Any]) -> list[str]:
    """That a time budget ended training early, by the report's `training`; nothing where it did not."""
    if not training.get("time_budget_s") or training["steps"] >= CUT_SHORT * training["planned"]:
        return []
    return [
        f"The time budget of {training['time_budget_s']:g} s was enough for {training['steps']:,} of {training['planned']:,} training steps: "
        "the same command with a longer --time-budget, or without one, keeps what was estimated and trains the whole way."
    ]


def _far_cameras(report: Mapping[str, Any]) -> list[str]:
    """Held-out cameras that look from where nothing was filmed."""
    beside = report["capture"].get("heldout_beside_degrees")
    if beside is None or beside < FAR_BESIDE:
        return []
    return [
        f"The held-out images look from {beside:.0f} degrees beside the nearest camera that was trained on: most of what they show was filmed by "
        "nobody else, so that their figures are low whatever the scene is worth near the other cameras."
    ]


def _between_moments(report: Mapping[str, Any]) -> list[str]:
    """Movers that are good where they were filmed and torn in between."""
    filmed, between = report["metrics"].get("psnr_dynamic_trained_on"), report["metrics"]["heldout"].get("psnr_dynamic")
    if filmed is None or between is None or filmed - between < TORN_BETWEEN:
        return []
    return [
        f"What moves is {filmed - between:.0f} dB worse at held-out moments than at the ones beside them that were trained on: in between it "
        "lags or tears where it is fast. More of the film's frames (no --max-frames, no --every) help, --holdout none trains on all of them."
    ]


def _verdict(report: Mapping[str, Any]) -> list[str]:
    """Movers of several cameras that are no bodies, in plain words: their figures alone do not say it, since walls fill most of the images."""
    side, capture = report.get("side"), report["capture"]
    if side is None or capture["views"] < 2 or not (side["smear"] > POOR_SMEAR or side["relief"] > POOR_RELIEF):
        return []
    causes = likely_causes(report)
    because = f", probably because {'; '.join(causes)}" if causes else ""
    return [f"What moves is a smear from anywhere but the cameras that filmed it{because}: more cameras, or masks of whole bodies, would help."]


def _against_baselines(report: Mapping[str, Any]) -> list[str]:
    heldout, said = report["metrics"]["heldout"], list[str]()
    static, copied = ((report["baselines"].get(name) or {}) for name in ("static3d", "nearest_frame"))
    if _worse(heldout, copied, "psnr"):
        both = f"Copying the nearest filmed frame scores {copied['psnr']:.1f} dB and this scene {heldout['psnr']:.1f} dB on the held-out frames"
        said.append(f"{both}: {_why_worse(report, copied['psnr'])}")
    if _worse(heldout, copied, "psnr_dynamic") and report["scene"]["gaussians_dynamic"] > 0:
        causes = likely_causes(report)
        because = f"probably because {'; '.join(causes)}" if causes else "and nothing says why: look at the masks and at the side views below"
        said.append(
            f"What moves is worse than in a copy of the nearest filmed frame ({heldout['psnr_dynamic']:.1f} dB against "
            f"{copied['psnr_dynamic']:.1f} dB), {because}."
        )
    if _worse(heldout, static, "psnr"):
        said.append(
            f"A static scene scores {static['psnr']:.1f} dB and this one {heldout['psnr']:.1f} dB: the motion that was found does not explain "
            "the held-out frames."
        )
    elif _worse(heldout, static, "psnr_static"):
        said.append(
            f"Where nothing moves, a static scene scores {static['psnr_static']:.1f} dB and this one {heldout['psnr_static']:.1f} dB: "
            "time and Gaussians probably went to what moves; a higher --quality has more of both."
        )
    return said


def _why_worse(report: Mapping[str, Any], copied: float) -> str:
    """Why a copied frame may beat the scene: what the cameras are decides what can be wrong."""
    if copied > ONE_PICTURE:
        return "the film shows one picture nearly all the time, which a copy repeats to the last grey level."
    if report["capture"].get("cameras") == "given" or report["capture"]["camera_model"] == "fixed":
        return "the depth or the motion is probably wrong; look at the side views below."
    return "the cameras or the depth are probably wrong; look at the camera path and at the side views below."


def _worse(ours: Mapping[str, Any], other: Mapping[str, Any], figure: str) -> bool:
    mine, its = ours.get(figure), other.get(figure)
    return mine is not None and its is not None and mine < its


def likely_causes(report: Mapping[str, Any]) -> list[str]:
    """Why a mover may be bad, each as half a sentence, from what the priors say of themselves; the surest first."""
    priors, causes = report.get("priors", {}), list[str]()
    cameras = priors.get("cameras", {}).get("figures", {})
    rival = cameras.get("runner_up") or {}
    other = rival.get("source") != cameras.get("source")  # of the same kind, it is mostly the same answer found from another start
    if other and rival.get("score") and cameras.get("score") and rival["score"] > CLOSE_RIVAL * cameras["score"]:
        causes.append(f"another answer for the cameras explains nearly as much ({rival['score']:.2f} against {cameras['score']:.2f})")
    doubts = {name: [n.removeprefix("check: ") for n in priors.get(name, {}).get("notes", ()) if n.startswith("check: ")] for name in priors}
    causes += [f"{words}: {doubts[name][0]}" for name, words in _DOUBTED.items() if doubts.get(name)]
    model = report["capture"]["camera_model"]
    if model in ("rotation", "fixed"):
        causes.append(f"the camera {'only turned' if model == 'rotation' else 'stood still'}, so that the mover's distance is a guess")
    elif report["capture"]["views"] == 1 and report["capture"].get("cameras") == "estimated":
        causes.append("one camera sees a mover from one side at a time, and its depth is a guess")
    gap = report["capture"].get("camera_gap_degrees")
    if gap is not None and gap > FAR_BESIDE:
        causes.append(f"a camera's nearest neighbour looks from {gap:.0f} degrees beside it, so that hardly any surface is seen by two")
    counted = len(report["metrics"].get("heldout_frames", {}).get("this scene", []))
    if 0 < counted < FEW_HELDOUT:
        causes.append(f"only {counted} held-out frame{'s' if counted > 1 else ''} tell{'' if counted > 1 else 's'}, which may be chance")
    return causes


_DOUBTED = {"masks": "the masks of what moves are doubtful", "cameras": "the cameras are doubtful", "depth": "the depth is doubtful"}


def looks_whole(side: Mapping[str, Any]) -> bool:
    """Whether a side score (`report["side"]`) has no weak part."""
    return side["solid"] >= WHOLE and FLAT <= side["relief"] <= DEEP and side["smear"] <= SMEARED and side["front_solid"] >= TRANSLUCENT


def side_words(side: Mapping[str, Any]) -> str:
    """A side score in a sentence."""
    weak = [
        (side["front_solid"] < TRANSLUCENT, f"are translucent even from the front ({side['front_solid']:.0%} of the silhouette is solid)"),
        (side["solid"] < WHOLE, f"fall apart ({side['solid']:.0%} as solid as from the front)"),
        (side["smear"] > SMEARED, f"smear (a pixel is made of what lies {side['smear']:.2f} body sizes apart)"),
        (side["relief"] < FLAT, "are as flat as a sheet"),
        (side["relief"] > DEEP, f"are drawn out along the view ({side['relief']:.2f} of their size deep, {DEEP} is usual at most)"),
    ]
    found = [words for applies, words in weak if applies]
    if not found:
        return f"From 20 degrees to either side the movers stay whole ({side['solid']:.0%} as solid as from the front)."
    return f"From 20 degrees to either side the movers {' and '.join(found)}."
