"""A time budget gives training at least half, and says so when priors ate the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fourfold.options import Clock, Options
from fourfold.pipeline import training_seconds, training_share


@pytest.mark.parametrize(("spent", "seconds"), [(0.0, 170.0), (50.0, 120.0), (70.0, 100.0), (120.0, 100.0), (900.0, 100.0)])
def test_training_gets_at_least_half(spent: float, seconds: float) -> None:
    got, sentence = training_share(200.0, spent)
    assert got == seconds
    assert (sentence is None) == (spent <= 70.0)


def test_the_sentence_tells_what_was_spent_and_how_long_it_will_take() -> None:
    assert training_share(200.0, 155.0)[1] == (
        "reading and priors took 155 s of the 200 s that were given; training still gets half, so that the whole takes about 300 s"
    )


def test_the_share_is_kept_for_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    clock, options = Clock(), Options(time_budget=200.0)
    first = training_seconds(tmp_path, options, clock)
    clock.started -= 500
    assert training_seconds(tmp_path, options, clock) == first
    assert json.loads((tmp_path / "config.json").read_text())["training_seconds"] == {"200": first}
    assert training_seconds(tmp_path, Options(), clock) is None
