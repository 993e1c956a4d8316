"""The contract of the priors on disk, the names a person may ask by, and frames kept over a kill."""

import json
import mmap
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.files import give_back
from fourfold.priors import providers
from fourfold.priors.contracts import HEADER, SCHEMA, Cameras, Depth, Flow, Masks, PointMaps, Provenance, Tracks2D
from fourfold.priors.depth.plane_sweep import static_depth
from fourfold.priors.frames_kept import KeptFrames, open_kept
from fourfold.priors.mapped import scratch
from fourfold.priors.providers import CONTRACTS, Provider, all_providers, prepare_priors, prior_names
from fourfold.priors.schema import SCHEMAS
from fourfold.priors.tracking.flow import estimate_flow
from fourfold.training.trainer import made_by

BY = Provenance("test", notes=("a note",), figures={"near": 0.5})
T, H, W = 3, 4, 5


def _tracks(**other: np.ndarray) -> Tracks2D:
    arrays = {
        "xy": np.zeros((7, T, 2), np.float32),
        "visibility": np.ones((7, T), np.float16),
        "confidence": np.ones((7, T), np.float16),
        "view": np.zeros(7, np.int32),
        "query_time": np.zeros(7, np.int32),
    }
    return Tracks2D(BY, **(arrays | other))


def test_every_contract_has_a_schema_of_exactly_its_arrays():
    for name, contract in CONTRACTS.items():
        assert set(SCHEMAS[name]) == {f.name for f in fields(contract)} - {"provenance"}


def test_what_is_saved_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    before = PointMaps(BY, (rng.normal(size=(T, H, W, 3)).astype(np.float32), np.full((T, 2, 6, 3), np.nan, np.float16)), _two(rng))
    before.save(tmp_path)
    after = PointMaps.load(tmp_path)
    assert after.provenance == before.provenance
    for a, b in zip(before.xyz + before.confidence, after.xyz + after.confidence, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_masks_and_depth_stay_on_the_disk(tmp_path):
    """What is loaded is the file itself, which others read; what is written into an array does not reach it."""
    rng = np.random.default_rng(1)
    depth = scratch((T, H, W), np.float32, tmp_path)
    depth[:] = rng.uniform(1, 2, (T, H, W))
    give_back(depth)
    wanted = np.array(depth)
    assert wanted.min() >= 1 and isinstance(depth.base, mmap.mmap) and list(tmp_path.iterdir()) == []
    Depth(BY, (depth, np.zeros((T, 0, 6), np.float32)), (np.ones((T, H, W), np.float16), np.zeros((T, 0, 6), np.float16))).save(tmp_path)
    Masks(BY, (rng.integers(-1, 2, (T, H, W)).astype(np.int8),)).save(tmp_path)
    for _ in range(2):
        after = Depth.load(tmp_path)
        assert isinstance(after.depth[0].base, mmap.mmap) and after.depth[1].shape == (T, 0, 6)
        np.testing.assert_array_equal(after.depth[0], wanted)
        np.testing.assert_array_equal(after.confidence[0], 1)
        after.depth[0][0] = 7
    others = load_file(tmp_path / "depth.safetensors")
    np.testing.assert_array_equal(others["depth.000"], wanted)
    assert others["confidence.000"].dtype == np.float16
    np.testing.assert_array_equal(Masks.load(tmp_path).mask[0], load_file(tmp_path / "masks.safetensors")["mask.000"])


def _two(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(size=(T, H, W)).astype(np.float16), np.zeros((T, 2, 6), np.float16)


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (_tracks(visibility=np.full((7, T), 1.5, np.float16)), "visibility from 1.5 to 1.5, expected 0..1"),
        (_tracks(xy=np.zeros((7, T, 3), np.float32)), r"xy of shape \(7, 3, 3\), expected \(P, T, 2\)"),
        (_tracks(view=np.zeros(6, np.int32)), r"view of shape \(6,\), expected \(P\) with P = 7"),
        (_tracks(view=np.zeros(7, np.float32)), "view as float32, expected integer numbers"),
        (_tracks(xy=np.full((7, T, 2), np.nan, np.float32)), "xy with a number that is not finite"),
        (Masks(BY, (np.full((T, H, W), 2, np.int8),)), "mask of view 0 from 2 to 2, expected -1..1"),
        (Depth(BY, (np.zeros((T, H, W), np.float32),), (np.zeros((T, H, W + 1), np.float16),)), "confidence of view 0 of shape .* with w = 5"),
        (Depth(BY, (np.zeros((T, H, W), np.float32),) * 2, (np.zeros((T, H, W), np.float16),)), r"arrays of \[1, 2\] views"),
        (Depth(BY, np.zeros((T, H, W), np.float32), (np.zeros((T, H, W), np.float16),)), "depth as one array, expected one array per view"),
    ],
)
def test_a_prior_that_breaks_the_contract_is_not_written(tmp_path, prior, words):
    with pytest.raises(FourfoldError, match=words):
        prior.save(tmp_path)
    assert not list(tmp_path.iterdir())


