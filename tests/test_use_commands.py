"""Every command on a tiny capture, through the program itself: what it leaves on disk, what it prints, and that it continues."""

import base64
import json
import re
import shutil
import struct
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.cli import main
from fourfold.evaluation.metrics import psnr
from fourfold.export.formats import FORMATS
from fourfold.pipeline import Run

METRICS = {"psnr", "ssim", "psnr_dynamic", "psnr_static", "lpips"}


@pytest.fixture
def call(capfd):
    """Run a command with `--json`; asserts exit code 0 and one object on stdout, and returns it."""

    def run(*arguments):
        capfd.readouterr()
        code = main([*(str(a) for a in arguments), "--json"])
        out, err = capfd.readouterr()
        assert code == 0, err
        assert out.count("\n") == 1
        return json.loads(out)

    return run


def _frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def _pictures(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*.png"))


def test_the_report_has_every_promised_key(finished_run):
    report = json.loads((finished_run / "report.json").read_text())
    assert report["recipe"] == "mosca"  # fourteen images
    assert {"views", "times", "width", "height", "cameras"} <= report["capture"].keys()
    assert [report["capture"][k] for k in ("views", "times", "width", "height", "cameras")] == [2, 14, 96, 64, "given"]
    for scores in (report["metrics"]["heldout"], report["baselines"]["static3d"], report["baselines"]["nearest_frame"]):
        assert scores.keys() >= METRICS
        assert scores["lpips"] is None
        assert 5 < scores["psnr"] < 60 and -1 <= scores["ssim"] <= 1 and 5 < scores["psnr_dynamic"] < 60
    assert report["side"].keys() == {"score", "solid", "front_solid", "relief", "smear", "looks"} and 0 <= report["side"]["score"] <= 1
    assert report["timing"]["total_s"] >= max(report["timing"]["stages"].values()) > 0
    assert report["timing"]["cpu"].keys() == report["timing"]["stages"].keys() and min(report["timing"]["cpu"].values()) >= 0
    assert report["scene"]["gaussians_static"] > 0 and report["scene"]["gaussians_dynamic"] > 0
    assert report["scene"]["bytes"] == (finished_run / "scene.safetensors").stat().st_size
    assert report["peak_rss_bytes"] > 50e6
    assert isinstance(report["fallbacks"], list) and report["seed"] == 0 and report["command"].startswith("fourfold ")


def test_the_run_holds_what_the_design_says(finished_run):
    names = {p.name for p in finished_run.iterdir()}
    assert names >= {
        "config.json",
        "capture",
        "priors",
        "checkpoints",
        "scene.safetensors",
        "metrics.jsonl",
        "report.json",
        "report.html",
        "renders",
    }
    assert not [p for p in finished_run.rglob("*.part")]
    assert _frames_of(finished_run / "renders" / "orbit.mp4") == _frames_of(finished_run / "renders" / "input.mp4") == 14


def test_the_figures_can_be_recomputed_from_the_pictures(finished_run):
    report = json.loads((finished_run / "report.json").read_text())
    capture = Capture.load(finished_run / "capture")
    folder = finished_run / "renders" / "heldout"
    rows = report["metrics"]["heldout_frames"]["this scene"]
    assert [(row["view"], row["index"]) for row in rows] == capture.heldout_frames()
    values = []
    for row in rows:
        name = f"{row['view']:03d}_{row['index']:05d}.png"
        render, truth = (np.asarray(Image.open(file)) for file in (folder / name, folder / "truth" / name))
        assert np.array_equal(truth, capture.image(row["view"], row["index"]))
        values.append(psnr(render / 255.0, truth / 255.0))
        assert abs(values[-1] - row["psnr"]) < 0.05  # 8-bit rounding
    assert np.mean(values) == pytest.approx(report["metrics"]["heldout"]["psnr"], abs=0.05)


def test_no_held_out_image_is_trained_on(finished_run):
    capture = Capture.load(finished_run / "capture")
    assert not (capture.train & capture.heldout).any()
    assert capture.heldout.sum() == 14


def test_the_same_command_again_continues(copied_run, casual_capture, call):
    before = {p: p.stat().st_mtime_ns for p in [*copied_run.rglob("*.safetensors"), copied_run / "metrics.jsonl"]}
    lines, report = (copied_run / "metrics.jsonl").read_text(), json.loads((copied_run / "report.json").read_text())
    value = call("reconstruct", casual_capture, "-o", copied_run, "--quality", "draft")
    assert value["metrics"]["heldout"] == pytest.approx(report["metrics"]["heldout"], abs=1e-6)
    assert (copied_run / "metrics.jsonl").read_text() == lines, "no step was trained again"
    kept = [p for p in before if p.parent.name != copied_run.name and "checkpoints" not in p.parts]
    assert len(kept) > 5 and all(p.stat().st_mtime_ns == before[p] for p in kept), "captures and priors are not made again"


def test_a_time_budget_continues_too(casual_capture, hurry, tmp_path, call):
    arguments = (
        "reconstruct",
        casual_capture,
        "-o",
        tmp_path / "run",
        "--quality",
        "draft",
        "--recipe",
        "splat3d",
        "--time-budget",
        "30s",
        "--no-baselines",
    )
    first = call(*arguments)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert lines and first["baselines"]["static3d"]["psnr"] is None and first["baselines"]["nearest_frame"]["psnr"] > 5
    assert call(*arguments)["metrics"]["heldout"] == pytest.approx(first["metrics"]["heldout"], abs=1e-6)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == lines


def test_a_moved_run_keeps_its_cameras(copied_run, finished_run, tmp_path):
    moved = tmp_path / "elsewhere"
    copied_run.rename(moved)
    stamps = {p: p.stat().st_mtime_ns for p in moved.rglob("priors/*/*")}
    assert np.array_equal(Run(moved).capture.world_to_camera, Run(finished_run).capture.world_to_camera)
    assert stamps == {p: p.stat().st_mtime_ns for p in moved.rglob("priors/*/*")}


@pytest.mark.parametrize("path", ["input", "orbit", "wiggle", "bullet-time", "turntable"])
def test_render_paths(path, finished_run, tmp_path, call):
    value = call("render", finished_run, "--path", path, "--frames", 3, "--scale", 0.5, "-o", tmp_path / "a.mp4", "--fps", 5)
    assert value == {"path": path, "frames": 3, "out": str(tmp_path / "a.mp4")}
    assert _frames_of(tmp_path / "a.mp4") == 3


def test_render_pictures_along_a_path_of_ones_own(finished_run, tmp_path, call):
    capture = Run(finished_run).capture
    poses = [{"time": float(capture.timestamps[t]), "world_to_camera": capture.world_to_camera[1, t].tolist()} for t in (3, 9)]
    (tmp_path / "path.json").write_text(json.dumps(poses))
    assert call("render", finished_run, "--path", tmp_path / "path.json", "--view", 1, "-o", tmp_path / "frames")["frames"] == 2
    assert _pictures(tmp_path / "frames") == ["frame_00000.png", "frame_00001.png"]
    held = Image.open(finished_run / "renders" / "heldout" / "001_00003.png")
    drawn = np.asarray(Image.open(tmp_path / "frames" / "frame_00000.png")).astype(int)
    assert np.abs(drawn - np.asarray(held)).max() <= 1, "the held-out camera sees what was scored"
    assert call("render", finished_run, "--frames", 2, "-o", tmp_path / "frames")["frames"] == 2, "pictures of its own are replaced"


def test_track(finished_run, tmp_path, call):
    value = call("track", finished_run, "-o", tmp_path, "--spacing", 6)
    tracks = np.load(value["tracks"], allow_pickle=False)
    assert tracks["xyz"].shape == (value["points"], 14, 3) and value["points"] > 3
    assert tracks["xy"].shape == (value["points"], 14, 2) and np.isfinite(tracks["xyz"]).all()
    assert _frames_of(Path(value["video"])) == 14
    named = call("track", finished_run, "-o", tmp_path / "b", "--points", 48, 40, "--frame", 0)
    assert named["points"] == 1 and named["frame"] == 0
    assert np.load(named["tracks"], allow_pickle=False)["xy"][0, 0] == pytest.approx([48, 40], abs=0.01)


def test_evaluate_gives_the_report_its_figures(copied_run, call):
    shutil.rmtree(copied_run / "renders")
    value = call("evaluate", copied_run)
    report = json.loads((copied_run / "report.json").read_text())
    assert {k: value[k] for k in METRICS} == pytest.approx(report["metrics"]["heldout"])
    assert len(_pictures(copied_run / "renders" / "heldout")) == len(_pictures(copied_run / "renders" / "heldout" / "truth")) == 14


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_export(name, finished_run, tmp_path, call):
    out = tmp_path / FORMATS[name].default_name
    call("export", finished_run, "--format", name, "-o", out, "--frames", 3)
    checks = {
        "scene": lambda: struct.unpack("<Q", out.read_bytes()[:8])[0] < out.stat().st_size,
        "ply": lambda: out.read_bytes().startswith(b"ply\n"),
        "ply-sequence": lambda: len(list(out.glob("*.ply"))) == 3,
        "tracks": lambda: np.load(out, allow_pickle=False)["xyz"].shape[1] == 3,
        "mp4": lambda: _frames_of(out) == 3,
        "png": lambda: len(_pictures(out)) == 3,
        "html": lambda: "<canvas" in out.read_text(),
    }
    assert checks[name]() if name in checks else out.exists()


def test_prepare_and_train_are_the_stages_alone(casual_capture, hurry, tmp_path, call):
    root = tmp_path / "run"
    masks = call("prepare", casual_capture, "-o", root, "--quality", "draft", "--only", "masks")
    assert set(masks["priors"]) == {"cameras", "masks"} and masks["priors"]["masks"]["provider"] == "given"
    assert not (root / "scene.safetensors").exists()
    rest = call("prepare", casual_capture, "-o", root, "--quality", "draft", "--recipe", "splat3d")
    assert set(rest["priors"]) == {"cameras", "masks", "depth"}
    trained = call("train", root, "--quality", "draft", "--recipe", "splat3d")
    assert trained["gaussians"]["static"] > 100 and (root / "scene.safetensors").exists()


def test_inspect_doctor_and_synth(casual_capture, tmp_path, call):
    assert "given" in json.dumps(call("inspect", casual_capture))
    assert call("doctor")["missing"] == []
    made = call("synth", "casual", "-o", tmp_path / "synth", "--frames", 2, "--width", 32, "--height", 16)
    assert made["times"] == 2 and Capture.load(tmp_path / "synth").times == 2


@pytest.mark.parametrize("page", ["report.html", "player.html"])
def test_pages_load_nothing_from_elsewhere(page, finished_run):
    text = (finished_run / page).read_text(encoding="utf-8")
    sources = re.findall(r"""(?:src|href|poster)\s*=\s*["']?([^"'\s>]{1,80})""", text)
    assert all(source.startswith(("data:", "player.html")) for source in sources)
    assert not re.search(r"https?://|@import|url\(\s*[\"']?(?!data:)[a-z/]|fetch\(|XMLHttpRequest|importScripts", text)


def test_the_report_shows_what_it_should(finished_run):
    text = (finished_run / "report.html").read_text(encoding="utf-8")
    assert text.count("<video") == 2 and text.count("<svg") == 2
    for heading in (
        "What to know",
        "Held-out frames",
        "Masks",
        "Tracks",
        "Camera path, seen from above",
        "Where the time went",
        "Who estimated what",
    ):
        assert f"<h2>{heading}</h2>" in text
    pictures = [base64.b64decode(p) for p in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)]
    assert len(pictures) >= 8 and all(p.startswith(b"\xff\xd8") for p in pictures)


