// How far paths are from those of tracks, how jerky they are and how much they move along the rays of the camera, with the gradient in one pass
// (spec shape_of_motion.md section 5), one lane per point. Sums over points are taken in chunks of fixed size and the chunks added in order, so that
// results do not depend on the number of threads.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>

#include "buffer.h"
#include "pool.h"
#include "simd.h"

namespace {

using fourfold::kLanes;
using fourfold::splat;
using fourfold::vfloat;

constexpr std::size_t kPointsPerTask = 256;
constexpr float kShort = 1e-12f;  // keeps the ray to a point at the camera's centre finite

struct Vec {
  vfloat x, y, z;
};
inline Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator*(Vec a, vfloat s) { return {a.x * s, a.y * s, a.z * s}; }
inline vfloat dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

struct Inputs {
  const float *moved, *target, *weight, *camera;  // (K, P, 3), (K, P, 3), (K, P), (K, 3)
  std::size_t points;                             // P
  int moments;                                    // K
  float data, jerk, ray;                          // factors of the sums over points and moments
};

inline Vec gather(const float* from, std::size_t first, int live) {
  Vec v;
  for (int i = 0; i < kLanes; ++i) {
    const float* at = from + 3 * (first + static_cast<std::size_t>(std::min(i, live - 1)));
    v.x[i] = at[0];
    v.y[i] = at[1];
    v.z[i] = at[2];
  }
  return v;
}

inline vfloat pull(vfloat difference, vfloat weight) {  // weight times the sign, 0 at 0
  return fourfold::select(fourfold::greater(difference, vfloat{}), weight, vfloat{}) - fourfold::select(fourfold::less(difference, vfloat{}), weight, vfloat{});
}

struct Ray {
  Vec along;
  vfloat inverse;  // of the distance
  Ray(Vec at, const float* center) {
    const Vec away = at - Vec{splat(center[0]), splat(center[1]), splat(center[2])};
    inverse = 1.f / fourfold::maximum(fourfold::square_root(dot(away, away)), splat(kShort));
    along = away * inverse;
  }
};

// The sums of a block's points, data first and all together second, both lane by lane; the gradient goes to `by` (K).
void block(const Inputs& in, std::size_t first, int live, Vec* at, Vec* by, vfloat sums[2]) {
  for (int k = 0; k < in.moments; ++k) {
    const std::size_t row = static_cast<std::size_t>(k) * in.points;
    at[k] = gather(in.moved + 3 * row, first, live);
    const Vec off = at[k] - gather(in.target + 3 * row, first, live);
    vfloat weight;
    for (int i = 0; i < kLanes; ++i) weight[i] = in.weight[row + first + static_cast<std::size_t>(std::min(i, live - 1))] * in.data;
    sums[0] += (fourfold::absolute(off.x) + fourfold::absolute(off.y) + fourfold::absolute(off.z)) * weight;
    by[k] = {pull(off.x, weight), pull(off.y, weight), pull(off.z, weight)};
  }
  sums[1] = sums[0];
  for (int k = 1; k + 1 < in.moments; ++k) {
    const Vec bend = at[k - 1] + at[k + 1] - at[k] * splat(2.f);
    const vfloat size = fourfold::square_root(dot(bend, bend));
    sums[1] += size * in.jerk;
    const vfloat scale = fourfold::select(fourfold::greater(size, vfloat{}), in.jerk / size, vfloat{});
    const Vec slope = bend * scale;
    by[k - 1] = by[k - 1] + slope;
    by[k + 1] = by[k + 1] + slope;
    by[k] = by[k] - slope * splat(2.f);
  }
  for (int k = 0; k + 1 < in.moments; ++k) {
    const Ray here(at[k], in.camera + 3 * k), there(at[k + 1], in.camera + 3 * (k + 1));
    const Vec step = at[k + 1] - at[k];
    const vfloat by_here = dot(step, here.along), by_there = dot(step, there.along);
    sums[1] += (by_here * by_here + by_there * by_there) * in.ray;
    const vfloat pull_here = by_here * (2.f * in.ray), pull_there = by_there * (2.f * in.ray);
    const Vec forth = here.along * pull_here + there.along * pull_there;
    by[k] = by[k] - forth + (step - here.along * by_here) * (pull_here * here.inverse);
    by[k + 1] = by[k + 1] + forth + (step - there.along * by_there) * (pull_there * there.inverse);
  }
}

}  // namespace

extern "C" {

// Sizes: {P, K}. Values: what `factors` {data, jerk, ray} times the sums over points and moments are, of the data alone and of all; the gradient of all
// is written, laid out as `moved`. 0, or 1 when memory ran out.
int ff_path_loss(const float* moved, const float* target, const float* weight, const float* camera, const std::int64_t sizes[2], const float factors[3],
                 double values[2], float* gradient) try {
  const Inputs in{moved, target, weight, camera, static_cast<std::size_t>(sizes[0]), static_cast<int>(sizes[1]), factors[0], factors[1], factors[2]};
  const std::size_t chunks = (in.points + kPointsPerTask - 1) / kPointsPerTask, moments = static_cast<std::size_t>(in.moments);
  thread_local fourfold::Buffer<double> kept_parts;
  double* const parts = kept_parts.resize(2 * chunks);
  fourfold::parallel_chunks(in.points, kPointsPerTask, [&](int chunk, std::size_t begin, std::size_t end) {
    thread_local fourfold::Buffer<Vec> kept;
    Vec* const at = kept.resize(2 * moments);
    double sums[2] = {};
    for (std::size_t first = begin; first < end; first += kLanes) {
      const int live = static_cast<int>(std::min<std::size_t>(kLanes, end - first));
      vfloat of_block[2] = {};
      block(in, first, live, at, at + moments, of_block);
      for (int i = 0; i < live; ++i) {
        sums[0] += static_cast<double>(of_block[0][i]);
        sums[1] += static_cast<double>(of_block[1][i]);
        for (std::size_t k = 0; k < moments; ++k) {
          float* to = gradient + 3 * (k * in.points + first + static_cast<std::size_t>(i));
          const Vec& by = at[moments + k];
          to[0] = by.x[i];
          to[1] = by.y[i];
          to[2] = by.z[i];
        }
      }
    }
    parts[2 * chunk] = sums[0];
    parts[2 * chunk + 1] = sums[1];
  });
  values[0] = values[1] = 0;
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    values[0] += parts[2 * chunk];
    values[1] += parts[2 * chunk + 1];
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
