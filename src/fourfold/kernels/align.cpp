// Patches found again in an image under an affine change and a linear change of light: inverse compositional alignment with six parameters (Baker and
// Matthews 2004, section 3.2). The readable twin is `align_reference` in priors/tracking/track_anchor.py. Points are independent of each other.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>

#include "buffer.h"
#include "pool.h"

extern "C" {
// Mirrored field by field in priors/tracking/track_anchor.py.
struct FFAlign {
  const float* image;              // (H, W)
  const float *offset, *weight;    // (k, 2) samples around a point, x before y, and (k) their weights
  const float *value, *deviation;  // (P, k), (P) of the anchors
  const float *slope, *inverse;    // (P, 6, k), (P, 6, 6)
  const std::int64_t* rows;        // (N) which anchor is whose
  float *xy, *shape;               // (N, 2), (N, 2, 2): from where, and where to
  float* alike;                    // (N) written: correlation there
  std::int64_t height, width, points, samples, steps;
  float longest, settled;
};
}

namespace {

constexpr std::size_t kPointsPerTask = 64;
constexpr float kFlat = 1e-3f, kDark = 1e-6f, kMostGain = 3.f, kMostChange = 0.3f;

float dot(const float* a, const float* b, std::size_t count) {
  constexpr std::size_t kSums = 16;
  float some[kSums] = {};
  const std::size_t whole = count / kSums * kSums;
  for (std::size_t i = 0; i < whole; i += kSums) {
    for (std::size_t j = 0; j < kSums; ++j) some[j] += a[i + j] * b[i + j];
  }
  for (std::size_t i = whole; i < count; ++i) some[i - whole] += a[i] * b[i];
  float sum = 0.f;
  for (const float part : some) sum += part;
  return sum;
}

// Bilinear samples around (x, y), the border repeated, less their weighted mean; returns their weighted deviation.
float sampled(const FFAlign& a, const float* xy, const float* shape, const float* across, const float* down, float* value, float* weighted) {
  const auto k = static_cast<std::size_t>(a.samples);
  const float right = static_cast<float>(a.width - 1), bottom = static_cast<float>(a.height - 1), x = xy[0], y = xy[1];
  const float xx = shape[0], xy_ = shape[1], yx = shape[2], yy = shape[3];
  const auto width = static_cast<std::int32_t>(a.width), last_x = static_cast<std::int32_t>(a.width - 1), last_y = static_cast<std::int32_t>(a.height - 1);
  const float* const image = a.image;
  for (std::size_t i = 0; i < k; ++i) {
    const float u = std::min(right, std::max(0.f, x + xx * across[i] + xy_ * down[i]));  // in this order what is no number becomes 0
    const float v = std::min(bottom, std::max(0.f, y + yx * across[i] + yy * down[i]));
    const auto left = static_cast<std::int32_t>(u), top = static_cast<std::int32_t>(v);
    const float fx = u - static_cast<float>(left), fy = v - static_cast<float>(top);
    const std::int32_t next = std::min(left + 1, last_x), row = top * width, below = std::min(top + 1, last_y) * width;
    const float above = image[row + left] + fx * (image[row + next] - image[row + left]);
    const float under = image[below + left] + fx * (image[below + next] - image[below + left]);
    value[i] = above + fy * (under - above);
  }
  const float mean = dot(value, a.weight, k);
  for (std::size_t i = 0; i < k; ++i) value[i] -= mean, weighted[i] = a.weight[i] * value[i];
  return std::sqrt(dot(weighted, value, k));
}

inline float held(float x, float least, float most) { return x < least ? least : x > most ? most : x; }

// One step: xy and shape of a point move; returns how far, before the step is cut short.
float step(const FFAlign& a, std::size_t row, float deviation, const float* value, float* error, float* xy, float* shape) {
  const auto k = static_cast<std::size_t>(a.samples);
  const float gain = held(a.deviation[row] / std::max(deviation, kFlat), 1.f / kMostGain, kMostGain);
  const float *const known = a.value + row * k, *const inverse = a.inverse + row * 36;
  for (std::size_t i = 0; i < k; ++i) error[i] = (value[i] * gain - known[i]) * a.weight[i];
  float side[6], by[6];
  for (std::size_t c = 0; c < 6; ++c) side[c] = dot(error, a.slope + (row * 6 + c) * k, k);
  for (std::size_t c = 0; c < 6; ++c) by[c] = dot(inverse + 6 * c, side, 6);
  float turn[4] = {by[2], by[4], by[3], by[5]};
  for (float& t : turn) t = held(t, -kMostChange, kMostChange);
  turn[0] += 1.f, turn[3] += 1.f;
  const float by_determinant = 1.f / (turn[0] * turn[3] - turn[1] * turn[2]);
  const float back[4] = {turn[3] * by_determinant, -turn[1] * by_determinant, -turn[2] * by_determinant, turn[0] * by_determinant};
  const float old[4] = {shape[0], shape[1], shape[2], shape[3]};
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) shape[2 * i + j] = old[2 * i] * back[j] + old[2 * i + 1] * back[2 + j];
  }
  const float length = std::sqrt(by[0] * by[0] + by[1] * by[1]), cut = std::min(1.f, a.longest / std::max(length, kDark));
  xy[0] -= cut * (shape[0] * by[0] + shape[1] * by[1]);
  xy[1] -= cut * (shape[2] * by[0] + shape[3] * by[1]);
  return length;
}

}  // namespace

extern "C" {

// Moves every point of `align` to where its patch is. 0, or 1 when memory ran out.
int ff_align_patches(const FFAlign* align) try {
  const FFAlign& a = *align;
  const auto k = static_cast<std::size_t>(a.samples);
  fourfold::Buffer<float> offsets;
  float *const across = offsets.resize(2 * k), *const down = across + k;
  for (std::size_t i = 0; i < k; ++i) across[i] = a.offset[2 * i], down[i] = a.offset[2 * i + 1];
  fourfold::parallel_chunks(static_cast<std::size_t>(a.points), kPointsPerTask, [&](int, std::size_t begin, std::size_t end) {
    thread_local fourfold::Buffer<float> kept;
    float *const value = kept.resize(2 * k), *const other = value + k;
    for (std::size_t n = begin; n < end; ++n) {
      const auto row = static_cast<std::size_t>(a.rows[n]);
      float *const xy = a.xy + 2 * n, *const shape = a.shape + 4 * n;
      for (std::int64_t s = 0; s < a.steps; ++s) {
        const float deviation = sampled(a, xy, shape, across, down, value, other);
        if (step(a, row, deviation, value, other, xy, shape) < a.settled) break;
      }
      const float deviation = sampled(a, xy, shape, across, down, value, other);
      a.alike[n] = dot(other, a.value + row * k, k) / std::max(deviation * a.deviation[row], kDark);
    }
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
