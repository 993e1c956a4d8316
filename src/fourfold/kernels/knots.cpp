// Values between knots: at each moment the sum of all knots' values with the moment's weights, most of which are zero, and its gradient.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "pool.h"

namespace {

constexpr std::size_t kRowsPerTask = 64;

struct Sizes {
  std::size_t rows, knots, moments, width;  // R, K, Q and the numbers of a row in all arrays together
};

Sizes sizes_of(const std::int64_t given[3], const std::int64_t* widths, int arrays) {
  Sizes s{static_cast<std::size_t>(given[0]), static_cast<std::size_t>(given[1]), static_cast<std::size_t>(given[2]), 0};
  for (int a = 0; a < arrays; ++a) s.width += static_cast<std::size_t>(widths[a]);
  return s;
}

// Calls body(weight, place in the array of values, place in the row of all arrays, width) for every weight that counts of every row in [begin, end).
template <class Body>
void for_weights(const Sizes& s, const float* weights, const std::int64_t* widths, int arrays, std::size_t begin, std::size_t end, const Body& body) {
  for (std::size_t q = 0; q < s.moments; ++q) {
    for (std::size_t k = 0; k < s.knots; ++k) {
      const float weight = weights[q * s.knots + k];
      if (weight == 0.f) continue;
      for (std::size_t row = begin; row < end; ++row) {
        std::size_t to = (q * s.rows + row) * s.width;
        for (int a = 0; a < arrays; ++a) {
          const auto width = static_cast<std::size_t>(widths[a]);
          body(weight, a, (row * s.knots + k) * width, to, width);
          to += width;
        }
      }
    }
  }
}

}  // namespace

extern "C" {

// `values` are arrays (R, K, width), `weights` (Q, K), `sizes` {R, K, Q}; writes (Q, R, sum of the widths), the arrays side by side.
void ff_between_knots(const float* const* values, const std::int64_t* widths, int arrays, const float* weights, const std::int64_t sizes[3], float* out) {
  const Sizes s = sizes_of(sizes, widths, arrays);
  fourfold::parallel_chunks(s.rows, kRowsPerTask, [&](int, std::size_t begin, std::size_t end) {
    for (std::size_t q = 0; q < s.moments; ++q) std::fill(out + (q * s.rows + begin) * s.width, out + (q * s.rows + end) * s.width, 0.f);
    for_weights(s, weights, widths, arrays, begin, end, [&](float weight, int a, std::size_t from, std::size_t to, std::size_t width) {
      const float* const value = values[a] + from;
      for (std::size_t c = 0; c < width; ++c) out[to + c] += weight * value[c];
    });
  });
}

// The gradient of what the above wrote to those of the values.
void ff_between_knots_backward(const float* of_out, const std::int64_t* widths, int arrays, const float* weights, const std::int64_t sizes[3], float* const* by) {
  const Sizes s = sizes_of(sizes, widths, arrays);
  fourfold::parallel_chunks(s.rows, kRowsPerTask, [&](int, std::size_t begin, std::size_t end) {
    for (int a = 0; a < arrays; ++a) {
      const std::size_t width = s.knots * static_cast<std::size_t>(widths[a]);
      std::fill(by[a] + begin * width, by[a] + end * width, 0.f);
    }
    for_weights(s, weights, widths, arrays, begin, end, [&](float weight, int a, std::size_t to, std::size_t from, std::size_t width) {
      float* const gradient = by[a] + to;
      for (std::size_t c = 0; c < width; ++c) gradient[c] += weight * of_out[from + c];
    });
  });
}
}
