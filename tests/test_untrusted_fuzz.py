"""Files changed at random: every reader returns or refuses in one sentence. `benchmarks/fuzz.py` runs as many as one likes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fuzz_targets import targets, tried

EACH = 6  # changed inputs of each target


def test_changed_files_are_read_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong, verdicts = [], {"read": 0, "refused": 0, "uncaught": 0}
    for target in targets(tmp_path / "good"):
        work = tmp_path / "work"
        shutil.copytree(target.root, work)
        for seed in range(EACH):
            found = tried(target, seed, work, tmp_path / "scratch")
            verdicts[found.verdict] += 1
            if found.verdict == "uncaught":
                wrong.append(f"{target.name} {seed}: {found.place}: {found.detail}")
        shutil.rmtree(work)
    assert not wrong, "\n".join(wrong)
    assert min(verdicts["read"], verdicts["refused"]) > 50  # the changes matter, and not all of them
