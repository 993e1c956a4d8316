// Structural similarity of two images and its gradient (Wang et al. 2004, equation 13), 11x11 Gaussian window of sigma 1.5, zeros
// outside the image.
//
// With blurred mean x and y, S = blur(x^2 + y^2), P = blur(x y):
//   s = A1 A2 / (B1 B2), A1 = 2 mx my + C1, A2 = 2 (P - mx my) + C2, B1 = mx^2 + my^2 + C1, B2 = S - mx^2 - my^2 + C2,
// so four blurs serve, not five. The blur is its own adjoint, hence
//   d/dx sum(w s) = blur(w ds/dmx) + 2 x blur(w ds/dS) + y blur(w ds/dP).
// Rows are taken as they lie in memory, (W C) floats: a horizontal tap is a step of C floats, so channels need no planes.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "pool.h"
#include "simd.h"

namespace {

using fourfold::absolute;
using fourfold::greater;
using fourfold::kLanes;
using fourfold::less;
using fourfold::select;
using fourfold::vfloat;

constexpr int kReach = 5, kTaps = 2 * kReach + 1;
constexpr int kRowsPerTask = 16;
constexpr int kBlock = kLanes == 16 ? 4 : 2;  // output rows summed at once: kBlock * 4 sums stay in registers
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

struct Window {
  float tap[kTaps];
  Window() {
    double sum = 0, value[kTaps];
    for (int i = 0; i < kTaps; ++i) sum += value[i] = std::exp(-(i - kReach) * (i - kReach) / (2 * 1.5 * 1.5));
    for (int i = 0; i < kTaps; ++i) tap[i] = static_cast<float>(value[i] / sum);
  }
};
const Window g_window;

inline vfloat load_some(const float* from, int n) {
  if (n >= kLanes) return fourfold::load(from);
  vfloat v{};
  std::memcpy(&v, from, n * sizeof(float));
  return v;
}

inline void store_some(float* to, vfloat v, int n) {
  if (n >= kLanes) {
    fourfold::store(to, v);
  } else {
    std::memcpy(to, &v, n * sizeof(float));
  }
}

struct Size {
  int height, length, channels;  // length = width * channels
  int margin() const { return kReach * channels; }
  int stride() const { return margin() * 2 + (length + kLanes - 1) / kLanes * kLanes + kLanes; }  // of a padded row of scratch
};

// The kBlock rows from `first` on of kFields vertically blurred fields, into padded rows of `scratch` (kBlock, kFields, stride).
// fields(row, column, count, out) gives the values of a vector of columns.
template <int kFields, class Fields>
void blur_columns(const Size& size, int first, float* scratch, const Fields& fields) {
  const int stride = size.stride();
  for (int column = 0; column < size.length; column += kLanes) {
    vfloat sum[kBlock][kFields] = {};
#pragma GCC unroll 16
    for (int t = 0; t < kBlock + kTaps - 1; ++t) {
      const int row = first + t - kReach;
      if (row < 0 || row >= size.height) continue;
      vfloat value[kFields];
      fields(row, column, size.length - column, value);
#pragma GCC unroll 4
      for (int o = 0; o < kBlock; ++o) {
        if (t - o < 0 || t - o >= kTaps) continue;
        const float tap = g_window.tap[t - o];
#pragma GCC unroll 4
        for (int f = 0; f < kFields; ++f) sum[o][f] += value[f] * tap;
      }
    }
    for (int o = 0; o < kBlock; ++o) {
      for (int f = 0; f < kFields; ++f) fourfold::store(scratch + (o * kFields + f) * static_cast<std::size_t>(stride) + size.margin() + column, sum[o][f]);
    }
  }
}

// A vector of the horizontally blurred padded row.
inline vfloat blur_row(const float* padded, int column, int channels) {
  vfloat sum{};
#pragma GCC unroll 11
  for (int t = 0; t < kTaps; ++t) sum += fourfold::load(padded + column + t * channels) * g_window.tap[t];
  return sum;
}

// Calls body(task, row, scratch row) for every row of the image, scratch holding its kFields vertically blurred fields.
template <int kFields, class Fields, class Body>
void for_blurred_rows(const Size& size, const Fields& fields, const Body& body) {
  const int tasks = (size.height + kRowsPerTask - 1) / kRowsPerTask;
  fourfold::parallel_for(tasks, [&](int task) {
    thread_local fourfold::Buffer<float> kept;
    const std::size_t floats = static_cast<std::size_t>(kBlock) * kFields * size.stride();
    float* scratch = kept.resize(floats);
    std::fill_n(scratch, floats, 0.f);  // the margins stay zero
    const int end = std::min(size.height, (task + 1) * kRowsPerTask);
    for (int first = task * kRowsPerTask; first < end; first += kBlock) {
      blur_columns<kFields>(size, first, scratch, fields);
      for (int o = 0; o < std::min(kBlock, end - first); ++o) body(task, first + o, scratch + static_cast<std::size_t>(o) * kFields * size.stride());
    }
  });
}

struct Partials {
  vfloat similarity, by_mean, by_square, by_product;
};

inline Partials similarity_of(vfloat mx, vfloat my, vfloat square, vfloat product) {
  const vfloat mxy = mx * my, mm = mx * mx + my * my;
  const vfloat a1 = 2.f * mxy + kC1, a2 = 2.f * (product - mxy) + kC2;
  const vfloat b1 = mm + kC1, b2 = square - mm + kC2;
  const vfloat r1 = fourfold::reciprocal(b1), r2 = fourfold::reciprocal(b2);
  const vfloat r12 = r1 * r2, s = a1 * a2 * r12;
  return {s, 2.f * my * (a2 - a1) * r12 - 2.f * mx * s * (r1 - r2), -s * r2, 2.f * a1 * r12};
}

// Sums over pixels and channels of two (height, width, channels) images, each pixel weighed by `scale` times `weight` (height, width; null for
// ones), and the gradient by `x` of  of_similarity * similarity + of_difference * |x - y|  of the same weights, unless null.
struct Sums {
  double similarity = 0, difference = 0;
};

Sums weighed_sums(const float* x, const float* y, const float* weight, const Size& size, double scale, float of_similarity, float of_difference,
                  float* gradient) {
  const std::size_t length = size.length, padded = size.stride(), width = length / static_cast<std::size_t>(size.channels);
  thread_local fourfold::Buffer<float> kept;  // a fresh array would cost more in page faults than the arithmetic
  float* const partials = gradient ? kept.resize(3 * length * size.height) : nullptr;  // (height, 3, length)
  std::vector<Sums> sums((size.height + kRowsPerTask - 1) / kRowsPerTask);

  const auto moments = [&](int row, int column, int count, vfloat* out) {
    const vfloat a = load_some(x + row * length + column, count), b = load_some(y + row * length + column, count);
    out[0] = a;
    out[1] = b;
    out[2] = a * a + b * b;
    out[3] = a * b;
  };
  for_blurred_rows<4>(size, moments, [&](int task, int row, const float* blurred) {
    // the share of each column of this row in the mean, zero beyond the image so that the last vector adds nothing
    std::vector<float> share(length + kLanes);
    for (std::size_t pixel = 0, i = 0; pixel < width; ++pixel) {
      const float one = static_cast<float>(weight ? scale * weight[static_cast<std::size_t>(row) * width + pixel] : scale);
      for (int c = 0; c < size.channels; ++c) share[i++] = one;
    }
    vfloat alike{}, apart{};
    for (int column = 0; column < size.length; column += kLanes) {
      const vfloat w = fourfold::load(share.data() + column);
      const Partials p = similarity_of(blur_row(blurred, column, size.channels), blur_row(blurred + padded, column, size.channels),
                                       blur_row(blurred + 2 * padded, column, size.channels), blur_row(blurred + 3 * padded, column, size.channels));
      alike += w * p.similarity;
      const int count = size.length - column;
      const std::size_t at = row * length + column;
      const vfloat gap = load_some(x + at, count) - load_some(y + at, count), zero{};
      apart += w * absolute(gap);
      if (!gradient) continue;
      const vfloat pull = w * of_difference;
      store_some(gradient + at, select(greater(gap, zero), pull, select(less(gap, zero), zero - pull, zero * gap)), count);
      float* to = partials + static_cast<std::size_t>(row) * 3 * length + column;
      const vfloat of = w * of_similarity, out[3] = {of * p.by_mean, of * p.by_square, of * p.by_product};
      for (int f = 0; f < 3; ++f) store_some(to + f * length, out[f], count);
    }
    for (int i = 0; i < kLanes; ++i) sums[task].similarity += alike[i], sums[task].difference += apart[i];
  });
  Sums all;
  for (const Sums& sum : sums) all.similarity += sum.similarity, all.difference += sum.difference;
  if (!gradient) return all;

  const auto derivatives = [&](int row, int column, int count, vfloat* out) {
    const float* from = partials + static_cast<std::size_t>(row) * 3 * length + column;
    for (int f = 0; f < 3; ++f) out[f] = load_some(from + f * length, count);
  };
  for_blurred_rows<3>(size, derivatives, [&](int, int row, const float* blurred) {
    for (int column = 0; column < size.length; column += kLanes) {
      const int count = size.length - column;
      const std::size_t at = row * length + column;
      const vfloat g = blur_row(blurred, column, size.channels) + 2.f * load_some(x + at, count) * blur_row(blurred + padded, column, size.channels) +
                       load_some(y + at, count) * blur_row(blurred + 2 * padded, column, size.channels);
      store_some(gradient + at, load_some(gradient + at, count) + g, count);
    }
  });
  return all;
}

double total_of(const float* weight, int height, int width) {
  const std::size_t pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  if (!weight) return static_cast<double>(pixels);
  double total = 0;
  for (std::size_t i = 0; i < pixels; ++i) total += weight[i];
  return total;
}

}  // namespace

