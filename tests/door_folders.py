"""Four folders as people bring them, made from synthetic captures: a phone's film, GoPros of EasyMocap, Record3D, a COLMAP model of several cameras.

`python tests/door_folders.py OUT [--frames N] [--width W]` writes them below OUT; `fourfold inspect` and `fourfold reconstruct` take each as it is.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import capture_files as files
from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from rig_folders import colmap

DIST = (-0.25, 0.06, 0.001, -0.001, 0.0)  # of a wide GoPro lens, k1 k2 p1 p2 k3
GOPROS = ("at_000", "at_090", "at_180", "at_270")
FPS = 24


@dataclass(frozen=True)
class Size:
    """Moments and pixels of the captures."""

    frames: int = 24
    width: int = 192
    height: int = 108


def phone(root: Path, size: Size) -> Path:
    """`IMG_0412.MOV`: HEVC of ten bits, HLG, filmed upright with the sensor lying; beside it what a phone leaves."""
    portrait = Size(size.frames, size.height, size.width)
    capture = _synthetic(root.parent / "synthetic" / "phone", "casual", portrait)
    lying = [np.rot90(image) for image in _images(capture, 0)]
    root.mkdir(parents=True)
    film = _hlg_film(root / "IMG_0412.MOV", lying)
    files.turn_clockwise(film, size.height)
    in_35mm = capture.K[0, 0, 0, 0] * np.hypot(36, 24) / np.hypot(size.width, size.height)
    files.with_track_metadata(film, b"com.apple.quicktime.camera.focal_length.35mm_equivalent", 23, struct.pack(">f", in_35mm))
    (root / "IMG_0412.AAE").write_text("<plist/>\n")
    (root / ".DS_Store").write_bytes(b"Bud1")
    return root


def gopros(root: Path, size: Size) -> Path:
    """Four fixed cameras: `videos/1.mp4` .. and EasyMocap's `intri.yml`, `extri.yml` with `dist_N`; the films are bent by it."""
    capture = _synthetic(root.parent / "synthetic" / "rig", "sparse_fixed", size)
    inner, outer = (cv2.FileStorage("", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY | cv2.FILE_STORAGE_FORMAT_YAML) for _ in range(2))
    names = [str(n + 1) for n in range(len(GOPROS))]
    for storage in (inner, outer):
        storage.startWriteStruct("names", cv2.FileNode_SEQ)
        for name in names:
            storage.write("", name)
        storage.endWriteStruct()
    (root / "videos").mkdir(parents=True)
    for name, view in zip(names, GOPROS, strict=True):
        v = capture.view_names.index(view)
        K, pose = capture.K[v, 0], capture.world_to_camera[v, 0]
        whole = K.copy()
        whole[:2, 2] -= 0.5
        inner.write(f"K_{name}", whole)
        inner.write(f"dist_{name}", np.array([DIST]))
        outer.write(f"R_{name}", cv2.Rodrigues(pose[:3, :3])[0])
        outer.write(f"Rot_{name}", pose[:3, :3])
        outer.write(f"T_{name}", pose[:3, 3:])
        files.write_video(root / "videos" / f"{name}.mp4", [bent(image, whole) for image in _images(capture, v)], fps=FPS)
    (root / "intri.yml").write_text(inner.releaseAndGetString())
    (root / "extri.yml").write_text(outer.releaseAndGetString())
    return root


