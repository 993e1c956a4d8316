"""The command line's promises: exit codes, one JSON object, one-sentence errors, help without waiting."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from tyro.conf import Positional

from fourfold.cli import main as program
from fourfold.cli.arguments import seconds
from fourfold.cli.finder import command_class, found, resolve, summary
from fourfold.cli.frame import Command, Result, dump, jsonable, outline
from fourfold.errors import FourfoldError


@dataclass(frozen=True, kw_only=True)
class Trial(Command):
    """A command for these tests."""

    does: Positional[str]
    """What happens."""

    def run(self) -> Result:
        print("chatter on stdout")
        if "native" in self.does:
            os.write(1, b"native chatter\n")
        if self.does == "mistake":
            raise FourfoldError("clip.mp4 is not there: name a video that is")
        if self.does == "missing":
            Path("no/such/file").read_text()
        if self.does == "forbidden":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "out/.capture.0a1b2c3d.part")
        if self.does == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/.capture.0a1b2c3d.part/a.npy")
        if self.does == "fault":
            raise ZeroDivisionError("by nought")
        if self.does == "stop":
            raise KeyboardInterrupt
        return Result({"does": self.does, "psnr": float("nan")}, ok=self.does != "bad")


@pytest.fixture
def run(monkeypatch, capfd):
    monkeypatch.setattr("fourfold.cli.program.found", lambda: {("trial",): Path("trial.py")})
    monkeypatch.setattr("fourfold.cli.program.command_class", lambda words: Trial)
    monkeypatch.setattr("fourfold.cli.program.resolve", lambda argv: (tuple(argv[:1]), argv[1:]))

    def call(*arguments):
        code = program(["trial", *arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("does", "code", "sentence"),
    [
        ("well", 0, ""),
        ("bad", 1, ""),
        ("mistake", 2, "fourfold: error: clip.mp4 is not there: name a video that is\n"),
        ("missing", 2, "fourfold: error: no/such/file: No such file or directory: check the path\n"),
        ("forbidden", 2, "fourfold: error: out/capture: Permission denied: check its permissions or give another path\n"),
        ("full", 2, "fourfold: error: no space left on the disk while writing out/capture/a.npy: free some space and run the same command again\n"),
        ("fault", 1, "fourfold: internal error: ZeroDivisionError: by nought\n"),
        ("stop", 130, "fourfold: interrupted: the same command again continues where it can\n"),
    ],
)
def test_exit_codes_and_sentences(run, does, code, sentence):
    got, _, err = run(does)
    assert got == code
    assert err.endswith(sentence)
    if got == 2:
        assert err == sentence


@pytest.mark.parametrize("does", ["well", "bad", "native", "mistake", "fault", "stop"])
def test_json_is_one_object_and_nothing_else(run, does):
    _, out, err = run(does, "--json")
    assert out.count("\n") == 1
    value = json.loads(out)
    assert "chatter on stdout" in err
    assert ("native chatter" in err) == (does == "native")
    if does in ("mistake", "fault", "stop"):
        assert value.keys() == {"error"}
    else:
        assert value == {"does": does, "psnr": None}


def test_a_command_line_that_is_not_understood_is_a_mistake(run):
    code, _, err = run("well", "--colour", "red")
    assert code == 2
    assert err == "fourfold: error: Unrecognized options: --colour, red; `fourfold trial --help` lists the options\n"
    code, out, err = run("--json")
    assert code == 2
    assert err.count("\n") == 1
    assert json.loads(out)["error"] == err.removeprefix("fourfold: error: ").rstrip("\n")


def test_unknown_commands_are_named(capsys):
    assert program(["dance"]) == 2
    assert capsys.readouterr().err == "fourfold: error: `fourfold` has no command 'dance': `fourfold --help` lists them\n"
    assert program(["bench", "dance"]) == 2
    assert capsys.readouterr().err == "fourfold: error: `fourfold bench` has no command 'dance': `fourfold bench --help` lists them\n"


def test_help_lists_every_command(capsys):
    assert program(["--help"]) == 0
    text = capsys.readouterr().out
    for words in found():
        assert f"\n  {words[0]} " in text
    assert program(["bench", "--help"]) == 0
    assert "rasterizer" in capsys.readouterr().out
    assert program([]) == 2
    assert "usage: fourfold COMMAND" in capsys.readouterr().err


def test_version(capsys):
    assert program(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fourfold ")


@pytest.mark.parametrize("words", sorted(found()), ids=" ".join)
def test_every_command_explains_itself(words, capsys):
    assert program([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: fourfold {' '.join(words)}")
    assert summary(found()[words])
    assert (command_class(words).__doc__ or "").strip()


def test_words_split_into_command_and_rest():
    assert resolve(["bench", "rasterizer", "--json"]) == (("bench", "rasterizer"), ["--json"])
    assert resolve(["doctor", "doctor"]) == (("doctor",), ["doctor"])
    assert resolve(["--help"]) == ((), ["--help"])


def test_jsonable_takes_what_results_hold():
    @dataclass
    class Inner:
        path: Path
        score: float

    class Kind(Enum):
        A = "a"

    value = {1: Inner(Path("x/y"), float("inf")), "t": torch.tensor([1.0, float("nan")]), "n": np.float32(2), "e": Kind.A, "s": (True, None)}
    assert jsonable(value) == {"1": {"path": "x/y", "score": None}, "t": [1.0, None], "n": 2.0, "e": "a", "s": [True, None]}
    assert json.loads(dump(value)) == jsonable(value)
    with pytest.raises(TypeError, match="a object cannot be written as JSON"):
        jsonable(object())


def test_outline_reads_like_a_list():
    value = {
        "name": "clip",
        "scores": {"psnr": 21.512345, "lpips": None},
        "rows": [{"a": 1, "b": True}, {"a": 2, "b": False}],
        "none": [],
        "sizes": [[64, 48], [2, 3]],
    }
    assert outline(value) == [
        "name    clip",
        "scores:",
        "  psnr   21.51",
        "  lpips  -",
        "rows:",
        "  a=1  b=yes",
        "  a=2  b=no",
        "none    -",
        "sizes   (64, 48), (2, 3)",
    ]


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), (" 2m5s ", 125)])
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "soon", "10 m", "-5", "5m3", "3x"])
def test_no_durations(text):
    with pytest.raises(FourfoldError, match="is not a duration: write for example 90s, 10m or 1h30m"):
        seconds(text)


def test_a_reader_that_goes_away_is_no_fault():
    command = f"{sys.executable} -c 'from fourfold.cli import entry; entry()' doctor | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
