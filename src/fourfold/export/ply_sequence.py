"""A folder of PLY files, one per moment, that SuperSplat plays as an animation when the folder is dropped onto it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from fourfold.capture.capture import Capture
from fourfold.export.options import ExportOptions, moments
from fourfold.export.steady import steady_rows
from fourfold.files import refuse_to_replace, replacing
from fourfold.scene.scene import Scene
from fourfold.splats.drawn import plain
from fourfold.splats.ply import encode_ply


def export_sequence(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """One PLY per moment; 32-bit floating-point numbers lose nothing."""
    write_sequence(out, scene, moments(scene, capture, options).tolist())


def write_sequence(directory: Path, scene: Scene, times: Sequence[float]) -> int:
    """Write `frame_00000.ply`, `frame_00001.ply`, ... into a new `directory`, all or nothing; returns how many.

    Every file has the same Gaussians in the same order, so that row n is one Gaussian all along: those that are visible in any of them,
    and where one is not, its opacity is next to nothing. SuperSplat takes files with one common prefix and a number before `.ply` as a
    sequence and sorts them by that number (playcanvas/supersplat issue 734 and its manual's page "Timeline"); nothing else may lie in the
    folder, so the times are not written beside them: they are the arguments.

    Args:
        times: seconds of the frames; equally spaced, as players know only a frame rate.
    """
    refuse_to_replace(Path(directory), "frame_*.ply")
    with replacing(Path(directory)) as temporary, torch.no_grad():
        temporary.mkdir()
        rows = steady_rows(scene, times)
        for index, time in enumerate(times):
            (temporary / f"frame_{index:05d}.ply").write_bytes(encode_ply(plain(scene.at(time)).select(rows)))
    return len(times)
