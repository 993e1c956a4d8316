"""Vectors, quaternions (wxyz) and frames in Triton: each number a block, a vector a tuple of them. Imported only where Triton is installed."""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

SHORT = tl.constexpr(1e-12)  # keeps what has no length finite
FAR = tl.constexpr(0.2)  # four times the squared real part below which a quaternion is read from another row of 4 q q^T


@triton.jit
def dot(a, b):
    """a . b of two vectors of three."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@triton.jit
def cross(a, b):
    """a x b."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


@triton.jit
def plus(a, b, factor):
    """a + factor b, vectors of three."""
    return (a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2])


@triton.jit
def three(array, row, on):
    """The three numbers of each row."""
    return (
        tl.load(array + row * 3, mask=on, other=0.0),
        tl.load(array + row * 3 + 1, mask=on, other=0.0),
        tl.load(array + row * 3 + 2, mask=on, other=0.0),
    )


@triton.jit
def four(array, at, on):
    """The four numbers that begin at `at`."""
    return (
        tl.load(array + at, mask=on, other=0.0),
        tl.load(array + at + 1, mask=on, other=0.0),
        tl.load(array + at + 2, mask=on, other=0.0),
        tl.load(array + at + 3, mask=on, other=0.0),
    )


@triton.jit
def put_three(array, row, values, on):
    """Writes three numbers to each row."""
    tl.store(array + row * 3, values[0], mask=on)
    tl.store(array + row * 3 + 1, values[1], mask=on)
    tl.store(array + row * 3 + 2, values[2], mask=on)


@triton.jit
def put_four(array, at, values, on):
    """Writes four numbers from `at` on."""
    tl.store(array + at, values[0], mask=on)
    tl.store(array + at + 1, values[1], mask=on)
    tl.store(array + at + 2, values[2], mask=on)
    tl.store(array + at + 3, values[3], mask=on)


@triton.jit
def product(a, b):
    """Hamilton product."""
    return (
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    )


@triton.jit
def conjugate(a):
    """The inverse of a unit quaternion."""
    return (a[0], -a[1], -a[2], -a[3])


@triton.jit
def pure(v, factor):
    """The quaternion (0, factor v)."""
    return (v[0] * 0.0, factor * v[0], factor * v[1], factor * v[2])


@triton.jit
def vector(a):
    """The vector part."""
    return (a[1], a[2], a[3])


@triton.jit
def rotate(a, v):
    """v turned by a unit quaternion."""
    twice = cross(vector(a), v)
    twice = (2.0 * twice[0], 2.0 * twice[1], 2.0 * twice[2])
    return plus(plus(v, twice, a[0]), cross(vector(a), twice), 1.0)


@triton.jit
def dot4(a, b):
    """a . b of two quaternions."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]


@triton.jit
def scaled4(a, factor):
    """factor a."""
    return (factor * a[0], factor * a[1], factor * a[2], factor * a[3])


@triton.jit
def plus4(a, b, factor):
    """a + factor b, quaternions."""
    return (a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2], a[3] + factor * b[3])


@triton.jit
def unit(a):
    """A quaternion at unit length, and its length before."""
    length = tl.maximum(tl.sqrt(dot4(a, a)), SHORT)
    return scaled4(a, 1.0 / length), length


@triton.jit
def by_unit(u, length, gradient):
    """From the gradient of `unit`'s quaternion u that of what it got."""
    return scaled4(plus4(gradient, u, -dot4(u, gradient)), 1.0 / length)


@triton.jit
def frame(a, b):
    """Gram-Schmidt of two vectors: columns x, y, z, and the lengths that its gradient needs."""
    length = tl.maximum(tl.sqrt(dot(a, a)), SHORT)
    x = (a[0] / length, a[1] / length, a[2] / length)
    along = dot(x, b)
    y = plus(b, x, -along)
    height = tl.maximum(tl.sqrt(dot(y, y)), SHORT)
    y = (y[0] / height, y[1] / height, y[2] / height)
    return x, y, cross(x, y), (length, along, height)


@triton.jit
def by_frame(x, y, z, lengths, torque):
    """The gradient of `frame`'s two vectors, from that of turning the frame: a rotation vector."""
    length, along, height = lengths
    about_x, about_y, about_z = dot(x, torque) / height, dot(y, torque), dot(z, torque) / length
    swing = (about_y + about_x * along) / length
    first = (y[0] * about_z - z[0] * swing, y[1] * about_z - z[1] * swing, y[2] * about_z - z[2] * swing)
    return first, (z[0] * about_x, z[1] * about_x, z[2] * about_x)


@triton.jit
def in_frame(x, y, z, v):
    """The vector whose coordinates along x, y and z are v."""
    return (
        x[0] * v[0] + y[0] * v[1] + z[0] * v[2],
        x[1] * v[0] + y[1] * v[1] + z[1] * v[2],
        x[2] * v[0] + y[2] * v[1] + z[2] * v[2],
    )


@triton.jit
def quaternion_of(x, y, z):
    """Unit quaternion, up to sign, of the rotation with columns x, y, z: a row of 4 q q^T, the first where it is long enough, else the longest."""
    w = 1.0 + x[0] + y[1] + z[2]
    a, b, c = 1.0 + x[0] - y[1] - z[2], 1.0 - x[0] + y[1] - z[2], 1.0 - x[0] - y[1] + z[2]
    i, j, k = y[2] - z[1], z[0] - x[2], x[1] - y[0]
    ab, ac, bc = y[0] + x[1], z[0] + x[2], z[1] + y[2]
    near = w >= FAR
    first, second = (a >= b) & (a >= c), b >= c
    real = tl.where(near, w, tl.where(first, i, tl.where(second, j, k)))
    one = tl.where(near, i, tl.where(first, a, tl.where(second, ab, ac)))
    two = tl.where(near, j, tl.where(first, ab, tl.where(second, b, bc)))
    three_ = tl.where(near, k, tl.where(first, ac, tl.where(second, bc, c)))
    found = (real, one, two, three_)
    return scaled4(found, 1.0 / tl.sqrt(dot4(found, found)))


@triton.jit
def torque_of(gradient, turned):
    """The gradient of turning the unit quaternion `turned` further, from its own: half the vector part of gradient times conjugate."""
    both = product(gradient, conjugate(turned))
    return (0.5 * both[1], 0.5 * both[2], 0.5 * both[3])
