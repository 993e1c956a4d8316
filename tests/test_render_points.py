"""Values blended at single positions: the compiled way against drawing them over the whole image, and both against the float64 brute force."""

import pytest
import torch

from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions, rasterize, rasterize_views
from fourfold.render.points import AtPoints, bilinear_taps, read_points
from render_truth import LEAVES, Problem, brute_force, problem, relative

TOLERANCE = 1e-5


def places(width: int, height: int, count: int, seed: int = 1) -> torch.Tensor:
    """Random positions, some outside the image, the corners and pixel centres among them."""
    some = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * torch.tensor([width + 2.0, height + 2.0]) - 1
    special = torch.tensor([[0.0, 0.0], [width, height], [0.5, 0.5], [width - 0.5, height - 0.5], [3.5, 2.0]], dtype=torch.float64)
    return torch.cat([special, some])


def gaussians_of(p: Problem) -> Gaussians:
    x = p.leaves
    return Gaussians(x["means"], x["quat_wxyz"], x["log_scale"], x["opacity_logit"], x["color"], x["sh_rest"], x["visibility"])


def camera_of(p: Problem) -> Camera:
    return Camera(p.K, p.leaves["world_to_camera"], p.width, p.height)


def gradients(p: Problem, values: torch.Tensor, read: torch.Tensor, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss on what was read and, beside it, on the image."""
    of = torch.randn(read.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(read)
    leaves = {name: p.leaves[name] for name in LEAVES if p.leaves[name] is not None and name != "background"} | {"values": values}
    found = torch.autograd.grad((read * of).sum() + 0.1 * image.square().sum(), list(leaves.values()), allow_unused=True)
    return {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in zip(leaves.items(), found, strict=True)}


@pytest.mark.parametrize(("groups", "width", "channels"), [(2, 3, 1), (1, 3, 0), (4, 5, 2), (1, 1, 0)])
def test_points_are_what_drawing_over_the_image_and_reading_it_gives(each_isa, groups, width, channels):
    p = problem(150, channels=channels, width=61, height=43, seed=7, sh=3).to(torch.float32)
    values = torch.randn(groups, 150, width, generator=torch.Generator().manual_seed(3)).requires_grad_()
    asked = AtPoints(places(61, 43, 300).float(), values)
    fast = rasterize(gaussians_of(p), camera_of(p), channels=p.leaves["channels"], points=asked)
    drawn = rasterize(gaussians_of(p), camera_of(p), channels=values.transpose(0, 1).flatten(1))
    read = read_points(drawn.channels, drawn.alpha, asked.pixels)
    assert relative(fast.points, read) < TOLERANCE
    plain = rasterize(gaussians_of(p), camera_of(p), channels=p.leaves["channels"])
    assert torch.equal(fast.color, plain.color)  # the image does not know of the points
    one, other = gradients(p, values, fast.points, fast.color), gradients(p, values, read, drawn.color)
    for name, gradient in one.items():
        assert relative(gradient, other[name]) < TOLERANCE, name
    assert float(one["values"].abs().max()) > 0.1


def test_points_against_the_brute_force():
    p = problem(60, channels=0, width=33, height=21, seed=2, behind=0.0)
    values = torch.randn(2, 60, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    exact = p.to(torch.float64)
    exact.leaves["channels"] = values.transpose(0, 1).flatten(1).requires_grad_()
    truth = brute_force(exact, RasterOptions())
    pixels = places(33, 21, 400)
    taps, shares = bilinear_taps(pixels, 21, 33)
    pixels = pixels[~(truth.ambiguous.flatten()[taps] & (shares > 0)).any(1)]  # elsewhere either side of a jump is right
    assert len(pixels) > 200
    read = read_points(truth.channels, truth.alpha, pixels)
    fast = p.to(torch.float32)
    leaf = values.float().requires_grad_()
    found = rasterize(gaussians_of(fast), camera_of(fast), points=AtPoints(pixels.float(), leaf))
    assert relative(found.points, read) < TOLERANCE
    of = torch.randn(read.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (read * of).sum().backward()
    (found.points * of.float()).sum().backward()
    for name in ("means", "quat_wxyz", "log_scale", "opacity_logit", "visibility", "world_to_camera"):
        assert relative(fast.leaves[name].grad, exact.leaves[name].grad) < 2 * TOLERANCE, name
    assert relative(leaf.grad, exact.leaves["channels"].grad.unflatten(1, (2, 3)).transpose(0, 1)) < TOLERANCE


def test_gradients_do_not_depend_on_threads():
    from fourfold.render import cpu

    def once() -> list[torch.Tensor]:
        p = problem(400, channels=1, width=90, height=70, seed=4).to(torch.float32)
        values = torch.ones(2, 400, 3).requires_grad_()
        render = rasterize(gaussians_of(p), camera_of(p), channels=p.leaves["channels"], points=AtPoints(places(90, 70, 500).float(), values))
        (render.points.square().sum() + render.color.sum()).backward()
        return [render.points.detach(), values.grad, *(p.leaves[name].grad for name in ("means", "log_scale", "opacity_logit"))]

    before, results = cpu.get_threads(), []
    for threads in (1, 2, 5):
        cpu.set_threads(threads)
        results.append(once())
    cpu.set_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("count", [0, 1])
def test_no_points_and_no_gaussians(count):
    for n in (0, 5):
        p = problem(n, channels=0).to(torch.float32)
        values = torch.ones(1, n, 2).requires_grad_()
        render = rasterize(gaussians_of(p), camera_of(p), points=AtPoints(torch.full((count, 2), 4.0), values))
        assert render.points.shape == (count, 3)
        (render.points.sum() + render.color.sum()).backward()
        assert values.grad is None or bool(torch.isfinite(values.grad).all())


def test_several_views_and_the_reference_answer_alike():
    p = problem(80, channels=2, width=40, height=30, seed=6).to(torch.float32)
    asked = AtPoints(places(40, 30, 50).float(), torch.randn(2, 80, 3, generator=torch.Generator().manual_seed(1)))
    one = rasterize(gaussians_of(p), camera_of(p), channels=p.leaves["channels"], points=asked)
    views = rasterize_views([gaussians_of(p)] * 2, [camera_of(p)] * 2, [p.leaves["channels"]] * 2, points=[asked, None])
    assert torch.equal(views[0].points, one.points)
    assert views[1].points is None
    plain = rasterize(gaussians_of(p), camera_of(p), channels=p.leaves["channels"], points=asked, backend="reference")
    assert relative(plain.points, one.points) < 1e-4
    assert plain.channels.shape == one.channels.shape


def test_points_that_do_not_fit_are_refused():
    p = problem(5, channels=0).to(torch.float32)
    with pytest.raises(FourfoldError, match="expected \\(P, 2\\)"):
        rasterize(gaussians_of(p), camera_of(p), points=AtPoints(torch.zeros(3), torch.ones(1, 5, 3)))
    with pytest.raises(FourfoldError, match="expected \\(K, 5, D\\)"):
        rasterize(gaussians_of(p), camera_of(p), points=AtPoints(torch.zeros(3, 2), torch.ones(1, 4, 3)))
