"""A small scene of every motion model that there is, seen by a camera that walks by: what files and players are tried on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.geometry.rigid import make_rigid, se3_exp
from fourfold.geometry.rotations import matrix_to_rotation6d, so3_exp
from fourfold.scene.motion import motion_kinds
from fourfold.scene.motion.bounded import BoundedStatic
from fourfold.scene.motion.chunks import joined
from fourfold.scene.motion.flights import EVER, Flying
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.retimed import Retimed
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene
from test_fixed_motion import deformation_layer, keyframe_layer, lifespan_layer, per_frame_layer, polynomial_layer
from test_lived_bases import lived_layer
from test_scaffold_motion import made_layer, made_nodes
from test_scene_motion import bases_layer
from tree_scene import random_tree

WIDTH, HEIGHT, FOCAL = 160, 120, 150.0
ROWS = 24


def looks(count: int, seed: int, terms: int = 0) -> dict[str, torch.Tensor]:
    """`count` Gaussians of about a pixel about the origin; with `terms` spherical harmonics."""
    g = torch.Generator().manual_seed(seed)
    splats = {
        "means": torch.randn(count, 3, generator=g),
        "quat_wxyz": torch.randn(count, 4, generator=g),
        "log_scale": 0.4 * torch.randn(count, 3, generator=g) - 3,
        "opacity_logit": torch.randn(count, generator=g) + 1,
        "color_logit": torch.randn(count, 3, generator=g),
    }
    return splats | ({"sh_rest": 0.2 * torch.randn(count, terms, 3, generator=g)} if terms else {})


def straight(count: int, seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    moment = torch.rand(count, generator=g)
    return {"velocity": torch.randn(count, 3, generator=g), "time_center": moment, "log_duration": torch.linspace(-3, 2, count)}


def moving_layers() -> dict[str, Layer]:
    """kind -> a layer of about two dozen Gaussians of that motion model."""
    flown = straight(ROWS, 7)
    windows = {"begin": torch.where(torch.arange(ROWS) % 3 == 0, 0.25, -EVER), "end": torch.where(torch.arange(ROWS) % 4 == 0, 0.75, EVER)}
    layers = {
        "static": Layer("moving", DYNAMIC, Static(), looks(ROWS, 1)),
        "bounded_static": Layer("moving", DYNAMIC, BoundedStatic(0.2), looks(ROWS, 2)),
        "linear": Layer("moving", DYNAMIC, Linear(), looks(ROWS, 3) | straight(ROWS, 4)),
        "flights": Layer("moving", DYNAMIC, Flying(), looks(ROWS, 5) | flown | windows),
        "lifespan": lifespan_layer(ROWS),
        "polynomial": polynomial_layer(ROWS),
        "keyframes": keyframe_layer(ROWS),
        "per_frame": per_frame_layer(ROWS),
        "deformation": deformation_layer(ROWS),
        "se3_bases": _calm(bases_layer(ROWS), 1),
        "lived_bases": _calm(lived_layer(ROWS), 2),
        "scaffold": made_layer(made_nodes(rigid=False)),
        "motion_tree": random_tree(points=ROWS),
        "chunks": _chunks(),
        "retimed": Layer("moving", DYNAMIC, Retimed("linear", (), 0.5, 0.25, 0.1), looks(ROWS, 10) | straight(ROWS, 11)),
    }
    assert set(layers) == set(motion_kinds()), "a new motion model belongs here"
    return {kind: _single(layer) for kind, layer in layers.items()}


def _calm(layer: Layer, seed: int) -> Layer:
    """The layer with bases that turn and move by a fifth of a radian and unit within a quarter of a second."""
    bases, knots = layer.shared["translation"].shape[:2]
    moved = se3_exp(0.2 * torch.randn(bases, knots, 6, generator=torch.Generator().manual_seed(seed)))
    shared = {"rotation6d": matrix_to_rotation6d(moved[..., :3, :3]), "translation": moved[..., :3, 3]}
    return replace(layer, shared=shared, fixed={"knots": torch.linspace(0, 1, knots), "pivot": torch.zeros(3)})


def _chunks() -> Layer:
    """Two chunks that hand over between two frames."""
    layer = joined([_calm(bases_layer(ROWS), 3), _calm(bases_layer(ROWS, seed=1), 4)], [0.0, 0.51])
    assert layer is not None
    return layer


def scene_of(kind: str, terms: int = 0) -> Scene:
    """A standing layer and one that moves by `kind`, a second long."""
    layer = moving_layers()[kind]
    if terms:
        layer.splats["sh_rest"] = looks(len(layer), 8, terms)["sh_rest"]
    still = Layer("static", STATIC, Static(), looks(60, 9, terms))
    return Scene([still, replace(layer, name="moving")], (0.0, 1.0), scale=0.5, background=(0.1, 0.2, 0.3))


def walking_camera(times: int = 26) -> Capture:
    """A camera six units away that walks by and turns; its principal point is not in the middle."""
    steps = torch.linspace(0, 1, times, dtype=torch.float64)[:, None]
    rotation = so3_exp(steps * torch.tensor([0.0, 0.1, 0.02], dtype=torch.float64))
    poses = make_rigid(rotation, torch.tensor([0.0, 0.0, 6.0], dtype=torch.float64) + steps * torch.tensor([0.4, 0.0, 0.2], dtype=torch.float64))
    K = np.array([[FOCAL, 0, WIDTH / 2 + 5], [0, FOCAL, HEIGHT / 2 - 3], [0, 0, 1]])
    flags = np.ones((1, times), bool)
    size = np.array([[WIDTH, HEIGHT]])
    return Capture(
        Path("none"),
        np.tile(K, (1, times, 1, 1)),
        poses.numpy()[None],
        np.linspace(0, 1, times),
        size,
        flags,
        flags,
        ~flags,
        "given",
        False,
        "walk",
        ("camera",),
    )


def _single(layer: Layer) -> Layer:
    """In single precision, with Gaussians of about a pixel."""

    def cast(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.float() if value.is_floating_point() else value for name, value in values.items()}

    splats = cast(layer.splats)
    return replace(
        layer, role=DYNAMIC, splats=splats | {"log_scale": splats["log_scale"].clamp(max=-3.0)}, shared=cast(layer.shared), fixed=cast(layer.fixed)
    )
