"""Moving many points, each by its own blended rotation (6D) and translation, to many times at once: the hot path of motion bases.

Everything is laid out component by component, (Q times, components, N points), and the gradient is written out: a rotation's gradient
is a rotation vector (three numbers), whatever form the rotation came in. About a tenth of the work of autograd through Gram-Schmidt,
matrices and quaternions. The plain twin is `rotations.rotation6d_to_matrix` and `rotations.matrix_to_quat`; a test compares them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.geometry.rotations import matrix_to_quat

SHORT = 1e-12  # keeps a degenerate 6D rotation finite
SAFE_REAL = 0.05  # below this squared real part the quaternion is read from another row of 4 q q^T


def move_by_rotation6d(rotation6d: Tensor, translation: Tensor, offset: Tensor, quat_wxyz: Tensor) -> tuple[Tensor, Tensor]:
    """Apply R = GramSchmidt(rotation6d) and a translation: R offset + translation, and the quaternion of R times `quat_wxyz`.

    Args:
        rotation6d: (Q, 6, N), first three numbers column x, the next three made orthogonal give column y, z = x cross y.
        translation: (Q, 3, N).
        offset: (3, N).
        quat_wxyz: (4, N), unit length.

    Returns:
        (Q, 3, N) moved points and (Q, 4, N) unit quaternions, each up to sign. Once differentiable in all arguments.
    """
    return _Move.apply(rotation6d, translation, offset, quat_wxyz)  # type: ignore[no-any-return]


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rotation6d: Tensor, translation: Tensor, offset: Tensor, quat: Tensor) -> tuple[Tensor, Tensor]:
        first, second = rotation6d[:, :3], rotation6d[:, 3:]
        length = _dot(first, first).sqrt_().clamp_min_(SHORT)
        x = first / length[:, None]
        along = _dot(x, second)
        y = torch.addcmul(second, x, along[:, None], value=-1.0)
        height = _dot(y, y).sqrt_().clamp_min_(SHORT)
        y /= height[:, None]
        z = _cross(x, y)
        moved = torch.addcmul(translation, x, offset[0])
        moved.addcmul_(y, offset[1]).addcmul_(z, offset[2])
        turn = _quaternion(x, y, z)
        turned = _product(turn, quat)
        ctx.save_for_backward(x, y, z, length, along, height, turn, turned, moved - translation)
        return moved, turned

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y, z, length, along, height, turn, turned, lever = ctx.saved_tensors
        grad_moved, grad_turned = grad_outputs
        torque = _cross(lever, grad_moved)
        # d(turned) = (0, omega / 2) turned, so the gradient of omega is half the vector part of grad * conjugate(turned)
        gw, gv, tw, tv = grad_turned[:, :1], grad_turned[:, 1:], turned[:, :1], turned[:, 1:]
        torque.addcmul_(gv, tw, value=0.5).addcmul_(gw, tv, value=-0.5).add_(_cross(gv, tv), alpha=-0.5)
        about_x, about_y, about_z = _dot(x, torque), _dot(y, torque), _dot(z, torque)
        grad_rotation = torch.empty(x.shape[0], 6, x.shape[2], dtype=x.dtype, device=x.device)
        about_x /= height
        torch.mul(z, about_x[:, None], out=grad_rotation[:, 3:])
        swing = torch.addcmul(about_y, about_x, along).div_(length)
        about_z /= length
        first = torch.mul(y, about_z[:, None], out=grad_rotation[:, :3])
        first.addcmul_(z, swing[:, None], value=-1.0)
        grad_offset = torch.stack([_dot(axis, grad_moved).sum(0) for axis in (x, y, z)])
        conjugate = torch.cat([turn[:, :1], -turn[:, 1:]], dim=1)
        grad_quat = _product(conjugate, grad_turned).sum(0)
        return grad_rotation, grad_moved, grad_offset, grad_quat


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, 0] * b[:, 0]).addcmul_(a[:, 1], b[:, 1]).addcmul_(a[:, 2], b[:, 2])


def _cross(a: Tensor, b: Tensor) -> Tensor:
    result = torch.empty(torch.broadcast_shapes(a.shape, b.shape), dtype=a.dtype, device=a.device)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        torch.mul(a[:, j], b[:, k], out=result[:, i]).addcmul_(a[:, k], b[:, j], value=-1.0)
    return result


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(Q, 4, N) Hamilton product of (Q, 4, N) with (Q, 4, N) or (4, N)."""
    aw, ax, ay, az = left.unbind(1)
    bw, bx, by, bz = right.unbind(-2)
    result = torch.empty_like(left)
    torch.mul(aw, bw, out=result[:, 0]).addcmul_(ax, bx, value=-1.0).addcmul_(ay, by, value=-1.0).addcmul_(az, bz, value=-1.0)
    torch.mul(aw, bx, out=result[:, 1]).addcmul_(ax, bw).addcmul_(ay, bz).addcmul_(az, by, value=-1.0)
    torch.mul(aw, by, out=result[:, 2]).addcmul_(ax, bz, value=-1.0).addcmul_(ay, bw).addcmul_(az, bx)
    torch.mul(aw, bz, out=result[:, 3]).addcmul_(ax, by).addcmul_(ay, bx, value=-1.0).addcmul_(az, bw)
    return result


def _quaternion(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """(Q, 4, N) unit quaternions of the rotations with columns x, y, z (Q, 3, N).

    Nearly all come from the row of 4 q q^T that is read fastest; the few that turn almost half round are read from their best row.
    """
    if x.device.type != "cpu":
        return _quaternion_on_gpu(x, y, z)
    trace = x[:, 0] + y[:, 1] + z[:, 2]
    row = torch.stack([trace + 1.0, y[:, 2] - z[:, 1], z[:, 0] - x[:, 2], x[:, 1] - y[:, 0]], dim=1)
    far = row[:, 0] < 4.0 * SAFE_REAL
    if bool(far.any()):
        time, point = far.nonzero(as_tuple=True)
        rotation = torch.stack([x[time, :, point], y[time, :, point], z[time, :, point]], dim=-1)
        row[time, :, point] = matrix_to_quat(rotation)
    return row / row.square().sum(1, keepdim=True).sqrt_()


def _quaternion_on_gpu(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """As `_quaternion`: 4 q q^T, which is linear in the rotation, as one product, and no waiting for how few need their best row."""
    linear, constant = _outer_of(x.device, x.dtype)
    outer = linear @ torch.cat([x, y, z], dim=1) + constant  # (Q, 16, N)
    best = outer[:, ::5].argmax(1)[:, None, None].expand(-1, 1, 4, -1)
    best_row = outer.unflatten(1, (4, 4)).gather(1, best)[:, 0]
    row = torch.where(outer[:, :1] < 4.0 * SAFE_REAL, best_row, outer[:, :4])
    return row / row.square().sum(1, keepdim=True).sqrt()


@cache
def _outer_of(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(16, 9) and (16, 1): the entries of 4 q q^T, row by row, from those of a rotation, column by column."""
    a, d, g, b, e, h, c, f, i = torch.eye(9, dtype=torch.float64)
    outer = [a + e + i, h - f, c - g, d - b, h - f, a - e - i, b + d, c + g, c - g, b + d, e - a - i, f + h, d - b, c + g, f + h, i - a - e]
    linear, constant = torch.stack(outer).to(dtype), torch.eye(4, dtype=dtype).reshape(16, 1)
    return linear.to(device, non_blocking=True), constant.to(device, non_blocking=True)
