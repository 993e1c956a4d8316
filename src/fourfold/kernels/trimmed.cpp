// Trimmed means of absolute residuals or of their differences to the next pixel, with gradient (spec shape_of_motion.md section 8, M(e, m, q)).
//
// The quantile is exact, but most values are never looked at for it: a regular subsample tells a bound that the wanted rank lies above of, and only
// what is above is sorted, all of it where the bound was too high. All sums run in a fixed order.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "buffer.h"
#include "quantile.h"
#include "simd.h"

namespace {

using namespace fourfold;

constexpr float kNone = -1.f;            // the error of what has no weight
constexpr std::size_t kSample = 4096;    // values that tell where the quantile lies, at most
constexpr std::size_t kRow = 512;        // summed in float before they are added to the double

// Residuals of one image, flat; axis 0 takes them as they are, else their differences to the pixel `step` further on.
struct Residuals {
  const float *residual, *weight;
  std::size_t count, step;  // of errors; 0 for axis 0

  vfloat difference(std::size_t p) const { return step == 0 ? load(residual + p) : load(residual + p + step) - load(residual + p); }
  vfloat weights(std::size_t p) const {
    if (weight == nullptr) return splat(1.f);
    return step == 0 ? load(weight + p) : load(weight + p + step) * load(weight + p);
  }
};

inline vfloat sign(vfloat x) {
  const vfloat zero{};
  return select(greater(x, zero), splat(1.f), select(less(x, zero), splat(-1.f), zero));
}

// Errors of all pixels, kNone without weight; `errors` has room for a vector more. Pixels of the last column have no right neighbour.
void fill_errors(const Residuals& r, std::size_t wide, bool along_rows, float* errors) {
  std::size_t p = 0;
  for (; p + kLanes <= r.count; p += kLanes) store(errors + p, select(greater(r.weights(p), vfloat{}), absolute(r.difference(p)), splat(kNone)));
  for (; p < r.count; ++p) {
    const float w = r.weight == nullptr ? 1.f : r.step == 0 ? r.weight[p] : r.weight[p + r.step] * r.weight[p];
    errors[p] = w > 0.f ? std::fabs(r.step == 0 ? r.residual[p] : r.residual[p + r.step] - r.residual[p]) : kNone;
  }
  if (!along_rows) return;
  for (std::size_t at = wide - 1; at < r.count; at += wide) errors[at] = kNone;
}

// How many errors there are, and the least of them; a NaN is no number.
std::size_t counted(const float* errors, std::size_t n, float& least) {
  std::size_t found = 0, p = 0;
  vfloat low = splat(INFINITY);
  for (; p + kLanes <= n; p += kLanes) {
    const vfloat e = load(errors + p);
    const mask there = at_least(e, vfloat{});
    found += static_cast<std::size_t>(fourfold::count(there));
    low = minimum(select(there, e, splat(INFINITY)), low);
  }
  least = INFINITY;
  for (int i = 0; i < kLanes; ++i) least = std::min(least, low[i]);
  for (; p < n; ++p) {
    if (!(errors[p] >= 0.f)) continue;
    ++found;
    least = std::min(least, errors[p]);
  }
  return found;
}

// Those of the errors at or above `bound` (which is not negative).
std::size_t above(const float* errors, std::size_t n, float bound, float* some) {
  std::size_t found = 0, p = 0;
  for (; p + kLanes <= n; p += kLanes) {
    const vfloat e = load(errors + p);
    const mask there = at_least(e, splat(bound));
    if (!any(there)) continue;
    for (int i = 0; i < kLanes; ++i) {
      some[found] = errors[p + static_cast<std::size_t>(i)];
      found += lane(there, i);
    }
  }
  for (; p < n; ++p) {
    some[found] = errors[p];
    found += errors[p] >= bound;
  }
  return found;
}

// Errors are kept below this; NaN keeps all.
float limit_of(const float* errors, std::size_t n, float level) {
  float least;
  const std::size_t count = counted(errors, n, least);
  if (level >= 1.f || count < 2) return NAN;
  thread_local Buffer<float> kept;
  float* const some = kept.resize(n + kLanes);
  const std::size_t wanted = count - std::min(static_cast<std::size_t>(level * static_cast<float>(count - 1)), count - 2);
  const std::size_t stride = std::max<std::size_t>(1, n / kSample) | 1;
  std::size_t seen = 0;
  for (std::size_t p = 0; p < n; p += stride) {
    some[seen] = errors[p];
    seen += errors[p] >= 0.f;
  }
  float bound = 0.f;
  const double share = 1.25 * static_cast<double>(wanted) / static_cast<double>(count);
  const std::size_t skipped = static_cast<std::size_t>(share * static_cast<double>(seen)) + 16;  // 16: chance in a small sample
  if (seen > 2 * skipped) {
    std::nth_element(some, some + (seen - skipped), some + seen);
    bound = some[seen - skipped];
  }
  std::size_t found = above(errors, n, bound, some);
  if (found < wanted) found = above(errors, n, 0.f, some);
  return fourfold::kept_below(fourfold::quantile_of(some, found, count, level), least);
}

// The part of each weight that counts: all where the error is kept (or is no number, which has to be seen), else nothing.
inline vfloat share_of(const Residuals& r, const float* errors, std::size_t p, vfloat limit) {
  const vfloat e = load(errors + p), zero{};
  return select(at_least(e, limit), zero, select(less(e, zero), zero, r.weights(p)));
}

}  // namespace

