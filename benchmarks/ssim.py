"""Value and gradient of SSIM: the fused kernel next to the plain torch version. Run: python benchmarks/ssim.py [--threads 1]"""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
import tyro

from fourfold.kernels.library import load
from fourfold.losses.ssim import ssim, ssim_map_reference
from timing import milliseconds

SIZES = ((180, 320), (420, 648), (720, 1280))


def step(similarity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One forward and backward pass; returns the gradient."""
    image.grad = None
    similarity(image, target).backward()
    assert image.grad is not None
    return image.grad


def main(threads: int = 1) -> None:
    """Print one JSON object: milliseconds of both ways and their ratio for images of several sizes.

    Args:
        threads: threads of torch and of the kernel alike.
    """
    torch.set_num_threads(threads)
    library = load()
    if library is None:
        raise SystemExit("no compiled kernel on this machine: there is nothing to compare")
    library.ff_set_threads(threads)
    rows: list[dict[str, object]] = []
    for height, width in SIZES:
        generator = torch.Generator().manual_seed(0)
        image = torch.rand((height, width, 3), generator=generator).requires_grad_()
        target = torch.rand((height, width, 3), generator=generator)
        times = milliseconds(
            {
                "fused_ms": lambda image=image, target=target: step(ssim, image, target),
                "torch_ms": lambda image=image, target=target: step(lambda a, b: ssim_map_reference(a, b).mean(), image, target),
            }
        )
        rows.append({"size": f"{width}x{height}", **times, "torch_over_fused": round(times["torch_ms"] / times["fused_ms"], 1)})
    print(json.dumps({"threads": threads, "rows": rows}))


if __name__ == "__main__":
    tyro.cli(main)
