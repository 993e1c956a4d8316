"""A batch on a real Ray cluster of two nodes, one of which is killed: half a minute of Ray alone, so only where it is asked for."""

import importlib
import os
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed (pip install 'fourfold[fleet]')")


@pytest.mark.slow
@pytest.mark.skipif("FOURFOLD_RAY" not in os.environ, reason="starts a Ray cluster of its own: FOURFOLD_RAY=1 asks for it")
def test_a_killed_node_costs_the_step_that_was_lost(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    for name in ("PYTHONPATH", "RAY_worker_niceness"):  # the benchmark sets them for what it starts
        monkeypatch.setenv(name, os.environ.get(name, ""))
    found = importlib.import_module("fleet_two_nodes").two_nodes(tmp_path / "fleet")
    assert set(found["states"].values()) == {"done"} and len(found["states"]) == 6
    assert found["nodes_alive_of"] == [1, 2] and found["lost"], "a node was killed, and with it what ran there"
    assert found["finished_before"] > 0 and found["made_twice"] == []
    assert all(tries == 1 + found["lost"].get(name, 0) for name, tries in found["tries"].items())
    assert found["same_as_processes"]
