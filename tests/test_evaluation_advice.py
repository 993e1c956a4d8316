"""What a report says is weak, and the likely cause where a copied frame beats the mover."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fourfold import conclude
from fourfold.conclude import may_move
from fourfold.evaluation.advice import advice, looks_whole, side_words
from fourfold.evaluation.report import camera_gap, heldout_beside
from fourfold.priors.contracts import Masks, Provenance
from test_recipes_auto import film

GOOD_SIDE = {"score": 0.8, "solid": 0.97, "front_solid": 0.7, "relief": 0.4, "smear": 0.02, "looks": 5}


def report(**changes: Any) -> dict[str, Any]:
    """A report in which nothing is weak, with `changes`."""
    scores = {"psnr": 30.0, "psnr_dynamic": 25.0}
    return {
        "capture": {"camera_model": "given", "cameras": "given", "train_images": 60, "views": 1},
        "metrics": {"heldout": scores, "heldout_frames": {"this scene": [{}] * 8}},
        "baselines": {"static3d": {"psnr": 20.0, "psnr_dynamic": 12.0}, "nearest_frame": {"psnr": 22.0, "psnr_dynamic": 18.0}},
        "scene": {"gaussians_dynamic": 100},
        "priors": {},
        "side": GOOD_SIDE,
    } | changes


def test_why_a_copied_frame_wins_depends_on_what_is_known() -> None:
    def words(copied: float, **capture: Any) -> str:
        made = report(baselines={"static3d": None, "nearest_frame": {"psnr": copied}})
        made["capture"] |= capture
        return next(sentence for sentence in advice(made, []) if "Copying" in sentence)

    assert "one picture" in words(90.0) and "cameras or" not in words(90.0)
    assert "cameras or the depth" in words(31.0, cameras="estimated", camera_model="estimated")
    assert "cameras" not in words(31.0) and "cameras" not in words(31.0, cameras="estimated", camera_model="fixed")


def test_nothing_is_said_of_movers_where_none_were_found() -> None:
    made = report(baselines=COPY_WINS, scene={"gaussians_dynamic": 0})
    assert not any("What moves" in sentence for sentence in advice(made, []))


@pytest.mark.parametrize(("filmed", "said"), [(None, False), (28.0, False), (33.0, True)])
def test_movers_that_tear_between_filmed_moments_are_said(filmed: float | None, said: bool) -> None:
    made = report()
    made["metrics"]["psnr_dynamic_trained_on"] = filmed
    assert any("8 dB worse at held-out moments" in sentence for sentence in advice(made, [])) == said


def test_a_camera_that_was_held_out_is_named() -> None:
    made = report()
    made["capture"] |= {"holdout": "cameras:cam01/train:3"}
    assert any("camera cam01, which was held out" in sentence for sentence in advice(made, []))


COPY_WINS = {"static3d": None, "nearest_frame": {"psnr": 22.0, "psnr_dynamic": 26.5}}


def test_a_good_result_gets_no_advice_but_what_the_priors_say() -> None:
    assert advice(report(), ["look here", "look here"]) == ["look here"]
    assert advice(report(baselines={"static3d": None, "nearest_frame": None}), []) == []


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (
            {
                "priors": {
                    "cameras": {"figures": {"source": "estimated", "score": 0.6, "runner_up": {"source": "rotation", "score": 0.59}}, "notes": []}
                }
            },
            "probably because another answer for the cameras explains nearly as much (0.59 against 0.60).",
        ),
        (
            {"priors": {"masks": {"figures": {}, "notes": ["all well", "check: they cover half the picture"]}}},
            "probably because the masks of what moves are doubtful: they cover half the picture.",
        ),
        (
            {"capture": {"camera_model": "rotation", "cameras": "fixed", "train_images": 60, "views": 1}},
            "probably because the camera only turned, so that the mover's distance is a guess.",
        ),
        (
            {"metrics": {"heldout": {"psnr": 30.0, "psnr_dynamic": 25.0}, "heldout_frames": {"this scene": [{}] * 2}}},
            "probably because only 2 held-out frames tell, which may be chance.",
        ),
        ({}, "and nothing says why: look at the masks and at the side views below."),
    ],
)
def test_a_mover_that_a_copied_frame_beats_is_said_with_the_likely_cause(changes: dict[str, Any], cause: str) -> None:
    said = [s for s in advice(report(baselines=COPY_WINS, **changes), []) if s.startswith("What moves is worse")]
    assert said == [f"What moves is worse than in a copy of the nearest filmed frame (25.0 dB against 26.5 dB), {cause}"]


@pytest.mark.parametrize(("still", "said"), [(31.0, True), (29.0, False)])
def test_a_static_scene_that_is_better_where_nothing_moves_is_said(still: float, said: bool) -> None:
    scores = {"heldout": {"psnr": 30.0, "psnr_dynamic": 25.0, "psnr_static": 30.5}, "heldout_frames": {"this scene": [{}] * 8}}
    sentences = advice(report(metrics=scores, baselines={"static3d": {"psnr": 28.0, "psnr_static": still}, "nearest_frame": None}), [])
    assert any(s.startswith("Where nothing moves, a static scene scores 31.0 dB and this one 30.5 dB") for s in sentences) == said


@pytest.mark.parametrize("rival", [{"source": "rotation", "score": 0.3}, {"source": "estimated", "score": 0.599}])
def test_a_rival_far_behind_or_of_the_same_kind_is_no_cause(rival: dict[str, Any]) -> None:
    priors = {"cameras": {"figures": {"source": "estimated", "score": 0.6, "runner_up": rival}, "notes": []}}
    assert "nothing says why" in advice(report(baselines=COPY_WINS, priors=priors), [])[0]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"solid": 0.6}, "fall apart (60% as solid as from the front)"),
        ({"smear": 0.25}, "smear (a pixel is made of what lies 0.25 body sizes apart)"),
        ({"relief": 0.01}, "are as flat as a sheet"),
        ({"relief": 2.0}, "are drawn out along the view (2.00 of their size deep, 0.8 is usual at most)"),
        ({"front_solid": 0.2}, "are translucent even from the front (20% of the silhouette is solid)"),
    ],
)
def test_a_weak_side_is_said_in_words(part: dict[str, float], words: str) -> None:
    sentence = f"From 20 degrees to either side the movers {words}."
    assert side_words(GOOD_SIDE | part) == sentence and not looks_whole(GOOD_SIDE | part)
    assert advice(report(side=GOOD_SIDE | part), []) == [sentence]


def test_what_no_mask_shows_has_no_side(monkeypatch: pytest.MonkeyPatch) -> None:
    empty, moving = np.zeros((2, 4, 6), np.int8), np.zeros((2, 4, 6), np.int8)
    moving[1, 2, 3] = 1
    provenance = Provenance("test")
    assert may_move(None) and may_move(Masks(provenance, (empty, moving)))
    assert not may_move(Masks(provenance, (empty, empty - 1)))
    monkeypatch.setattr(conclude, "side_score", lambda scene, capture: "a score")
    judged: Any = conclude.judged_from_side
    assert judged(None, None, Masks(provenance, (empty,))) is None
    assert judged(None, None, Masks(provenance, (moving,))) == judged(None, None, None) == "a score"


def test_a_whole_side_is_said_too() -> None:
    assert side_words(GOOD_SIDE) == "From 20 degrees to either side the movers stay whole (97% as solid as from the front)."


def test_training_that_a_time_budget_cut_short_is_said_with_how_to_go_on() -> None:
    short = {"steps": 180, "planned": 3300, "time_budget_s": 200.0}
    assert advice(report(training=short), []) == [
        "The time budget of 200 s was enough for 180 of 3,300 training steps: the same command with a longer --time-budget, or without one, "
        "keeps what was estimated and trains the whole way."
    ]
    assert advice(report(training=short | {"time_budget_s": None}), []) == advice(report(training=short | {"steps": 3300}), []) == []


def test_a_held_out_camera_where_nobody_filmed_is_said() -> None:
    facts = {"camera_model": "given", "cameras": "given", "train_images": 60, "views": 4, "camera_gap_degrees": 35.0}
    assert advice(report(capture=facts | {"heldout_beside_degrees": 12.0}), []) == []
    said = advice(report(capture=facts | {"heldout_beside_degrees": 67.0}), [])
    assert len(said) == 1 and said[0].startswith("The held-out images look from 67 degrees beside the nearest camera")


def test_movers_that_are_no_bodies_are_called_smears_with_the_cause() -> None:
    facts = {"camera_model": "given", "cameras": "given", "train_images": 60, "views": 4, "camera_gap_degrees": 108.0, "heldout_beside_degrees": 67.0}
    said = advice(report(capture=facts, side=GOOD_SIDE | {"smear": 0.45, "relief": 2.6}), [])
    assert said[-1] == (
        "What moves is a smear from anywhere but the cameras that filmed it, probably because a camera's nearest neighbour looks from 108 degrees "
        "beside it, so that hardly any surface is seen by two: more cameras, or masks of whole bodies, would help."
    )
    assert not any("is a smear" in s for s in advice(report(capture=facts, side=GOOD_SIDE | {"smear": 0.12}), []))


def test_gaps_between_cameras_are_those_of_the_rig() -> None:
    rig = film((0.0, 30.0, 120.0, 200.0), 0.0, height=0.0)
    train, heldout = rig.train.copy(), rig.heldout.copy()
    train[3], heldout[3] = False, True
    held = replace(rig, train=train, heldout=heldout)
    assert camera_gap(rig) == pytest.approx(80.0, abs=0.1) and heldout_beside(rig) is None
    assert camera_gap(held) == pytest.approx(90.0, abs=0.1) and heldout_beside(held) == pytest.approx(80.0, abs=0.1)
    assert camera_gap(film((0.0,), 40.0)) is None
