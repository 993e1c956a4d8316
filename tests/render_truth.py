"""Every pixel against every Gaussian in float64: the slow truth of the rasterizers, written apart from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions, Render, rasterize

LEAVES = ("means", "quat_wxyz", "log_scale", "opacity_logit", "color", "visibility", "sh_rest", "channels", "background", "world_to_camera")


@dataclass
class Problem:
    """Leaves by name (None where there is none) and the image."""

    leaves: dict[str, Tensor | None]
    K: Tensor
    width: int
    height: int

    def to(self, dtype: torch.dtype) -> Problem:
        """The same numbers as fresh leaves."""
        leaves = {name: None if v is None else v.detach().to(dtype).requires_grad_() for name, v in self.leaves.items()}
        return Problem(leaves, self.K.to(dtype), self.width, self.height)

    def render(self, backend: str, options: RasterOptions | None = None) -> Render:
        x = self.leaves
        gaussians = Gaussians(x["means"], x["quat_wxyz"], x["log_scale"], x["opacity_logit"], x["color"], x["sh_rest"], x["visibility"])
        camera = Camera(self.K, x["world_to_camera"], self.width, self.height)
        return rasterize(gaussians, camera, channels=x["channels"], background=x["background"], backend=backend, options=options or RasterOptions())

    def gradients(self) -> dict[str, Tensor]:
        return {name: torch.zeros_like(v) if v.grad is None else v.grad for name, v in self.leaves.items() if v is not None}


def problem(n: int, *, channels: int = 2, width: int = 33, height: int = 21, seed: int = 0, size: float = -2.2, spread: float = 0.5, sh: int = 0,
            opacity: float = 0.0, behind: float = 0.1, visibility: bool = True) -> Problem:  # fmt: skip
    """Random Gaussians before a turned camera, some behind it. Depths differ by more than float32 rounds, except between exact twins.

    Args:
        size, spread: mean and deviation of log_scale.
        behind: share of Gaussians behind the camera.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    depth = 1.2 + 3.0 * (torch.randperm(n, generator=g).double() + 0.5) / max(n, 1)
    depth = torch.where(torch.rand(n, generator=g) < behind, -depth, depth)
    x, y = (torch.rand(n, 2, generator=g, dtype=torch.float64) * 1.4 - 0.7).unbind(1)
    local = torch.stack([x * depth, y * depth, depth], 1)
    angle = torch.tensor([0.3, -0.2], dtype=torch.float64)
    (ca, cb), (sa, sb) = angle.cos().tolist(), angle.sin().tolist()
    turn = torch.tensor([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]], dtype=torch.float64) @ torch.tensor(
        [[1, 0, 0], [0, cb, -sb], [0, sb, cb]], dtype=torch.float64
    )
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = turn, torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    leaves: dict[str, Tensor | None] = {
        "means": (local - pose[:3, 3]) @ turn,
        "quat_wxyz": normal(n, 4),
        "log_scale": normal(n, 3) * spread + size,
        "opacity_logit": normal(n) * 1.5 + opacity,
        "color": torch.rand(n, 3, generator=g, dtype=torch.float64),
        "visibility": torch.rand(n, generator=g, dtype=torch.float64) if visibility else None,
        "sh_rest": normal(n, sh, 3) * 0.2 if sh else None,
        "channels": normal(n, channels) if channels else None,
        "background": torch.rand(3, generator=g, dtype=torch.float64),
        "world_to_camera": pose,
    }
    leaves = {name: None if v is None else v.float().double() for name, v in leaves.items()}  # every dtype sees the same numbers
    K = torch.tensor([[width * 0.9, 0, width / 2 + 0.3], [0, width * 0.95, height / 2 - 0.2], [0, 0, 1]]).float().double()
    return Problem(leaves, K, width, height)


@dataclass
class Truth:
    """Images, the pixel centres (a leaf of the graph), and the pixels that lie on a jump of the model."""

    color: Tensor
    alpha: Tensor
    depth: Tensor
    channels: Tensor | None
    centers: Tensor
    ambiguous: Tensor
    weights: Tensor  # (N, H, W), no gradient
    radius: Tensor


