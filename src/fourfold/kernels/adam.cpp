// One step of Adam in place over the rows of a tensor (Kingma and Ba 2015, algorithm 1), all rows or only the seen ones.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "pool.h"

namespace {

constexpr std::size_t kFloatsPerTask = 1 << 15;

struct Step {
  float* __restrict param;
  const float* __restrict grad;
  float* __restrict first;
  float* __restrict second;
  float rate, keep_first, add_first, keep_second, add_second, inverse_root, epsilon;

  void apply(std::size_t begin, std::size_t end) const {
    for (std::size_t i = begin; i < end; ++i) {
      const float g = grad[i];
      const float m = keep_first * first[i] + add_first * g;
      const float v = keep_second * second[i] + add_second * g * g;
      first[i] = m;
      second[i] = v;
      param[i] -= rate * m / (std::sqrt(v) * inverse_root + epsilon);
    }
  }
};

}  // namespace

extern "C" {

// All arrays are (rows, width) float32, contiguous. `seen` is (rows,) bytes, or null for every row. `rate` is already divided by
// the correction of the first moment, and `inverse_root` is one over the square root of the correction of the second.
void ff_adam_step(float* param, const float* grad, float* first, float* second, const std::uint8_t* seen, std::int64_t rows, std::int64_t width,
                  const float* numbers /* rate, beta 1, 1 - beta 1, beta 2, 1 - beta 2, inverse_root, epsilon */) {
  const Step step{param, grad, first, second, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6]};
  const auto wide = static_cast<std::size_t>(width);
  const std::size_t rows_per_task = wide >= kFloatsPerTask ? 1 : kFloatsPerTask / (wide ? wide : 1);
  fourfold::parallel_chunks(static_cast<std::size_t>(rows), rows_per_task, [&](int, std::size_t begin, std::size_t end) {
    if (!seen) {
      step.apply(begin * wide, end * wide);
      return;
    }
    for (std::size_t row = begin; row < end;) {  // runs of seen rows, so that narrow rows still fill a vector
      while (row < end && !seen[row]) ++row;
      const std::size_t start = row;
      while (row < end && seen[row]) ++row;
      step.apply(start * wide, row * wide);
    }
  });
}
}
