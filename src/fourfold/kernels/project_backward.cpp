// From the records of draw_backward to the gradients of the inputs: a segmented sum per Gaussian, then the chain rule through
// the projection, kLanes Gaussians at once. Chunks are of fixed size and summed in order.

#include <algorithm>

#include "footprint.h"
#include "pool.h"
#include "spherical_harmonics.h"

namespace fourfold {
namespace {

constexpr std::size_t kChunk = 256;
constexpr int kPose = 15;  // sums per chunk: rotation 9, translation 3, camera centre 3

constexpr float kLn2 = 0.69314718056f;

// Sums of one batch of lanes: moments and depth as vectors, colours per lane.
struct Batch {
  int n;
  std::int32_t rows[kLanes];
  vfloat moments[kMoments];
  vfloat depth, l, p, r;
  float color[kLanes][3];
};

class Collector {
 public:
  Collector(const Frame& frame, const ff_gaussians& g, const BackwardScratch& scratch, const ff_gradients& out)
      : frame_(frame), g_(g), scratch_(scratch), out_(out), view_(frame.camera) {
    view_.center(center_);
  }

  // Writes the gradients of rows [begin, end) and adds their part of the pose's gradient to pose[kPose].
  void collect(std::size_t begin, std::size_t end, double* pose) const {
    vfloat pose_lanes[12] = {};
    std::fill(pose, pose + kPose, 0.0);
    clear(begin, end);
    Batch batch;
    for (std::size_t row = begin; row < end;) {
      for (batch.n = 0; row < end && batch.n < kLanes; ++row) {
        if (frame_.first_slot[row] < frame_.first_slot[row + 1]) batch.rows[batch.n++] = static_cast<std::int32_t>(row);
      }
      if (batch.n == 0) break;
      sum_records(batch);
      write_screen(batch);
      vfloat of_mean[3];
      project(batch, of_mean, pose_lanes);
      write_colors(batch, of_mean, pose + 12);
      if (out_.means != nullptr) scatter<3>(out_.means, batch.rows, batch.n, of_mean);
    }
    for (int k = 0; k < 12; ++k) {
      for (int i = 0; i < kLanes; ++i) pose[k] += static_cast<double>(pose_lanes[k][i]);
    }
  }

 private:
  // What no pixel was drawn with has no gradient.
  void clear(std::size_t begin, std::size_t end) const {
    const std::size_t sh = static_cast<std::size_t>(g_.sh_terms) * 3, extra = static_cast<std::size_t>(g_.channel_count);
    const struct {
      float* to;
      std::size_t width;
    } arrays[] = {{out_.means, 3}, {out_.quat, 4},     {out_.log_scale, 3},  {out_.opacity_logit, 1}, {out_.visibility, 1},
                  {out_.color, 3}, {out_.sh_rest, sh}, {out_.channels, extra}, {out_.screen, 2},        {out_.absolute_screen, 2}};
    for (const auto& array : arrays) {
      if (array.to != nullptr) std::memset(array.to + begin * array.width, 0, (end - begin) * array.width * sizeof(float));
    }
  }

  void sum_records(Batch& batch) const {
    alignas(64) float lanes[kMoments + 1][kLanes] = {};
    alignas(64) float whitening[3][kLanes] = {};
    const bool with_depth = scratch_.channels == frame_.channels;
    const std::size_t extra = static_cast<std::size_t>(frame_.channels) - 4, record = static_cast<std::size_t>(scratch_.record);
    for (int i = 0; i < batch.n; ++i) {
      const std::size_t row = static_cast<std::size_t>(batch.rows[i]);
      alignas(64) float sum[kMaxRecord] = {};
      for (std::int32_t slot = frame_.first_slot[row]; slot < frame_.first_slot[row + 1]; ++slot) {
        const std::size_t at = static_cast<std::size_t>(slot);
        if (!scratch_.touched[at]) continue;
        const float* from = &scratch_.records[at * record];
        for (std::size_t k = 0; k < record; k += kLanes) store(sum + k, load(sum + k) + load(from + k));
      }
      for (int k = 0; k < kMoments; ++k) lanes[k][i] = sum[k];
      for (int k = 0; k < 3; ++k) batch.color[i][k] = sum[kMoments + k];
      if (with_depth) lanes[kMoments][i] = sum[kMoments + frame_.channels - 1];
      if (out_.channels != nullptr) std::copy_n(sum + kMoments + 3, extra, out_.channels + row * extra);
      const Splat& s = frame_.splats[row];
      whitening[0][i] = s.l, whitening[1][i] = s.p, whitening[2][i] = s.r;
    }
    for (int k = 0; k < kMoments; ++k) batch.moments[k] = load(lanes[k]);
    batch.depth = load(lanes[kMoments]);
    batch.l = load(whitening[0]), batch.p = load(whitening[1]), batch.r = load(whitening[2]);
  }