def test_nothing_is_pickled(finished_run):
    """No file, and no member of an archive, is a pickle or can hold one; arrays load with pickles forbidden."""
    seen = set()
    for file in (p for p in finished_run.rglob("*") if p.is_file()):
        seen.add(file.suffix)
        head = file.read_bytes()[:2]
        assert head[:1] != b"\x80" or file.suffix in (".safetensors",), file
        if file.suffix == ".npy":
            np.load(file, mmap_mode="r", allow_pickle=False)
        elif file.suffix == ".safetensors":
            (length,) = struct.unpack("<Q", file.read_bytes()[:8])
            json.loads(file.read_bytes()[8 : 8 + length])
        else:
            assert not zipfile.is_zipfile(file), file
    assert seen <= {".npy", ".safetensors", ".json", ".jsonl", ".png", ".mp4", ".html"}


def test_a_slower_scene_is_exported_to_its_end_along_the_same_cameras(copied_run, tmp_path):
    """The moments of a scene at half speed lie twice as far apart; each is seen by the camera that filmed it."""
    slow = tmp_path / "slow.safetensors"
    assert main(["edit", str(copied_run), "--speed", "0.5", "-o", str(slow)]) == 0
    paths = []
    for name, more in (("whole", []), ("slow", ["--scene", str(slow)])):
        assert main(["export", str(copied_run), "--format", "nerfstudio", "-o", str(tmp_path / f"{name}.json"), *more]) == 0
        paths.append(json.loads((tmp_path / f"{name}.json").read_text())["frames"])
    whole, slower = paths
    assert [frame["time"] for frame in slower] == pytest.approx([2 * frame["time"] for frame in whole])
    assert [frame["transform_matrix"] for frame in slower] == [frame["transform_matrix"] for frame in whole]
    assert main(["export", str(copied_run), "--format", "ply", "--time", "99", "-o", str(tmp_path / "late.ply")]) == 2
    assert not (tmp_path / "late.ply").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("export", "{run}", "--format", "ply", "-o", "{tmp}/mine.txt"), "does not end with .ply"),
        (("export", "{run}", "--format", "ply", "-o", "{run}/scene.safetensors"), "does not end with .ply"),
        (("edit", "{run}", "--background-only", "-o", "{run}/scene.safetensors"), "is a part of the run"),
        (("edit", "{run}", "--background-only", "-o", "{tmp}/mine.txt"), "does not end with .safetensors"),
        (("edit", "{run}", "--freeze", "0.1", "--speed", "0.5", "-o", "{tmp}/a.safetensors"), "what is frozen has no speed"),
        (("export", "{run}/scene.safetensors", "--format", "ply"), "is a file, not a run"),
        (("inspect", "{run}/scene.safetensors"), "is a scene, not a capture"),
        (("edit", "{tmp}/nothing", "--background-only", "-o", "{tmp}/a.safetensors"), "does not exist"),
    ],
)
def test_nothing_of_another_kind_is_written_over(arguments, sentence, copied_run, tmp_path, capfd):
    (tmp_path / "mine.txt").write_text("precious")
    before = (copied_run / "scene.safetensors").read_bytes()
    assert main([a.format(run=copied_run, tmp=tmp_path) for a in arguments]) == 2
    assert sentence in capfd.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "precious" and (copied_run / "scene.safetensors").read_bytes() == before
