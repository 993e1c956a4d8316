// From a Gaussian in the world to its ellipse on the screen: EWA projection of kLanes Gaussians at once.
#pragma once

#include "frame.h"

namespace fourfold {

// Camera numbers in the form the projection needs.
struct View {
  float rotation[9], translation[3];
  float fx, fy, cx, cy, near_plane, dilation;
  float min_ux, max_ux, min_uy, max_uy;  // bounds on x / z and y / z inside the Jacobian: the frustum widened by 30 %
  bool antialias;

  explicit View(const ff_camera& camera) {
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) rotation[3 * i + j] = camera.world_to_camera[4 * i + j];
      translation[i] = camera.world_to_camera[4 * i + 3];
    }
    fx = camera.fx, fy = camera.fy, cx = camera.cx, cy = camera.cy;
    near_plane = camera.near_plane, dilation = camera.dilation, antialias = camera.antialias != 0;
    const float width = static_cast<float>(camera.width), height = static_cast<float>(camera.height);
    const float margin_x = 0.15f * width / fx, margin_y = 0.15f * height / fy;  // 0.3 tan(half field of view)
    min_ux = -(cx / fx + margin_x), max_ux = (width - cx) / fx + margin_x;
    min_uy = -(cy / fy + margin_y), max_uy = (height - cy) / fy + margin_y;
  }

  // The camera centre in the world, -R^T t.
  void center(float c[3]) const {
    for (int j = 0; j < 3; ++j) {
      c[j] = -(rotation[j] * translation[0] + rotation[3 + j] * translation[1] + rotation[6 + j] * translation[2]);
    }
  }
};

// Component `k` of lanes i in out[k]: rows[i] of a (N, width) array; lanes beyond n repeat row 0 of them.
template <int kWidth>
inline void gather(const float* array, const std::int32_t* rows, int n, vfloat* out) {
  alignas(64) float lanes[kWidth][kLanes];
  for (int i = 0; i < kLanes; ++i) {
    const float* from = array + static_cast<std::size_t>(rows[i < n ? i : 0]) * kWidth;
    for (int k = 0; k < kWidth; ++k) lanes[k][i] = from[k];
  }
  for (int k = 0; k < kWidth; ++k) out[k] = load(lanes[k]);
}

// Inverse of gather for the first n lanes.
template <int kWidth>
inline void scatter(float* array, const std::int32_t* rows, int n, const vfloat* values) {
  alignas(64) float lanes[kWidth][kLanes];
  for (int k = 0; k < kWidth; ++k) store(lanes[k], values[k]);
  for (int i = 0; i < n; ++i) {
    float* to = array + static_cast<std::size_t>(rows[i]) * kWidth;
    for (int k = 0; k < kWidth; ++k) to[k] = lanes[k][i];
  }
}

struct Shape {
  vfloat mean[3], quat[4], scale[3];  // as given, scale = exp(log_scale)
  vfloat opacity, opacity_rest;       // sigmoid(logit) and 1 - sigmoid(logit)
  vfloat visibility;
  mask valid;                         // every number finite

  Shape(const ff_gaussians& g, const std::int32_t* rows, int n) {
    gather<3>(g.means, rows, n, mean);
    gather<4>(g.quat, rows, n, quat);
    vfloat log_scale[3], logit, check{};
    gather<3>(g.log_scale, rows, n, log_scale);
    gather<1>(g.opacity_logit, rows, n, &logit);
    visibility = splat(1.f);
    if (g.visibility != nullptr) gather<1>(g.visibility, rows, n, &visibility);
    for (int k = 0; k < 3; ++k) check += (mean[k] - mean[k]) + (log_scale[k] - log_scale[k]);
    for (int k = 0; k < 4; ++k) check += quat[k] - quat[k];
    valid = finite(check + (logit - logit) + (visibility - visibility));
    for (int k = 0; k < 3; ++k) scale[k] = exp(log_scale[k]);
    const vfloat e = exp(vfloat{} - logit);
    opacity = 1.f / (1.f + e);
    opacity_rest = e * opacity;
  }
};

