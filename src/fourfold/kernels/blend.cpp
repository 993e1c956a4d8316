// Points on blended rigid motions (spec shape_of_motion.md section 1), forward and gradient, one lane per point.
//
// Each point has logits over B motions; their softmax w blends 6D rotations and translations, v = sum_b w_b motion_b, Gram-Schmidt of
// the first six numbers gives the columns x, y, z of R, and the point goes to R (mean - pivot) + pivot + v_6..8, its quaternion to
// quat(R) * q / |q|. The gradient of R is a rotation vector ("torque"), three numbers whatever form R came in. Sums over points are
// taken in chunks of fixed size and the chunks added in order, so that results do not depend on the number of threads.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>

#include "buffer.h"
#include "pool.h"
#include "simd.h"

namespace {

using fourfold::kLanes;
using fourfold::splat;
using fourfold::vfloat;

constexpr std::size_t kPointsPerTask = 1024;
constexpr float kShort = 1e-12f;     // keeps a degenerate 6D rotation finite
constexpr float kSafeReal = 4 * 0.05f;  // a smaller 4 w^2 makes the quaternion be read from its best row
constexpr int kMotion = 9;           // numbers of one motion: two columns and a translation

struct Vec {
  vfloat x, y, z;
};
inline Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator*(Vec a, vfloat s) { return {a.x * s, a.y * s, a.z * s}; }
inline vfloat dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec cross(Vec a, Vec b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }

struct Quat {
  vfloat w;
  Vec v;
};
inline Quat operator*(Quat a, Quat b) { return {a.w * b.w - dot(a.v, b.v), b.v * a.w + a.v * b.w + cross(a.v, b.v)}; }
inline vfloat dot(Quat a, Quat b) { return a.w * b.w + dot(a.v, b.v); }
inline Quat scaled(Quat q, vfloat s) { return {q.w * s, q.v * s}; }
inline Quat pick(fourfold::mask m, Quat a, Quat b) {
  using fourfold::select;
  return {select(m, a.w, b.w), {select(m, a.v.x, b.v.x), select(m, a.v.y, b.v.y), select(m, a.v.z, b.v.z)}};
}

struct Inputs {
  const float *logits, *means, *quat, *motions, *pivot;  // (N, B), (N, 3), (N, 4), (Q, B, 9), (3)
  std::size_t points;                                    // N
  int bases, times, turned;                              // B, Q, and for how many of the first times a quaternion is wanted
};

struct Gradients {
  const float *const *of_positions, *const *of_quats;  // (N, 3) for each of Q times and (N, 4) for each turned one, each null for zero
  float *logits, *means, *quat;                         // quat may be null
};

// A vector of rows `first`.. of an (N, width) array, column `c`; lanes beyond `live` repeat the last row.
inline vfloat gather(const float* from, std::size_t first, int live, std::size_t width, std::size_t c) {
  vfloat v;
  for (int i = 0; i < kLanes; ++i) v[i] = from[(first + static_cast<std::size_t>(std::min(i, live - 1))) * width + c];
  return v;
}
inline vfloat gather_or_zero(const float* from, std::size_t first, int live, std::size_t width, std::size_t c) {
  vfloat v{};
  for (int i = 0; i < live; ++i) v[i] = from[(first + static_cast<std::size_t>(i)) * width + c];
  return v;
}
inline void scatter(float* to, std::size_t first, int live, std::size_t width, std::size_t c, vfloat v) {
  for (int i = 0; i < live; ++i) to[(first + static_cast<std::size_t>(i)) * width + c] = v[i];
}
inline Vec gather3(const float* from, std::size_t first, int live) { return {gather(from, first, live, 3, 0), gather(from, first, live, 3, 1), gather(from, first, live, 3, 2)}; }
inline void scatter3(float* to, std::size_t first, int live, Vec v) {
  scatter(to, first, live, 3, 0, v.x);
  scatter(to, first, live, 3, 1, v.y);
  scatter(to, first, live, 3, 2, v.z);
}
inline Quat gather4(const float* from, std::size_t first, int live) {
  return {gather(from, first, live, 4, 0), {gather(from, first, live, 4, 1), gather(from, first, live, 4, 2), gather(from, first, live, 4, 3)}};
}
inline void scatter4(float* to, std::size_t first, int live, Quat q) {
  scatter(to, first, live, 4, 0, q.w);
  scatter(to, first, live, 4, 1, q.v.x);
  scatter(to, first, live, 4, 2, q.v.y);
  scatter(to, first, live, 4, 3, q.v.z);
}

// w = softmax of the logits of a block of points.
void softmax(const Inputs& in, std::size_t first, int live, vfloat* w) {
  const auto bases = static_cast<std::size_t>(in.bases);
  vfloat highest = splat(-3.4e38f), total{};
  for (std::size_t b = 0; b < bases; ++b) {
    w[b] = gather(in.logits, first, live, bases, b);
    highest = fourfold::maximum(highest, w[b]);
  }
  for (std::size_t b = 0; b < bases; ++b) total += w[b] = fourfold::exp(w[b] - highest);
  const vfloat share = 1.f / total;
  for (std::size_t b = 0; b < bases; ++b) w[b] *= share;
}

// The blended motion of a block, and what Gram-Schmidt met on the way.
struct Pose {
  Vec x, y, z, shift;
  vfloat length, along, height;

