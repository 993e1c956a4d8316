"""Compile the Triton kernels ahead of time for GPUs that need not be there, and tell what registers they take and spill.

    python benchmarks/triton_compile.py [--extra 0 4 36] [--targets sm_90 gfx942] [--json FILE]

Extra channels 0, 1 and 4 mean 3, 4 and 7 blended beside depth. Nothing is run: that the kernels are right is for tests/test_render_triton.py.
"""

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fourfold.kernels import triton_blend, triton_scaffold, triton_segments, triton_skin, triton_ssim, triton_trimmed
from fourfold.kernels.triton_adam import BLOCK as ADAM_BLOCK
from fourfold.kernels.triton_adam import adam_kernel
from fourfold.render.triton_backend import ENTRIES, MOMENTS, ROWS, SUMS, TILE, WIDEST
from fourfold.render.triton_kernels.draw import draw_backward_kernel, draw_kernel
from fourfold.render.triton_kernels.project import project_backward_kernel, project_kernel
from fourfold.render.triton_kernels.tiles import list_kernel, sum_kernel

TARGETS = {
    "sm_75": GPUTarget("cuda", 75, 32),
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_89": GPUTarget("cuda", 89, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
    "gfx1100": GPUTarget("hip", "gfx1100", 32),
}
WHOLE = {"ids", "offsets", "boxes", "counts", "tiles", "owners", "last", "first", "median", "top"}  # pointers to int32
LONG = {"order", "ends", "slots"}  # to int64
REAL = {"near", "dilation"}
FACTORS = {name: "fp32" for name in ("rate", "keep_first", "keep_second", "by_root", "epsilon", "level", "floor")}
SIZES = "height length channels points bases times turned size sampled count step blocks carried entries nodes references followed"
OTHERS = FACTORS | {name: "i32" for name in SIZES.split()} | {name: "*i64" for name in ("near", "node", "anchor", "keys", "ordered")}
NUMBERS = {"n", "width", "height", "tiles_x", "tiles_of_view", "stride", "depth_column", "ranks", "total", "steps"}


def other_kernels() -> list[tuple]:
    """Those that do not know of channels: Adam, losses and motion."""
    pixels, bases = {"BLOCK": triton_ssim.BLOCK}, {"WIDE": 16, "BLOCK": triton_blend.BLOCK}
    trimmed = {"WEIGHT": True, "SIGNED": True, "BLOCK": triton_trimmed.BLOCK}
    carried, nodes = {"ALIGN": True, "BLOCK": triton_skin.BLOCK}, {"BLOCK": triton_scaffold.BLOCK}
    rows, flags = {"rows": "i32"}, {"rows": "*u8", "valid": "*u8"}
    found = [
        (adam_kernel, {"ROWS": True, "FRESH": False, "BLOCK": ADAM_BLOCK}, flags),
        (triton_ssim.moments_kernel, pixels, {}),
        (triton_ssim.similarity_kernel, pixels | {"WEIGHT": True}, {}),
        (triton_ssim.spread_kernel, pixels, {}),
        (triton_ssim.gradient_kernel, pixels, {}),
        (triton_trimmed.sample_kernel, trimmed | {"ALL": False}, {}),
        (triton_trimmed.mean_kernel, trimmed | {"TRIM": True}, {}),
        (triton_trimmed.finish_kernel, {"BLOCK": triton_trimmed.BLOCK}, {}),
        (triton_blend.blend_kernel, bases, {}),
        (triton_blend.blend_backward_kernel, bases | {"MOVED": True}, {}),
        (triton_skin.skin_kernel, carried, rows),
        (triton_skin.skin_points_kernel, carried | {"MOVED": True, "WIDE": 8}, rows),
        (triton_skin.skin_nodes_kernel, carried, rows),
        (triton_segments.segments_kernel, {"WIDE": 16, "BLOCK": triton_segments.BLOCK}, {}),
        (triton_scaffold.table_kernel, nodes, {}),
        (triton_scaffold.table_backward_kernel, nodes, {}),
        (triton_scaffold.weights_kernel, nodes | {"PULL": True, "WIDE": 16}, flags | {"rows": "*i64"}),
        (triton_scaffold.weights_backward_kernel, nodes | {"PULL": True, "WIDE": 16}, {}),
    ]
    return [(kernel, constants, 4, OTHERS | types) for kernel, constants, types in found]


