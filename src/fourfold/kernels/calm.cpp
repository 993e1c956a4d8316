// Penalties of jerky paths and uneven scales, each value with its gradient in one pass (spec shape_of_motion.md section 8).
#include <cmath>
#include <cstddef>
#include <cstdint>

extern "C" {

// Mean over rows and moments of f(|2 x_t - x_(t-1) - x_(t+1)| / unit), f(a) = typical log(1 + a / typical), or a where `typical` is infinite.
// `x` holds `width` numbers together, moments and rows lie `strides` {row, moment} apart; sizes {rows, moments, width}. The gradient, laid out as
// `x`, is written (not added to).
void ff_second_difference(const float* x, const std::int64_t sizes[3], const std::int64_t strides[2], float unit, float typical, double* value,
                          float* gradient) {
  const std::int64_t rows = sizes[0], moments = sizes[1], width = sizes[2], row = strides[0], moment = strides[1];
  const bool bounded = std::isfinite(typical);
  const float share = 1.f / static_cast<float>(rows * (moments - 2));
  double sum = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t t = 0; t < moments; ++t) {
      for (std::int64_t c = 0; c < width; ++c) gradient[r * row + t * moment + c] = 0.f;
    }
    for (std::int64_t t = 1; t + 1 < moments; ++t) {
      const float* at = x + r * row + t * moment;
      float* by = gradient + r * row + t * moment;
      float squared = 0.f;
      for (std::int64_t c = 0; c < width; ++c) {
        const float bend = 2.f * at[c] - at[c - moment] - at[c + moment];
        squared += bend * bend;
      }
      const float norm = std::sqrt(squared), size = norm / unit;
      sum += static_cast<double>(bounded ? typical * std::log1p(size / typical) : size);
      const float slope = share / unit / (bounded ? 1.f + size / typical : 1.f);
      const float scale = norm > 0.f ? slope / norm : norm != norm ? norm : 0.f;
      for (std::int64_t c = 0; c < width; ++c) {
        const float pull = scale * (2.f * at[c] - at[c - moment] - at[c + moment]);
        by[c] += 2.f * pull;
        by[c - moment] -= pull;
        by[c + moment] -= pull;
      }
    }
  }
  *value = sum * static_cast<double>(share);
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
  constexpr std::int64_t kSums = 16, kRun = 1024;  // a run is summed in so many floats side by side, and runs in doubles
  const float slope = 2.f / static_cast<float>(count);
  double sum = 0;
  for (std::int64_t begin = 0; begin < count; begin += kRun) {
    const std::int64_t end = begin + kRun < count ? begin + kRun : count, whole = begin + (end - begin) / kSums * kSums;
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