  Pose(const vfloat* w, const float* motions, int bases) {
    vfloat v[kMotion] = {};
    for (int b = 0; b < bases; ++b) {
      for (int c = 0; c < kMotion; ++c) v[c] += w[b] * motions[b * kMotion + c];
    }
    const Vec first{v[0], v[1], v[2]}, second{v[3], v[4], v[5]};
    shift = {v[6], v[7], v[8]};
    length = fourfold::maximum(fourfold::square_root(dot(first, first)), splat(kShort));
    x = first * (1.f / length);
    along = dot(x, second);
    y = second - x * along;
    height = fourfold::maximum(fourfold::square_root(dot(y, y)), splat(kShort));
    y = y * (1.f / height);
    z = cross(x, y);
  }

  Vec turn(Vec p) const { return x * p.x + y * p.y + z * p.z; }
  Vec turn_back(Vec g) const { return {dot(x, g), dot(y, g), dot(z, g)}; }

  // From a row of 4 q q^T: the first, or the one with the largest diagonal where that is short.
  Quat quaternion() const {
    const vfloat a = x.x, e = y.y, i = z.z, one = splat(1.f);
    const vfloat sx = y.z - z.y, sy = z.x - x.z, sz = x.y - y.x, xy = y.x + x.y, xz = z.x + x.z, yz = z.y + y.z;
    Quat row{one + a + e + i, {sx, sy, sz}};
    const fourfold::mask far = fourfold::less(row.w, splat(kSafeReal));
    if (fourfold::any(far)) {
      const Quat by_x{sx, {one + a - e - i, xy, xz}}, by_y{sy, {xy, one - a + e - i, yz}}, by_z{sz, {xz, yz, one - a - e + i}};
      Quat best = row;
      vfloat largest = row.w;
      const auto challenge = [&](Quat rival, vfloat diagonal) {
        best = pick(fourfold::greater(diagonal, largest), rival, best);
        largest = fourfold::maximum(diagonal, largest);
      };
      challenge(by_x, by_x.v.x);
      challenge(by_y, by_y.v.y);
      challenge(by_z, by_z.v.z);
      row = pick(far, best, row);
    }
    return scaled(row, 1.f / fourfold::square_root(dot(row, row)));
  }
};

inline vfloat norm(Quat q) { return fourfold::maximum(fourfold::square_root(dot(q, q)), splat(kShort)); }

inline Vec offset_of(const Inputs& in, std::size_t first, int live) {
  return gather3(in.means, first, live) - Vec{splat(in.pivot[0]), splat(in.pivot[1]), splat(in.pivot[2])};
}

void forward_block(const Inputs& in, std::size_t first, int live, vfloat* w, float* const* positions, float* const* quats) {
  softmax(in, first, live, w);
  const Vec offset = offset_of(in, first, live), pivot{splat(in.pivot[0]), splat(in.pivot[1]), splat(in.pivot[2])};
  Quat own{};
  if (in.turned > 0) {
    own = gather4(in.quat, first, live);
    own = scaled(own, 1.f / norm(own));
  }
  for (int t = 0; t < in.times; ++t) {
    const Pose pose(w, in.motions + t * in.bases * kMotion, in.bases);
    scatter3(positions[t], first, live, pose.turn(offset) + (pose.shift + pivot));
    if (t < in.turned) scatter4(quats[t], first, live, pose.quaternion() * own);
  }
}

// Adds to `sums` (Q, B, 9), a lane per point.
void backward_block(const Inputs& in, const Gradients& g, std::size_t first, int live, vfloat* w, vfloat* sums) {
  vfloat* const by_weight = w + in.bases;
  softmax(in, first, live, w);
  std::fill_n(by_weight, in.bases, vfloat{});
  const Vec offset = offset_of(in, first, live);
  Vec by_offset{};
  Quat own{}, by_own{};
  vfloat own_norm{};
  if (in.turned > 0) {
    own = gather4(in.quat, first, live);
    own_norm = norm(own);
    own = scaled(own, 1.f / own_norm);
  }
  for (int t = 0; t < in.times; ++t) {
    const float *const of_position = g.of_positions[t], *const of_quat = t < in.turned ? g.of_quats[t] : nullptr;
    if (of_position == nullptr && of_quat == nullptr) continue;
    const float* motions = in.motions + t * in.bases * kMotion;
    const Pose pose(w, motions, in.bases);
    Vec by_position{}, torque{};
    if (of_position != nullptr) {
      const float* from = of_position;
      by_position = {gather_or_zero(from, first, live, 3, 0), gather_or_zero(from, first, live, 3, 1), gather_or_zero(from, first, live, 3, 2)};
      torque = cross(pose.turn(offset), by_position);
      by_offset = by_offset + pose.turn_back(by_position);
    }
    if (of_quat != nullptr) {
      // d(turned) = (0, omega / 2) turned: the gradient of omega is half the vector part of grad * conjugate(turned)
      const float* from = of_quat;
      const Quat by{gather_or_zero(from, first, live, 4, 0),
                    {gather_or_zero(from, first, live, 4, 1), gather_or_zero(from, first, live, 4, 2), gather_or_zero(from, first, live, 4, 3)}};
      const Quat turn = pose.quaternion(), turned = turn * own;
      torque = torque + (by.v * turned.w - turned.v * by.w - cross(by.v, turned.v)) * splat(0.5f);
      const Quat back = Quat{turn.w, turn.v * splat(-1.f)} * by;
      by_own = {by_own.w + back.w, by_own.v + back.v};
    }
    const vfloat about_x = dot(pose.x, torque) / pose.height, about_z = dot(pose.z, torque) / pose.length;
    const vfloat swing = (dot(pose.y, torque) + about_x * pose.along) / pose.length;
    const Vec by_first = pose.y * about_z - pose.z * swing, by_second = pose.z * about_x;
    const vfloat by[kMotion] = {by_first.x, by_first.y, by_first.z, by_second.x, by_second.y, by_second.z, by_position.x, by_position.y, by_position.z};
    vfloat* sum = sums + static_cast<std::size_t>(t) * in.bases * kMotion;
    for (int b = 0; b < in.bases; ++b) {
      vfloat pull{};
      for (int c = 0; c < kMotion; ++c) {
        pull += by[c] * motions[b * kMotion + c];
        sum[b * kMotion + c] += w[b] * by[c];
      }
      by_weight[b] += pull;
    }
  }
  vfloat mean{};
  for (int b = 0; b < in.bases; ++b) mean += w[b] * by_weight[b];
  for (int b = 0; b < in.bases; ++b) scatter(g.logits, first, live, static_cast<std::size_t>(in.bases), static_cast<std::size_t>(b), w[b] * (by_weight[b] - mean));
  scatter3(g.means, first, live, by_offset);
  if (g.quat != nullptr) {
    const vfloat radial = dot(own, by_own), inverse = 1.f / own_norm;
    scatter4(g.quat, first, live, {(by_own.w - own.w * radial) * inverse, (by_own.v - own.v * radial) * inverse});
  }
}

template <class Body>
void for_blocks(std::size_t begin, std::size_t end, const Body& body) {
  for (std::size_t first = begin; first < end; first += kLanes) body(first, static_cast<int>(std::min<std::size_t>(kLanes, end - first)));
}

}  // namespace

