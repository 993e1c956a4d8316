"""`fourfold doctor`: it tells the truth about this machine, and what a missing thing costs."""

import json
from importlib.metadata import version

import pytest
import torch

from fourfold import __version__
from fourfold.cli import main
from fourfold.cli.commands import doctor
from fourfold.kernels import library


@pytest.fixture
def report(capfd):
    def run():
        code = main(["doctor", "--json"])
        return code, json.loads(capfd.readouterr().out)

    return run


def test_tells_what_is_here(report):
    code, value = report()
    assert code == 0
    assert value["missing"] == []
    assert value["packages"]["torch"] == version("torch")
    assert value["threads"]["torch"] == torch.get_num_threads()
    assert {row["backend"] for row in value["backends"]} == {"triton", "cuda", "cpu", "reference"}
    assert value["memory_gib"]["total"] > value["memory_gib"]["available"] > 0
    assert value["kernel"]["isa"] == library.chosen_isa()


def test_the_version_is_told_also_of_a_clone_that_is_not_installed(report):
    _, value = report()
    assert value["fourfold"] == __version__
    assert next(row["version"] for row in value["backends"] if row["backend"] == "cpu") == __version__


def test_a_missing_package_is_a_bad_result_that_says_what_to_do(monkeypatch, capfd):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "av" else "1")
    assert main(["doctor"]) == 1
    assert "fourfold cannot run without av: pip install av" in capfd.readouterr().err


def test_without_a_kernel_it_says_what_that_costs(monkeypatch, report):
    monkeypatch.setenv("FOURFOLD_ISA", "reference")
    code, value = report()
    assert code == 0
    assert value["kernel"]["isa"] is None
    assert "slower" in value["kernel"]["fault"]
    assert not next(row for row in value["backends"] if row["backend"] == "cpu")["available"]
