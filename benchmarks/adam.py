"""One Adam step: the fused kernel, all rows and a third of them, next to torch's optimisers. Run: python benchmarks/adam.py [--threads 1]"""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
import tyro

from fourfold.kernels.adam import adam_step, adam_step_reference
from fourfold.kernels.library import load
from timing import milliseconds

SHAPES = ((100_000, 3), (100_000, 48), (1_000_000, 3))


def torch_optimiser(param: torch.Tensor, grad: torch.Tensor, fused: bool) -> Callable[[], object]:
    """The step of `torch.optim.Adam` on a copy of `param`."""
    copy = param.clone().requires_grad_()
    copy.grad = grad.clone()
    return torch.optim.Adam([copy], lr=1e-3, eps=1e-15, fused=fused, foreach=False).step


def main(threads: int = 1) -> None:
    """Print one JSON object: milliseconds of every way for several tensors; `seen` is a third of the rows, in runs as they come.

    Args:
        threads: threads of torch and of the kernel alike.
    """
    torch.set_num_threads(threads)
    library = load()
    if library is None:
        raise SystemExit("no compiled kernel on this machine: there is nothing to compare")
    library.ff_set_threads(threads)
    rows: list[dict[str, object]] = []
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(0)
        param, grad = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
        first, second = torch.zeros(shape), torch.zeros(shape)
        seen = torch.rand(shape[0], generator=generator) < 1 / 3
        tensors = (param, grad, first, second, 10, 1e-3)
        times = milliseconds(
            {
                "fused_all_ms": lambda tensors=tensors: adam_step(*tensors),
                "fused_seen_ms": lambda tensors=tensors, seen=seen: adam_step(*tensors, rows=seen),
                "torch_twin_seen_ms": lambda tensors=tensors, seen=seen: adam_step_reference(*tensors, rows=seen),
                "torch_adam_ms": torch_optimiser(param, grad, fused=False),
                "torch_fused_adam_ms": torch_optimiser(param, grad, fused=True),
            }
        )
        rows.append({"shape": list(shape), **times})
    print(json.dumps({"threads": threads, "rows": rows}))


if __name__ == "__main__":
    tyro.cli(main)