def _harmonics(d: Tensor, terms: int) -> Tensor:
    """Degree 1-3 from the associated Legendre definition: sign (-1)^m, order m = -l..l, as 3D Gaussian Splatting has them."""
    x, y, z = d.unbind(-1)
    azimuth, out = torch.complex(x, y), []
    for degree in range(1, math.isqrt(terms + 1)):
        for order in range(-degree, degree + 1):
            m = abs(order)
            poly = torch.zeros_like(z)  # P_l^m / sin^m, by Rodrigues' formula
            for k in range((degree - m) // 2 + 1):
                factor = (-1) ** k * math.factorial(2 * degree - 2 * k)
                factor /= 2**degree * math.factorial(k) * math.factorial(degree - k) * math.factorial(degree - 2 * k - m)
                poly = poly + factor * z ** (degree - 2 * k - m)
            norm = math.sqrt((2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m))
            angular = azimuth**m
            part = math.sqrt(2) * (angular.imag if order < 0 else angular.real) if m else torch.ones_like(z)
            out.append((-1) ** m * norm * poly * part)
    return torch.stack(out, -1)


def _ellipses(p: Problem, options: RasterOptions) -> tuple[Tensor, ...]:
    """Centres, covariances (N, 2, 2), opacities, depths, which are drawn."""
    x = p.leaves
    w, i, j, k = torch.nn.functional.normalize(x["quat_wxyz"], dim=1).unbind(1)
    zero = torch.zeros_like(w)
    skew = torch.stack([zero, -k, j, k, zero, -i, -j, i, zero], 1).reshape(-1, 3, 3)
    rotation = torch.eye(3, dtype=w.dtype) + 2 * w[:, None, None] * skew + 2 * skew @ skew
    pose, K = x["world_to_camera"], p.K
    world = rotation @ torch.diag_embed((2 * x["log_scale"]).exp()) @ rotation.transpose(1, 2)
    point = x["means"] @ pose[:3, :3].T + pose[:3, 3]
    drawn = point[:, 2] > 0.01
    z = torch.where(drawn, point[:, 2], torch.ones_like(point[:, 2]))
    focal, center, size = torch.diagonal(K)[:2], K[:2, 2], torch.tensor([p.width, p.height], dtype=z.dtype)
    ratio = point[:, :2] / z[:, None]
    bounded = torch.minimum(torch.maximum(ratio, -(center + 0.15 * size) / focal), (size - center + 0.15 * size) / focal)
    jacobian = torch.zeros(len(z), 2, 3, dtype=z.dtype)
    jacobian = jacobian + torch.diag_embed(focal / z[:, None])[:, :, [0, 1, 1]] * torch.tensor([1.0, 1, 0])
    jacobian = jacobian - (focal * bounded / z[:, None])[:, :, None] * torch.tensor([0.0, 0, 1])
    plain = jacobian @ pose[:3, :3] @ world @ pose[:3, :3].T @ jacobian.transpose(1, 2)
    covariance = plain + options.dilation * torch.eye(2, dtype=z.dtype)
    opacity = torch.sigmoid(x["opacity_logit"]) * (1 if x["visibility"] is None else x["visibility"])
    if options.antialias:
        opacity = opacity * (plain.det().clamp(min=1e-30) / covariance.det()).sqrt()
    return focal * ratio + center, covariance, opacity, point[:, 2], drawn


def brute_force(p: Problem, options: RasterOptions = RasterOptions()) -> Truth:
    """Draw `p` (float64) pixel by pixel."""
    x = p.leaves
    centers, covariance, opacity, depth, drawn = _ellipses(p, options)
    if centers.requires_grad:
        centers.retain_grad()
    inverse = torch.linalg.inv(covariance)
    color = x["color"]
    if x["sh_rest"] is not None:
        pose = x["world_to_camera"]
        direction = torch.nn.functional.normalize(x["means"] + pose[:3, :3].T @ pose[:3, 3], dim=1)
        color = (color + torch.einsum("nk,nkc->nc", _harmonics(direction, x["sh_rest"].shape[1]), x["sh_rest"])).clamp(min=0)
    values = torch.cat([color, depth[:, None]] + ([] if x["channels"] is None else [x["channels"]]), 1)
    ys, xs = torch.meshgrid(torch.arange(p.height).double() + 0.5, torch.arange(p.width).double() + 0.5, indexing="ij")
    left, image = torch.ones_like(xs), torch.zeros(p.height, p.width, values.shape[1]).double()
    ended, ambiguous = torch.zeros_like(xs, dtype=torch.bool), torch.zeros_like(xs, dtype=torch.bool)
    weights = torch.zeros(len(depth), p.height, p.width).double()
    for n in torch.argsort(depth.detach(), stable=True).tolist():
        if not drawn[n]:
            continue
        d = torch.stack([xs, ys], -1) - centers[n]
        full = opacity[n] * torch.exp(-0.5 * ((d @ inverse[n]) * d).sum(-1))
        alpha = full.clamp(max=0.999)
        seen = (alpha >= 1 / 255) & ~ended
        after = left * (1 - alpha)
        near_jump = ((full * 255 - 1).abs() < 1e-4) | ((full - 0.999).abs() < 1e-5) | (seen & ((after * 1e4 - 1).abs() < 1e-2))
        ambiguous |= near_jump & ~ended
        ended = ended | (seen & (after <= 1e-4))
        weight = torch.where(seen & ~ended, alpha * left, torch.zeros_like(left))
        weights[n] = weight.detach()
        left = torch.where(seen & ~ended, after, left)
        image = image + weight[..., None] * values[n]
    alpha = 1 - left
    hit = alpha > 0
    out_depth = torch.where(hit, image[..., 3] / torch.where(hit, alpha, torch.ones_like(alpha)), torch.zeros_like(alpha))
    extra = None if x["channels"] is None else image[..., 4:]
    radius = 3 * torch.linalg.eigvalsh(covariance)[:, 1].sqrt()
    return Truth(image[..., :3] + left[..., None] * x["background"], alpha, out_depth, extra, centers, ambiguous, weights, radius)


def loss(images: Render | Truth, mask: Tensor, opacity: Tensor, seed: int = 0) -> Tensor:
    """A random linear function of all images over the pixels of `mask`; the depth counts by the `opacity` behind it.

    Where next to nothing was hit, the depth's gradient is a difference of almost equal numbers divided by almost zero.
    """
    g = torch.Generator().manual_seed(seed)
    total = torch.zeros((), dtype=images.color.dtype)
    for image in (images.color, images.alpha, images.depth, images.channels):
        if image is not None:
            cotangent = torch.randn(image.shape, generator=g, dtype=torch.float64).float().to(image.dtype)
            kept = mask if image.ndim == 2 else mask[..., None]
            if image is images.depth:
                kept = kept * opacity.detach().to(image.dtype)
            if image.requires_grad:
                total = total + (image * cotangent * kept).sum()
    return total


def relative(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|, Euclidean."""
    difference, size = (found.detach().double() - expected.detach().double()).norm(), expected.detach().double().norm()
    return float(difference / size) if size > 0 else float(difference)
