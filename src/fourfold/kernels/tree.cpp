// Motion trees (spec himor_4dgs360.md): how much each point follows its nodes (section 1), and the two-term rigidity of pairs of nodes (equation 12
// of 4DGS360; section 4), value and gradient.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>

#include "buffer.h"
#include "pool.h"
#include "quaternion.h"

namespace {

using fourfold::Buffer;
using fourfold::conjugate;
using fourfold::put;
using fourfold::Quat;
using fourfold::quat;
using fourfold::Vec;
using fourfold::vec;

constexpr std::size_t kPointsPerTask = 1024;
constexpr float kTiny = 1e-16f;  // keeps the gradient of a norm finite at zero

inline void add(float* to, Vec v) { put(to, vec(to) + v); }
inline void add(float* to, Quat q) { put(to, quat(to) + q); }
inline float norm(Vec v) { return std::sqrt(dot(v, v) + kTiny); }
inline float side(float x) { return x > 0.f ? 1.f : x < 0.f ? -1.f : 0.f; }

inline Vec rotate(Quat q, Vec v) {
  const Vec turned = 2.f * cross(q.v, v);
  return v + q.w * turned + cross(q.v, turned);
}

// The gradient by q of a scalar whose gradient by rotate(q, v) is g.
inline Quat slope_of_rotation(Quat q, Vec v, Vec g) {
  const Vec across = cross(q.v, v);
  return {2.f * dot(across, g), 2.f * (q.w * cross(v, g) + cross(across, g) + cross(v, cross(g, q.v)))};
}

// Where the two nodes of a pair are at a moment, and the first as the second sees it.
struct Seen {
  Vec first, second, local;
  float apart;
};

}  // namespace

extern "C" {

// Softmax over the K nodes `near` (N, K) each of `points` (N, 3) of -d^2 / (2 r^2) with the distances d to `nodes` (M, 3) of radius exp(`log_radius`)
// (M): weights (N, K). Sizes: {N, M, K}.
void ff_leaf_weights(const float* points, const float* nodes, const float* log_radius, const std::int64_t* near, const std::int64_t sizes[3], float* weights) {
  const auto followed = static_cast<std::size_t>(sizes[2]);
  fourfold::parallel_chunks(static_cast<std::size_t>(sizes[0]), kPointsPerTask, [&](int, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      float* const w = weights + i * followed;
      float highest = -std::numeric_limits<float>::infinity(), total = 0.f;
      for (std::size_t k = 0; k < followed; ++k) {
        const auto node = static_cast<std::size_t>(near[i * followed + k]);
        const Vec away = vec(points + i * 3) - vec(nodes + node * 3);
        w[k] = -0.5f * dot(away, away) * std::exp(-2.f * log_radius[node]);
        highest = std::max(highest, w[k]);
      }
      for (std::size_t k = 0; k < followed; ++k) total += w[k] = std::exp(w[k] - highest);
      for (std::size_t k = 0; k < followed; ++k) w[k] /= total;
    }
  });
}

// The gradient of the weights to those of nodes and logarithms of radii.
void ff_leaf_weights_backward(const float* points, const float* nodes, const float* log_radius, const std::int64_t* near, const float* weights,
                              const std::int64_t sizes[3], const float* of, float* by_nodes, float* by_log_radius) {
  const auto count = static_cast<std::size_t>(sizes[0]), followed = static_cast<std::size_t>(sizes[2]);
  std::fill_n(by_nodes, 3 * sizes[1], 0.f);
  std::fill_n(by_log_radius, sizes[1], 0.f);
  for (std::size_t i = 0; i < count; ++i, near += followed, weights += followed, of += followed) {
    float shared = 0.f;
    for (std::size_t k = 0; k < followed; ++k) shared += of[k] * weights[k];
    for (std::size_t k = 0; k < followed; ++k) {
      const auto node = static_cast<std::size_t>(near[k]);
      const Vec away = vec(points + i * 3) - vec(nodes + node * 3);
      const float by = weights[k] * (of[k] - shared) * std::exp(-2.f * log_radius[node]);
      add(by_nodes + node * 3, by * away);
      by_log_radius[node] += by * dot(away, away);
    }
  }
}

