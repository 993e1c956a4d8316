"""Formats that hold the whole moving scene."""

from __future__ import annotations

from pathlib import Path

from fourfold.capture.capture import Capture
from fourfold.export.dot4dgs.write import write_4dgs
from fourfold.export.options import ExportOptions, moments
from fourfold.export.packing import PackingError
from fourfold.scene.file import save_scene
from fourfold.scene.scene import Scene


def export_scene(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """Fourfold's own scene file: nothing is lost."""
    save_scene(scene, out)


def export_4dgs(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> PackingError:
    """A `.4dgs` container."""
    return write_4dgs(out, scene, capture, moments(scene, capture, options))


def export_player(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> PackingError:
    """The player, one page."""
    from fourfold.viewer.player import write_player

    return write_player(out, scene, capture)
