"""Bad input through the program: exit code 2, one sentence on stderr, nothing half-written."""

import errno
import json
import os
import shutil
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import capture_files as files
from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.pipeline import Run
from fourfold.scene.file import load_scene, save_scene


@pytest.fixture
def refused(capfd):
    """Run a command that must be refused; returns its one sentence without the prefix."""

    def run(*arguments):
        capfd.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        sentences = [line for line in err.splitlines() if line.startswith("fourfold: ")]
        progress = [line for line in err.splitlines() if not line.startswith("fourfold: ")]
        assert code == 2, err
        assert len(sentences) == 1 and sentences[0].startswith("fourfold: error: "), err
        assert "Traceback" not in err and out == ""
        assert not any("Error" in line for line in progress), progress
        return sentences[0].removeprefix("fourfold: error: ")

    return run


def _missing(folder: Path) -> Path:
    return folder / "no.mp4"


def _no_images(folder: Path) -> Path:
    (folder / "papers").mkdir()
    (folder / "papers" / "notes.txt").write_text("hello")
    return folder / "papers"


def _truncated(folder: Path) -> Path:
    path = files.write_video(folder / "clip.mp4", files.noise(30, 64, 48))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _text(folder: Path) -> Path:
    (folder / "clip.mp4").write_text("this is not a video\n" * 50)
    return folder / "clip.mp4"


def _empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def _one_frame(folder: Path) -> Path:
    return files.write_video(folder / "clip.mp4", files.noise(1, 64, 48))


def _images(folder: Path, count: int = 6) -> Path:
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        Image.fromarray(files.noise(1, 64, 48)[0]).save(folder / "images" / f"{number:03d}.png")
    return folder / "images"


def _masks_of_another_length(folder: Path) -> Path:
    images = _images(folder)
    (folder / "masks").mkdir()
    for number in range(4):
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / "masks" / f"{number:03d}.png")
    return images


def _cameras_with_nan(folder: Path) -> Path:
    _images(folder)
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, float("nan")], [0, 0, 0, 1]]
    frames = [{"file_path": f"images/{n:03d}.png", "transform_matrix": pose, "time": n / 5} for n in range(6)]
    value = {"fl_x": 60, "fl_y": 60, "cx": 32, "cy": 24, "w": 64, "h": 48, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(value))
    return folder


INPUTS = {
    _missing: "does not exist",
    _no_images: "is a folder without images",
    _truncated: "",
    _empty: "is empty, of 0 bytes",
    _text: "is not a video that can be opened",
    _one_frame: "single image",
    _masks_of_another_length: "masks",
    _cameras_with_nan: "not finite",
}


@pytest.mark.parametrize("make", INPUTS, ids=lambda make: make.__name__.strip("_"))
@pytest.mark.parametrize("command", ["reconstruct", "prepare"])
def test_input_that_cannot_be_used(make, command, tmp_path, refused):
    source = make(tmp_path)
    said = refused(command, source, "-o", tmp_path / "out" / "run", "--quality", "draft")
    assert INPUTS[make] in said
    assert str(tmp_path) in said, "it says where"
    assert not (tmp_path / "out" / "run").exists()


NAMES = {
    ("--recipe", "nope"): "there is no recipe 'nope': choose one of ",
    ("--quality", "superb"): "'superb'",
    ("--device", "cuda"): "no CUDA device",
    ("--time-budget", "soon"): "'soon' is not a duration",
    ("--holdout", "sometimes"): "--holdout got 'sometimes'",
}