extern "C" {

// Weighted mean of the similarity of two (height, width, channels) float32 images and, unless null, its gradient by `x`.
// `weight` is (height, width) or null for all alike. Where no pixel has weight the images are called alike: 1, gradient 0.
// Returns 0, or 1 when memory ran out.
int ff_ssim(const float* x, const float* y, const float* weight, int height, int width, int channels, double* value, float* gradient) try {
  const Size size{height, width * channels, channels};
  const double total = total_of(weight, height, width);
  if (!(total > 0)) {
    *value = 1;
    if (gradient) std::fill_n(gradient, static_cast<std::size_t>(size.length) * height, 0.f);
    return 0;
  }
  *value = weighed_sums(x, y, weight, size, 1 / (total * channels), 1.f, 0.f, gradient).similarity;
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// (1 - share) |x - y| + share (1 - similarity) summed with `weight` over pixels and channels, over the number of all of them, and, unless null,
// its gradient by `x`. Arguments and result as above.
int ff_photometric(const float* x, const float* y, const float* weight, int height, int width, int channels, float share, double* value,
                   float* gradient) try {
  const Size size{height, width * channels, channels};
  const double pixels = static_cast<double>(height) * width;
  const Sums sums = weighed_sums(x, y, weight, size, 1 / (pixels * channels), -share, 1.f - share, gradient);
  *value = (1 - static_cast<double>(share)) * sums.difference + static_cast<double>(share) * (total_of(weight, height, width) / pixels - sums.similarity);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