extern "C" {

// Sizes: {N, B, Q, turned}. Writes positions (N, 3) at each of Q times and quats (N, 4) at each of the first `turned`. 0, or 1 when memory ran out.
int ff_blend_forward(const float* logits, const float* means, const float* quat, const float* motions, const float* pivot, const std::int64_t sizes[4],
                     float* const* positions, float* const* quats) try {
  const Inputs in{logits, means, quat, motions, pivot, static_cast<std::size_t>(sizes[0]), static_cast<int>(sizes[1]), static_cast<int>(sizes[2]), static_cast<int>(sizes[3])};
  fourfold::parallel_chunks(in.points, kPointsPerTask, [&](int, std::size_t begin, std::size_t end) {
    thread_local fourfold::Buffer<vfloat> kept;
    vfloat* w = kept.resize(static_cast<std::size_t>(in.bases));
    for_blocks(begin, end, [&](std::size_t first, int live) { forward_block(in, first, live, w, positions, quats); });
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Gradients of positions and quats at each time, each null for zero, to the gradients of the inputs; by_quat null where turned is 0.
int ff_blend_backward(const float* logits, const float* means, const float* quat, const float* motions, const float* pivot, const std::int64_t sizes[4],
                      const float* const* of_positions, const float* const* of_quats, float* const by[4] /* logits, means, quat, motions */) try {
  const Inputs in{logits, means, quat, motions, pivot, static_cast<std::size_t>(sizes[0]), static_cast<int>(sizes[1]), static_cast<int>(sizes[2]), static_cast<int>(sizes[3])};
  const Gradients gradients{of_positions, of_quats, by[0], by[1], by[2]};
  const std::size_t numbers = static_cast<std::size_t>(in.times) * in.bases * kMotion;
  const std::size_t chunks = (in.points + kPointsPerTask - 1) / kPointsPerTask;
  thread_local fourfold::Buffer<float> kept_parts;
  float* const parts = kept_parts.resize(chunks * numbers);
  fourfold::parallel_chunks(in.points, kPointsPerTask, [&](int chunk, std::size_t begin, std::size_t end) {
    thread_local fourfold::Buffer<vfloat> kept;
    vfloat* const w = kept.resize(2 * static_cast<std::size_t>(in.bases) + numbers);
    vfloat* const sums = w + 2 * in.bases;
    std::fill_n(sums, numbers, vfloat{});
    for_blocks(begin, end, [&](std::size_t first, int live) { backward_block(in, gradients, first, live, w, sums); });
    float* const part = parts + static_cast<std::size_t>(chunk) * numbers;
    for (std::size_t i = 0; i < numbers; ++i) {
      float sum = 0.f;
      for (int lane = 0; lane < kLanes; ++lane) sum += sums[i][lane];
      part[i] = sum;
    }
  });
  std::fill_n(by[3], numbers, 0.f);
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    for (std::size_t i = 0; i < numbers; ++i) by[3][i] += parts[chunk * numbers + i];
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