def kernels(extra: int) -> list[tuple]:
    """(kernel, its constants, warps, types of arguments beside the usual) as the backend launches them for `extra` channels."""
    wide = 4 if extra == 0 else WIDEST
    groups = -(-(4 + extra) // wide)
    draw = {"EXTRA": extra, "WIDTH": wide, "TILE": TILE}
    project = {"VISIBILITY": True, "ANTIALIAS": True, "BLOCK": ROWS}
    record = MOMENTS + groups * wide
    return [
        (project_kernel, project | {"EXTRA": extra, "TILE": TILE}, 4, {}),
        (list_kernel, {"BLOCK": ENTRIES}, 4, {}),
        (draw_kernel, draw | {"TRACK": False}, 1, {}),
        (draw_backward_kernel, draw | {"GROUPS": groups}, 1, {}),
        (sum_kernel, {"WIDTH": 1 << (record - 1).bit_length(), "BLOCK": SUMS}, 4, {}),
        (project_backward_kernel, project, 4, {}),
    ]


def compiled(kernel, constants: dict, target: GPUTarget, warps: int, types: dict[str, str]):
    """The kernel for `target`."""
    kinds = (
        {name: "*i32" for name in WHOLE}
        | {name: "*i64" for name in LONG}
        | {name: "fp32" for name in REAL}
        | {name: "i32" for name in NUMBERS}
        | types
    )
    signature = {name: "constexpr" if name in constants else kinds.get(name, "*fp32") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    return triton.compile(ASTSource(fn=kernel, signature=signature, constexprs=places), target=target, options={"num_warps": warps})


def registers(found, target: GPUTarget) -> tuple[int, int]:
    """Registers of a thread, and how many of them (AMD) or bytes (NVIDIA) are spilled."""
    if "ptx" not in found.asm:
        text = found.asm["amdgcn"]
        return tuple(int(re.search(rf"\.{name}:\s+(\d+)", text)[1]) for name in ("vgpr_count", "vgpr_spill_count"))
    assembler = next(Path(triton.__file__).parent.joinpath("backends/nvidia/bin").glob("ptxas*"))
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(found.asm["ptx"])
        file.flush()
        name = f"sm_{target.arch}" + ("a" if target.arch == 90 else "")
        done = subprocess.run([assembler, "-v", "--gpu-name", name, file.name, "-o", "/dev/null"], capture_output=True, text=True, check=True)
    return int(re.search(r"Used (\d+) registers", done.stderr)[1]), int(re.search(r"(\d+) bytes spill stores", done.stderr)[1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--extra", type=int, nargs="+", default=[0, 4, 36])
    arguments.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    arguments.add_argument("--only", nargs="+", help="names of kernels")
    arguments.add_argument("--json", type=Path)
    asked = arguments.parse_args()
    rows = []
    print("| kernel | channels | " + " | ".join(asked.targets) + " |\n|---|---|" + "---|" * len(asked.targets))
    for extra in asked.extra:
        for kernel, constants, warps, types in [*kernels(extra), *(other_kernels() if extra == asked.extra[0] else [])]:
            if asked.only and kernel.__name__ not in asked.only:
                continue
            if extra != asked.extra[0] and "EXTRA" not in constants and kernel is not sum_kernel:
                continue
            row = {"kernel": kernel.__name__, "channels": 3 + extra}
            for name in asked.targets:
                row[name] = registers(compiled(kernel, constants, TARGETS[name], warps, types), TARGETS[name])
            cells = " | ".join(f"{row[name][0]}, {row[name][1]} spilled" if row[name][1] else str(row[name][0]) for name in asked.targets)
            print(f"| {kernel.__name__} | {3 + extra} | {cells} |", flush=True)
            rows.append(row)
    if asked.json:
        asked.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
