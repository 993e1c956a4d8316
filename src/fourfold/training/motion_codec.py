"""Motion models as JSON: the module and class of a frozen dataclass in `fourfold.scene.motion`, and its numbers."""

from __future__ import annotations

import importlib
from dataclasses import fields, is_dataclass
from typing import Any

from fourfold.errors import FourfoldError
from fourfold.scene.scene import Motion

_HOME = "fourfold.scene.motion."


def encode_motion(motion: Motion) -> dict[str, Any]:
    """JSON-able description of `motion`."""
    kind = type(motion)
    numbers = {f.name: getattr(motion, f.name) for f in fields(motion)} if is_dataclass(motion) else {}
    return {"module": kind.__module__, "name": kind.__qualname__, "numbers": numbers}


def decode_motion(value: dict[str, Any]) -> Motion:
    """The motion model that `encode_motion` described. FourfoldError if it is not one of Fourfold's."""
    if not value["module"].startswith(_HOME):
        raise FourfoldError(f"the checkpoint names a motion model outside Fourfold ({value['module']}): delete the checkpoints and train again")
    kind = getattr(importlib.import_module(value["module"]), value["name"])
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in value["numbers"].items()})