@given(st.sampled_from(["schema", "prior", "provenance", "arrays", "range", "cut", "empty"]))
def test_a_wrong_file_gets_one_sentence(tmp_path_factory, spoil):
    folder = tmp_path_factory.mktemp("prior")
    path = _tracks().save(folder)
    arrays = {k: np.ascontiguousarray(v) for k, v in _tracks().arrays.items()}
    header = {"schema": SCHEMA, "prior": "tracks2d", "provenance": vars(BY)}
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif spoil == "empty":
        path.write_bytes(b"")
    else:
        header |= {"schema": {"schema": 9}, "prior": {"prior": "flow"}, "provenance": {"provenance": {}}}.get(spoil, {})
        arrays = {k: v for k, v in arrays.items() if not (spoil == "arrays" and k == "xy")}
        arrays["confidence"] = arrays["confidence"] * (-3 if spoil == "range" else 1)
        save_file(arrays, path, metadata={HEADER: json.dumps(header)})
    with pytest.raises(FourfoldError) as error:
        Tracks2D.load(folder)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_prior_of_another_capture_is_refused():
    depth = Depth(BY, (np.ones((T, H, W), np.float32),), (np.ones((T, H, W), np.float16),))
    depth.check(np.array([[W, H]]), T)
    for sizes, times in ((np.array([[W, H]]), T + 1), (np.array([[W, H + 1]]), T), (np.array([[W, H]] * 2), T)):
        with pytest.raises(FourfoldError, match="belongs to another capture"):
            depth.check(sizes, times)
    cameras = Cameras(BY, np.ones((1, T, 3, 3)), np.ones((1, T, 4, 4)), np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    cameras.check(np.array([[W, H]]), T)
    with pytest.raises(FourfoldError, match="belongs to another capture"):
        cameras.check(np.array([[W, H]]), 2 * T)


def test_priors_have_other_names():
    assert prior_names("tracks") == ("tracks2d",)
    assert prior_names("depth, Masks,3d-tracks,depth") == ("depth", "masks", "tracks3d")
    assert prior_names("point_maps:plane") == ("pointmaps:plane",)
    with pytest.raises(FourfoldError, match="there is no prior 'trakcs': choose one of"):
        prior_names("depth,trakcs")
    assert set(providers.ALSO_CALLED.values()) <= set(CONTRACTS)


def test_kept_frames_come_back_and_another_key_starts_anew(tmp_path):
    made: list[str] = []

    def make(name: str):
        made.append(name)
        return None if name == "nothing" else [np.arange(6, dtype=np.float16).reshape(2, 3), np.array([3], np.int64)]

    for _ in range(2):
        kept = open_kept(tmp_path / "kept", "one")
        first = kept.frame("a", lambda: make("a"))
        assert kept.frame("nothing", lambda: make("nothing")) is None
        assert [(x.dtype, x.tolist()) for x in first] == [("float16", [[0, 1, 2], [3, 4, 5]]), ("int64", [3])]
    assert made == ["a", "nothing"]
    (tmp_path / "kept" / "a.safetensors").write_bytes(b"cut short")
    kept.frame("a", lambda: make("a"))
    open_kept(tmp_path / "kept", "two").frame("a", lambda: make("a"))
    assert made == ["a", "nothing", "a", "a"]
    KeptFrames().frame("a", lambda: make("a"))
    assert len(made) == 5


class Killed(Exception):
    """Stands for the moment of the kill."""


@pytest.mark.parametrize(
    ("prior", "provider", "step"), [("flow", "dis", "tracking.flow.flow_between"), ("depth", "plane_sweep", "depth.plane_sweep.sweep_reference")]
)
def test_a_stage_stopped_in_the_middle_goes_on_where_it_was(casual_capture, tmp_path, monkeypatch, prior, provider, step):
    capture = Capture.load(casual_capture)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    module, name = f"fourfold.priors.{step}".rsplit(".", 1)
    real = getattr(sys.modules[module], name)
    calls: list[int] = []

    def stopping(*arguments, **named):
        if len(calls) == 5:
            raise Killed
        calls.append(1)
        return real(*arguments, **named)

    wanted = [f"{prior}:{provider}"]
    if prior == "depth":  # the capture brought depth: leave it out
        monkeypatch.setattr(Capture, "has", lambda self, kind, view=0: kind == "masks")
    monkeypatch.setattr(sys.modules[module], name, stopping)
    with pytest.raises(Killed):
        prepare_priors(capture, wanted, tmp_path / "priors")
    folder = tmp_path / "priors" / f".{provider}.frames.part"
    assert len(list(folder.glob("*.safetensors"))) == 5 and not (tmp_path / "priors" / provider).exists()
    counted: list[int] = []
    monkeypatch.setattr(sys.modules[module], name, lambda *a, **k: (counted.append(1), real(*a, **k))[1])
    resumed = getattr(prepare_priors(capture, wanted, tmp_path / "priors").priors, prior)
    assert not folder.exists()
    again = len(counted)
    whole = estimate_flow(capture) if prior == "flow" else static_depth(capture, Masks.load(tmp_path / "priors" / "given-masks"))
    assert again == len(counted) - again - 5
    for field, value in whole.arrays.items():
        for a, b in zip(value, getattr(resumed, field), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_frames_survive_a_real_kill(casual_capture, tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from fourfold.capture.capture import Capture
from fourfold.priors.tracking import flow
from fourfold.priors.providers import prepare_priors
real, calls = flow.flow_between, []
def dying(*a, **k):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*a, **k)
flow.flow_between = dying
prepare_priors(Capture.load(Path({str(casual_capture)!r})), ["flow:dis"], Path({str(tmp_path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(list((tmp_path / ".dis.frames.part").glob("0*.safetensors"))) == 3
    resumed = prepare_priors(Capture.load(casual_capture), ["flow:dis"], tmp_path).priors.flow
    whole = estimate_flow(Capture.load(casual_capture))
    assert all(np.array_equal(a, b) for a, b in zip(whole.forward + whole.backward, resumed.forward + resumed.backward, strict=True))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_who_is_insisted_on_makes_the_cameras(casual_capture, tmp_path, monkeypatch):
    capture = Capture.load(casual_capture)
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    made = {
        name: Cameras(Provenance(name, figures={"source": "given"}), capture.K * factor, capture.world_to_camera, *none)
        for name, factor in (("liked", 1.0), ("wanted", 2.0))
    }
    rivals = [Provider(name, ("cameras",), (), rank, lambda _: None, lambda *_, n=name: [made[n]]) for name, rank in (("liked", 9), ("wanted", 1))]
    monkeypatch.setattr(providers, "all_providers", lambda: tuple(rivals))
    assert np.array_equal(prepare_priors(capture, (), tmp_path).capture.K, made["liked"].K, equal_nan=True)
    assert np.array_equal(prepare_priors(capture, ["cameras:wanted"], tmp_path).capture.K, made["wanted"].K, equal_nan=True)


def test_a_provider_that_breaks_the_contract_leaves_nothing(casual_capture, tmp_path, monkeypatch):
    capture = Capture.load(casual_capture)
    wrong = Flow(BY, *(((np.zeros((2, 4, 4, 2), np.float16)),),) * 2, *(((np.zeros((2, 4, 4), np.float16)),),) * 2)
    provider = Provider("wrong", ("flow",), (), 5000, lambda _: None, lambda *_: [wrong])
    monkeypatch.setattr(providers, "all_providers", lambda: (provider, *all_providers()))
    with pytest.raises(FourfoldError, match="'flow' of test is of 1 views and 2 moments, the capture has 2 and 14"):
        prepare_priors(capture, ["flow"], tmp_path)
    assert not any("wrong" in p.name for p in Path(tmp_path).iterdir())


def test_a_newer_version_of_a_provider_makes_what_follows_from_it_another(casual_capture, tmp_path, monkeypatch):
    """Even where its words and figures stay: what was estimated or trained from the older one is not taken for the newer one's."""

    def keys() -> dict[str, str]:
        made = prepare_priors(Capture.load(casual_capture), ("flow", "tracks2d"), tmp_path).priors
        return {name: provenance.key for name, provenance in made_by(made).items()}

    first = keys()
    assert all(first.values()) and keys() == first
    newer = tuple(replace(p, version=p.version + 1) if p.name == "dis" else p for p in all_providers())
    monkeypatch.setattr("fourfold.priors.providers.all_providers", lambda: newer)
    second = keys()
    assert second["flow"] != first["flow"] and second["tracks2d"] != first["tracks2d"]
    assert second["cameras"] == first["cameras"]
