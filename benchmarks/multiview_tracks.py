"""Multi-view tracks against exact truth (synthetic) and against a camera that took no part (real rigs), with wrong matches added.

Run: python benchmarks/multiview_tracks.py --data ../shared/data --out FOLDER
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.source import CaptureOptions
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.noise import NOISY
from fourfold.capture.synthetic.options import NoiseOptions
from fourfold.capture.synthetic.tracks import positions
from fourfold.evaluation.bench_priors_truth import ExactScene
from fourfold.geometry.projection import project
from fourfold.priors.contracts import Depth, Masks, Matches, Provenance
from fourfold.priors.given import given_cameras, given_masks
from fourfold.priors.masks.plate_masks import plate_masks
from fourfold.priors.multiview_tracks.consistent import ConsistencyNumbers, Observations, filter_epipolar, triangulate_tracks
from fourfold.priors.multiview_tracks.follow import follow_view
from fourfold.priors.multiview_tracks.linking import Links, alike_ends, link_matches, strongest
from fourfold.priors.multiview_tracks.provider import MultiviewNumbers, follow_links, lift_observations
from fourfold.priors.multiview_tracks.support import moves_along, on_surface
from fourfold.priors.tracking.flow import estimate_flow
from fourfold.priors.tracking.long_tracks import long_tracks
from fourfold.priors.tracking.matches import match_views
from fourfold.priors.tracking.matching import MatchConfig, match
from fourfold.priors.tracking.sift_matches import agreeing, describe

WRONG = 0.3
"""Share of wrong matches after they were added: random moving pixels of both images."""
ROWS = ((False, False), (True, False), (False, True), (True, True))
"""Epipolar filter and triangulation off and on, in the order of the paper's Table 3."""


@dataclass(frozen=True)
class Case:
    """A capture of which some views are used, with what is needed to judge: depth to lift from, or None."""

    name: str
    capture: Capture
    masks: Masks
    depth: Depth | None
    sampson: float


def spoiled(matches: Matches, capture: Capture, masks: Masks, share: float, random: np.random.Generator) -> Matches:
    """`matches` with random pairs of moving pixels of the same images added, so that they are `share` of all, at the confidence of real ones."""
    count = round(share / (1 - share) * len(matches.pair))
    rows = np.sort(random.integers(len(matches.pair), size=count))
    images = matches.images[matches.pair[rows]]
    ends = [_random_pixels(capture, masks, images[:, i : i + 2], random) for i in (0, 2)]
    return replace(
        matches,
        pair=np.concatenate([matches.pair, matches.pair[rows]]),
        xy_a=np.concatenate([matches.xy_a, ends[0]]),
        xy_b=np.concatenate([matches.xy_b, ends[1]]),
        confidence=np.concatenate([matches.confidence, matches.confidence[rows]]),
    )


def _random_pixels(capture: Capture, masks: Masks, frames: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.float32]:
    found = np.zeros((len(frames), 2), np.float32)
    for view, time in np.unique(frames, axis=0):
        moving = masks.moving(int(view), int(time))
        row, column = np.nonzero(moving)
        mine = np.flatnonzero((frames == (view, time)).all(axis=1))
        pick = random.integers(len(row), size=len(mine))
        found[mine] = np.stack([column[pick] + 0.5, row[pick] + 0.5], axis=1)
    return found


def followed(case: Case, random: np.random.Generator, wrong: float, numbers: MultiviewNumbers) -> tuple[Links, Observations]:
    """The spoiled matches of a case, linked and followed: what all rows of the table share."""
    matches = match_views(case.capture, case.masks)
    matches = spoiled(matches, case.capture, case.masks, wrong, random)
    links = alike_ends(link_matches(matches, case.capture.views, numbers.same), case.capture, numbers.alike, numbers.patch)
    links = strongest(links, numbers.most)
    return links, follow_links(case.capture, links, partial(follow_view, masks=case.masks, flow=estimate_flow(case.capture), config=numbers.follow))


def solved(case: Case, links: Links, seen: Observations, numbers: MultiviewNumbers) -> tuple[NDArray[np.float64], NDArray[np.bool_], Observations]:
    """Positions (P, T, 3), validity (P, T) with short tracks removed, and the observations left, by the switches of `numbers`."""
    capture = case.capture
    left = Observations(seen.xy, filter_epipolar(seen, capture, numbers.consistency)) if numbers.epipolar else seen
    if numbers.triangulation:
        xyz, valid, _ = triangulate_tracks(left, capture, numbers.consistency)
        valid = moves_along(xyz, on_surface(xyz, valid, capture, numbers.support), links.time, capture, numbers.support)
    else:
        xyz, valid = lift_observations(capture, left, case.depth)
    return xyz, valid & (valid.sum(axis=1) >= numbers.fewest)[:, None], left


