// Solves a symmetric positive definite system; the same bits for any number of threads.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "pool.h"

namespace {

constexpr std::size_t kPanel = 8;  // rows factored before the rest is updated with all of them
constexpr std::size_t kTask = 24;  // rows that one task updates

// Rows [begin, end) of the upper factor; rows above are done and taken off already. False where the matrix is not positive.
bool factor_panel(double* A, std::size_t n, std::size_t begin, std::size_t end) {
  for (std::size_t k = begin; k < end; ++k) {
    double* const row = A + k * n;
    if (!(row[k] > 0.)) return false;
    const double by = 1. / std::sqrt(row[k]);
    for (std::size_t j = k; j < n; ++j) row[j] *= by;
    for (std::size_t i = k + 1; i < end; ++i) {
      const double share = row[i];
      double* const to = A + i * n;
      for (std::size_t j = i; j < n; ++j) to[j] -= share * row[j];
    }
  }
  return true;
}

void update_row(double* A, std::size_t n, std::size_t begin, std::size_t end, std::size_t i) {
  double* const to = A + i * n;
  if (end - begin == kPanel) {
    const double* const r = A + begin * n;
    double s[kPanel];
    for (std::size_t q = 0; q < kPanel; ++q) s[q] = r[q * n + i];
    for (std::size_t j = i; j < n; ++j) {
      to[j] -= ((s[0] * r[j] + s[1] * r[n + j]) + (s[2] * r[2 * n + j] + s[3] * r[3 * n + j])) +
               ((s[4] * r[4 * n + j] + s[5] * r[5 * n + j]) + (s[6] * r[6 * n + j] + s[7] * r[7 * n + j]));
    }
    return;
  }
  for (std::size_t k = begin; k < end; ++k) {
    const double share = A[k * n + i];
    for (std::size_t j = i; j < n; ++j) to[j] -= share * A[k * n + j];
  }
}

}  // namespace

extern "C" {

// `system` (n, n), of which the upper triangle is read and overwritten by its factor; `sides` (columns, n) become the solutions.
// 0, or 1 where the matrix is not positive definite.
int ff_solve_positive(double* system, double* sides, std::int64_t size, std::int64_t columns) {
  const std::size_t n = static_cast<std::size_t>(size);
  for (std::size_t begin = 0; begin < n; begin += kPanel) {
    const std::size_t end = std::min(begin + kPanel, n);
    if (!factor_panel(system, n, begin, end)) return 1;
    fourfold::parallel_chunks(n - end, kTask, [&](int, std::size_t from, std::size_t to) {
      for (std::size_t i = end + from; i < end + to; ++i) update_row(system, n, begin, end, i);
    });
  }
  for (std::int64_t c = 0; c < columns; ++c) {
    double* const x = sides + static_cast<std::size_t>(c) * n;
    for (std::size_t k = 0; k < n; ++k) {
      x[k] /= system[k * n + k];
      for (std::size_t j = k + 1; j < n; ++j) x[j] -= system[k * n + j] * x[k];
    }
    for (std::size_t k = n; k-- > 0;) {
      double rest = x[k];
      for (std::size_t j = k + 1; j < n; ++j) rest -= system[k * n + j] * x[j];
      x[k] = rest / system[k * n + k];
    }
  }
  return 0;
}
}
