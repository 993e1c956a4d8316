"""Small good inputs of every kind that is read, and what is done with them after a change."""

from __future__ import annotations

import json
import random
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import capture_files as files
from calibration_files import WRITERS
from colour_profile import display_p3
from every_motion import scene_of, walking_camera
from fourfold.capture.capture import Capture
from fourfold.capture.convert import convert
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.inspect import inspect
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.truth import Truth
from fourfold.capture.writers import writers
from fourfold.errors import FourfoldError
from fourfold.export.dot4dgs.write import write_4dgs
from fourfold.export.scene_files import read_scene
from fourfold.priors.contracts import Priors
from fourfold.priors.providers import all_providers
from fourfold.priors.supplied.layout import GIVEN_RANK
from fourfold.scene.file import load_scene, save_scene
from fourfold.splats.compressed_ply import encode_compressed_ply
from fourfold.splats.drawn import drawn
from fourfold.splats.ply import encode_ply
from fourfold.splats.sog import encode_sog
from fourfold.splats.spz import encode_spz
from fourfold.untrusted.exr import reads_exr
from fourfold.untrusted.lzfse import reads_lzfse
from fuzz_changes import changed
from rig_folders import TIMES, VIEWS, Rig, colmap, pose
from scene_example import example

PIXELS = 45_000
PIXEL_FILES = frozenset({".png", ".jpg", ".mp4"})  # of layouts: their own targets change images and videos


@dataclass(frozen=True)
class Target:
    """One input that is changed.

    Attributes:
        name: what to call it.
        root: its folder.
        files: the files that may be changed.
        use: (folder, scratch folder) -> None, raises what the product raises.
    """

    name: str
    root: Path
    files: tuple[Path, ...]
    use: Callable[[Path, Path], None]


@dataclass(frozen=True)
class Outcome:
    """What one changed input did: "read", "refused" or "uncaught" with the exception and the place in our code where it came from."""

    verdict: str
    place: str = ""
    detail: str = ""


def targets(folder: Path) -> list[Target]:
    """Every target, its files written below `folder`."""
    made = [_capture(folder, root) for root in (*_layouts(folder), *_rigs(folder), *_images(folder), *_videos(folder))]
    return [*made, _scene(folder), *_splats(folder), *_supplied(folder)]


def tried(target: Target, seed: int, work: Path, scratch: Path) -> Outcome:
    """Change one or two of the target's files in `work`, a copy of its folder, use it, and put them back."""
    random_ = random.Random(f"{target.name} {seed}")
    chosen = [random_.choice(target.files) for _ in range(2 if random_.random() < 0.15 else 1)]
    whole = {name: (work / name).read_bytes() for name in chosen}
    try:
        for name, data in whole.items():
            (work / name).write_bytes(changed(name, data, random_))
        target.use(work, scratch)
        return Outcome("read")
    except FourfoldError as error:
        said = str(error)
        return Outcome("refused") if said and "\n" not in said else Outcome("uncaught", "a sentence of several lines", said[:200])
    except Exception as error:
        own = [f for f in traceback.extract_tb(error.__traceback__) if "/fourfold/" in f.filename]
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else "outside"
        return Outcome("uncaught", f"{type(error).__name__} at {where}", str(error)[:200])
    finally:
        for name, data in whole.items():
            (work / name).write_bytes(data)
        shutil.rmtree(scratch, ignore_errors=True)


def _use_capture(root: Path, scratch: Path) -> None:
    inspect(root)
    prepare_capture([root], scratch / "capture", pixels=PIXELS)


def _use_scene(root: Path, scratch: Path) -> None:
    scene = load_scene(root / "scene.safetensors")
    with torch.no_grad():
        scene.at(0.2)


def _use_supplied(root: Path, scratch: Path, clip: Path) -> None:
    capture = prepare_capture([clip], scratch / "capture", pixels=PIXELS, priors_folder=root)
    able = [p for p in all_providers() if p.rank == GIVEN_RANK and p.missing(capture) is None]
    if not able:
        raise FourfoldError("nothing was recognised")
    for provider in sorted(able, key=lambda p: p.makes[0] != "cameras"):
        for prior in provider.make(capture, Priors()):
            prior.check([(int(w), int(h)) for w, h in capture.sizes], capture.times)


def _capture(folder: Path, root: Path) -> Target:
    every = [p.relative_to(root) for p in sorted(root.rglob("*")) if p.is_file() and "truth" not in p.relative_to(root).parts]
    pixels = root.is_relative_to(folder / "pixels")
    return Target(root.name, root, tuple(p for p in every if pixels or p.suffix not in PIXEL_FILES), _use_capture)


def _synthetic(folder: Path, kind: str) -> Path:
    root = folder / "synthetic" / kind
    if not root.exists():
        generate(kind, root, seed=0, options=SyntheticOptions(frames=4, width=48, height=32, supersample=1))
    return root


