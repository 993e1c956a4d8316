"""Results of a run that is trained anew: kept where they do not speak of the new scene."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from fourfold.earlier import RESULTS, set_aside
from fourfold.files import write_sealed

FIRST = ("lived_bases", "draft", 0)


def finished(root: Path, made: tuple[str, str, int], scene: bytes) -> None:
    (root / "renders").mkdir(parents=True, exist_ok=True)
    (root / "scene.safetensors").write_bytes(scene)
    (root / "report.html").write_text(made[0])
    (root / "renders" / "side.png").write_bytes(scene)
    (root / "metrics.jsonl").write_text("")
    write_sealed(root / "report.json", dict(zip(("recipe", "quality", "seed"), made, strict=True)))


@pytest.mark.parametrize("other", [("himor", "draft", 0), ("lived_bases", "normal", 0), ("lived_bases", "draft", 1)])
def test_results_of_another_training_are_kept_apart(tmp_path: Path, other: tuple[str, str, int]) -> None:
    finished(tmp_path, FIRST, b"first")
    told = set_aside(tmp_path, other)
    kept = tmp_path / "earlier" / "lived_bases_draft_seed0"
    assert told is not None and "lived_bases" in told and str(kept) in told
    assert (kept / "scene.safetensors").read_bytes() == b"first" and (kept / "renders" / "side.png").read_bytes() == b"first"
    assert not any((tmp_path / name).exists() for name in RESULTS) and (tmp_path / "metrics.jsonl").exists()


def test_the_same_training_goes_on_where_it_is(tmp_path: Path) -> None:
    finished(tmp_path, FIRST, b"first")
    assert set_aside(tmp_path, FIRST) is None and (tmp_path / "scene.safetensors").exists() and not (tmp_path / "earlier").exists()
    assert set_aside(tmp_path / "new", FIRST) is None and not (tmp_path / "new").exists()


def test_nothing_that_was_kept_is_overwritten(tmp_path: Path) -> None:
    finished(tmp_path, ("himor/as_published", "full", 3), b"one")
    assert set_aside(tmp_path, FIRST) is not None
    finished(tmp_path, ("himor/as_published", "full", 3), b"two")
    assert set_aside(tmp_path, FIRST) is not None
    kept = [tmp_path / "earlier" / f"himor_as_published_full_seed3{number}" / "scene.safetensors" for number in ("", "_2")]
    assert [file.read_bytes() for file in kept] == [b"one", b"two"]


def test_training_anew_keeps_what_was_there(tmp_path: Path) -> None:
    """Through the pipeline: the new scene is saved, the old one and its report lie apart, and it is said."""
    from fourfold.options import Options
    from fourfold.pipeline import _keep  # pyright: ignore[reportPrivateUsage]
    from fourfold.recipes import find_recipe
    from scene_example import example

    finished(tmp_path, FIRST, b"first")
    said: list[str] = []
    _keep(example(), find_recipe("himor"), tmp_path, Options(quality="draft"), lambda stage, *_: said.append(stage))
    assert len(said) == 1 and "lived_bases" in said[0]
    with safe_open(tmp_path / "scene.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["fourfold"])["layers"]
    assert not (tmp_path / "report.json").exists()
