// One step of Adam in place over the rows of several tensors (Kingma and Ba 2015, algorithm 1), all rows or only the seen ones, and whether
// their gradients are finite.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "buffer.h"
#include "pool.h"

namespace {

constexpr std::int64_t kFloatsPerTask = 1 << 15;

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

// Rows [begin, end) of tensor `of`, for one task.
struct Chunk {
  int of;
  std::int64_t begin, end;
};

// The rows of tensors of `sizes` (n, 2) rows and width, in chunks that depend on nothing else.
const Chunk* cut(int tensors, const std::int64_t* sizes, fourfold::Buffer<Chunk>& chunks) {
  const auto rows_of = [&](int t) { return std::max<std::int64_t>(1, kFloatsPerTask / std::max<std::int64_t>(1, sizes[2 * t + 1])); };
  std::size_t count = 0;
  for (int t = 0; t < tensors; ++t) count += static_cast<std::size_t>((sizes[2 * t] + rows_of(t) - 1) / rows_of(t));
  Chunk* next = chunks.resize(count);
  for (int t = 0; t < tensors; ++t) {
    for (std::int64_t row = 0; row < sizes[2 * t]; row += rows_of(t)) *next++ = {t, row, std::min(row + rows_of(t), sizes[2 * t])};
  }
  return chunks.data();
}

void step_rows(const Step& step, const std::uint8_t* seen, std::size_t begin, std::size_t end, std::size_t wide) {
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
}

// Whether none of the numbers has all bits of its exponent set, as infinities and NaNs have.
bool finite(const float* from, std::size_t count) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, from + i, sizeof bits);
    largest = std::max(largest, bits & 0x7f800000u);
  }
  return largest != 0x7f800000u;
}

}  // namespace

extern "C" {

// `arrays` (n, 5) are parameters, gradients, first and second moments, contiguous float32 of `sizes` (n, 2) rows and width, and which rows are
// seen, a byte each, or null for every row. `numbers` (n, 7): rate, beta 1, 1 - beta 1, beta 2, 1 - beta 2, inverse root, epsilon; the rate is
// already divided by the correction of the first moment, and the inverse root is one over the square root of that of the second. 0, or 1
// when memory ran out.
int ff_adam_steps(void* const* arrays, const std::int64_t* sizes, const float* numbers, int tensors) try {
  thread_local fourfold::Buffer<Chunk> kept;
  const Chunk* const chunks = cut(tensors, sizes, kept);
  fourfold::parallel_for(static_cast<int>(kept.size()), [&](int task) {
    const Chunk chunk = chunks[task];
    void* const* const a = arrays + 5 * chunk.of;
    const float* const n = numbers + 7 * chunk.of;
    const Step step{static_cast<float*>(a[0]), static_cast<const float*>(a[1]), static_cast<float*>(a[2]), static_cast<float*>(a[3]), n[0], n[1], n[2], n[3], n[4], n[5], n[6]};
    step_rows(step, static_cast<const std::uint8_t*>(a[4]), static_cast<std::size_t>(chunk.begin), static_cast<std::size_t>(chunk.end), static_cast<std::size_t>(sizes[2 * chunk.of + 1]));
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Whether all numbers of `tensors` arrays of `sizes` (n, 2) rows and width are finite: 1 or 0; -1 when memory ran out.
int ff_all_finite(const float* const* arrays, const std::int64_t* sizes, int tensors) try {
  thread_local fourfold::Buffer<Chunk> kept;
  const Chunk* const chunks = cut(tensors, sizes, kept);
  std::atomic<int> all{1};
  fourfold::parallel_for(static_cast<int>(kept.size()), [&](int task) {
    const Chunk chunk = chunks[task];
    const std::int64_t wide = sizes[2 * chunk.of + 1];
    if (!finite(arrays[chunk.of] + chunk.begin * wide, static_cast<std::size_t>((chunk.end - chunk.begin) * wide))) all.store(0, std::memory_order_relaxed);
  });
  return all.load();
} catch (const std::bad_alloc&) {
  return -1;
}
}
