// Points carried by blended dual quaternions of the nodes around them (spec himor_4dgs360.md section 1), forward and gradient.
//
// Each point has K nodes and weights; a node's motion at time t is a unit dual quaternion (r, d). Signs are turned to the half space of
// the first node where asked. With the sum b = (r, d) and n = |r|^2 the point x goes to (r x r* + 2 d r*) / n, its quaternion q to r q / |r|.
// Points are computed side by side, a vector of them at a time; what they do with their nodes, one after the other.
// Sums over points are taken in a fixed number of chunks and the chunks added in order: results do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "buffer.h"
#include "pool.h"
#include "quaternion.h"
#include "simd.h"

namespace {

using fourfold::kLanes;
using fourfold::load;
using fourfold::store;
using fourfold::vfloat;
using Vecs = fourfold::VecOf<vfloat>;  // of points side by side
using Quats = fourfold::QuatOf<vfloat>;

constexpr std::size_t kLeastPoints = 512, kMostChunks = 16;
constexpr int kDual = 8;           // numbers of a dual quaternion: two vectors of four
constexpr int kMostNodes = 16;     // nodes of a point
constexpr float kShort = 1e-16f;   // keeps motions that cancel each other finite

typedef float Four __attribute__((vector_size(16)));

inline Four four(const float* from) {
  Four v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void put(float* to, Four v) { std::memcpy(to, &v, sizeof v); }
inline float sum_of(Four v) { return (v[0] + v[1]) + (v[2] + v[3]); }

struct Inputs {
  const float *table, *weights, *means, *quat;  // (Q, M, 8), (N, K), (N, 3), (N, 4) of unit length
  const std::int64_t* near;                     // (N, K)
  std::size_t points, nodes;                    // N, M
  int followed, times, turned;                  // K, Q, and for how many of the first times a quaternion is wanted
  bool align;

  // Where the numbers of the nodes at a time begin in arrays like `table`, and whom a point follows.
  std::size_t begin(int t) const { return static_cast<std::size_t>(t) * nodes * kDual; }
  const std::int64_t* of(std::size_t point) const { return near + point * static_cast<std::size_t>(followed); }
};

// As many points as a vector has lanes, the last one again where there are fewer; `Width` numbers of each lie side by side in memory.
struct Lanes {
  std::size_t first, live;

  std::size_t point(int lane) const { return first + std::min(static_cast<std::size_t>(lane), live - 1); }

  template <int Width>
  void gather(const float* from, vfloat (&out)[Width]) const {
    alignas(64) float rows[Width][kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int c = 0; c < Width; ++c) rows[c][lane] = from[point(lane) * Width + c];
    }
    for (int c = 0; c < Width; ++c) out[c] = load(rows[c]);
  }
  Vecs vecs(const float* from) const {
    vfloat v[3];
    gather(from, v);
    return {v[0], v[1], v[2]};
  }
  Quats quats(const float* from) const {
    vfloat q[4];
    gather(from, q);
    return {q[0], {q[1], q[2], q[3]}};
  }

  template <int Width>
  void scatter(const vfloat (&values)[Width], float* to) const {
    alignas(64) float rows[Width][kLanes];
    for (int c = 0; c < Width; ++c) store(rows[c], values[c]);
    for (std::size_t lane = 0; lane < live; ++lane) {
      for (int c = 0; c < Width; ++c) to[(first + lane) * Width + c] = rows[c][lane];
    }
  }
  void put(float* to, Vecs v) const { scatter({v.x, v.y, v.z}, to); }
  void put(float* to, Quats q) const { scatter({q.w, q.v.x, q.v.y, q.v.z}, to); }
};

// The blended motions of points at a time, and the signed weights they were blended with.
struct Blend {
  Quats real, dual;
  vfloat length;
  float share[kLanes][kMostNodes];