// The mean over E pairs and consecutive ones of Q moments of weights[0] times the change of distance plus weights[1] times the change of the first
// node's place in the frame of the second, and its gradients. `quats` (Q, M, 4) of unit length and `shifts` (Q, M, 3) move nodes from `means` (M, 3);
// `first`, `second` (E). Sizes: {Q, M, E}. 0, or 1 when memory ran out.
int ff_two_terms(const float* quats, const float* shifts, const float* means, const std::int64_t* first, const std::int64_t* second, const std::int64_t sizes[3],
                 const float* weights, double* value, float* by_quats, float* by_shifts) try {
  const auto moments = static_cast<std::size_t>(sizes[0]), nodes = static_cast<std::size_t>(sizes[1]), pairs = static_cast<std::size_t>(sizes[2]);
  thread_local Buffer<Seen> kept;
  thread_local Buffer<Vec> kept_pulls;
  Seen* const seen = kept.resize(moments);
  Vec* const pull = kept_pulls.resize(moments);
  std::fill_n(by_quats, moments * nodes * 4, 0.f);
  std::fill_n(by_shifts, moments * nodes * 3, 0.f);
  const float share = 1.f / static_cast<float>((moments - 1) * pairs);
  double stretched = 0, moved = 0;
  for (std::size_t e = 0; e < pairs; ++e) {
    const auto i = static_cast<std::size_t>(first[e]), j = static_cast<std::size_t>(second[e]);
    const Vec xi = vec(means + i * 3), xj = vec(means + j * 3);
    for (std::size_t t = 0; t < moments; ++t) {
      const Quat qi = quat(quats + (t * nodes + i) * 4), qj = quat(quats + (t * nodes + j) * 4);
      const Vec si = vec(shifts + (t * nodes + i) * 3), sj = vec(shifts + (t * nodes + j) * 3);
      Seen& s = seen[t];
      s.first = rotate(qi, xi) + si;
      s.second = rotate(qj, xj) + sj;
      s.local = rotate(conjugate(qj), s.first - sj);
      s.apart = norm(s.first - s.second);
      pull[t] = {0.f, 0.f, 0.f};
    }
    for (std::size_t t = 0; t + 1 < moments; ++t) {
      const Vec change = seen[t + 1].local - seen[t].local;
      const float length = norm(change);
      const Vec by = (weights[1] * share / length) * change;
      pull[t + 1] = pull[t + 1] + by;
      pull[t] = pull[t] - by;
      moved += length;
      stretched += std::fabs(seen[t + 1].apart - seen[t].apart);
    }
    for (std::size_t t = 0; t < moments; ++t) {
      const float before = t > 0 ? side(seen[t].apart - seen[t - 1].apart) : 0.f, after = t + 1 < moments ? side(seen[t + 1].apart - seen[t].apart) : 0.f;
      const Vec stretch = (weights[0] * share * (before - after) / seen[t].apart) * (seen[t].first - seen[t].second);
      const std::size_t at_i = t * nodes + i, at_j = t * nodes + j;
      const Quat qi = quat(quats + at_i * 4), qj = quat(quats + at_j * 4);
      const Vec in_world = rotate(qj, pull[t]), by_first = stretch + in_world;
      add(by_quats + at_i * 4, slope_of_rotation(qi, xi, by_first));
      add(by_shifts + at_i * 3, by_first);
      add(by_quats + at_j * 4, slope_of_rotation(qj, xj, -1.f * stretch));
      add(by_quats + at_j * 4, conjugate(slope_of_rotation(conjugate(qj), seen[t].first - vec(shifts + at_j * 3), pull[t])));
      add(by_shifts + at_j * 3, -1.f * by_first);
    }
  }
  *value = static_cast<double>(share) * (weights[0] * stretched + weights[1] * moved);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
