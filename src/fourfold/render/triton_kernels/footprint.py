"""From a Gaussian to its ellipse on the screen: EWA projection of a block of Gaussians at once; the twin of `kernels/footprint.h`.

A camera is 18 numbers: the first three rows of `world_to_camera`, then the first two rows of K. Matrices are tuples, row by row.
"""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

from fourfold.kernels.triton_algebra import cross, dot

CAMERA_NUMBERS = 18


@triton.jit
def turned(R, v):
    """R v."""
    return (dot((R[0], R[1], R[2]), v), dot((R[3], R[4], R[5]), v), dot((R[6], R[7], R[8]), v))


@triton.jit
def turned_back(R, v):
    """R^T v."""
    return (dot((R[0], R[3], R[6]), v), dot((R[1], R[4], R[7]), v), dot((R[2], R[5], R[8]), v))


@triton.jit
def finite(x):
    """False for NaN and infinities."""
    return tl.abs(x) < 3.0e38


@triton.jit
def pose_of(camera):
    """Rotation (9) and translation (3) of `world_to_camera`."""
    R = (tl.load(camera), tl.load(camera + 1), tl.load(camera + 2), tl.load(camera + 4), tl.load(camera + 5), tl.load(camera + 6))
    R = (R[0], R[1], R[2], R[3], R[4], R[5], tl.load(camera + 8), tl.load(camera + 9), tl.load(camera + 10))
    return R, (tl.load(camera + 3), tl.load(camera + 7), tl.load(camera + 11))


@triton.jit
def lens_of(camera):
    """fx, fy, cx, cy."""
    return (tl.load(camera + 12), tl.load(camera + 16), tl.load(camera + 14), tl.load(camera + 17))


@triton.jit
def rotation_of(quat, row, on):
    """Unit quaternion (4), 1 / norm, and rotation (9)."""
    w, x = tl.load(quat + row * 4, mask=on, other=1.0), tl.load(quat + row * 4 + 1, mask=on, other=0.0)
    y, z = tl.load(quat + row * 4 + 2, mask=on, other=0.0), tl.load(quat + row * 4 + 3, mask=on, other=0.0)
    inverse = 1.0 / tl.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    rotation = (
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
        2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x),
        2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y),
    )  # fmt: skip
    return (w, x, y, z), inverse, rotation


@triton.jit
def slopes_of(point, lens, width, height):
    """x / z and y / z of a point, bounded to the frustum widened by 30 %, and where the bounds are idle."""
    fx, fy, cx, cy = lens
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    low_x, high_x, low_y, high_y = -(cx / fx + margin_x), (width - cx) / fx + margin_x, -(cy / fy + margin_y), (height - cy) / fy + margin_y
    x, y = point[0] / point[2], point[1] / point[2]
    ux, uy = tl.minimum(tl.maximum(x, low_x), high_x), tl.minimum(tl.maximum(y, low_y), high_y)
    return ux, uy, (x >= low_x) & (x <= high_x), (y >= low_y) & (y <= high_y)


@triton.jit
def screen_axes(R, rotation, scale, point, slopes, lens):
    """M = R_view R_quat S (9), and the rows of J M: the screen covariance before dilation is their Gram matrix."""
    fx, fy, _, _ = lens
    first = turned(R, (rotation[0], rotation[3], rotation[6]))
    second = turned(R, (rotation[1], rotation[4], rotation[7]))
    third = turned(R, (rotation[2], rotation[5], rotation[8]))
    M = (
        first[0] * scale[0], second[0] * scale[1], third[0] * scale[2],
        first[1] * scale[0], second[1] * scale[1], third[1] * scale[2],
        first[2] * scale[0], second[2] * scale[1], third[2] * scale[2],
    )  # fmt: skip
    ux, uy, jx, jy = slopes[0], slopes[1], fx / point[2], fy / point[2]
    row_x = (jx * (M[0] - ux * M[6]), jx * (M[1] - ux * M[7]), jx * (M[2] - ux * M[8]))
    row_y = (jy * (M[3] - uy * M[6]), jy * (M[4] - uy * M[7]), jy * (M[5] - uy * M[8]))
    return M, row_x, row_y


@triton.jit
def covariance_of(row_x, row_y, dilation):
    """Dilated covariance (xx, xy, yy), its determinant and that before dilation: by Cauchy-Binet, without cancellation."""
    normal = cross(row_x, row_y)
    plain_xx, plain_yy, plain_det = dot(row_x, row_x), dot(row_y, row_y), dot(normal, normal)
    det = plain_det + dilation * (plain_xx + plain_yy + dilation)
    return plain_xx + dilation, dot(row_x, row_y), plain_yy + dilation, det, plain_det
