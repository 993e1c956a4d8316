// Trimmed weighted L1 of an image of residuals, or of its forward differences, and its gradient (spec shape_of_motion.md section 8).
//
// Of the errors with weight the share at or above the `level` quantile is left out: sum(w |d|) / sum(w) over what is kept. The
// quantile is exact, linear between neighbouring ranks: a histogram over the high bits of the errors (not negative, so their bits are
// ordered as they are) finds the bin, and only what lies in it is sorted.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "buffer.h"

namespace {

using fourfold::Buffer;

constexpr int kBinBits = 12, kShift = 31 - kBinBits;
constexpr std::size_t kBins = std::size_t{1} << kBinBits;

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The errors of rank `rank` and `rank` + 1 (0 is the least) among the `count` values.
struct Ranks {
  float here, next;
};
Ranks at_rank(const float* values, std::size_t count, std::size_t rank) {
  std::uint32_t histogram[kBins] = {};
  for (std::size_t i = 0; i < count; ++i) ++histogram[bits_of(values[i]) >> kShift & (kBins - 1)];
  std::size_t below = 0, bin = 0;
  while (below + histogram[bin] <= rank) below += histogram[bin++];
  std::size_t last = bin, within = histogram[bin];  // bins up to `last` hold both ranks
  while (below + within <= rank + 1 && last + 1 < kBins) within += histogram[++last];
  thread_local Buffer<float> kept;
  float* some = kept.resize(within + 1);
  std::size_t n = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t of = bits_of(values[i]) >> kShift & (kBins - 1);
    if (of >= bin && of <= last) some[n++] = values[i];
  }
  float* const middle = some + (rank - below);
  std::nth_element(some, middle, some + n);
  return {*middle, middle + 1 < some + n ? *std::min_element(middle + 1, some + n) : *middle};
}

struct Limit {
  float value;
  bool inclusive;  // all errors are alike: there is no worst to leave out
  bool keeps(float error) const { return error < value || (inclusive && error == value) || error != error; }
};

Limit limit_of(const float* values, std::size_t count, float level) {
  if (level >= 1.f || count < 2) return {INFINITY, true};
  const float place = level * static_cast<float>(count - 1);
  const auto rank = std::min(static_cast<std::size_t>(place), count - 2);
  const Ranks ranks = at_rank(values, count, rank);
  const float share = place - static_cast<float>(rank), limit = ranks.here + share * (ranks.next - ranks.here);
  return {limit, *std::min_element(values, values + count) >= limit};
}

}  // namespace

extern "C" {

// `residual` and `weight` (null for ones) are (height, width); axis 0 takes the residuals themselves, 1 their differences to the right
// neighbour, 2 to the one below, weighted by the product of both weights. `gradient` (height, width) may be null.
// Returns 0, or 1 when memory ran out.
int ff_trimmed_l1(const float* residual, const float* weight, std::int64_t height, std::int64_t width, int axis, float level, double* value,
                  float* gradient) try {
  const std::size_t columns = static_cast<std::size_t>(width - (axis == 1)), rows = static_cast<std::size_t>(height - (axis == 2));
  const std::size_t wide = static_cast<std::size_t>(width), step = axis == 1 ? 1 : axis == 2 ? wide : 0;
  thread_local Buffer<float> kept_errors;
  float* const errors = kept_errors.resize(rows * columns + 1);
  std::size_t count = 0;
  const auto error_at = [&](std::size_t p) { return axis == 0 ? residual[p] : residual[p + step] - residual[p]; };
  const auto weight_at = [&](std::size_t p) { return weight == nullptr ? 1.f : axis == 0 ? weight[p] : weight[p + step] * weight[p]; };
  for (std::size_t y = 0; y < rows; ++y) {
    for (std::size_t x = 0; x < columns; ++x) {
      errors[count] = std::fabs(error_at(y * wide + x));
      count += weight_at(y * wide + x) > 0.f;
    }
  }
  const Limit limit = limit_of(errors, count, level);
  double sum = 0, total = 0;
  for (std::size_t y = 0; y < rows; ++y) {
    float row_sum = 0.f, row_total = 0.f;
    for (std::size_t x = 0; x < columns; ++x) {
      const float w = weight_at(y * wide + x), e = std::fabs(error_at(y * wide + x));
      const float share = w > 0.f && limit.keeps(e) ? w : 0.f;
      row_sum += share > 0.f ? share * e : 0.f;
      row_total += share;
    }
    sum += row_sum;
    total += row_total;
  }
  *value = sum / (total + 1e-8);
  if (gradient == nullptr) return 0;
  const float scale = static_cast<float>(1 / (total + 1e-8));
  std::memset(gradient, 0, static_cast<std::size_t>(height) * wide * sizeof(float));
  for (std::size_t y = 0; y < rows; ++y) {
    for (std::size_t x = 0; x < columns; ++x) {
      const std::size_t p = y * wide + x;
      const float w = weight_at(p), d = error_at(p), e = std::fabs(d);
      const float pull = w > 0.f && limit.keeps(e) ? scale * w * (d > 0.f ? 1.f : d < 0.f ? -1.f : 0.f) : 0.f;
      if (axis == 0) {
        gradient[p] = pull;
      } else {
        gradient[p + step] += pull;
        gradient[p] -= pull;
      }
    }
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