extern "C" {

// `residual` and `weight` (null for ones) are (height, width); axis 0 takes the residuals themselves, 1 their differences to the right
// neighbour, 2 to the one below, weighted by the product of both weights. `gradient` (height, width) may be null.
// Returns 0, or 1 when memory ran out.
int ff_trimmed_l1(const float* residual, const float* weight, std::int64_t height, std::int64_t width, int axis, float level, double* value,
                  float* gradient) try {
  const std::size_t wide = static_cast<std::size_t>(width), pixels = static_cast<std::size_t>(height) * wide;
  const std::size_t step = axis == 1 ? 1 : axis == 2 ? wide : 0, n = pixels > step ? pixels - step : 0;
  thread_local Buffer<float> kept, kept_inputs;
  float* const errors = kept.resize(n + wide + 2 * kLanes);
  // Copies with room behind: vectors may read past the end.
  float* const padded = kept_inputs.resize(2 * (pixels + kLanes));
  std::memcpy(padded, residual, pixels * sizeof(float));
  std::fill_n(padded + pixels, kLanes, 0.f);
  Residuals r{padded, nullptr, n, step};
  if (weight != nullptr) {
    float* const weights = padded + pixels + kLanes;
    std::memcpy(weights, weight, pixels * sizeof(float));
    std::fill_n(weights + pixels, kLanes, 0.f);
    r.weight = weights;
  }
  fill_errors(r, wide, axis == 1, errors);
  std::fill_n(errors + n, kLanes, kNone);
  const vfloat limit = splat(limit_of(errors, n, level));
  double sum = 0, total = 0;
  for (std::size_t begin = 0; begin < n; begin += kRow) {
    vfloat row_sum{}, row_total{};
    for (std::size_t p = begin; p < std::min(n, begin + kRow); p += kLanes) {
      const vfloat share = share_of(r, errors, p, limit);
      row_sum += select(greater(share, vfloat{}), share * load(errors + p), vfloat{});
      row_total += share;
    }
    for (int i = 0; i < kLanes; ++i) sum += static_cast<double>(row_sum[i]), total += static_cast<double>(row_total[i]);
  }
  *value = sum / (total + 1e-8);
  if (gradient == nullptr) return 0;
  const vfloat scale = splat(static_cast<float>(1 / (total + 1e-8)));
  for (std::size_t p = 0; p < n; p += kLanes) {  // the pull of each error takes the error's place
    const vfloat share = share_of(r, errors, p, limit);
    store(errors + p, select(greater(share, vfloat{}), scale * share * sign(r.difference(p)), vfloat{}));
  }
  if (step == 0) {
    std::memcpy(gradient, errors, pixels * sizeof(float));
    return 0;
  }
  std::fill_n(gradient, std::min(step, pixels), 0.f);
  if (n > 0) std::memcpy(gradient + step, errors, n * sizeof(float));
  for (std::size_t p = 0; p < n; ++p) gradient[p] -= errors[p];
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Rendered minus prior disparity of `count` pixels, extent / depth with `epsilon` added below, where the prior is known and `alpha` above
// `opaque`; 0 elsewhere. `weights` are up to three factors (null for ones) of the weight there. Writes residual, weight and the slope of the
// residual by the rendered depth.
void ff_disparity(const float* depth, const float* prior, const float* alpha, const float* const weights[3], std::int64_t count, float extent,
                  float epsilon, float opaque, float* __restrict residual, float* __restrict weight, float* __restrict slope) {
  const float inverse = 1.f / extent;
  const auto factor = [&](int k, std::int64_t p) { return weights[k] == nullptr ? 1.f : weights[k][p]; };
  for (std::int64_t p = 0; p < count; ++p) {
    const float w = prior[p] > 0.f && alpha[p] > opaque ? factor(0, p) * factor(1, p) * factor(2, p) : 0.f;
    const bool known = w > 0.f;
    const float one = 1.f / ((known ? depth[p] : extent) * inverse + epsilon), other = 1.f / ((known ? prior[p] : extent) * inverse + epsilon);
    residual[p] = one - other;
    weight[p] = w;
    slope[p] = known ? -inverse * one * one : 0.f;
  }
}
}
