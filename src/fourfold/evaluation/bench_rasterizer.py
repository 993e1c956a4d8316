"""How fast the rasterizers are, on the scenes of spec cpu_rasterizer.md, as ratios to the plain torch reference in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fourfold.files import replacing
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.notices import fallback
from fourfold.render.api import RasterOptions, Render
from fourfold.render.backends import choose

GARDEN = Path("garden/test_garden.npz")


@dataclass(frozen=True)
class SceneSpec:
    """One scene of the benchmark: `count` Gaussians of a kind at an image size, `channels` blended values of which 3 are the colour."""

    kind: str
    count: int
    width: int
    height: int
    channels: int = 3

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.kind}_{self.count // 1000}k_{self.width}x{self.height}_c{self.channels}"


SCENES = (
    SceneSpec("garden", 20_000, 320, 180),
    SceneSpec("garden", 100_000, 648, 420),
    SceneSpec("synth", 20_000, 256, 256, 3),
    SceneSpec("synth", 20_000, 256, 256, 8),
    SceneSpec("synth", 20_000, 256, 256, 40),
)


@dataclass(frozen=True)
class BenchScene:
    """What is drawn, all leaves requiring gradients."""

    gaussians: Gaussians
    camera: Camera
    channels: Tensor | None
    background: Tensor


def data_directory() -> Path:
    """Where the real captures are: $FOURFOLD_DATA, else ../shared/data beside the repository."""
    given = os.environ.get("FOURFOLD_DATA")
    return Path(given) if given else Path(__file__).resolve().parents[3].parent / "shared" / "data"


def build(spec: SceneSpec, seed: int = 0) -> BenchScene | None:
    """The scene, or None (said once) where its data are missing. Equal for equal seeds."""
    random = np.random.RandomState(seed)
    if spec.kind == "synth":
        means, colors, K, pose = _synthetic(spec, random)
    else:
        path = data_directory() / GARDEN
        if not path.exists():
            fallback(f"the garden scenes of the rasterizer benchmark are skipped: {path} is missing; set FOURFOLD_DATA")
            return None
        means, colors, K, pose = _garden(spec, random, path)
    return _assemble(spec, means, colors, K, pose, seed)


def _garden(spec: SceneSpec, random: np.random.RandomState, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        index = random.permutation(len(data["means3d"]))[: spec.count]
        K = data["Ks"][0].astype(np.float64)
        size = np.array([float(data["width"]), float(data["height"])])
        factor = spec.width / size[0]
        center = np.array([spec.width, spec.height]) / 2 + (K[:2, 2] - size / 2) * factor
        K[:2] *= factor
        K[:2, 2] = center
        return data["means3d"][index].astype(np.float64), data["colors"][index] / 255.0, K, data["viewmats"][0].astype(np.float64)


def _synthetic(spec: SceneSpec, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A torus around a noisy sphere, 4.5 units before the camera."""
    means = random.randn(spec.count, 3)
    means *= (1 + 0.05 * random.randn(spec.count, 1)) / np.linalg.norm(means, axis=1, keepdims=True)
    half = spec.count // 2
    around, across = random.rand(half) * 2 * np.pi, random.rand(half) * 2 * np.pi
    ring = 1.2 + 0.3 * np.cos(across)
    means[:half] = np.stack([ring * np.cos(around), 0.3 * np.sin(across), ring * np.sin(around)], 1)
    K = np.array([[1.3 * spec.width, 0, spec.width / 2], [0, 1.3 * spec.width, spec.height / 2], [0, 0, 1]])
    pose = np.eye(4)
    pose[2, 3] = 4.5
    return means, random.rand(spec.count, 3), K, pose


def _assemble(spec: SceneSpec, means: np.ndarray, colors: np.ndarray, K: np.ndarray, pose: np.ndarray, seed: int) -> BenchScene:
    """Sizes from the distance to the three nearest neighbours times 0.3 to 1.3, opacities from 0.05 to 0.95."""
    from scipy.spatial import cKDTree

    generator = torch.Generator().manual_seed(seed)
    n, extra = spec.count, spec.channels - 3
    distance = cKDTree(means).query(means, k=4)[0][:, 1:]
    size = torch.from_numpy(np.sqrt((distance**2).mean(1)).clip(1e-5)).float()
    quat = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=1)
    opacity = torch.rand(n, generator=generator) * 0.9 + 0.05
    log_scale = (size[:, None] * (torch.rand(n, 3, generator=generator) + 0.3)).log()
    leaves = [torch.from_numpy(means).float(), quat, log_scale, opacity.logit(), torch.from_numpy(colors).float()]
    channels = torch.rand(n, extra, generator=generator).requires_grad_() if extra else None
    background = torch.rand(3, generator=generator).requires_grad_()
    camera = Camera(torch.from_numpy(K).float(), torch.from_numpy(pose).float(), spec.width, spec.height)
    return BenchScene(Gaussians(*(leaf.requires_grad_() for leaf in leaves)), camera, channels, background)


