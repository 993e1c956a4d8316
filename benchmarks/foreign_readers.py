"""Do programs of the npm registry read what is exported? PlayCanvas' splat-transform (whose SPZ reader is Niantic's own), Khronos' glTF validator and
gsplat.js open files of a generated scene, and what they read is compared number by number with what was written.

    python benchmarks/foreign_readers.py [--node FOLDER]

FOLDER keeps the packages (about 250 MB); without it they are installed for this run only. Needs npm.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.export.formats import FORMATS, export
from fourfold.export.options import ExportOptions
from fourfold.export.steady import steady_rows
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.motion.polynomial import Polynomial
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene
from fourfold.splats.convention import SH_DC
from fourfold.splats.read import read_splats

HERE = Path(__file__).with_suffix("")
MOMENT_FILES = ("ply", "compressed-ply", "spz", "sog")
MOVING_FILES = ("gltf", "tracks-gltf", "camera-gltf", "splatv")


def generated(seed: int = 0) -> tuple[Scene, Capture]:
    """5000 standing Gaussians and 1000 that fly along cubics, with harmonics of degree 2, and a standing camera six units away."""
    g = torch.Generator().manual_seed(seed)

    def looks(count: int) -> dict[str, torch.Tensor]:
        shapes = {"means": (count, 3), "quat_wxyz": (count, 4), "log_scale": (count, 3), "opacity_logit": (count,), "color_logit": (count, 3)}
        values = {name: torch.randn(*shape, generator=g) for name, shape in shapes.items()}
        return values | {"log_scale": 0.4 * values["log_scale"] - 3.5, "sh_rest": 0.2 * torch.randn(count, 8, 3, generator=g)}

    flown = {"curve": torch.randn(1000, 3, 3, generator=g), "turn": torch.randn(1000, 4, generator=g)}
    lives = {"time_center": torch.rand(1000, generator=g), "log_duration": torch.rand(1000, generator=g) - 1}
    layers = [Layer("static", "static", Static(), looks(5000)), Layer("moving", "dynamic", Polynomial(), looks(1000) | flown | lives)]
    times, flags = np.linspace(0, 1, 11), np.ones((1, 11), bool)
    K = np.tile(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), (1, 11, 1, 1))
    pose = np.tile(np.eye(4), (1, 11, 1, 1))
    pose[..., 2, 3] = 6
    capture = Capture(Path("none"), K, pose, times, np.array([[320, 240]]), flags, flags, ~flags, "given", False, "generated", ("camera",))
    return Scene(layers, (0.0, 1.0)), capture


def differences(ours: Gaussians, table: Path) -> dict[str, float]:
    """Largest difference between a file as we read it and as splat-transform does (a table of the columns of a PLY)."""
    with table.open() as file:
        rows = list(csv.DictReader(file))

    def columns(*names: str) -> np.ndarray:
        return np.array([[float(row[name]) for name in names] for row in rows])

    if len(rows) != len(ours):
        raise SystemExit(f"{table}: {len(rows)} Gaussians were read, {len(ours)} were written")
    quats = columns("rot_0", "rot_1", "rot_2", "rot_3")
    rest = columns(*[f"f_rest_{i}" for i in range(24)]).reshape(-1, 3, 8).transpose(0, 2, 1)
    found = {
        "position": np.abs(columns("x", "y", "z") - ours.means.numpy()).max(),
        "log size": np.abs(columns("scale_0", "scale_1", "scale_2") - ours.log_scale.numpy()).max(),
        "rotation": 1 - np.abs((quats / np.linalg.norm(quats, axis=1, keepdims=True) * ours.quat_wxyz.numpy()).sum(1)).min(),
        "opacity": np.abs(1 / (1 + np.exp(-columns("opacity")[:, 0])) - ours.opacity.numpy()).max(),
        "colour": np.abs(np.clip(columns("f_dc_0", "f_dc_1", "f_dc_2") * SH_DC + 0.5, 0, 1) - ours.color.numpy()).max(),
        "harmonics": np.abs(rest - (0 if ours.sh_rest is None else ours.sh_rest.numpy())).max(),
    }
    return {name: float(value) for name, value in found.items()}


def check_sequence(scene: Scene, capture: Capture, out: Path, program: Path) -> None:
    """Write the scene as a sequence and have every file of it read: as many Gaussians in all, and row n where Gaussian n is."""
    export("ply-sequence", scene, capture, out / "frames", ExportOptions(frames=4))
    begin, end = scene.time_range
    apart, counts = 0.0, set[int]()
    for path, time in zip(sorted((out / "frames").glob("frame_*.ply")), np.linspace(begin, end, 4).tolist(), strict=True):
        table = out / f"{path.stem}.csv"
        subprocess.run(["node", str(program), "-w", "--quiet", str(path), str(table)], check=True, capture_output=True)
        with table.open() as file:
            places = np.array([[float(row[axis]) for axis in "xyz"] for row in csv.DictReader(file)])
        counts.add(len(places))
        rows = steady_rows(scene, np.linspace(begin, end, 4).tolist())
        apart = max(apart, float(np.abs(places - scene.at(time).means[rows].numpy()).max()))
    print(f"splat-transform reads a sequence of 4 files, {counts} Gaussians each: position of row n {apart:.2g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--node", type=Path, help="folder in which the npm packages are kept")
    given = parser.parse_args().node
    if shutil.which("npm") is None:
        raise SystemExit("npm is not here: install Node.js")
    with tempfile.TemporaryDirectory() as folder:
        node, files = given or Path(folder) / "node", Path(folder) / "files"
        node.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "read.mjs"):
            shutil.copy(HERE / name, node / name)
        subprocess.run(["npm", "install", "--silent", "--ignore-scripts"], cwd=node, check=True)
        scene, capture = generated()
        for name in (*MOMENT_FILES, *MOVING_FILES):
            lost = export(name, scene, capture, files / name / FORMATS[name].default_name)
            print(f"{name}: {(files / name / FORMATS[name].default_name).stat().st_size} bytes, {lost}")
        program = node / "node_modules" / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
        for name in MOMENT_FILES:
            path = files / name / FORMATS[name].default_name
            table = files / name / "read.csv"
            subprocess.run(["node", str(program), "-w", "--quiet", str(path), str(table)], check=True, capture_output=True)
            print(f"splat-transform reads {path.name}: " + ", ".join(f"{k} {v:.2g}" for k, v in differences(read_splats(path), table).items()))
        check_sequence(scene, capture, files / "ply-sequence", program)
        paths = [str(files / name / FORMATS[name].default_name) for name in MOVING_FILES]
        said = subprocess.run(["node", "read.mjs", *paths], cwd=node, check=True, capture_output=True, text=True).stdout
        for line in said.splitlines():
            told = json.loads(line)
            path = Path(told.pop("path"))
            if "words" in told:
                data = path.read_bytes()
                start = 8 + int.from_bytes(data[4:8], "little")
                told = {"same words": told.pop("words") == np.frombuffer(data, "<u4", 64, start).tolist()} | told
            print(f"{'gsplat.js' if path.suffix == '.splatv' else 'glTF validator'} reads {path.name}: {told}")


if __name__ == "__main__":
    main()