def _layouts(folder: Path) -> list[Path]:
    roots = [_synthetic(folder, "casual"), _synthetic(folder, "sparse_fixed")]
    for kind in list(roots):
        capture = Capture.load(kind)
        for writer in writers():
            if writer.refuses(capture) is None:
                roots.append(folder / "layouts" / f"{writer.name} {kind.name}")
                convert(capture, writer.name, roots[-1])
    return roots


def _rigs(folder: Path) -> list[Path]:
    rig, root = Rig(), folder / "rigs"
    rig.transforms(root / "transforms", lambda v, t: f"cam{v}/{t}.png", lambda v, t: {"timestamp": t / 10, "camera_index": v, "k1": 0.01})
    rig.videos(root / "first frames")
    colmap(root / "first frames" / "sparse" / "0", [(f"cam{v:02d}.png", rig.world_to_camera[v, 0]) for v in range(VIEWS)])
    for t in range(TIMES):
        rig.save(root / "walk" / "images" / f"{t:04d}.png", 0, t)
    colmap(root / "walk" / "sparse" / "0", [(f"{t:04d}.png", pose(t)) for t in range(TIMES)])
    for name, (write, _) in WRITERS.items():
        rig.videos(root / name)
        write(root / name, Rig())
    _phones(root)
    _scans(root)
    return sorted(root.iterdir())


def _phones(root: Path) -> None:
    """Record3D's metadata and Stray Scanner's tables."""
    rig = Rig()
    for t in range(TIMES):
        rig.save(root / "record3d" / "rgb" / f"{t}.jpg", 0, t)
    poses = [[0.0, 0.0, 0.0, 1.0, 0.1 * t, 0.0, 0.0] for t in range(TIMES)]
    meta = {"w": 48, "h": 32, "fps": 30, "K": rig.K.T.ravel().tolist(), "poses": poses, "frameTimestamps": [t / 30 for t in range(TIMES)]}
    (root / "record3d" / "metadata.json").write_text(json.dumps(meta))
    stray = root / "stray"
    stray.mkdir()
    files.write_video(stray / "rgb.mp4", [rig.image(0, t) for t in range(TIMES)])
    rows = [f"{t / 60}, {t}, {0.1 * t}, 0, 0, 0, 0, 0, 1" for t in range(TIMES)]
    (stray / "odometry.csv").write_text("\n".join(["timestamp, frame, x, y, z, qx, qy, qz, qw", *rows]))
    (stray / "camera_matrix.csv").write_text("\n".join(", ".join(map(str, row)) for row in rig.K))


def _scans(root: Path) -> None:
    """Record3D's depth in its own format and as EXR, Polycam, 3D Scanner App, Metashape, RealityCapture."""
    rig = Rig()
    depth = np.linspace(0.5, 3, 8 * 12, dtype=np.float32).reshape(8, 12)
    for name, images, meta in (("record3d exr", "rgb", "metadata.json"), ("record3d own", "rgbd", "metadata")):
        shutil.copytree(root / "record3d" / "rgb", root / name / images)
        shutil.copyfile(root / "record3d" / "metadata.json", root / name / meta)
    for t in range(TIMES):
        if reads_exr():
            import OpenEXR

            (root / "record3d exr" / "depth").mkdir(exist_ok=True)
            header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            OpenEXR.File(header, {"R": depth}).write(str(root / "record3d exr" / "depth" / f"{t}.exr"))
        if reads_lzfse():
            import lzfse

            (root / "record3d own" / "rgbd" / f"{t}.depth").write_bytes(lzfse.compress(depth.tobytes()))
        rig.save(root / "polycam" / "keyframes" / "images" / f"{t}.jpg", 0, t)
        rig.save(root / "scanner" / f"frame_{t:05d}.jpg", 0, t)
        matrix = np.linalg.inv(pose(t))
        camera = {"fx": 40, "fy": 40, "cx": 24, "cy": 16, "width": 48, "height": 32, "timestamp": t}
        camera |= {f"t_{i}{j}": matrix[i, j] for i in range(3) for j in range(4)}
        (root / "polycam" / "keyframes" / "cameras").mkdir(exist_ok=True)
        (root / "polycam" / "keyframes" / "cameras" / f"{t}.json").write_text(json.dumps(camera))
        scan = {"cameraPoseARFrame": matrix.ravel().tolist(), "intrinsics": rig.K.ravel().tolist(), "time": t / 10}
        (root / "scanner" / f"frame_{t:05d}.json").write_text(json.dumps(scan))
    (root / "scanner" / "info.json").write_text("{}")


