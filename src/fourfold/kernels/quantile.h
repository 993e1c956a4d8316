// The limit below which errors count in a trimmed mean: a quantile, linear between neighbouring ranks as torch.quantile's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace fourfold {

// Errors are kept below `value`. All alike are all kept: there is no worst to leave out.
inline float kept_below(float limit, float least) { return least >= limit ? std::nextafter(limit, std::numeric_limits<float>::infinity()) : limit; }

// Of the `count` values of which the largest `some_count` are in `some` (reordered): the quantile `level`. `some_count` must reach down to it.
inline float quantile_of(float* some, std::size_t some_count, std::size_t count, float level) {
  const float place = level * static_cast<float>(count - 1);
  const std::size_t rank = std::min(static_cast<std::size_t>(place), count - 2);
  float* const middle = some + (rank - (count - some_count));
  std::nth_element(some, middle, some + some_count);
  const float next = middle + 1 < some + some_count ? *std::min_element(middle + 1, some + some_count) : *middle;
  return *middle + (place - static_cast<float>(rank)) * (next - *middle);
}

}  // namespace fourfold