@pytest.mark.parametrize("option", NAMES, ids=" ".join)
def test_names_that_are_not_known_are_said_before_any_work(option, casual_capture, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert NAMES[option] in refused("reconstruct", casual_capture, "-o", tmp_path / "run", *option)
    assert not (tmp_path / "run").exists()


def test_an_unknown_prior(casual_capture, tmp_path, refused):
    said = refused("prepare", casual_capture, "-o", tmp_path / "run", "--only", "dreams")
    names = "cameras, masks, depth, disparity, pointmaps, matches, features, flow, longtracks, filmtracks, still, tracks2d, tracks3d, clouds"
    assert said == f"there is no prior 'dreams': choose one of {names}"


def test_unknown_names_of_finished_runs(finished_run, refused, tmp_path):
    assert "there is no export format 'fbx': choose one of scene, 4dgs, gltf" in refused("export", finished_run, "--format", "fbx")
    assert "there is no camera path 'zigzag': choose one of input, steady, orbit" in refused("render", finished_run, "--path", "zigzag")
    assert "there is no synthetic capture 'ballet': choose one of casual" in refused("synth", "ballet", "-o", tmp_path / "s")
    assert refused("render", finished_run, "--view", 7).startswith("--view got 7: synth_casual has the views 0 to 1")
    assert refused("track", finished_run, "--frame", 99).startswith("view 0 has no frame 99")
    assert refused("render", finished_run, "--scale", 0) == "--scale got 0: expected a number above 0"


def test_no_space_on_the_disk_while_reading(casual_capture, tmp_path, refused, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fourfold.capture.writer.FrameWriter.__setitem__", full, raising=False)
    monkeypatch.setattr("fourfold.capture.ingest.FrameWriter", full)
    said = refused("reconstruct", casual_capture, "-o", tmp_path / "run", "--quality", "draft")
    assert said.startswith(f"no space left on the disk while writing {tmp_path / 'run' / 'capture'}: free some space")
    assert not (tmp_path / "run").exists()


def test_no_space_on_the_disk_for_a_video(finished_run, tmp_path, refused, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert "no space left on the disk" in refused("render", finished_run, "--frames", 2, "-o", tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_that_safetensors_meets(tmp_path):
    import torch
    from safetensors.torch import save_file

    from fourfold.files import disk_is_full

    with pytest.raises(Exception) as caught:
        Path("/dev/full").write_bytes(b"x" * 10_000)
        save_file({"a": torch.zeros(10)}, tmp_path / "a")
    assert disk_is_full(caught.value)
    assert not disk_is_full(FileNotFoundError(2, "no such file"))


def test_the_output_of_another_capture(copied_run, tmp_path, refused):
    before = sorted(p.name for p in copied_run.iterdir())
    said = refused("reconstruct", _images(tmp_path / "other"), "-o", copied_run, "--quality", "draft")
    assert said.startswith(f"{copied_run} holds a run of ") and "choose another output folder" in said
    assert sorted(p.name for p in copied_run.iterdir()) == before


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_output_that_is_not_a_run(kind, casual_capture, tmp_path, refused):
    out = tmp_path / "thesis"
    if kind == "folder":
        out.mkdir()
        (out / "chapter.txt").write_text("precious")
    else:
        out.write_text("precious")
    said = {
        "folder": f"{out} exists and is not a run of fourfold: choose another output folder",
        "file": f"{out} is a file and not a run's folder: name another folder",
    }
    assert refused("reconstruct", casual_capture, "-o", out) == said[kind]
    assert (out / "chapter.txt" if kind == "folder" else out).read_text() == "precious"


def test_an_output_below_a_file(casual_capture, tmp_path, refused):
    (tmp_path / "thesis").write_text("precious")
    out = tmp_path / "thesis" / "run"
    said = refused("reconstruct", casual_capture, "-o", out)
    assert said == f"{out} cannot be made, since {tmp_path / 'thesis'} is a file: choose another output folder"


@pytest.mark.parametrize(
    "arguments", [("render", "--frames", "2"), ("export", "--format", "ply-sequence", "--frames", "2"), ("export", "--format", "png")]
)
def test_sequences_do_not_replace_other_peoples_folders(arguments, finished_run, tmp_path, refused):
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "holiday.jpg").write_text("precious")
    assert "holds other things" in refused(arguments[0], finished_run, *arguments[1:], "-o", tmp_path / "album")
    assert (tmp_path / "album" / "holiday.jpg").read_text() == "precious"


def test_synth_does_not_replace_other_peoples_folders(tmp_path, refused):
    (tmp_path / "letter.txt").write_text("precious")
    assert "exists and is no synthetic capture" in refused("synth", "casual", "-o", tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "precious"


@pytest.mark.parametrize(
    "command", [("render",), ("track",), ("evaluate",), ("export", "--format", "ply"), ("train",), ("view",)], ids=lambda c: c[0]
)
def test_a_folder_that_is_no_run(command, tmp_path, refused):
    said = refused(command[0], tmp_path, *command[1:])
    assert "fourfold" in said and str(tmp_path) in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("render",), ("track",), ("evaluate",), ("export", "--format", "ply")], ids=lambda c: c[0])
@pytest.mark.parametrize("damage", ["missing", "short", "foreign"])
def test_a_scene_that_is_missing_or_damaged(command, damage, copied_run, refused):
    scene = copied_run / "scene.safetensors"
    if damage == "missing":
        scene.unlink()
    elif damage == "short":
        scene.write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
    else:
        header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        scene.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0\0\0")
    expected = {"missing": "there is no scene at", "short": "is damaged", "foreign": "not a Fourfold scene"}[damage]
    assert expected in refused(command[0], copied_run, *command[1:])


@pytest.mark.parametrize(
    "name",
    ["capture/cameras.safetensors", "capture/capture.json", "capture/frames_000.npy", "capture/stage.json", "priors/given-masks/masks.safetensors"],
)
@pytest.mark.parametrize("damage", ["flipped", "short", "missing"])
def test_a_damaged_file_is_said_once_and_made_again(name, damage, copied_run, casual_capture, capfd):
    file = copied_run / name
    before = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        middle = len(before) // 2
        file.write_bytes(before[:middle] if damage == "short" else before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
    assert main(["prepare", str(casual_capture), "-o", str(copied_run), "--quality", "draft", "--only", "masks"]) == 0
    assert file.read_bytes() == before
    if (name, damage) != ("capture/stage.json", "missing"):  # without it nothing is known about the folder
        assert capfd.readouterr().err.count("is damaged or missing") == 1


@pytest.mark.parametrize("command", [("render",), ("evaluate",), ("export", "--format", "ply"), ("track",)])
def test_a_scene_that_is_not_finite_is_refused_by_every_command(command, copied_run, refused):
    scene = load_scene(copied_run / "scene.safetensors")
    scene.layers[0].splats["means"][0, 0] = float("nan")
    save_scene(scene, copied_run / "scene.safetensors")
    assert "holds numbers that are not finite (in means)" in refused(command[0], copied_run, *command[1:])


def test_a_flipped_bit_in_a_scene_is_noticed(copied_run, refused):
    scene = copied_run / "scene.safetensors"
    content = bytearray(scene.read_bytes())
    content[-5] ^= 1
    scene.write_bytes(content)
    assert "its checksum is another" in refused("render", copied_run)


@pytest.mark.parametrize("damage", ["short", "header", "data"])
def test_damaged_checkpoints_cost_time_but_no_result(damage, copied_run, casual_capture, capfd):
    for file in (copied_run / "checkpoints").iterdir():
        content = bytearray(file.read_bytes())
        if damage == "short":
            del content[100:]
        elif damage == "header":
            content[content.index(b"numbers")] ^= 1
        else:
            content[-3] ^= 1
        file.write_bytes(content)
    lines = [json.loads(line)["losses"] for line in (copied_run / "metrics.jsonl").read_text().splitlines()]
    assert main(["train", str(copied_run), "--quality", "draft"]) == 0
    again = [json.loads(line)["losses"] for line in (copied_run / "metrics.jsonl").read_text().splitlines()]
    assert again == lines, "training began anew and is repeatable"


def test_the_report_of_an_unfinished_run(copied_run):
    (copied_run / "report.json").unlink()
    with pytest.raises(FourfoldError, match="holds no report: run `fourfold reconstruct` to its end first"):
        _ = Run(copied_run).report


def test_a_port_that_is_in_use(finished_run, refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for how in ((), ("--page",)):
            said = refused("view", finished_run, "--port", port, *how)
            assert said.startswith(f"cannot listen on 127.0.0.1:{port}") and said.endswith("choose another --port")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full(casual_capture, tmp_path, refused):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=200k tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("this machine forbids mounts")
    try:
        said = refused("reconstruct", casual_capture, "-o", disk / "run", "--quality", "draft")
        assert "needs about" in said and str(disk) in said
        assert not list(disk.iterdir())
    finally:
        os.system(f"umount {disk}")


def test_view_without_its_library_serves_the_page(finished_run, tmp_path, monkeypatch, capfd, refused):
    from fourfold.live import serving
    from fourfold.viewer import server

    monkeypatch.setattr(serving, "available", lambda: False)
    served = []
    monkeypatch.setattr(server, "serve", lambda folder, host, *rest: served.append((folder, host)))
    assert main(["view", str(finished_run)]) == 0
    assert served == [(finished_run, "127.0.0.1")]
    assert 'pip install "fourfold[viewer]"; the run\'s player and report are served instead' in capfd.readouterr().err
    assert refused("view", finished_run / "scene.safetensors") == serving.HOW_TO_INSTALL


def test_view_of_a_run_without_a_scene(copied_run, refused):
    (copied_run / "scene.safetensors").unlink()
    shutil.rmtree(copied_run / "checkpoints")
    assert refused("view", copied_run).startswith(f"there is no scene in {copied_run} yet")