// The ellipse and what its gradient needs. J is the Jacobian of the pinhole at the (clamped) centre, M = R_view R_quat S.
struct Footprint {
  vfloat point[3];          // centre in the camera
  vfloat inverse_z, ux, uy; // 1 / z, clamped x / z and y / z
  mask free_x, free_y;      // where the clamp is idle
  vfloat inverse_norm, unit[4], rotation[9];  // quaternion
  vfloat M[9];
  vfloat row_x[3], row_y[3];  // J M: screen covariance = (J M)(J M)^T + dilation I
  vfloat cross[3], area;      // row_x x row_y and its length: det of the undilated covariance = area^2
  vfloat xx, xy, yy, det;     // dilated covariance; det by Cauchy-Binet, without cancellation
  vfloat compensation;        // opacity factor of the antialiased mode

  Footprint(const View& view, const Shape& shape) {
    place(view, shape);
    rotate(view, shape);
    flatten(view);
  }

 private:
  void place(const View& view, const Shape& shape) {
    for (int i = 0; i < 3; ++i) {
      const float* R = view.rotation + 3 * i;
      point[i] = R[0] * shape.mean[0] + R[1] * shape.mean[1] + R[2] * shape.mean[2] + view.translation[i];
    }
    inverse_z = 1.f / point[2];
    const vfloat x = point[0] * inverse_z, y = point[1] * inverse_z;
    ux = minimum(maximum(x, splat(view.min_ux)), splat(view.max_ux));
    uy = minimum(maximum(y, splat(view.min_uy)), splat(view.max_uy));
    free_x = at_least(x, splat(view.min_ux)) & at_least(splat(view.max_ux), x);
    free_y = at_least(y, splat(view.min_uy)) & at_least(splat(view.max_uy), y);
  }

  void rotate(const View& view, const Shape& shape) {
    const vfloat* q = shape.quat;
    inverse_norm = 1.f / square_root(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    for (int k = 0; k < 4; ++k) unit[k] = q[k] * inverse_norm;
    const vfloat w = unit[0], x = unit[1], y = unit[2], z = unit[3];
    rotation[0] = 1.f - 2.f * (y * y + z * z), rotation[1] = 2.f * (x * y - w * z), rotation[2] = 2.f * (x * z + w * y);
    rotation[3] = 2.f * (x * y + w * z), rotation[4] = 1.f - 2.f * (x * x + z * z), rotation[5] = 2.f * (y * z - w * x);
    rotation[6] = 2.f * (x * z - w * y), rotation[7] = 2.f * (y * z + w * x), rotation[8] = 1.f - 2.f * (x * x + y * y);
    for (int i = 0; i < 3; ++i) {
      const float* R = view.rotation + 3 * i;
      for (int j = 0; j < 3; ++j) M[3 * i + j] = (R[0] * rotation[j] + R[1] * rotation[3 + j] + R[2] * rotation[6 + j]) * shape.scale[j];
    }
  }

  void flatten(const View& view) {
    const vfloat jx = view.fx * inverse_z, jy = view.fy * inverse_z;
    for (int j = 0; j < 3; ++j) {
      row_x[j] = jx * (M[j] - ux * M[6 + j]);
      row_y[j] = jy * (M[3 + j] - uy * M[6 + j]);
    }
    const vfloat* a = row_x;
    const vfloat* b = row_y;
    cross[0] = a[1] * b[2] - a[2] * b[1];
    cross[1] = a[2] * b[0] - a[0] * b[2];
    cross[2] = a[0] * b[1] - a[1] * b[0];
    const vfloat plain_xx = a[0] * a[0] + a[1] * a[1] + a[2] * a[2], plain_yy = b[0] * b[0] + b[1] * b[1] + b[2] * b[2];
    const vfloat plain_det = cross[0] * cross[0] + cross[1] * cross[1] + cross[2] * cross[2];
    area = square_root(plain_det);
    xx = plain_xx + view.dilation, yy = plain_yy + view.dilation, xy = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    det = plain_det + view.dilation * (plain_xx + plain_yy + view.dilation);
    compensation = view.antialias ? area / square_root(det) : splat(1.f);
  }
};

}  // namespace fourfold
