// Real spherical harmonics of degree 1 to 3 as polynomials of the unit direction (x, y, z), in the order and sign of 3DGS.
#pragma once

namespace fourfold {

// Y[0..terms) for terms in {3, 8, 15}.
inline void sh_basis(int terms, const float d[3], float* Y) {
  const float x = d[0], y = d[1], z = d[2];
  Y[0] = -0.48860251190292f * y;
  Y[1] = 0.48860251190292f * z;
  Y[2] = -0.48860251190292f * x;
  if (terms < 8) return;
  Y[3] = 1.09254843059208f * x * y;
  Y[4] = -1.09254843059208f * y * z;
  Y[5] = 0.31539156525252f * (2 * z * z - x * x - y * y);
  Y[6] = -1.09254843059208f * x * z;
  Y[7] = 0.54627421529604f * (x * x - y * y);
  if (terms < 15) return;
  Y[8] = -0.59004358992664f * y * (3 * x * x - y * y);
  Y[9] = 2.89061144264055f * x * y * z;
  Y[10] = -0.45704579946447f * y * (4 * z * z - x * x - y * y);
  Y[11] = 0.37317633259012f * z * (2 * z * z - 3 * x * x - 3 * y * y);
  Y[12] = -0.45704579946447f * x * (4 * z * z - x * x - y * y);
  Y[13] = 1.44530572132028f * z * (x * x - y * y);
  Y[14] = -0.59004358992664f * x * (x * x - 3 * y * y);
}

// g += sum_j w[j] dY_j / d(x, y, z), the polynomials taken as functions on all of R^3.
inline void sh_direction_gradient(int terms, const float d[3], const float* w, float g[3]) {
  const float x = d[0], y = d[1], z = d[2];
  g[0] += -0.48860251190292f * w[2];
  g[1] += -0.48860251190292f * w[0];
  g[2] += 0.48860251190292f * w[1];
  if (terms < 8) return;
  const float a = 1.09254843059208f, b = 0.31539156525252f, c = 0.54627421529604f;
  g[0] += a * y * w[3] - 2 * b * x * w[5] - a * z * w[6] + 2 * c * x * w[7];
  g[1] += a * x * w[3] - a * z * w[4] - 2 * b * y * w[5] - 2 * c * y * w[7];
  g[2] += -a * y * w[4] + 4 * b * z * w[5] - a * x * w[6];
  if (terms < 15) return;
  const float e = 0.59004358992664f, f = 2.89061144264055f, h = 0.45704579946447f, k = 0.37317633259012f, m = 1.44530572132028f;
  const float xx = x * x, yy = y * y, zz = z * z;
  g[0] += -6 * e * x * y * w[8] + f * y * z * w[9] + 2 * h * x * y * w[10] - 6 * k * x * z * w[11] - h * (4 * zz - 3 * xx - yy) * w[12] +
          2 * m * x * z * w[13] - 3 * e * (xx - yy) * w[14];
  g[1] += -3 * e * (xx - yy) * w[8] + f * x * z * w[9] - h * (4 * zz - xx - 3 * yy) * w[10] - 6 * k * y * z * w[11] + 2 * h * x * y * w[12] -
          2 * m * y * z * w[13] + 6 * e * x * y * w[14];
  g[2] += f * x * y * w[9] - 8 * h * y * z * w[10] + 3 * k * (2 * zz - xx - yy) * w[11] - 8 * h * x * z * w[12] + m * (xx - yy) * w[13];
}

}  // namespace fourfold
