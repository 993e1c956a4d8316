// Penalties of jerky paths and uneven scales, each value with its gradient in one pass (spec shape_of_motion.md section 8).
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>

#include "buffer.h"

namespace {

// Lengths of `count` vectors of `width` numbers; Width is that where it is known in advance, else 0.
template <std::size_t Width>
void lengths(const float* __restrict vectors, std::size_t count, std::size_t width, float* __restrict out) {
  const std::size_t w = Width > 0 ? Width : width;
  for (std::size_t i = 0; i < count; ++i) {
    float squared = 0.f;
    for (std::size_t c = 0; c < w; ++c) squared += vectors[i * w + c] * vectors[i * w + c];
    out[i] = squared;
  }
  for (std::size_t i = 0; i < count; ++i) out[i] = std::sqrt(out[i]);
}

// Each vector times its own number.
template <std::size_t Width>
void stretch(float* __restrict vectors, std::size_t count, std::size_t width, const float* __restrict by) {
  const std::size_t w = Width > 0 ? Width : width;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t c = 0; c < w; ++c) vectors[i * w + c] *= by[i];
  }
}

constexpr std::size_t kRun = 16;  // numbers that are summed, or multiplied, before the next step

double plain_sum(const float* norms, std::size_t count, float unit) {
  double sum = 0;
  for (std::size_t begin = 0; begin < count; begin += kRun) {
    float part = 0.f;
    for (std::size_t i = begin; i < std::min(begin + kRun, count); ++i) part += norms[i];
    sum += static_cast<double>(part);
  }
  return sum / static_cast<double>(unit);
}

// The sum of typical log(1 + a / typical) for a = norm / unit: the logarithm of a product of a few, which stays within the range of doubles.
double bounded_sum(const float* norms, std::size_t count, float unit, float typical) {
  const double over = 1. / (static_cast<double>(unit) * static_cast<double>(typical));
  double sum = 0;
  for (std::size_t begin = 0; begin < count; begin += kRun) {
    double product = 1.;
    for (std::size_t i = begin; i < std::min(begin + kRun, count); ++i) {
      product *= 1. + over * static_cast<double>(norms[i]);
      if (product > 1e200) sum += std::log(product), product = 1.;
    }
    sum += std::log(product);
  }
  return static_cast<double>(typical) * sum;
}

}  // namespace

