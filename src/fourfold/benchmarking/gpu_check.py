"""What a person with a GPU runs once: do all rasterizers agree there, how long do they take, and does training work (`fourfold doctor --gpu`)."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.evaluation.bench_rasterizer import BenchScene, SceneSpec, build
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions, Render
from fourfold.render.backends import Rasterizer, choose

Row = dict[str, Any]


@dataclass(frozen=True)
class GpuCheck:
    """What is drawn and how often.

    Attributes:
        parity: scene on which the backends are compared with the compiled CPU kernel, image and every gradient.
        agreed: relative difference up to which they agree; single contributions at the threshold of 1/255 may fall either way.
        scenes: scenes that are timed, each with the least that a whole training step can take on a large GPU, milliseconds (docs/gpu.md).
        repeats: of each pass; the fastest counts.
        frames, width, height: of the generated clip that is trained.
    """

    parity: SceneSpec = SceneSpec("synth", 3_000, 160, 96, 8)
    agreed: float = 1e-3
    scenes: tuple[tuple[SceneSpec, float], ...] = (
        (SceneSpec("synth", 30_000, 520, 290, 5), 0.5),
        (SceneSpec("synth", 100_000, 648, 420, 5), 0.9),
        (SceneSpec("synth", 200_000, 960, 540, 5), 2.2),
    )
    repeats: int = 10
    frames: int = 24
    width: int = 256
    height: int = 144


def check(device: torch.device, folder: Path | None = None, numbers: GpuCheck = GpuCheck()) -> dict[str, Any]:
    """Parity and times of every backend that can be had on `device`, and the training of a clip, made in `folder` or a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) if folder is None else folder
        return {
            "device": _name(device),
            "torch": torch.__version__,
            "parity": parity(device, numbers),
            "times": times(device, numbers),
            "training": training(device, place, numbers),
        }


def backends_on(device: torch.device) -> dict[str, Rasterizer | str]:
    """Each fast backend of `device`, or the sentence that says why it cannot be had."""
    found: dict[str, Rasterizer | str] = {}
    names: tuple[Literal["triton", "cuda"], ...] = ("triton", "cuda")
    for name in names:
        try:
            found[name] = choose(name, torch.zeros(1, device=device))
        except FourfoldError as error:
            found[name] = str(error)
    return found


def parity(device: torch.device, numbers: GpuCheck) -> list[Row]:
    """One row per backend: the largest relative differences to the CPU kernel of the images and of the gradients, or why it was not drawn."""
    scene = build(numbers.parity)
    if scene is None:
        return []
    images, gradients, _ = _drawn(choose("cpu", scene.gaussians.means), scene, torch.device("cpu"))
    rows: list[Row] = []
    for name, draw in backends_on(device).items():
        row: Row = {"backend": name, "images": None, "gradients": None, "again": None, "agrees": False, "error": None}
        rows.append(row)
        if isinstance(draw, str):
            row["error"] = draw
            continue
        try:
            mine, own, _ = _drawn(draw, scene, device)
            again = _drawn(draw, scene, device)[1]
        except Exception as error:  # whatever a driver or a compiler says is what the table is for
            row["error"] = f"{type(error).__name__}: {str(error)[:300]}"
            continue
        row["images"] = max(_apart(a, b) for a, b in zip(mine, images, strict=True))
        row["gradients"] = max(_apart(a, b) for a, b in zip(own, gradients, strict=True))
        row["again"] = all(torch.equal(a, b) for a, b in zip(own, again, strict=True))
        row["agrees"] = max(row["images"], row["gradients"]) < numbers.agreed
    return rows


def times(device: torch.device, numbers: GpuCheck) -> list[Row]:
    """One row per scene: milliseconds of forward and backward of the CPU kernel and of each backend, and the floor of a step."""
    rows: list[Row] = []
    for spec, floor in numbers.scenes:
        scene = build(spec)
        if scene is None:
            continue
        row: Row = {"scene": spec.name, "floor_ms": floor, "cpu": _fastest(choose("cpu", scene.gaussians.means), scene, torch.device("cpu"), 2)}
        for name, draw in backends_on(device).items():
            row[name] = None
            if not isinstance(draw, str):
                try:
                    row[name] = _fastest(draw, scene, device, numbers.repeats)
                except Exception as error:  # as above: told, and the next one is tried
                    row[name] = f"{type(error).__name__}: {str(error)[:120]}"
        rows.append(row)
    return rows


