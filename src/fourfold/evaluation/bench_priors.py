"""Every provider of every prior on every synthetic kind, against the exact truth: `fourfold bench priors`.

Each provider is judged alone (`inputs` "exact": the truth of what it reads is given, `GIVEN`) and in its place in the chain (`inputs`
"images": bare images, everything else estimated by whoever serves first), each without and with noise. All is kept in a folder, so that
an interrupted table continues.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.evaluation.bench_priors_inputs import DRAFTS, base_capture, variant
from fourfold.evaluation.bench_priors_long_tracks import score_long_tracks
from fourfold.evaluation.bench_priors_scores import (
    Figures,
    Judge,
    score_cameras,
    score_depth,
    score_disparity,
    score_flow,
    score_masks,
    score_matches,
    score_pointmaps,
)
from fourfold.evaluation.bench_priors_tracks import score_space_tracks, score_tracks2d
from fourfold.evaluation.bench_priors_truth import ExactScene
from fourfold.files import key_of, write_json
from fourfold.priors.providers import CONTRACTS, Provider, all_providers, prepare_priors

SCORES: dict[str, Callable[[Any, Judge], Figures | None]] = {
    "cameras": score_cameras,
    "masks": score_masks,
    "flow": score_flow,
    "depth": score_depth,
    "disparity": score_disparity,
    "pointmaps": score_pointmaps,
    "matches": score_matches,
    "longtracks": score_long_tracks,
    "tracks2d": score_tracks2d,
    "tracks3d": score_space_tracks,
}
"""How each prior is judged; a prior without an entry (clouds, features) has no truth of its own."""

GIVEN: dict[str, tuple[str, ...]] = {
    "cameras": ("masks",),
    "masks": ("cameras",),
    "flow": ("cameras",),
    "depth": ("cameras", "masks"),
    "disparity": ("cameras", "masks"),
    "pointmaps": ("cameras", "masks"),
    "matches": ("cameras", "masks"),
    "longtracks": ("cameras",),
    "tracks2d": ("cameras", "masks"),
    "tracks3d": ("cameras", "masks", "depth"),
}
"""What is given when a prior is judged alone. (Flow and long tracks read images only; cameras are given to save their estimation.)"""

SAME_FROM_IMAGES = ("flow", "longtracks")
"""Priors that read images only: one judgement serves for both kinds of inputs."""

SECONDS = "seconds.json"
"""Beside what a provider made: how long it took."""

VERSION = 1
"""Raised when scores change their meaning, so that kept rows are made anew."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        capture: kind and seed. prior, provider: what was judged. inputs: "exact" or "images", see the module. noise: inputs were spoilt.
        metrics: figures of `SCORES`, None where the provider could not serve or nothing could be judged.
        seconds: of the provider itself, without what it needs. error: why there are no figures.
    """

    capture: str
    prior: str
    provider: str
    inputs: str
    noise: bool
    metrics: Figures | None
    seconds: float | None
    error: str | None = None


@dataclass(frozen=True)
class Choice:
    """What to measure: kinds of captures, number of seeds, whether also with noise, priors and providers (all if empty), and inputs.

    `finished` measures nothing: only rows that the folder holds already.
    """

    kinds: Sequence[str] = tuple(DRAFTS)
    seeds: int = 1
    noise: bool = False
    priors: Sequence[str] = ()
    providers: Sequence[str] = ()
    inputs: Sequence[str] = ("exact", "images")
    finished: bool = False


def bench(choice: Choice, folder: Path, say: Callable[[str], None] = lambda _: None) -> list[Row]:
    """All rows of `choice`, kept in `folder`. FourfoldError for names that are not there."""
    check(choice)
    rows = []
    for kind in choice.kinds:
        for seed in range(choice.seeds):
            base = base_capture(kind, seed, folder / "captures")
            scene = ExactScene.load(base)
            rows += [row for job in _jobs(choice) for row in _rows(f"{kind}/{seed}", base, scene, job, choice, folder, say)]
    return rows


def check(choice: Choice) -> None:
    """FourfoldError for a kind, prior, provider or input that is not there."""
    known = (
        ("kind", choice.kinds, tuple(DRAFTS)),
        ("prior", choice.priors, tuple(SCORES)),
        ("provider", choice.providers, tuple(sorted({p.name for p in all_providers()}))),
        ("input", choice.inputs, ("exact", "images")),
    )
    for what, names, there in known:
        for name in names:
            if name not in there:
                raise FourfoldError(f"there is no {what} {name!r} to measure: choose from {', '.join(there)}")
    if choice.seeds < 1:
        raise FourfoldError(f"the number of seeds is {choice.seeds}: give at least 1")


@dataclass(frozen=True)
class _Job:
    prior: str
    provider: Provider
    inputs: str
    noise: bool


def _jobs(choice: Choice) -> Iterator[_Job]:
    for prior in choice.priors or SCORES:
        for provider in all_providers():
            if prior not in provider.makes or provider.refines or provider.named or (choice.providers and provider.name not in choice.providers):
                continue
            for inputs in choice.inputs:
                if inputs == "images" and prior in SAME_FROM_IMAGES and "exact" in choice.inputs:
                    continue
                for noise in (False, True) if choice.noise else (False,):
                    yield _Job(prior, provider, inputs, noise)


def _rows(name: str, base: Path, scene: ExactScene, job: _Job, choice: Choice, folder: Path, say: Callable[[str], None]) -> list[Row]:
    """The row of one job, or none where the provider does not apply to the capture."""
    given = GIVEN[job.prior] if job.inputs == "exact" else ()
    capture = variant(base, given, job.noise, folder / "captures")
    reason = job.provider.missing(capture)
    if reason == "" or _is_given(capture, job):
        return []
    identity = (name, job.prior, job.provider.name, job.inputs, job.noise)
    if reason is not None:
        return [Row(*identity, None, None, reason)] if job.inputs == choice.inputs[0] and not job.noise else []
    kept = folder / "rows" / f"{key_of(capture.root.name, job.prior, job.provider.name, job.provider.version, VERSION)}.json"
    if kept.exists():
        return [Row(**json.loads(kept.read_text()))]
    if choice.finished:
        return []
    say(f"{name}: {job.prior} from {job.provider.name}, {job.inputs}{' with noise' if job.noise else ''}")
    found = _measure(capture, base, scene, job, folder / "priors" / capture.root.name)
    if found is None:
        return []
    row = Row(*identity, *found)
    if row.metrics is not None:  # a failure is tried again the next time
        write_json(kept, asdict(row))
    return [row]


def _is_given(capture: Capture, job: _Job) -> bool:
    """Whether the provider only hands on what the capture brings, in which case there is nothing to judge."""
    return job.provider.name.startswith("given") or (job.prior != "cameras" and job.prior in ("masks", "depth") and capture.has(job.prior))


def _measure(capture: Capture, base: Path, scene: ExactScene, job: _Job, out: Path) -> tuple[Figures | None, float | None, str | None] | None:
    """Figures, seconds and error of one provider on one capture; None where the chain took the prior from another on its way to it."""
    try:
        done = prepare_priors(capture, request(job.prior, job.provider), out)
    except FourfoldError as error:
        return None, None, str(error)
    except Exception as error:  # a provider that breaks is a finding, not the end of the table
        return None, None, f"it broke with {type(error).__name__}: {error}"
    note_seconds(done.seconds, out)
    if not (out / job.provider.name / SECONDS).exists():
        return None
    estimate = CONTRACTS[job.prior].load(out / job.provider.name)  # not done.priors: what the provider needs may have brought the prior, too
    figures = SCORES[job.prior](estimate, Judge(done.capture, base, scene))
    seconds = json.loads((out / job.provider.name / SECONDS).read_text())
    return rounded(figures), round(seconds, 2), None if figures else "nothing of the estimate could be judged"


def request(prior: str, provider: Provider) -> list[str]:
    """What to ask `prepare_priors` for."""
    return [f"{prior}:{provider.name}"]


def rounded(figures: Figures | None) -> Figures | None:
    """Figures with five decimals."""
    return None if figures is None else {name: None if value is None else round(float(value), 5) for name, value in figures.items()}


def note_seconds(seconds: dict[str, float], out: Path) -> None:
    """Write how long each provider took beside what it made, when it is made; a later look-up takes no time and says nothing."""
    for provider in all_providers():
        folder, made = out / provider.name, seconds.get("+".join(provider.makes))
        if folder.is_dir() and made is not None and not (folder / SECONDS).exists():
            write_json(folder / SECONDS, made)