def record3d(root: Path, size: Size) -> Path:
    """`rgb/N.jpg`, `depth/N.png` in millimetres at half the size, `metadata.json`."""
    capture = _synthetic(root.parent / "synthetic" / "walk", "casual", size)
    (root / "depth").mkdir(parents=True)
    files.write_images(root / "rgb", _images(capture, 0), "{}.jpg")
    for t in range(capture.times):
        depth = np.asarray(capture.depth(0, t), np.float32)
        small = cv2.resize(depth, (size.width // 2, size.height // 2), interpolation=cv2.INTER_NEAREST)
        Image.fromarray((1000 * small).round().astype(np.uint16)).save(root / "depth" / f"{t}.png")
    _record3d_metadata(root, capture, size)
    return root


def _record3d_metadata(root: Path, capture: Capture, size: Size) -> None:
    from scipy.spatial.transform import Rotation

    poses = []
    for matrix in capture.world_to_camera[0]:
        to_world = np.linalg.inv(matrix) @ np.diag([1.0, -1, -1, 1])
        poses.append([*Rotation.from_matrix(to_world[:3, :3]).as_quat().tolist(), *to_world[:3, 3].tolist()])
    header = {"w": size.width, "h": size.height, "fps": FPS, "K": capture.K[0, 0].T.ravel().tolist(), "poses": poses}
    (root / "metadata.json").write_text(json.dumps(header))


def several_shots(root: Path, size: Size) -> Path:
    """`images/cam00_0001.png` .. of five fixed cameras in one folder, and a binary COLMAP model of all of them."""
    capture = _synthetic(root.parent / "synthetic" / "rig", "sparse_fixed", size)
    (root / "images").mkdir(parents=True)
    listed: list[tuple[str, NDArray[np.float64]]] = []
    for v, t in np.argwhere(capture.present):
        name = f"cam{v:02d}_{t + 1:04d}.png"
        Image.fromarray(np.asarray(capture.image(int(v), int(t)))).save(root / "images" / name)
        listed.append((name, capture.world_to_camera[v, t]))
    colmap(root / "sparse" / "0", listed, capture.K[0, 0], (size.width, size.height))
    return root


FOLDERS: dict[str, Callable[[Path, Size], Path]] = {"phone": phone, "gopros": gopros, "record3d": record3d, "several_shots": several_shots}


def bent(image: NDArray[np.uint8], whole: NDArray[np.float64]) -> NDArray[np.uint8]:
    """What a camera with the lens `DIST` sees instead of `image` (H, W, 3); `whole` is K with pixel centres at whole numbers."""
    height, width = image.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 1, 2).astype(np.float64)
    straight = cv2.undistortPoints(pixels, whole, np.array(DIST), P=whole).reshape(height, width, 2).astype(np.float32)
    return cv2.remap(image, straight, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def hlg(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """BT.2100's HLG signal (H, W, 3) in BT.2020 primaries of an sRGB image whose white is the reference white, 75 %."""
    signal = image / 255.0
    light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    scene = 0.26496 * light @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073)


def _hlg_film(path: Path, images: list[NDArray[np.uint8]]) -> Path:
    import av

    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=FPS, options={"crf": "12", "x265-params": "log-level=error:pools=1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        context = stream.codec_context
        context.codec_tag, context.color_trc, context.color_primaries, context.colorspace, context.color_range = "hvc1", 18, 9, 9, 1
        for image in images:
            frame = av.VideoFrame(width, height, "yuv420p10le")
            for plane, values in zip(frame.planes, _planes(hlg(image)), strict=True):
                rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
                rows[:, : plane.width] = values
                plane.update(rows.tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _planes(signal: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """10-bit limited-range Y, Cb, Cr of a BT.2020 R'G'B' signal (H, W, 3), chroma at half the size."""
    y = signal @ [0.2627, 0.6780, 0.0593]
    halved = [c.reshape(c.shape[0] // 2, 2, c.shape[1] // 2, 2).mean((1, 3)) for c in (signal[..., 2] - y, signal[..., 0] - y)]
    return np.round(64 + 876 * y), np.round(512 + 896 * halved[0] / 1.8814), np.round(512 + 896 * halved[1] / 1.4746)


def _synthetic(folder: Path, kind: str, size: Size) -> Capture:
    if not folder.exists():
        generate(kind, folder, seed=0, options=SyntheticOptions(frames=size.frames, width=size.width, height=size.height, fps=FPS))
    return Capture.load(folder)


def _images(capture: Capture, view: int) -> list[NDArray[np.uint8]]:
    return [np.asarray(capture.image(view, t)) for t in range(capture.times)]


def main() -> None:
    """Write all four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=Size.frames)
    parser.add_argument("--width", type=int, default=Size.width)
    options = parser.parse_args()
    size = Size(options.frames, options.width, options.width * 9 // 16 // 4 * 4)
    for name, write in FOLDERS.items():
        print(write(options.out / name, size))


if __name__ == "__main__":
    main()
