"""Courses: motion in closed form is what the motion model itself says."""

import pytest
import torch

from every_motion import moving_layers
from fourfold.geometry.rotations import quat_to_matrix
from fourfold.scene.courses import layer_course

CLOSED = {"static", "bounded_static", "linear", "flights", "lifespan", "se3_bases", "lived_bases", "retimed"}


@pytest.mark.parametrize("kind", sorted(CLOSED))
def test_a_course_is_what_the_model_says(kind: str) -> None:
    layer = moving_layers()[kind]
    course = layer_course(layer)
    assert course is not None
    still = quat_to_matrix(torch.nn.functional.normalize(layer.splats["quat_wxyz"], dim=1))
    for time in (-0.2, 0.0, 0.25, 0.37, 0.75, 0.98, 1.3):
        truth = layer.motion.at(layer, torch.tensor([time]))[0]
        at = torch.full((len(layer),), time)
        means, turn = course.places(at)
        torch.testing.assert_close(means, truth.means, atol=2e-5, rtol=1e-5)
        shown = torch.nn.functional.normalize(truth.quat_wxyz, dim=1)
        torch.testing.assert_close(turn @ still, quat_to_matrix(shown), atol=2e-5, rtol=0)
        seen = torch.ones(len(layer)) if truth.visibility is None else truth.visibility
        torch.testing.assert_close(course.fading(at), seen, atol=2e-5, rtol=1e-4)


def test_who_bends_otherwise_has_no_course() -> None:
    assert {kind for kind, layer in moving_layers().items() if layer_course(layer) is not None} == CLOSED


def test_rows_are_chosen_alike() -> None:
    course = layer_course(moving_layers()["lived_bases"])
    assert course is not None
    rows, at = torch.tensor([3, 0, 7]), torch.tensor([0.2, 0.5, 0.9])
    every = torch.full((len(course),), 0.5)
    assert torch.allclose(course.select(rows).places(at)[0][1], course.places(every)[0][0], atol=1e-6)