  Blend(const Inputs& in, const Lanes& lanes, int t) {
    alignas(64) float rows[kDual][kLanes];
    const int followed = in.followed;
    const float* const table = in.table + in.begin(t);
    for (int lane = 0; lane < kLanes; ++lane) {
      const std::int64_t* const near = in.of(lanes.point(lane));
      const float* const weights = in.weights + (near - in.near);
      Four turn{}, shift{};
      const Four first = four(table + near[0] * kDual);
      for (int k = 0; k < followed; ++k) {
        const float* const node = table + near[k] * kDual;
        const Four other = four(node);
        share[lane][k] = weights[k] * (in.align && sum_of(first * other) < 0.f ? -1.f : 1.f);
        turn += share[lane][k] * other;
        shift += share[lane][k] * four(node + 4);
      }
      for (int c = 0; c < 4; ++c) rows[c][lane] = turn[c], rows[4 + c][lane] = shift[c];
    }
    real = {load(rows[0]), {load(rows[1]), load(rows[2]), load(rows[3])}};
    dual = {load(rows[4]), {load(rows[5]), load(rows[6]), load(rows[7])}};
    length = dot(real, real) + kShort;
  }

  Vecs move(Vecs x) const {
    const Vecs v = real.v;
    const Vecs turned = (real.w * real.w - dot(v, v)) * x + 2.f * (dot(v, x) * v + real.w * cross(v, x));
    return (1.f / length) * (turned + 2.f * (real.w * dual.v - dual.w * v + cross(v, dual.v)));
  }
};

void forward_lanes(const Inputs& in, const Lanes& lanes, float* const* positions, float* const* quats) {
  const Vecs x = lanes.vecs(in.means);
  const Quats q = lanes.quats(in.quat);
  for (int t = 0; t < in.times; ++t) {
    const Blend blend(in, lanes, t);
    lanes.put(positions[t], blend.move(x));
    if (t < in.turned) {
      const Quats turned = blend.real * q;
      const vfloat scale = 1.f / fourfold::square_root(blend.length);
      lanes.put(quats[t], Quats{scale * turned.w, scale * turned.v});
    }
  }
}

struct Gradients {
  const float *const *of_positions, *const *of_quats;  // (N, 3) for each of Q times and (N, 4) for each turned one, each null for zero
  float *weights, *means, *quat;
};

// Adds the gradient of the blended motions of the live points at a time to those of their nodes in `sums` (Q, M, 8) and of their weights.
void spread(const Inputs& in, const Lanes& lanes, const Blend& blend, int t, Quats real, Quats dual, float* sums, float (&by_weight)[kLanes][kMostNodes]) {
  alignas(64) float rows[kDual][kLanes];
  const vfloat by[kDual] = {real.w, real.v.x, real.v.y, real.v.z, dual.w, dual.v.x, dual.v.y, dual.v.z};
  for (int c = 0; c < kDual; ++c) store(rows[c], by[c]);
  const int followed = in.followed;
  const float* const table = in.table + in.begin(t);
  sums += in.begin(t);
  for (std::size_t lane = 0; lane < lanes.live; ++lane) {
    const std::int64_t* const near = in.of(lanes.first + lane);
    const float* const shares = blend.share[lane];
    float* const pulls = by_weight[lane];
    const Four turn{rows[0][lane], rows[1][lane], rows[2][lane], rows[3][lane]}, shift{rows[4][lane], rows[5][lane], rows[6][lane], rows[7][lane]};
    for (int k = 0; k < followed; ++k) {
      const float* const node = table + near[k] * kDual;
      float* const sum = sums + near[k] * kDual;
      const float share = shares[k], pull = sum_of(turn * four(node) + shift * four(node + 4));
      put(sum, four(sum) + share * turn);
      put(sum + 4, four(sum + 4) + share * shift);
      pulls[k] += std::copysign(1.f, share) * pull;
    }
  }
}

// Adds to `sums` (Q, M, 8).
void backward_lanes(const Inputs& in, const Gradients& g, const Lanes& lanes, float* sums) {
  const Vecs x = lanes.vecs(in.means);
  const Quats own = lanes.quats(in.quat);
  Vecs by_x{};
  Quats by_own{};
  float by_weight[kLanes][kMostNodes] = {};
  for (int t = 0; t < in.times; ++t) {
    const float *const of_position = g.of_positions[t], *const of_quat = t < in.turned ? g.of_quats[t] : nullptr;
    if (of_position == nullptr && of_quat == nullptr) continue;
    const Blend blend(in, lanes, t);
    const Vecs v = blend.real.v;
    const vfloat w = blend.real.w;
    Quats by_real{}, by_dual{};
    if (of_position != nullptr) {
      const Vecs grad = (1.f / blend.length) * lanes.vecs(of_position);
      const vfloat along = -2.f * dot(grad, blend.move(x)), mix = dot(grad, v);
      by_real.w = 2.f * (w * dot(grad, x) + dot(grad, cross(v, x) + blend.dual.v)) + along * w;
      by_real.v = 2.f * ((dot(v, x) - blend.dual.w) * grad + mix * x - dot(grad, x) * v + cross(w * x + blend.dual.v, grad)) + along * v;
      by_dual = {-2.f * mix, 2.f * (w * grad + cross(grad, v))};
      by_x = by_x + (w * w - dot(v, v)) * grad + 2.f * (mix * v + w * cross(grad, v));
    }
    if (of_quat != nullptr) {
      const Quats by = lanes.quats(of_quat);
      const vfloat scale = 1.f / fourfold::square_root(blend.length);
      const Quats unit{scale * w, scale * v}, through = by * conjugate(own);
      const vfloat radial = dot(unit, through);
      by_real = by_real + Quats{scale * (through.w - radial * unit.w), scale * (through.v - radial * unit.v)};
      by_own = by_own + conjugate(unit) * by;
    }
    spread(in, lanes, blend, t, by_real, by_dual, sums, by_weight);
  }
  for (std::size_t lane = 0; lane < lanes.live; ++lane) std::copy_n(by_weight[lane], in.followed, g.weights + (lanes.first + lane) * in.followed);
  lanes.put(g.means, by_x);
  lanes.put(g.quat, by_own);
}

// Calls body(lanes) for the points from `begin` to `end`.
template <class Body>
void for_lanes(std::size_t begin, std::size_t end, const Body& body) {
  for (std::size_t first = begin; first < end; first += kLanes) body(Lanes{first, std::min(static_cast<std::size_t>(kLanes), end - first)});
}

Inputs inputs(const float* table, const std::int64_t* near, const float* weights, const float* means, const float* quat, const std::int64_t sizes[6]) {
  return {table, weights, means, quat, near, static_cast<std::size_t>(sizes[0]), static_cast<std::size_t>(sizes[1]), static_cast<int>(sizes[2]),
          static_cast<int>(sizes[3]), static_cast<int>(sizes[4]), sizes[5] != 0};
}

std::size_t points_per_chunk(std::size_t points) { return std::max(kLeastPoints, (points + kMostChunks - 1) / kMostChunks); }

}  // namespace

