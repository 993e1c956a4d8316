"""A long film from bare images to the player: chunks over one still scene, resumed, told in the report, packed part by part."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold import long_film
from fourfold.capture.capture import Capture
from fourfold.capture.chunks import ChunkNumbers, chunks_of
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.truth import Truth
from fourfold.conclude import Job, conclude
from fourfold.long_film import LongFilm, Regions, in_chunks, make_long_film
from fourfold.notices import job
from fourfold.options import Clock, Options, silent
from fourfold.priors.contracts import Priors
from fourfold.priors.given import given_cameras
from fourfold.priors.providers import Preparation
from fourfold.priors.tracking.long_tracks import film_tracks
from fourfold.recipes import find_recipe
from fourfold.recipes.recipe import QUALITIES, Quality
from fourfold.scene.motion.chunks import Chunks

CUT = ChunkNumbers(longest=16, length=12, overlap=4, keyframes=10)
FRAMES = 24
RECIPE = find_recipe("lived_bases")
OPTIONS = Options(quality="draft", baselines=False)


@pytest.fixture(scope="module")
def hurried():
    """Hardly any steps: what is made is looked at, not how well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(QUALITIES, "draft", Quality(pixels=45_000, steps=0.02, gaussians=0.05))
        yield


@pytest.fixture(scope="module")
def posed(tmp_path_factory) -> Preparation:
    """A bare film of 24 frames with the cameras of its truth and its tracks."""
    folder = tmp_path_factory.mktemp("long")
    generate("casual", folder / "clip", options=SyntheticOptions(frames=FRAMES, width=96, height=54, supersample=1, bare=True))
    capture, truth = prepare_capture([folder / "clip" / "video.mp4"], folder / "capture", pixels=45_000), Truth.load(folder / "clip")
    capture = capture.with_cameras(truth.K[:1], truth.world_to_camera[:1], "estimated")
    return Preparation(capture, Priors(cameras=given_cameras(capture), filmtracks=film_tracks(capture)))


@pytest.fixture(scope="module")
def film(posed, hurried, tmp_path_factory) -> tuple[Path, LongFilm]:
    """The run's folder and the film."""
    root = tmp_path_factory.mktemp("runs")
    return root, make_long_film(posed, RECIPE, root, (OPTIONS, silent, Clock()), None, CUT)


def _moments(capture: Capture, film: LongFilm) -> list[float]:
    """Seconds on both sides of the hand-over, and the ends."""
    begin = film.chunks[1].begin
    return [float(capture.timestamps[i]) for i in (0, begin - 1, begin, capture.times - 1)]


def test_what_moves_is_one_layer_of_chunks_over_one_still_scene(posed: Preparation, film: tuple[Path, LongFilm]) -> None:
    root, made = film
    assert made.chunks == chunks_of(FRAMES, CUT) and len(made.chunks) == 2
    still, moving = made.scene.layer("static"), made.scene.layer("object")
    assert isinstance(moving.motion, Chunks) and min(moving.motion.counts) > 0 and made.scene.foreground_rows().sum() == len(moving)
    for name in ("keyframes", "000", "001"):
        assert (root / "chunks" / name / "metrics.jsonl").is_file() and (root / "chunks" / name / "priors").is_dir()
    first, before, after, last = (made.scene.at(t) for t in _moments(posed.capture, made))
    rows = made.scene.slices()["static"]
    for other in (before, after, last):
        assert torch.equal(other.means[rows], first.means[rows]) and torch.equal(other.opacity_logit[rows], still.splats["opacity_logit"])
    mine = made.scene.slices()["object"]
    one, two = (slice(mine.start + moving.motion.rows(n).start, mine.start + moving.motion.rows(n).stop) for n in (0, 1))
    assert before.opacity[one].any() and not before.opacity[two].any() and after.opacity[two].any() and not after.opacity[one].any()


def test_the_same_call_again_gives_the_same_scene_without_training(posed: Preparation, film: tuple[Path, LongFilm], monkeypatch) -> None:
    root, made = film
    monkeypatch.setattr("fourfold.training.trainer._run_stage", lambda *_: pytest.fail("it trained again"))
    again = make_long_film(posed, RECIPE, root, (OPTIONS, silent, Clock()), None, CUT).scene
    for time in _moments(posed.capture, made):
        one, two = made.scene.at(time), again.at(time)
        assert torch.equal(one.means, two.means) and torch.equal(one.opacity, two.opacity)


def test_chunks_see_only_their_own_moments(posed: Preparation, film: tuple[Path, LongFilm], monkeypatch, tmp_path: Path) -> None:
    """Whatever is estimated is told a capture of one chunk, or of the keyframes, with their rows of the stored images."""
    seen: list[Capture] = []

    def told(capture: Capture, names: tuple[str, ...], *_: object) -> Preparation:
        seen.append(capture)
        raise KeyboardInterrupt

    monkeypatch.setattr(long_film, "prepare_priors", told)
    with pytest.raises(KeyboardInterrupt):
        make_long_film(posed, RECIPE, tmp_path, (OPTIONS, silent, Clock()), None, CUT)
    assert seen[0].times == CUT.keyframes and seen[0].rows is not None and seen[0].train.all()
    assert np.array_equal(seen[0].image(0, 3), posed.capture.image(0, int(seen[0].rows[3])))


def test_report_and_player_know_of_the_chunks(posed: Preparation, film: tuple[Path, LongFilm]) -> None:
    root, made = film
    with job():
        report = conclude(Job(root, "test", made.keyframes, RECIPE, "as asked", OPTIONS, Clock(), made), made.scene, silent)
    assert report["capture"]["times"] == FRAMES and report["capture"]["notes"][-1] == made.sentence
    assert "2 chunks of 12 moments" in made.sentence and "10 keyframes" in made.sentence
    assert len(report["metrics"]["heldout_frames"]["this scene"]) == posed.capture.heldout.sum()
    assert report["training"]["steps"] == report["training"]["planned"] > 0
    page = (root / "player.html").read_text(encoding="utf-8")
    header = json.loads(re.search(r'id="header" type="application/json">(.*?)</script>', page, re.S)[1])
    strand = header["strands"][0]
    assert len(strand) == 2 and all(f'id="part{n}"' in page for n in range(1 + sum(map(len, header["strands"]))))
    assert strand[0]["end"] == strand[1]["begin"]


def test_regions_come_back_as_they_were_and_take_a_bit_per_pixel() -> None:
    regions, random = Regions(), np.random.default_rng(0)
    kept = {(0, n): random.random((7, 5)) > 0.5 for n in range(3)}
    for (view, index), region in kept.items():
        regions.add(view, index, region)
    assert len(regions) == 3 and list(regions) == list(kept) and all(np.array_equal(regions[k], v) for k, v in kept.items())
    assert regions.get((1, 0)) is None


def test_a_recipe_that_knows_no_chunks_says_so_and_a_short_film_is_made_in_one_piece(posed: Preparation) -> None:
    with job() as said:
        assert not in_chunks(posed.capture, RECIPE) and not said.sentences
        assert in_chunks(posed.capture, RECIPE, CUT)
        assert not in_chunks(posed.capture, replace(RECIPE, in_chunks=None), CUT)
        assert "24 moments are a long film" in said.sentences[0]
