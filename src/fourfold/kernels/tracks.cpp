// What tracks say of positions that were blended at their pixels: trimmed means of reprojection or disparity errors, with gradient (spec
// shape_of_motion.md sections 7 and 8).
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>

#include "buffer.h"
#include "quantile.h"

extern "C" {

struct ff_track_targets {
  std::int64_t queries;           // P
  std::int32_t targets;           // K
  std::int32_t divide;            // by the accumulated opacity
  const float* read;              // (P, 3 K + 1) blended positions in the world, then the accumulated opacity
  const float* poses;             // (K, 4, 4) world to camera
  const float* intrinsics;        // (K, 3, 3)
  const float* xy;                // (P, K, 2) pixels, or null: then depths are compared
  const float* depth;             // (P, K), 0 unknown
  const float* visible;           // (P, K)
  const float* weight;            // (P, K)
  const float* of_target;         // (K) factor on the weight of each target
  float smallest_alpha;           // below it nothing is said
  float smallest_depth;           // before it depths are clamped
  float extent, epsilon;          // of disparities
  float level;                    // quantile, the worst above it is left out
};
}

namespace {

using Targets = ff_track_targets;

// One query at one target: the point in the axes of the target's camera, its error and the error's slope by the point.
struct Compared {
  float point[3], error, slope[3];
};

Compared compared(const Targets& t, const float* world, float opacity, float divisor, std::size_t at, std::size_t k) {
  Compared c{};
  const float* pose = t.poses + 16 * k;
  for (int i = 0; i < 3; ++i) {
    const float* row = pose + 4 * i;
    c.point[i] = (row[0] * world[0] + row[1] * world[1] + row[2] * world[2] + opacity * row[3]) / divisor;
  }
  const float z = c.point[2] >= t.smallest_depth ? c.point[2] : t.smallest_depth;
  const bool free = c.point[2] >= t.smallest_depth;
  if (t.xy == nullptr) {
    const float known = t.depth[at] > 0.f ? t.depth[at] : t.extent;
    const float one = 1.f / (z / t.extent + t.epsilon), gap = one - 1.f / (known / t.extent + t.epsilon);
    c.error = std::fabs(gap);
    if (free) c.slope[2] = (gap > 0.f ? -1.f : gap < 0.f ? 1.f : 0.f) * one * one / t.extent;
    return c;
  }
  const float* K = t.intrinsics + 9 * k;
  const float u = c.point[0] / z, v = c.point[1] / z;
  float gap[2], by[2];
  for (int i = 0; i < 2; ++i) {
    gap[i] = K[3 * i] * u + K[3 * i + 1] * v + K[3 * i + 2] - t.xy[2 * at + static_cast<std::size_t>(i)];
    by[i] = gap[i] > 0.f ? 0.5f : gap[i] < 0.f ? -0.5f : 0.f;
  }
  c.error = 0.5f * (std::fabs(gap[0]) + std::fabs(gap[1]));
  const float by_u = K[0] * by[0] + K[3] * by[1], by_v = K[1] * by[0] + K[4] * by[1];
  c.slope[0] = by_u / z;
  c.slope[1] = by_v / z;
  if (free) c.slope[2] = -(u * by_u + v * by_v) / z;
  return c;
}

// What lies behind a camera has no place in its image.
float weight_of(const Targets& t, const Compared& c, float opacity, std::size_t at, std::size_t k) {
  if (t.xy != nullptr && c.point[2] < t.smallest_depth) return 0.f;
  const float weight = opacity > t.smallest_alpha ? t.visible[at] * t.weight[at] * t.of_target[k] : 0.f;
  return t.xy == nullptr && !(t.depth[at] > 0.f) ? 0.f : weight;
}

}  // namespace

extern "C" {

// Writes the trimmed weighted mean and its gradient by `read`. 0, or 1 when memory ran out.
int ff_track_error(const ff_track_targets* targets, double* value, float* gradient) try {
  const Targets& t = *targets;
  const std::size_t queries = static_cast<std::size_t>(t.queries), many = static_cast<std::size_t>(t.targets), wide = 3 * many + 1;
  thread_local fourfold::Buffer<Compared> kept;
  thread_local fourfold::Buffer<float> kept_some;
  Compared* const all = kept.resize(queries * many + 1);
  float* const some = kept_some.resize(queries * many + 1);
  std::size_t count = 0;
  float least = INFINITY;
  for (std::size_t p = 0; p < queries; ++p) {
    const float* read = t.read + p * wide;
    const float opacity = read[3 * many], divisor = t.divide ? std::max(opacity, t.smallest_alpha) : 1.f;
    for (std::size_t k = 0; k < many; ++k) {
      const std::size_t at = p * many + k;
      all[at] = compared(t, read + 3 * k, opacity, divisor, at, k);
      if (!(weight_of(t, all[at], opacity, at, k) > 0.f) || !(all[at].error >= 0.f)) continue;
      some[count++] = all[at].error;
      least = std::min(least, all[at].error);
    }
  }
  const float limit = t.level < 1.f && count > 1 ? fourfold::kept_below(fourfold::quantile_of(some, count, count, t.level), least) : NAN;  // NaN keeps all
  const auto share_of = [&](std::size_t p, std::size_t k) {
    const std::size_t at = p * many + k;
    return all[at].error >= limit ? 0.f : weight_of(t, all[at], t.read[p * wide + 3 * many], at, k);
  };
  double sum = 0, total = 0;
  for (std::size_t p = 0; p < queries; ++p) {
    for (std::size_t k = 0; k < many; ++k) {
      const float share = share_of(p, k);
      if (!(share > 0.f)) continue;
      sum += static_cast<double>(share * all[p * many + k].error);
      total += static_cast<double>(share);
    }
  }
  const double scale = 1 / (total + 1e-8);
  *value = sum * scale;
  for (std::size_t p = 0; p < queries; ++p) {
    const float opacity = t.read[p * wide + 3 * many], divisor = t.divide ? std::max(opacity, t.smallest_alpha) : 1.f;
    float* const by = gradient + p * wide;
    float by_opacity = 0.f;
    for (std::size_t k = 0; k < many; ++k) {
      const float share = share_of(p, k), pull = share > 0.f ? static_cast<float>(scale) * share / divisor : 0.f;
      const Compared& c = all[p * many + k];
      const float* pose = t.poses + 16 * k;
      float* const to = by + 3 * k;
      float along = 0.f;
      for (int j = 0; j < 3; ++j) to[j] = 0.f;
      for (int i = 0; i < 3; ++i) {
        const float g = pull > 0.f ? pull * c.slope[i] : 0.f;
        for (int j = 0; j < 3; ++j) to[j] += pose[4 * i + j] * g;
        by_opacity += pose[4 * i + 3] * g;
        along += g * c.point[i];
      }
      if (t.divide && opacity >= t.smallest_alpha) by_opacity -= along;
    }
    by[3 * many] = by_opacity;
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
