"""Priors on real clips that bring a truth of their own: camel's true masks, Balloon1's epipolar geometry."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.errors import FourfoldError
from fourfold.evaluation.bench_priors import SECONDS, Choice, Row, note_seconds, request, rounded
from fourfold.evaluation.bench_priors_scores import Figures
from fourfold.evaluation.prior_scores import mask_scores
from fourfold.files import key_of, replacing, write_json
from fourfold.geometry.epipolar import fundamental_matrix, sampson_error
from fourfold.priors.contracts import Flow, Masks
from fourfold.priors.providers import CONTRACTS, Provider, all_providers, prepare_priors

CAMEL_PIXELS, BALLOON_PIXELS = 427 * 240, 480 * 270
"""Pixels per image at which the two clips are measured."""
TRUSTED = 0.5
"""Confidence above which a flow vector is judged."""


def data_folder() -> Path:
    """The folder of real data: $FOURFOLD_DATA, or shared/data beside the working directory."""
    return Path(os.environ.get("FOURFOLD_DATA", Path.cwd().parent / "shared" / "data"))


def bench_real(choice: Choice, folder: Path, say: Callable[[str], None] = lambda _: None) -> list[Row]:
    """Rows of the real clips for the providers of `choice`. FourfoldError if the data is not there."""
    rows = []
    for prior, judged in (("masks", _camel), ("flow", _balloon)):
        for provider in all_providers() if not choice.priors or prior in choice.priors else ():
            if prior in provider.makes and not provider.name.startswith("given") and (not choice.providers or provider.name in choice.providers):
                rows += judged(provider, folder, say, choice.finished)
    return rows


def _source(*parts: str) -> Path:
    path = data_folder().joinpath(*parts)
    if not path.exists():
        raise FourfoldError(f"{path} is not there: set FOURFOLD_DATA to the folder of real clips, or leave out --real")
    return path


def _camel(provider: Provider, folder: Path, say: Callable[[str], None], finished: bool) -> list[Row]:
    """Masks of camel from its images alone, against its true masks."""
    source, root = _source("clips", "camel"), folder / "captures" / "camel"
    true = prepare_capture([source], root / "with_masks", pixels=CAMEL_PIXELS)
    bare = _without_masks(true, root / "bare")

    def score(masks: Masks, _: Capture) -> Figures:
        train = bare.train[0] & true.present[0]
        exact = np.stack([np.asarray(true.mask(0, int(t))) for t in np.flatnonzero(train)])
        return dict(mask_scores(masks.mask[0][train], exact))

    return _row("camel (real)", "masks", provider, bare, folder, score, None if finished else say)


def _without_masks(capture: Capture, root: Path) -> Capture:
    """The same recordings in the folder `root`, images alone."""
    if not (root / "capture.json").exists():
        with replacing(root) as temporary:
            temporary.mkdir(parents=True)
            for view in range(capture.views):
                name = f"frames_{view:03d}.npy"
                (temporary / name).symlink_to((capture.root / name).resolve())
            replace(capture, root=temporary).save()
    return Capture.load(root)


def _balloon(provider: Provider, folder: Path, say: Callable[[str], None], finished: bool) -> list[Row]:
    """Flow on Balloon1 against the epipolar lines of its given cameras; the median is of what rests, the balloon is a small part."""
    capture = prepare_capture([_source("nvidia_balloon1")], folder / "captures" / "balloon1", pixels=BALLOON_PIXELS)

    def score(flow: Flow, posed: Capture) -> Figures:
        errors = np.concatenate([epipolar_errors(flow, posed, v) for v in range(capture.views) if capture.train[v].sum() > 1])
        return {"epipolar_median": float(np.median(errors)), "epipolar_within_1px": 100 * float((errors < 1).mean()), "vectors": float(errors.size)}

    return _row("balloon1 (real)", "flow", provider, capture, folder, score, None if finished else say)


def epipolar_errors(flow: Flow, capture: Capture, view: int) -> NDArray[np.float64]:
    """(M,) pixels: first-order distance (Sampson) of each trusted flow vector's ends from the epipolar geometry of the given cameras."""
    times = np.flatnonzero(capture.train[view] & capture.present[view])
    height, width = flow.forward[view].shape[1:3]
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns.ravel(), rows.ravel()], 1) + 0.5
    found = []
    for a, b in itertools.pairwise(times):
        cameras = [torch.from_numpy(x[view, t].astype(np.float64)) for t in (a, b) for x in (capture.K, capture.world_to_camera)]
        trusted = flow.forward_confidence[view][a].ravel() > TRUSTED
        start = pixels[trusted]
        end = start + flow.forward[view][a].reshape(-1, 2)[trusted].astype(np.float64)
        error = sampson_error(fundamental_matrix(*cameras), torch.from_numpy(start), torch.from_numpy(end))
        found.append(error.abs().numpy())
    return np.concatenate(found)


def _row(
    name: str,
    prior: str,
    provider: Provider,
    capture: Capture,
    folder: Path,
    score: Callable[[Any, Capture], Figures],
    say: Callable[[str], None] | None,
) -> list[Row]:
    """The row of one provider on one clip, measured unless it is kept; without `say` nothing is measured."""
    reason = provider.missing(capture)
    row = Row(name, prior, provider.name, "images", False, None, None, reason)
    if reason is not None:
        return [row] if reason else []
    kept = folder / "rows" / f"{key_of(capture.root.name, name, prior, provider.name, provider.version)}.json"
    if kept.exists():
        return [Row(**json.loads(kept.read_text()))]
    if say is None:
        return []
    say(f"{name}: {prior} from {provider.name}")
    out = folder / "priors" / name.split()[0]
    try:
        done = prepare_priors(capture, request(prior, provider), out)
    except FourfoldError as error:
        return [replace(row, error=str(error))]
    note_seconds(done.seconds, out)
    if not (out / provider.name / SECONDS).exists():
        return []
    row = replace(
        row,
        metrics=rounded(score(CONTRACTS[prior].load(out / provider.name), done.capture)),
        seconds=round(json.loads((out / provider.name / SECONDS).read_text()), 2),
    )
    write_json(kept, asdict(row))
    return [row]
