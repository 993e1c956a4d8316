"""Fourfold: video of a moving scene to a 4D Gaussian scene.

Everything here is loaded on first use, so that `import fourfold` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fourfold.capture.capture import Capture as Capture
    from fourfold.errors import FourfoldError as FourfoldError
    from fourfold.geometry.camera import Camera as Camera
    from fourfold.geometry.gaussians import Gaussians as Gaussians
    from fourfold.pipeline import Run as Run
    from fourfold.pipeline import reconstruct as reconstruct
    from fourfold.render.api import Render as Render
    from fourfold.render.api import rasterize as rasterize
    from fourfold.scene.scene import Scene as Scene

_WHERE = {
    "Camera": "fourfold.geometry.camera",
    "Capture": "fourfold.capture.capture",
    "FourfoldError": "fourfold.errors",
    "Gaussians": "fourfold.geometry.gaussians",
    "Render": "fourfold.render.api",
    "Run": "fourfold.pipeline",
    "Scene": "fourfold.scene.scene",
    "rasterize": "fourfold.render.api",
    "reconstruct": "fourfold.pipeline",
}

__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("fourfold")
        except PackageNotFoundError:
            return "0+source"
    if name not in _WHERE:
        raise AttributeError(f"module 'fourfold' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE, "__version__"])