  // d loss / d centre = 2 ln 2 (l Qv + r Qu, p Qu), from ln alpha = ln 2 (log2_opacity - v^2 - u^2).
  void screen_gradient(const Batch& b, vfloat out[2]) const {
    out[0] = 2.f * kLn2 * (b.l * b.moments[kQv] + b.r * b.moments[kQu]);
    out[1] = 2.f * kLn2 * b.p * b.moments[kQu];
  }

  void write_screen(const Batch& b) const {
    vfloat screen[2];
    screen_gradient(b, screen);
    if (out_.screen != nullptr) scatter<2>(out_.screen, b.rows, b.n, screen);
    screen[0] = 2.f * kLn2 * b.moments[kAbsX];
    screen[1] = 2.f * kLn2 * b.p * b.moments[kAbsY];
    if (out_.absolute_screen != nullptr) scatter<2>(out_.absolute_screen, b.rows, b.n, screen);
  }

  void project(const Batch& b, vfloat of_mean[3], vfloat* pose) const {
    const Shape shape(g_, b.rows, b.n);
    const Footprint f(view_, shape);
    write_opacity(b, shape);
    vfloat of_rows[2][3];
    covariance_to_rows(b, f, of_rows);

    // row_x = jx (M_0 - ux M_2), row_y = jy (M_1 - uy M_2), jx = fx / z, jy = fy / z.
    vfloat of_M[9], of_ux{}, of_uy{}, along_x{}, along_y{};
    const vfloat jx = view_.fx * f.inverse_z, jy = view_.fy * f.inverse_z;
    for (int j = 0; j < 3; ++j) {
      of_M[j] = jx * of_rows[0][j];
      of_M[3 + j] = jy * of_rows[1][j];
      of_M[6 + j] = vfloat{} - f.ux * of_M[j] - f.uy * of_M[3 + j];
      of_ux -= of_M[j] * f.M[6 + j];
      of_uy -= of_M[3 + j] * f.M[6 + j];
      along_x += of_rows[0][j] * f.row_x[j];
      along_y += of_rows[1][j] * f.row_y[j];
    }
    vfloat screen[2];
    screen_gradient(b, screen);
    const vfloat of_x_over_z = keep(f.free_x, of_ux) + view_.fx * screen[0], of_y_over_z = keep(f.free_y, of_uy) + view_.fy * screen[1];
    vfloat of_point[3];
    of_point[0] = of_x_over_z * f.inverse_z;
    of_point[1] = of_y_over_z * f.inverse_z;
    of_point[2] = b.depth - f.inverse_z * (along_x + along_y + f.inverse_z * (of_x_over_z * f.point[0] + of_y_over_z * f.point[1]));

    const float* R = view_.rotation;
    for (int k = 0; k < 3; ++k) of_mean[k] = R[k] * of_point[0] + R[3 + k] * of_point[1] + R[6 + k] * of_point[2];
    for (int i = 0; i < 3; ++i) {
      for (int k = 0; k < 3; ++k) {
        vfloat through_shape{};
        for (int j = 0; j < 3; ++j) through_shape += of_M[3 * i + j] * f.rotation[3 * k + j] * shape.scale[j];
        pose[3 * i + k] += of_point[i] * shape.mean[k] + through_shape;
      }
      pose[9 + i] += of_point[i];
    }
    write_rotation_and_scale(b, shape, f, of_M);
  }

  void write_opacity(const Batch& b, const Shape& shape) const {
    const vfloat of_logit = b.moments[kQ] * shape.opacity_rest, of_visibility = b.moments[kQ] / shape.visibility;
    if (out_.opacity_logit != nullptr) scatter<1>(out_.opacity_logit, b.rows, b.n, &of_logit);
    if (out_.visibility != nullptr) scatter<1>(out_.visibility, b.rows, b.n, &of_visibility);
  }