def _images(folder: Path) -> list[Path]:
    root = folder / "pixels"
    for kind in ("png", "jpg", "bmp", "tif", "ppm", "webp"):
        files.write_images(root / kind, files.noise(3, 24, 16), "{:03d}." + kind)
    (root / "profile").mkdir()
    for i, image in enumerate(files.noise(3, 24, 16)):
        Image.fromarray(image).save(root / "profile" / f"{i}.jpg", icc_profile=display_p3())
    masks = [np.where(np.arange(16)[:, None] > 8, 255, 0).repeat(24, 1).astype(np.uint8)] * 3
    files.write_images(root / "masked" / "images", files.noise(3, 24, 16))
    files.write_images(root / "masked" / "masks", masks)
    (root / "alpha").mkdir()
    for i, image in enumerate(files.noise(3, 24, 16)):
        Image.fromarray(np.dstack([image, masks[0]])).save(root / "alpha" / f"{i}.png")
    deep = root / "sixteen bits"
    deep.mkdir()
    for i in range(3):
        Image.fromarray((np.arange(16 * 24).reshape(16, 24) * 150 + i).astype(np.uint16)).save(deep / f"{i}.tif")
    return sorted(root.iterdir())


def _videos(folder: Path) -> list[Path]:
    root = folder / "pixels"
    for suffix, codec in ((".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mjpeg")):
        name = root / f"video{suffix}"
        name.mkdir(parents=True)
        form = {"codec": codec, "pixel_format": "yuvj420p", "options": {}} if codec == "mjpeg" else {}
        files.write_video(name / f"a{suffix}", files.noise(4, 32, 24), **form)
    return [root / f"video{s}" for s in (".mp4", ".mkv", ".avi")]


def _scene(folder: Path) -> Target:
    root = folder / "scene"
    root.mkdir()
    save_scene(example(), root / "scene.safetensors")
    return Target("scene", root, (Path("scene.safetensors"),), _use_scene)


def _splats(folder: Path) -> list[Target]:
    """One target per format of Gaussians that is read."""
    root, capture, moving = folder / "splats", walking_camera(4), scene_of("linear", terms=3)
    root.mkdir()
    _, shown = drawn(moving.at(0.5))
    for name, encode in (("a.ply", encode_ply), ("b.compressed.ply", encode_compressed_ply), ("c.spz", encode_spz), ("d.sog", encode_sog)):
        (root / name).write_bytes(encode(shown))
    write_4dgs(root / "e.4dgs", moving, capture, capture.timestamps)
    write_4dgs(root / "f.4dgs", scene_of("se3_bases"), capture, capture.timestamps)
    return [Target(f"splats {file.name}", root, (Path(file.name),), partial(_use_splats, name=file.name)) for file in sorted(root.iterdir())]


def _use_splats(root: Path, scratch: Path, name: str) -> None:
    with torch.no_grad():
        read_scene(root / name).at(0.2)


def _supplied(folder: Path) -> list[Target]:
    kind, clip, root = _synthetic(folder, "casual"), folder / "clip", folder / "supplied"
    capture, truth = Capture.load(kind), Truth.load(kind)
    clip.mkdir()
    names = [f"shot_{t:02d}" for t in range(capture.times)]
    for t, name in enumerate(names):
        Image.fromarray(np.asarray(capture.image(0, t))).save(clip / f"{name}.png")
    moments, K, poses = range(capture.times), truth.K[0].copy(), truth.world_to_camera[0]
    K[:, :2, 2] -= 0.5
    depth = np.stack([np.asarray(capture.depth(0, t)) for t in moments])
    tracks, seen = np.nan_to_num(truth.xy[0]).transpose(1, 0, 2)[:, :50].astype(np.float32), truth.visibility[0].T[:, :50]
    for name in ("depth files/depth", "masks/masks", "tracks", "megasam", "tapip3d", "droid"):
        (root / name).mkdir(parents=True)
    for t, name in enumerate(names):
        np.save(root / "depth files" / "depth" / f"{name}.npy", depth[t])
        Image.fromarray(((np.asarray(capture.mask(0, t)) > 0) * 255).astype(np.uint8)).save(root / "masks" / "masks" / f"{name}.png")
    np.savez(root / "tracks" / "t.npz", pred_tracks=tracks, pred_visibility=seen)
    np.savez(root / "megasam" / "m.npz", depths=depth, intrinsic=K[0], cam_c2w=np.linalg.inv(poses))
    coords = np.zeros((capture.times, 50, 3), np.float32)
    np.savez(root / "tapip3d" / "r.npz", depths=depth, intrinsics=K, extrinsics=poses, coords=coords, visibs=seen)
    np.save(root / "droid" / "traj_c2w.npy", np.linalg.inv(poses))
    np.save(root / "droid" / "intrinsics.npy", np.array([K[0, 0, 0], K[0, 1, 1], K[0, 0, 2], K[0, 1, 2]]))
    colmap(root / "cameras" / "sparse" / "0", [(f"{n}.png", p) for n, p in zip(names, poses, strict=True)])
    use = partial(_use_supplied, clip=clip)
    return [
        Target(f"supplied {p.name}", p, tuple(f.relative_to(p) for f in sorted(p.rglob("*")) if f.is_file()), use) for p in sorted(root.iterdir())
    ]