extern "C" {

// Sizes: {N, M, K <= 16, Q, turned, align}. Writes positions (N, 3) at each of Q times and quats (N, 4) at each of the first `turned`.
// 0, or 1 when memory ran out.
int ff_skin_forward(const float* table, const std::int64_t* near, const float* weights, const float* means, const float* quat, const std::int64_t sizes[6],
                    float* const* positions, float* const* quats) try {
  const Inputs in = inputs(table, near, weights, means, quat, sizes);
  fourfold::parallel_chunks(in.points, points_per_chunk(in.points), [&](int, std::size_t begin, std::size_t end) {
    for_lanes(begin, end, [&](const Lanes& lanes) { forward_lanes(in, lanes, positions, quats); });
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Gradients of positions and quats at each time, each null for zero, to the gradients of table, weights, means and quat.
int ff_skin_backward(const float* table, const std::int64_t* near, const float* weights, const float* means, const float* quat, const std::int64_t sizes[6],
                     const float* const* of_positions, const float* const* of_quats, float* const by[4]) try {
  const Inputs in = inputs(table, near, weights, means, quat, sizes);
  const Gradients gradients{of_positions, of_quats, by[1], by[2], by[3]};
  const std::size_t numbers = static_cast<std::size_t>(in.times) * in.nodes * kDual, size = points_per_chunk(in.points);
  const std::size_t chunks = (in.points + size - 1) / size;
  thread_local fourfold::Buffer<float> kept_parts;
  float* const parts = kept_parts.resize(chunks * numbers);
  fourfold::parallel_chunks(in.points, size, [&](int chunk, std::size_t begin, std::size_t end) {
    float* const part = parts + static_cast<std::size_t>(chunk) * numbers;
    std::fill_n(part, numbers, 0.f);
    for_lanes(begin, end, [&](const Lanes& lanes) { backward_lanes(in, gradients, lanes, part); });
  });
  std::fill_n(by[0], numbers, 0.f);
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    for (std::size_t i = 0; i < numbers; ++i) by[0][i] += parts[chunk * numbers + i];
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