  // d loss / d Sigma = 1/2 Sigma^-1 (sum q d d^T) Sigma^-1, written with the whitened moments; then Sigma = A A^T + dilation I.
  void covariance_to_rows(const Batch& b, const Footprint& f, vfloat of_rows[2][3]) const {
    const float k = 2.f * kLn2 * kLn2;
    const vfloat *m = b.moments, ruu = b.r * m[kQuu];
    vfloat of_xx = k * (b.l * b.l * m[kQvv] + b.r * (2.f * b.l * m[kQuv] + ruu));
    vfloat of_xy = 2.f * k * b.p * (b.l * m[kQuv] + ruu);
    vfloat of_yy = k * b.p * b.p * m[kQuu];
    vfloat of_cross[3] = {};
    if (view_.antialias) {  // ln compensation = ln area - 1/2 ln det
      const vfloat half = 0.5f * m[kQ] / f.det;
      of_xx -= half * f.yy, of_yy -= half * f.xx, of_xy += 2.f * half * f.xy;
      const vfloat q = m[kQ] / (f.area * f.area);
      for (int j = 0; j < 3; ++j) of_cross[j] = keep(greater(f.area, vfloat{}), q * f.cross[j]);
    }
    for (int j = 0; j < 3; ++j) {
      const int j1 = (j + 1) % 3, j2 = (j + 2) % 3;
      of_rows[0][j] = 2.f * of_xx * f.row_x[j] + of_xy * f.row_y[j] + (f.row_y[j1] * of_cross[j2] - f.row_y[j2] * of_cross[j1]);
      of_rows[1][j] = 2.f * of_yy * f.row_y[j] + of_xy * f.row_x[j] + (of_cross[j1] * f.row_x[j2] - of_cross[j2] * f.row_x[j1]);
    }
  }

  void write_rotation_and_scale(const Batch& b, const Shape& shape, const Footprint& f, const vfloat of_M[9]) const {
    const float* R = view_.rotation;
    vfloat v[9], of_scale[3];  // v: d loss / d rotation of the quaternion
    for (int j = 0; j < 3; ++j) {
      of_scale[j] = vfloat{};
      for (int k = 0; k < 3; ++k) {
        const vfloat inner = R[k] * of_M[j] + R[3 + k] * of_M[3 + j] + R[6 + k] * of_M[6 + j];
        of_scale[j] += inner * f.rotation[3 * k + j];
        v[3 * k + j] = inner * shape.scale[j];
      }
      of_scale[j] *= shape.scale[j];  // with respect to the logarithm
    }
    if (out_.log_scale != nullptr) scatter<3>(out_.log_scale, b.rows, b.n, of_scale);
    if (out_.quat == nullptr) return;
    const vfloat w = f.unit[0], x = f.unit[1], y = f.unit[2], z = f.unit[3];
    vfloat of_quat[4];
    of_quat[0] = 2.f * (x * (v[7] - v[5]) + y * (v[2] - v[6]) + z * (v[3] - v[1]));
    of_quat[1] = 2.f * (w * (v[7] - v[5]) + y * (v[1] + v[3]) + z * (v[2] + v[6]) - 2.f * x * (v[4] + v[8]));
    of_quat[2] = 2.f * (w * (v[2] - v[6]) + x * (v[1] + v[3]) + z * (v[5] + v[7]) - 2.f * y * (v[0] + v[8]));
    of_quat[3] = 2.f * (w * (v[3] - v[1]) + x * (v[2] + v[6]) + y * (v[5] + v[7]) - 2.f * z * (v[0] + v[4]));
    const vfloat radial = of_quat[0] * w + of_quat[1] * x + of_quat[2] * y + of_quat[3] * z;
    for (int k = 0; k < 4; ++k) of_quat[k] = (of_quat[k] - radial * f.unit[k]) * f.inverse_norm;
    scatter<4>(out_.quat, b.rows, b.n, of_quat);
  }

