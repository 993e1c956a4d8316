"""`fourfold train`: it says which variant it trains, and that a time budget cut the schedule short."""

import json

from fourfold.cli import main


def test_a_budget_that_cut_the_schedule_short_and_the_variant_are_said(copied_run, capfd):
    words = ["train", str(copied_run), "--recipe", "splat3d/full", "--quality", "draft", "--time-budget", "0.001s", "--json"]
    assert main(words) == 0
    printed = capfd.readouterr()
    value = json.loads(printed.out)
    assert "recipe splat3d/full: as asked" in printed.err and value["recipe"] == "splat3d/full"
    assert value["training"]["steps"] < value["training"]["planned"]
    assert [sentence.partition(" was enough")[0] for sentence in value["advice"]] == ["The time budget of 0.001 s"]
