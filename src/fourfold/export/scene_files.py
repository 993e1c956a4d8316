"""A scene from whatever file holds one: our own, `.4dgs`, or Gaussians of one moment."""

from __future__ import annotations

from pathlib import Path

import torch

from fourfold.errors import FourfoldError
from fourfold.export.dot4dgs.read import read_4dgs
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.file import load_scene
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer, Scene
from fourfold.splats.read import SUFFIXES, read_splats

KEPT_COLOR = 1e-4  # colours are kept this far from 0 and 1, where their logits end


def is_scene_file(path: Path) -> bool:
    """Whether `path` is a file that `read_scene` knows by its name."""
    return path.is_file() and path.suffix in (".safetensors", ".4dgs", *SUFFIXES)


def read_scene(path: Path) -> Scene:
    """The scene in a run's folder, a `.safetensors` or `.4dgs` file, or a PLY, SPZ or SOG (standing still, the y axis down).

    Raises:
        FourfoldError: it is missing, damaged, or of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise FourfoldError(f"{path} does not exist: give a run's folder or a scene file")
    if path.is_dir():
        return load_scene(path / "scene.safetensors")
    if path.suffix == ".4dgs":
        return read_4dgs(path)
    if path.suffix in SUFFIXES:
        return Scene([standing_layer(read_splats(path))], (0.0, 0.0))
    if path.suffix == ".safetensors":
        return load_scene(path)
    raise FourfoldError(f"{path} is no scene by its name: give a run's folder, or a .safetensors, .4dgs, {', '.join(SUFFIXES)} file")


def standing_layer(g: Gaussians) -> Layer:
    """Gaussians of one moment as a layer "static"."""
    color = torch.logit(g.color.clamp(KEPT_COLOR, 1 - KEPT_COLOR))
    splats = {"means": g.means, "quat_wxyz": g.quat_wxyz, "log_scale": g.log_scale, "opacity_logit": g.opacity_logit, "color_logit": color}
    return Layer("static", STATIC, Static(), splats | ({} if g.sh_rest is None else {"sh_rest": g.sh_rest}))