  void write_colors(Batch& b, vfloat of_mean[3], double* of_center) const {
    for (int i = 0; i < b.n; ++i) {
      const std::size_t row = static_cast<std::size_t>(b.rows[i]);
      if (g_.sh_rest != nullptr) {
        float of_delta[3];
        harmonics_backward(row, b.color[i], of_delta);
        for (int k = 0; k < 3; ++k) {
          of_mean[k][i] += of_delta[k];
          of_center[k] -= static_cast<double>(of_delta[k]);
        }
      }
      if (out_.color != nullptr) std::copy_n(b.color[i], 3, out_.color + 3 * row);
    }
  }

  // Through colour = max(0, color + sum_j Y_j(direction) rest_j): masks of_color, writes the coefficients' gradient and that of
  // centre-to-Gaussian offset.
  void harmonics_backward(std::size_t row, float of_color[3], float of_delta[3]) const {
    float direction[3], basis[15], square = 0;
    for (int k = 0; k < 3; ++k) direction[k] = g_.means[3 * row + k] - center_[k], square += direction[k] * direction[k];
    const float inverse = square > 0 ? 1.f / std::sqrt(square) : 0.f;
    for (float& k : direction) k *= inverse;
    const int terms = g_.sh_terms;
    sh_basis(terms, direction, basis);
    const std::size_t offset = row * static_cast<std::size_t>(terms) * 3;
    const float* rest = g_.sh_rest + offset;
    for (int k = 0; k < 3; ++k) {
      float value = g_.color[3 * row + k];
      for (int j = 0; j < terms; ++j) value += basis[j] * rest[3 * j + k];
      if (value < 0.f) of_color[k] = 0.f;
    }
    float of_basis[15], of_direction[3] = {};
    for (int j = 0; j < terms; ++j) {
      of_basis[j] = rest[3 * j] * of_color[0] + rest[3 * j + 1] * of_color[1] + rest[3 * j + 2] * of_color[2];
      if (out_.sh_rest == nullptr) continue;
      for (int k = 0; k < 3; ++k) out_.sh_rest[offset + static_cast<std::size_t>(3 * j + k)] = basis[j] * of_color[k];
    }
    sh_direction_gradient(terms, direction, of_basis, of_direction);
    const float radial = of_direction[0] * direction[0] + of_direction[1] * direction[1] + of_direction[2] * direction[2];
    for (int k = 0; k < 3; ++k) of_delta[k] = (of_direction[k] - radial * direction[k]) * inverse;
  }

  const Frame& frame_;
  const ff_gaussians& g_;
  const BackwardScratch& scratch_;
  const ff_gradients& out_;
  const View view_;
  float center_[3];
};

void write_pose(const View& view, const double* sums, float* out) {
  const double* of_center = sums + 12;  // centre = -R^T t
  std::fill(out, out + 16, 0.f);
  for (int i = 0; i < 3; ++i) {
    double of_translation = sums[9 + i];
    for (int j = 0; j < 3; ++j) {
      out[4 * i + j] = static_cast<float>(sums[3 * i + j] - static_cast<double>(view.translation[i]) * of_center[j]);
      of_translation -= static_cast<double>(view.rotation[3 * i + j]) * of_center[j];
    }
    out[4 * i + 3] = static_cast<float>(of_translation);
  }
}

}  // namespace

void project_backward(const Frame& frame, const ff_gaussians& g, BackwardScratch& scratch, const ff_gradients& out) {
  const std::size_t rows = static_cast<std::size_t>(frame.count), chunks = (rows + kChunk - 1) / kChunk;
  scratch.pose.resize(chunks * kPose + 1);
  const Collector collector(frame, g, scratch, out);
  parallel_chunks(rows, kChunk, [&](int chunk, std::size_t begin, std::size_t end) {
    collector.collect(begin, end, &scratch.pose[static_cast<std::size_t>(chunk) * kPose]);
  });
  double pose[kPose] = {}, background[3] = {};
  for (std::size_t i = 0; i < chunks * kPose; ++i) pose[i % kPose] += scratch.pose[i];
  for (std::size_t i = 0; i < static_cast<std::size_t>(frame.tiles()) * 3; ++i) background[i % 3] += scratch.background[i];
  if (out.world_to_camera != nullptr) write_pose(View(frame.camera), pose, out.world_to_camera);
  if (out.background != nullptr) {
    for (int k = 0; k < 3; ++k) out.background[k] = static_cast<float>(background[k]);
  }
}

}  // namespace fourfold