extern "C" {

// Mean over rows and moments of f(|2 x_t - x_(t-1) - x_(t+1)| / unit), f(a) = typical log(1 + a / typical), or a where `typical` is infinite.
// `x` and `gradient`, which is written (not added to), are (outer, moments, inner, width), sizes {outer, moments, inner, width}, at least three
// moments. All moments of an outer row are taken together, so that short rows fill vectors, too. 0, or 1 when memory ran out.
int ff_second_difference(const float* x, const std::int64_t sizes[4], float unit, float typical, double* value, float* gradient) try {
  const auto outer = static_cast<std::size_t>(sizes[0]), moments = static_cast<std::size_t>(sizes[1]), width = static_cast<std::size_t>(sizes[3]);
  const std::size_t step = static_cast<std::size_t>(sizes[2]) * width, count = (moments - 2) * step, norms = count / width;
  thread_local fourfold::Buffer<float> kept;
  float *const __restrict bend = kept.resize(count + norms), *const __restrict scale = bend + count;
  const float share = 1.f / static_cast<float>(outer * norms), slope = share / unit;
  double sum = 0;
  for (std::size_t row = 0; row < outer; ++row, x += moments * step, gradient += moments * step) {
    for (std::size_t i = 0; i < count; ++i) bend[i] = 2.f * x[i + step] - x[i] - x[i + 2 * step];
    width == 3 ? lengths<3>(bend, norms, 3, scale) : width == 6 ? lengths<6>(bend, norms, 6, scale) : lengths<0>(bend, norms, width, scale);
    sum += std::isfinite(typical) ? bounded_sum(scale, norms, unit, typical) : plain_sum(scale, norms, unit);
    const float bound = std::isfinite(typical) ? 1.f / (unit * typical) : 0.f;
    for (std::size_t i = 0; i < norms; ++i) {
      const float norm = scale[i], pull = slope / (norm * (1.f + norm * bound));
      scale[i] = norm == 0.f ? 0.f : pull;
    }
    width == 3 ? stretch<3>(bend, norms, 3, scale) : width == 6 ? stretch<6>(bend, norms, 6, scale) : stretch<0>(bend, norms, width, scale);
    for (std::size_t i = 0; i < count; ++i) gradient[i] = -bend[i];
    std::fill_n(gradient + count, 2 * step, 0.f);
    for (std::size_t i = 0; i < count; ++i) gradient[i + step] += 2.f * bend[i];
    for (std::size_t i = 0; i < count; ++i) gradient[i + 2 * step] -= bend[i];
  }
  *value = sum * static_cast<double>(share);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Mean square of the motion along the ray from `center` to the middle one of three moments, from the one before plus to the one after, in
// units of `unit`. `x` and `gradient` are (3, count, 3).
void ff_ray_motion(const float* x, std::int64_t count, const float center[3], float unit, double* value, float* gradient) {
  const float scale = 1.f / (static_cast<float>(count) * unit * unit);
  const std::int64_t moment = 3 * count;
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float *before = x + 3 * i, *here = before + moment, *after = here + moment;
    float ray[3], back[3], forth[3], squared = 0.f, by_back = 0.f, by_forth = 0.f;
    for (int c = 0; c < 3; ++c) {
      ray[c] = here[c] - center[c];
      squared += ray[c] * ray[c];
      back[c] = here[c] - before[c];
      forth[c] = after[c] - here[c];
    }
    const float norm = std::sqrt(squared), inverse = 1.f / (norm > 1e-12f ? norm : 1e-12f);
    for (int c = 0; c < 3; ++c) {
      ray[c] *= inverse;
      by_back += back[c] * ray[c];
      by_forth += forth[c] * ray[c];
    }
    sum += static_cast<double>(by_back * by_back) + static_cast<double>(by_forth * by_forth);
    const float pull_back = 2.f * scale * by_back, pull_forth = 2.f * scale * by_forth;
    const float along = norm > 1e-12f ? pull_back * by_back + pull_forth * by_forth : 0.f;  // the ray's own turn is across it
    float *by_before = gradient + 3 * i, *by_here = by_before + moment, *by_after = by_here + moment;
    for (int c = 0; c < 3; ++c) {
      const float turn = inverse * (pull_back * back[c] + pull_forth * forth[c] - along * ray[c]);
      by_before[c] = -pull_back * ray[c];
      by_after[c] = pull_forth * ray[c];
      by_here[c] = (pull_back - pull_forth) * ray[c] + turn;
    }
  }
  *value = sum * static_cast<double>(scale);
}

// Sum over rows of `share` times the squared differences of the three numbers of each. `x` and `gradient` are (rows, 3).
void ff_spread_of_three(const float* x, std::int64_t rows, float share, double* value, float* __restrict gradient) {
  double sum = 0;
  for (std::int64_t begin = 0; begin < rows; begin += 256) {
    float part = 0.f;
    for (std::int64_t r = begin; r < (begin + 256 < rows ? begin + 256 : rows); ++r) {
      const float a = x[3 * r], b = x[3 * r + 1], c = x[3 * r + 2], all = a + b + c;
      part += (a - b) * (a - b) + (b - c) * (b - c) + (c - a) * (c - a);
      gradient[3 * r] = 2.f * share * (3.f * a - all);
      gradient[3 * r + 1] = 2.f * share * (3.f * b - all);
      gradient[3 * r + 2] = 2.f * share * (3.f * c - all);
    }
    sum += static_cast<double>(part);
  }
  *value = sum * static_cast<double>(share);
}

// Mean of the squares of how far `count` numbers are from `middle`, and its gradient.
void ff_square_from(const float* values, std::int64_t count, float middle, double* value, float* __restrict gradient) {
  constexpr std::int64_t kSums = 16, kStretch = 1024;  // a stretch is summed in so many floats side by side, and stretches in doubles
  const float slope = 2.f / static_cast<float>(count);
  double sum = 0;
  for (std::int64_t begin = 0; begin < count; begin += kStretch) {
    const std::int64_t end = begin + kStretch < count ? begin + kStretch : count, whole = begin + (end - begin) / kSums * kSums;
    float some[kSums] = {};
    for (std::int64_t i = begin; i < whole; i += kSums) {
      for (std::int64_t j = 0; j < kSums; ++j) {
        const float away = values[i + j] - middle;
        some[j] += away * away;
        gradient[i + j] = slope * away;
      }
    }
    for (std::int64_t i = whole; i < end; ++i) {
      const float away = values[i] - middle;
      some[0] += away * away;
      gradient[i] = slope * away;
    }
    for (const float part : some) sum += static_cast<double>(part);
  }
  *value = sum / static_cast<double>(count);
}
}
