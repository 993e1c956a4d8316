"""What the look at the supply chain takes for a GPL, for the core, and for an audit that was none."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "supply_chain.py"


@pytest.fixture(scope="module")
def supply() -> ModuleType:
    pytest.importorskip("packaging")
    spec = util.spec_from_file_location("supply_chain", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("licence", "copyleft"),
    [
        ("GPL-3.0-only", True),
        ("GPLv2+", True),
        ("AGPL-3.0-or-later", True),
        ("MIT AND GPL-2.0-or-later", True),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", True),
        ("GNU Affero General Public License v3", True),
        ("GPL-2.0-only OR MIT", False),
        ("LGPL-2.1-or-later", False),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("MIT", False),
        ("Apache-2.0 WITH LLVM-exception", False),
    ],
)
def test_what_is_a_gpl(supply: ModuleType, licence: str, copyleft: bool) -> None:
    assert supply.copyleft(licence) is copyleft


def test_licences_are_read_in_each_of_their_forms(supply: ModuleType) -> None:
    forms = [{"expression": "MIT OR ISC"}, {"license": {"id": "MIT"}}, {"license": {"name": "a licence"}}, {"license": {"text": {}}}]
    assert supply.licences({"licenses": forms}) == ["MIT OR ISC", "MIT", "a licence"] and supply.licences({}) == []


def test_the_core_is_what_a_plain_installation_brings(supply: ModuleType) -> None:
    core = supply.core()
    assert {"torch", "numpy", "opencv-python-headless", "pycolmap", "markdown-it-py"} <= core, "also what rich needs"
    assert not {"pytest", "ray", "transformers"} & core


def test_an_audit_without_answers_is_none(supply: ModuleType) -> None:
    unanswered = {"name": "a", "version": "1", "skip_reason": "not found"}
    clean, bad = {"name": "b", "version": "2", "vulns": []}, {"name": "c", "version": "3", "vulns": [{"id": "PYSEC-1"}]}
    assert supply.read_audit([unanswered]) == ([], "the advisory database cannot be reached: nothing was audited")
    assert supply.read_audit([unanswered, clean, bad]) == (["c 3: PYSEC-1"], "2 distributions were audited, 1 are not in the database")
