"""Where learned weights are looked for, what is said when they are not here, and how one model is fetched."""

import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from fourfold.cli.program import main
from fourfold.errors import FourfoldError
from fourfold.priors.foundation import fetch as fetching
from fourfold.priors.foundation import weights

ASKED = [
    "cotracker3-offline", "cotracker3-online", "tapir", "bootstapir", "tapip3d", "mvtracker", "spatialtracker", "depth-anything-v2-small",
    "depth-anything-3-small", "unidepth-v2-small", "moge-2-large", "dust3r", "monst3r", "mast3r", "gim-dkm", "dinov2-registers-small",
    "sam2-tiny", "clip-base-32", "lpips-alex", "lpips-vgg", "lpips-squeeze", "raft-small", "xfeat", "aliked",
]  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    """No weights anywhere: all caches and the explicit folder are below `tmp_path`."""
    for name, folder in {"FOURFOLD_WEIGHTS": "given", "XDG_CACHE_HOME": "cache"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_every_model_has_a_licence_and_a_source():
    names = [row.name for row in weights.MODELS]
    assert len(set(names)) == len(names) and set(ASKED) <= set(names)
    for row in weights.MODELS:
        assert row.licence and row.makes and row.source.startswith(("http", "arXiv")) and row.files


@pytest.mark.parametrize("folder", ["given", "given/raft-small", "cache/fourfold/weights", "cache/torch/hub/checkpoints"])
def test_a_file_is_found_in_every_place(home, folder):
    assert weights.locate("raft-small") is None
    path = _touch(home / folder / "raft_small_C_T_V2-01064c6d.pth")
    assert weights.locate("raft-small") == path == weights.require("raft-small")


def test_a_folder_needs_all_its_files(home):
    folder = home / "cache/huggingface/hub/models--facebook--dinov2-with-registers-small/snapshots/abc"
    _touch(folder / "config.json")
    assert weights.locate("dinov2-registers-small") is None
    _touch(folder / "model.safetensors")
    assert weights.locate("dinov2-registers-small") == folder
    # a flat folder of ours holds many models: a config.json there is nobody's
    _touch(home / "given/config.json"), _touch(home / "given/model.safetensors")
    assert weights.locate("sam2-tiny") is None


def test_the_revision_of_main_comes_first(home):
    repository = home / "cache/huggingface/hub/models--facebook--dinov2-with-registers-small"
    for revision in ("aaa", "bbb"):
        _touch(repository / "snapshots" / revision / "config.json"), _touch(repository / "snapshots" / revision / "model.safetensors")
    assert weights.locate("dinov2-registers-small") == repository / "snapshots/aaa"
    _touch(repository / "refs/main").write_text("bbb\n")
    assert weights.locate("dinov2-registers-small") == repository / "snapshots/bbb"


def test_without_any_weights_nothing_is_said(home, monkeypatch):
    assert weights.missing("raft-small") == "" == weights.missing("tapir", "bootstapir")
    _touch(home / "given/aliked-n16.pth")
    assert weights.missing("aliked", "raft-small") is None
    assert "weights list" in (weights.missing("raft-small") or "")
    assert weights.missing("raft-small") == weights.missing("tapir")  # one sentence serves both
    monkeypatch.setattr(weights, "_installed", lambda package: package == "")
    _touch(home / "given/xfeat.onnx")
    assert "onnxruntime" in (weights.missing("xfeat") or "")
    with pytest.raises(FourfoldError, match="pip install onnxruntime"):
        weights.require("xfeat")


def test_damaged_files_are_refused(home):
    with pytest.raises(FourfoldError, match="cannot be read"):
        weights.load_state(_touch(home / "given/aliked-n16.pth"))
    torch.save([1, 2], home / "given/list.pth")
    with pytest.raises(FourfoldError, match="hold a list"):
        weights.load_state(home / "given/list.pth")


def test_commands(home, capsys):
    assert main(["weights", "path", "raft-small"]) == 2
    assert "weights get raft-small" in capsys.readouterr().err
    path = _touch(home / "given/raft-small.pth")
    assert main(["weights", "path", "raft-small"]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith(tuple(ASKED))]) >= len(ASKED)
    assert main(["weights", "get", "spatialtracker"]) == 2
    said = capsys.readouterr().err
    assert "licence CC-BY-NC" in said and "by hand" in said


def test_listing_needs_no_torch():
    code = "import sys; from fourfold.priors.foundation import weights; weights.missing('raft-small'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """A local hub; yields its address."""
    root = tmp_path / "hub"
    root.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(root))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_fetch_is_complete_or_nothing(home, server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server)
    row = weights.model("dinov2-registers-small")
    base = home / "hub" / row.hub / "resolve/main"
    _touch(base / "config.json")
    with pytest.raises(FourfoldError, match="404"):
        fetching.fetch(row, lambda *_: None)
    assert weights.locate(row.name) is None and not list((home / "given").iterdir())
    _touch(base / "model.safetensors").write_bytes(b"y" * 3000)
    heard = []
    assert fetching.fetch(row, lambda *told: heard.append(told)) == home / "given" / row.name == weights.locate(row.name)
    assert heard[-1] == ("model.safetensors", 3000, 3000)


def test_fetch_checks_the_digest_and_says_when_it_is_offline(home, server, monkeypatch):
    file = weights.model("raft-small").files[0]
    row = weights.Model(
        "raft-small", "", (weights.model("raft-small").files[0].__class__(file.names, f"{server}/wrong.pth", file.sha256),), "", 4, "", "", "", ""
    )
    _touch(home / "hub/wrong.pth")
    with pytest.raises(FourfoldError, match="not the file it should be"):
        fetching.fetch(row, lambda *_: None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FourfoldError, match="cannot be reached"):
        fetching.fetch(weights.model("sam2-tiny"), lambda *_: None)
    assert weights.locate("raft-small") is None