def exact_paths(root: Path, links: Links) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(P, T, 3) true positions of the surface point that the first camera of each match shows, and (P,) diameters of their objects."""
    exact = ExactScene.load(root)
    view = np.isfinite(links.xy[:, :, 0]).argmax(axis=1)
    owner, local = np.zeros(len(view), np.int32), np.zeros((len(view), 3))
    for own, time in {(int(v), int(t)) for v, t in zip(view, links.time, strict=True)}:
        rows = np.flatnonzero((view == own) & (links.time == time))
        owner[rows], local[rows] = exact.first_hits(own, time, links.xy[rows, own])
    diameter = dict(zip(exact.truth.objects.tolist(), exact.truth.diameter.tolist(), strict=True))
    sizes = [diameter.get(exact.solids[o].object_id, min(diameter.values())) for o in owner]
    return positions(exact.solids, owner, local), np.array(sizes)


def witness_errors(
    full: Capture, case: Case, fifth: int, xyz: NDArray[np.float64], valid: NDArray[np.bool_], left: Observations, every: int
) -> NDArray[np.float64]:
    """Pixels between triangulated points projected into the camera `fifth` and where that camera sees them by a match of its own.

    The camera is matched to each view of the case by free SIFT (ratio 0.8) and USAC, without using any calibration; a track that passes
    within a pixel of the match's end in that view at that moment must project onto the other end.
    """
    errors: list[NDArray[np.float64]] = []
    for time in range(0, full.times, every):
        witness = describe(np.asarray(full.image(fifth, time)), None)
        for view in range(case.capture.views):
            rows = np.flatnonzero(valid[:, time] & left.seen[:, view, time])
            if len(rows) == 0:
                continue
            own = describe(np.asarray(case.capture.image(view, time)), None)
            pairs, _ = match(own, witness, MatchConfig(ratio=0.8))
            here, there = own.xy[pairs[:, 0]], witness.xy[pairs[:, 1]]
            good = agreeing(here, there, 1.0)
            if not good.any():
                continue
            distance, index = cKDTree(here[good]).query(left.xy[rows, view, time])
            near = distance < 1.0
            moved = there[good][index[near]] + (left.xy[rows[near], view, time] - here[good][index[near]])
            K, pose = torch.from_numpy(full.K[fifth, time]), torch.from_numpy(full.world_to_camera[fifth, time])
            pixels, _ = project(torch.from_numpy(xyz[rows[near], time]), K, pose)
            errors.append(np.linalg.norm(pixels.numpy() - moved, axis=1))
    return np.concatenate(errors) if errors else np.zeros(0)


def chosen_views(capture: Capture, names: tuple[str, ...]) -> Capture:
    """Only the views with these names train; the others are out of the way."""
    train = capture.present & np.isin(np.array(capture.view_names), names)[:, None]
    return replace(capture, train=train, heldout=np.zeros_like(train))


def synthetic(root: Path, seed: int) -> Case:
    """`sparse_moving` with spoilt depth to lift from."""
    capture = generate("sparse_moving", root, seed=seed, options=SyntheticOptions(noise=NoiseOptions()))
    depth = tuple(np.load(root / NOISY / f"depth_{v:03d}.npy", allow_pickle=False) for v in range(capture.views))
    return Case("sparse_moving", capture, given_masks(capture), Depth(Provenance("noisy"), depth, ()), 0.1)


def main(out: Path, data: Path = Path("../shared/data"), seeds: int = 3, only: tuple[str, ...] = ()) -> None:
    """Print one JSON object per capture, seed and row.

    Args:
        out: where captures are kept; data: folder of the real captures; seeds: of the wrong matches; only: names of captures.
    """
    for seed in range(seeds):
        if only and "sparse_moving" not in only:
            break
        root = out / f"sparse_moving_{seed}"
        case = synthetic(root, seed)
        for epipolar, triangulation in ROWS:
            numbers = MultiviewNumbers(epipolar=epipolar, triangulation=triangulation)
            if (epipolar, triangulation) == ROWS[0]:
                links, seen = followed(case, np.random.default_rng(seed), WRONG, numbers)
                true, size = exact_paths(root, links)
            xyz, valid, _ = solved(case, links, seen, numbers)
            error = (np.linalg.norm(xyz - true, axis=-1) / size[:, None])[valid]
            told = {"within_2_percent": float((error < 0.02).mean()), "median_percent": 100 * float(np.median(error))}
            report(case.name, seed, numbers, valid, told)
    for name, folder, pixels, used, fifth in (
        ("panoptic_basketball", "panoptic_basketball", 640 * 360, ("25", "29", "24", "21"), "0"),
        ("pose2sim_multiperson", "pose2sim_multiperson", 544 * 960, ("cam01", "cam02", "cam03"), "cam04"),
    ):
        if (only and name not in only) or not (data / folder).exists():
            continue
        full = prepare_capture(
            [data / folder], out / name, pixels=pixels, holdout="none", options=CaptureOptions(end=1.0 if "pose" in name else None)
        )
        witness(name, full, used, fifth)


def witness(name: str, full: Capture, used: tuple[str, ...], fifth: str) -> None:
    """The rows with triangulation on a real rig, judged by a camera that took no part."""
    views = [full.view_names.index(n) for n in used]
    rig = chosen_views(full, used)
    masks = given_masks(rig) if all(full.has("masks", v) for v in views) else plate_masks(rig, long_tracks(rig), given_cameras(rig))
    for sampson in (0.1, 0.5, 1.0):
        case = Case(name, rig, masks, None, sampson)
        for epipolar in (False, True):
            numbers = MultiviewNumbers(epipolar=epipolar, consistency=ConsistencyNumbers(sampson=sampson))
            if not epipolar and sampson == 0.1:
                links, seen = followed(case, np.random.default_rng(0), WRONG, numbers)
            if not epipolar and sampson > 0.1:
                continue
            xyz, valid, left = solved(case, links, seen, numbers)
            error = witness_errors(full, case, full.view_names.index(fifth), xyz, valid, left, 6)
            told = {"pairs": len(error), "median_px": float(np.median(error)) if len(error) else None}
            told |= {"within_2_px": float((error < 2).mean()) if len(error) else None}
            report(name, 0, numbers, valid, told)


def report(name: str, seed: int, numbers: MultiviewNumbers, valid: NDArray[np.bool_], told: dict[str, float | int | None]) -> None:
    """Print one row."""
    row = {
        "capture": name,
        "seed": seed,
        "epipolar": numbers.epipolar,
        "triangulation": numbers.triangulation,
        "sampson_px": numbers.consistency.sampson,
    }
    row |= {"tracks": int(valid.any(axis=1).sum()), "points": int(valid.sum())} | told
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
