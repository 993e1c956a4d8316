// Points carried by blended dual quaternions of the nodes around them (spec himor_4dgs360.md section 1), forward and gradient.
//
// Each point has K nodes and weights; a node's motion at time t is a unit dual quaternion (r, d). Signs are turned to the half space of
// the first node where asked. With the sum b = (r, d) and n = |r|^2 the point x goes to (r x r* + 2 d r*) / n, its quaternion q to r q / |r|.
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

namespace {

using fourfold::conjugate;
using fourfold::cross;
using fourfold::dot;
using fourfold::put;
using fourfold::Quat;
using fourfold::Vec;
using fourfold::vec;

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
inline void add(float* to, Four v) {
  v += four(to);
  std::memcpy(to, &v, sizeof v);
}
inline float sum_of(Four v) { return (v[0] + v[1]) + (v[2] + v[3]); }
inline Four flat(Quat q) { return Four{q.w, q.v.x, q.v.y, q.v.z}; }
inline Quat quat_of(Four v) { return {v[0], {v[1], v[2], v[3]}}; }

struct Inputs {
  const float *table, *weights, *means, *quat;  // (Q, M, 8), (N, K), (N, 3), (N, 4) of unit length
  const std::int64_t* near;                     // (N, K)
  std::size_t points, nodes;                    // N, M
  int followed, times, turned;                  // K, Q, and for how many of the first times a quaternion is wanted
  bool align;

  const float* node(std::size_t point, int k, int t) const {
    return table + (static_cast<std::size_t>(t) * nodes + static_cast<std::size_t>(near[point * followed + k])) * kDual;
  }
};

// The blended motion of a point at a time, and the signed weights it was blended with.
struct Blend {
  Quat real, dual;
  float length, share[kMostNodes];

  Blend(const Inputs& in, std::size_t point, int t) {
    Four turn{}, shift{};
    const Four first = four(in.node(point, 0, t));
    for (int k = 0; k < in.followed; ++k) {
      const float* const node = in.node(point, k, t);
      const Four other = four(node);
      share[k] = in.weights[point * in.followed + k] * (in.align && sum_of(first * other) < 0.f ? -1.f : 1.f);
      turn += share[k] * other;
      shift += share[k] * four(node + 4);
    }
    real = quat_of(turn);
    dual = quat_of(shift);
    length = dot(real, real) + kShort;
  }

  Vec move(Vec x) const {
    const Vec v = real.v;
    const Vec turned = (real.w * real.w - dot(v, v)) * x + 2.f * (dot(v, x) * v + real.w * cross(v, x));
    return (1.f / length) * (turned + 2.f * (real.w * dual.v - dual.w * v + cross(v, dual.v)));
  }
};

void forward_point(const Inputs& in, std::size_t point, float* const* positions, float* const* quats) {
  const Vec x = vec(in.means + point * 3);
  const float* q = in.quat + point * 4;
  for (int t = 0; t < in.times; ++t) {
    const Blend blend(in, point, t);
    put(positions[t] + point * 3, blend.move(x));
    if (t < in.turned) {
      const Quat turned = blend.real * Quat{q[0], vec(q + 1)};
      const float scale = 1.f / std::sqrt(blend.length);
      quats[t][point * 4] = scale * turned.w;
      put(quats[t] + point * 4 + 1, scale * turned.v);
    }
  }
}

struct Gradients {
  const float *const *of_positions, *const *of_quats;  // (N, 3) for each of Q times and (N, 4) for each turned one, each null for zero
  float *weights, *means, *quat;
};

// Adds to `sums` (Q, M, 8).
void backward_point(const Inputs& in, const Gradients& g, std::size_t point, float* sums) {
  const Vec x = vec(in.means + point * 3);
  const Quat own{in.quat[point * 4], vec(in.quat + point * 4 + 1)};
  Vec by_x{};
  Quat by_own{};
  float by_weight[kMostNodes] = {};
  for (int t = 0; t < in.times; ++t) {
    const float *const of_position = g.of_positions[t], *const of_quat = t < in.turned ? g.of_quats[t] : nullptr;
    if (of_position == nullptr && of_quat == nullptr) continue;
    const Blend blend(in, point, t);
    const Vec v = blend.real.v;
    const float w = blend.real.w;
    Quat by_real{}, by_dual{};
    if (of_position != nullptr) {
      const Vec by = vec(of_position + point * 3), grad = (1.f / blend.length) * by;
      const float along = -2.f * dot(grad, blend.move(x)), mix = dot(grad, v);
      by_real.w = 2.f * (w * dot(grad, x) + dot(grad, cross(v, x) + blend.dual.v)) + along * w;
      by_real.v = 2.f * ((dot(v, x) - blend.dual.w) * grad + mix * x - dot(grad, x) * v + cross(w * x + blend.dual.v, grad)) + along * v;
      by_dual = {-2.f * mix, 2.f * (w * grad + cross(grad, v))};
      by_x = by_x + (w * w - dot(v, v)) * grad + 2.f * (mix * v + w * cross(grad, v));
    }
    if (of_quat != nullptr) {
      const float* from = of_quat + point * 4;
      const Quat by{from[0], vec(from + 1)};
      const float scale = 1.f / std::sqrt(blend.length);
      const Quat unit{scale * w, scale * v}, through = by * conjugate(own), back = conjugate(unit) * by;
      const float radial = dot(unit, through);
      by_real = {by_real.w + scale * (through.w - radial * unit.w), by_real.v + scale * (through.v - radial * unit.v)};
      by_own = {by_own.w + back.w, by_own.v + back.v};
    }
    const Four by_turn = flat(by_real), by_shift = flat(by_dual);
    for (int k = 0; k < in.followed; ++k) {
      const float* const node = in.node(point, k, t);
      float* const sum = sums + (node - in.table);
      const float pull = sum_of(by_turn * four(node) + by_shift * four(node + 4));
      add(sum, blend.share[k] * by_turn);
      add(sum + 4, blend.share[k] * by_shift);
      by_weight[k] += std::signbit(blend.share[k]) ? -pull : pull;
    }
  }
  std::copy_n(by_weight, in.followed, g.weights + point * in.followed);
  put(g.means + point * 3, by_x);
  g.quat[point * 4] = by_own.w;
  put(g.quat + point * 4 + 1, by_own.v);
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
    for (std::size_t point = begin; point < end; ++point) forward_point(in, point, positions, quats);
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
    for (std::size_t point = begin; point < end; ++point) backward_point(in, gradients, point, part);
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
