"""Does nerfstudio read the camera paths that are exported for it? Its own data parser opens one, and points are projected through what it read.

    pip install --no-deps --target FOLDER nerfstudio jaxtyping wadler-lindig
    python benchmarks/nerfstudio_reader.py FOLDER

Nerfstudio is several gigabytes with all it needs; its parser needs none of that, so what is missing stands as empty modules.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import torch
from PIL import Image

from fourfold.export.formats import export
from fourfold.export.options import ExportOptions, views

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from every_motion import scene_of, walking_camera

ABSENT = [
    "comet_ml",
    "gdown",
    "gsplat",
    "h5py",
    "ipywidgets",
    "jax",
    "mediapy",
    "nerfacc",
    "newrawpy",
    "nuscenes",
    "open3d",
    "plotly",
    "pymeshlab",
    "pyquaternion",
    "pytorch_msssim",
    "rawpy",
    "skimage",
    "sklearn",
    "splines",
    "tensorboard",
    "timm",
    "tinycudann",
    "torchmetrics",
    "torchvision",
    "trimesh",
    "wandb",
    "xatlas",
]


class Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that the parser's neighbours import and the parser never calls."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        absent = name.split(".")[0] in ABSENT or name.startswith(("torch.utils.tensorboard", "nerfstudio.viewer"))
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def main() -> None:
    """Print how many pixels lie between points as nerfstudio's cameras see them and as ours do."""
    sys.path.insert(0, sys.argv[1])
    sys.meta_path.insert(0, Empty())
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    scene, capture, options = scene_of("linear"), walking_camera(), ExportOptions(frames=5, path="orbit")
    capture.K[..., 0, 2] += 11
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        export("nerfstudio", scene, capture, out / "transforms.json", options)
        (out / "frames").mkdir()
        for index, (_, camera) in enumerate(views(scene, capture, options)):
            Image.new("RGB", (camera.width, camera.height)).save(out / f"frames/frame_{index:05d}.png")
        as_written = {"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}
        config = NerfstudioDataParserConfig(data=out, eval_mode="all", load_3D_points=False, **as_written)
        read = config.setup().get_dataparser_outputs("train").cameras
    points = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3
    worst = 0.0
    for index, (_, camera) in enumerate(views(scene, capture, options)):
        pose, lens = read.camera_to_worlds[index].double(), [float(x[index]) for x in (read.fx, read.fy, read.cx, read.cy)]
        x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).T
        theirs = torch.stack([lens[0] * x / -z + lens[2], lens[1] * y / z + lens[3]], dim=1)
        local = points @ camera.world_to_camera[:3, :3].double().T + camera.world_to_camera[:3, 3].double()
        ours = local @ camera.K.double().T
        worst = max(worst, float((theirs - ours[:, :2] / ours[:, 2:]).norm(dim=1).max()))
    print(f"nerfstudio reads {len(read.camera_to_worlds)} cameras; 100 points lie at most {worst:.2g} pixels from where ours see them")


if __name__ == "__main__":
    main()