def arrays(scene: BenchScene) -> dict[str, np.ndarray]:
    """The scene as plain arrays, for any other renderer: linear scales and opacities, all float32."""
    g = scene.gaussians.detach()
    values = {"means": g.means, "quat_wxyz": g.quat_wxyz, "scale": g.scale, "opacity": g.opacity, "color": g.color}
    values |= {"background": scene.background.detach(), "K": scene.camera.K, "world_to_camera": scene.camera.world_to_camera}
    if scene.channels is not None:
        values["channels"] = scene.channels.detach()
    size = {"width": np.int64(scene.camera.width), "height": np.int64(scene.camera.height)}
    return {name: value.numpy() for name, value in values.items()} | {name: np.asarray(value) for name, value in size.items()}


def export_scenes(directory: Path) -> list[Path]:
    """Write every scene that can be built as `directory`/NAME.npz; returns the files."""
    written = []
    directory.mkdir(parents=True, exist_ok=True)
    for spec in SCENES:
        scene = build(spec)
        if scene is None:
            continue
        target = directory / f"{spec.name}.npz"
        with replacing(target) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays(scene))
        written.append(target)
    return written


def blended_pairs(scene: BenchScene) -> int:
    """How many (pixel, Gaussian) pairs the image blends: the work no rasterizer can avoid."""
    from fourfold.render import reference

    options = RasterOptions()
    with torch.no_grad():
        splats = reference.project(scene.gaussians, scene.camera, options, reference.usable_rows(scene.gaussians, scene.channels))
        return sum(int((weight > 0).sum()) for weight in reference.tile_weights(splats, scene.camera))


def _once(draw: Callable[..., Render], scene: BenchScene, cotangents: list[Tensor]) -> tuple[float, float]:
    """Seconds of one forward pass and of one backward pass to every leaf."""
    start = time.perf_counter()
    render = draw(scene.gaussians, scene.camera, scene.channels, scene.background, RasterOptions())
    middle = time.perf_counter()
    images = [image for image in (render.color, render.alpha, render.channels) if image is not None]
    g = scene.gaussians
    leaves = [t for t in (g.means, g.quat_wxyz, g.log_scale, g.opacity_logit, g.color, scene.channels, scene.background) if t is not None]
    begin = time.perf_counter()
    torch.autograd.grad(images, leaves, cotangents)
    return middle - start, time.perf_counter() - begin


def measure(scene: BenchScene, backend: str, repeats: int) -> tuple[float, float]:
    """Milliseconds of the fastest forward pass and of the fastest backward pass among `repeats`, after one to warm up where there are several."""
    draw = choose(backend, scene.gaussians.means)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    h, w = scene.camera.height, scene.camera.width
    shapes = [(h, w, 3), (h, w)] + ([] if scene.channels is None else [(h, w, scene.channels.shape[1])])
    cotangents = [torch.randn(shape, generator=generator) for shape in shapes]
    times = [_once(draw, scene, cotangents) for _ in range(repeats + (1 if repeats > 1 else 0))]
    forward, backward = (min(t[i] for t in times) * 1e3 for i in range(2))
    return forward, backward


def bench(threads: Sequence[int] = (1, 2), repeats: int = 10, scenes: Sequence[SceneSpec] = SCENES) -> dict[str, Any]:
    """Measure the reference once and the compiled kernel with each number of threads.

    Returns:
        {"scenes": [{"scene", "backend", "threads", "forward_ms", "backward_ms", "total_ms", "ratio_to_reference", "ns_per_pair"}]}:
        ratio_to_reference is how many times faster than the reference (one thread, same run); ns_per_pair is the total divided by
        the blended (pixel, Gaussian) pairs. Scenes whose data are missing are left out.
    """
    from fourfold.render import cpu

    rows = []
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    before = cpu.get_threads() if cpu.available() else 0
    try:
        for spec in scenes:
            scene = build(spec)
            if scene is None:
                continue
            pairs = blended_pairs(scene)
            reference = measure(scene, "reference", 1)
            rows.append(_row(spec, "reference", 1, reference, sum(reference), pairs))
            for count in threads if cpu.available() else ():
                cpu.set_threads(count)
                rows.append(_row(spec, "cpu", count, measure(scene, "cpu", repeats), sum(reference), pairs))
    finally:
        torch.set_num_threads(torch_threads)
        if before:
            cpu.set_threads(before)
    return {"scenes": rows}


def _row(spec: SceneSpec, backend: str, threads: int, times: tuple[float, float], reference: float, pairs: int) -> dict[str, Any]:
    total = sum(times)
    return {
        "scene": spec.name,
        "backend": backend,
        "threads": threads,
        "forward_ms": round(times[0], 3),
        "backward_ms": round(times[1], 3),
        "total_ms": round(total, 3),
        "ratio_to_reference": round(reference / total, 2),
        "ns_per_pair": round(total * 1e6 / max(pairs, 1), 3),
    }