def training(device: torch.device, folder: Path, numbers: GpuCheck) -> Row:
    """A generated clip with its cameras, reconstructed in draft quality on `device`: held-out PSNR, seconds, milliseconds of a step, or the error."""
    from fourfold.capture.synthetic import SyntheticOptions, generate
    from fourfold.pipeline import reconstruct

    clip, started = folder / "clip", time.perf_counter()
    generate("casual", clip, seed=0, options=SyntheticOptions(frames=numbers.frames, width=numbers.width, height=numbers.height))
    try:
        run = reconstruct(clip, folder / "run", quality="draft", device=str(device), baselines=False)
    except Exception as error:
        return {"psnr": None, "seconds": round(time.perf_counter() - started, 1), "error": f"{type(error).__name__}: {str(error)[:300]}"}
    return {"psnr": run.report["metrics"]["heldout"]["psnr"], "seconds": round(time.perf_counter() - started, 1), "error": None}


def markdown(value: dict[str, Any]) -> str:
    """The table to paste into an issue."""
    lines = [
        f"GPU check: {value['device']}, torch {value['torch']}",
        "",
        "| backend | images | gradients | same bits again | agrees |",
        "|---|---|---|---|---|",
    ]
    for row in value["parity"]:
        told = (
            row["error"] or f"{row['images']:.1e} | {row['gradients']:.1e} | {'yes' if row['again'] else 'no'} | {'yes' if row['agrees'] else 'NO'}"
        )
        lines.append(f"| {row['backend']} | {told} |")
    lines += ["", "| scene, forward + backward ms | CPU | Triton | gsplat | floor of a step |", "|---|---|---|---|---|"]
    for row in value["times"]:
        lines.append(f"| {row['scene']} | {_pair(row['cpu'])} | {_pair(row['triton'])} | {_pair(row['cuda'])} | {row['floor_ms']} |")
    trained = value["training"]
    told = trained["error"] or f"held-out PSNR {trained['psnr']:.2f} dB"
    return "\n".join([*lines, "", f"Training of the generated clip: {told} after {trained['seconds']} s"])


def _pair(found: tuple[float, float] | str | None) -> str:
    return "-" if found is None else found if isinstance(found, str) else f"{found[0]:.2f} + {found[1]:.2f}"


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _moved(scene: BenchScene, device: torch.device) -> BenchScene:
    """Fresh leaves on `device`."""

    def leaf(value: Tensor) -> Tensor:
        return value.detach().to(device, copy=True).requires_grad_()

    g = scene.gaussians
    gaussians = Gaussians(*(leaf(value) for value in (g.means, g.quat_wxyz, g.log_scale, g.opacity_logit, g.color)))
    camera = Camera(scene.camera.K.to(device), leaf(scene.camera.world_to_camera), scene.camera.width, scene.camera.height)
    return BenchScene(gaussians, camera, None if scene.channels is None else leaf(scene.channels), leaf(scene.background))


def _images(render: Render) -> list[Tensor]:
    return [image for image in (render.color, render.alpha, render.depth * render.alpha.detach(), render.channels) if image is not None]


def _drawn(draw: Rasterizer, scene: BenchScene, device: torch.device) -> tuple[list[Tensor], list[Tensor], tuple[float, float]]:
    """Images, gradients of a random linear function of them, both on the CPU, and the seconds of the two passes."""
    here = _moved(scene, device)
    _wait(device)
    started = time.perf_counter()
    images = _images(draw(here.gaussians, here.camera, here.channels, here.background, RasterOptions()))
    _wait(device)
    middle = time.perf_counter()
    random = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(image.shape, generator=random).to(device) for image in images]
    g = here.gaussians
    leaves = [g.means, g.quat_wxyz, g.log_scale, g.opacity_logit, g.color, here.camera.world_to_camera, here.background]
    _wait(device)
    begin = time.perf_counter()
    found = torch.autograd.grad(images, [*leaves, *([] if here.channels is None else [here.channels])], cotangents)
    _wait(device)
    seconds = (middle - started, time.perf_counter() - begin)
    return [image.detach().cpu() for image in images], [gradient.cpu() for gradient in found], seconds


def _fastest(draw: Rasterizer, scene: BenchScene, device: torch.device, repeats: int) -> tuple[float, float]:
    """Milliseconds of the fastest forward and backward pass, after one that compiles."""
    _drawn(draw, scene, device)
    passes = [_drawn(draw, scene, device)[2] for _ in range(repeats)]
    return 1e3 * min(forward for forward, _ in passes), 1e3 * min(backward for _, backward in passes)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp_min(1e-12))
