// What carries the Gaussians of a motion scaffold (spec mosca.md section 8): motions of nodes between two times, and weights of nodes.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>

#include "buffer.h"
#include "pool.h"
#include "quaternion.h"

namespace {

using fourfold::conjugate;
using fourfold::put;
using fourfold::Quat;
using fourfold::quat;
using fourfold::vec;

constexpr std::size_t kLeastPoints = 512, kMostChunks = 16, kDual = 8;

struct Weighing {
  const float *then, *means, *falling;       // (R, M, 3), (N, 3), (M)
  const std::int64_t *node, *anchor, *near;  // (N), (N), (M, J)
  const unsigned char* valid;                // (M, J)
  std::size_t points, nodes, followed;       // N, M, J
  bool pull;
  float floor;

  std::size_t columns() const { return followed + (pull ? 1 : 0); }
};

void weigh_point(const Weighing& in, std::size_t point, std::size_t rest, std::int64_t* rows, float* weights, float* slopes) {
  const std::size_t own = static_cast<std::size_t>(in.node[point]) * in.followed, first = static_cast<std::size_t>(in.anchor[point]) * in.nodes;
  const fourfold::Vec x = vec(in.means + point * 3);
  float total = 0.f;
  for (std::size_t j = 0; j < in.followed; ++j) {
    const std::size_t node = static_cast<std::size_t>(in.near[own + j]);
    rows[j] = static_cast<std::int64_t>(first + node);
    const fourfold::Vec away = x - vec(in.then + (first + node) * 3);
    const float squared = dot(away, away), share = in.valid[own + j] ? std::exp(squared * in.falling[node]) : 0.f;
    weights[j] = in.valid[own + j] ? share + in.floor : 0.f;
    slopes[j] = squared * share;
    total += weights[j];
  }
  const bool held = !in.pull || total >= 1.f;
  const float scale = held ? 1.f / total : 1.f;
  for (std::size_t j = 0; j < in.followed; ++j) weights[j] *= scale;
  slopes[in.followed] = held ? scale : 0.f;  // how the sum of the weights was used, for the way back
  if (in.pull) rows[in.followed] = static_cast<std::int64_t>(rest), weights[in.followed] = held ? 0.f : 1.f - total;
}

std::size_t points_per_chunk(std::size_t points) { return std::max(kLeastPoints, (points + kMostChunks - 1) / kMostChunks); }

}  // namespace

extern "C" {

// Motions of M nodes from R to Q times as dual quaternions: table (Q, R M + 1, 8) of now (Q, M, 8) times the conjugates of then (R, M, 8), in
// the last row the motion of what rests. Sizes: {Q, R, M}.
void ff_motion_table(const float* now, const float* then, const std::int64_t sizes[3], float* table) {
  const auto times = static_cast<std::size_t>(sizes[0]), anchors = static_cast<std::size_t>(sizes[1]), nodes = static_cast<std::size_t>(sizes[2]);
  for (std::size_t q = 0; q < times; ++q) {
    for (std::size_t r = 0; r < anchors; ++r) {
      for (std::size_t m = 0; m < nodes; ++m, table += kDual) {
        const float *a = now + (q * nodes + m) * kDual, *b = then + (r * nodes + m) * kDual;
        const Quat turn = quat(a), back = conjugate(quat(b));
        put(table, turn * back);
        put(table + 4, turn * conjugate(quat(b + 4)) + quat(a + 4) * back);
      }
    }
    std::fill_n(table, kDual, 0.f);
    table[0] = 1.f;
    table += kDual;
  }
}

// The gradient of the table to those of now and then.
void ff_motion_table_backward(const float* now, const float* then, const std::int64_t sizes[3], const float* of, float* by_now, float* by_then) {
  const auto times = static_cast<std::size_t>(sizes[0]), anchors = static_cast<std::size_t>(sizes[1]), nodes = static_cast<std::size_t>(sizes[2]);
  std::fill_n(by_now, times * nodes * kDual, 0.f);
  std::fill_n(by_then, anchors * nodes * kDual, 0.f);
  const auto add = [](float* to, Quat value) { put(to, quat(to) + value); };
  for (std::size_t q = 0; q < times; ++q, of += kDual) {
    for (std::size_t r = 0; r < anchors; ++r) {
      for (std::size_t m = 0; m < nodes; ++m, of += kDual) {
        const std::size_t here = (q * nodes + m) * kDual, there = (r * nodes + m) * kDual;
        const Quat real = quat(of), dual = quat(of + 4), turn = quat(now + here), back = quat(then + there);  // of p b*: g b to p, g* p to b
        add(by_now + here, real * back + dual * quat(then + there + 4));
        add(by_now + here + 4, dual * back);
        add(by_then + there, conjugate(real) * turn + conjugate(dual) * quat(now + here + 4));
        add(by_then + there + 4, conjugate(dual) * turn);
      }
    }
  }
}

// Rows of the flattened table (R M) and weights of the J nodes near each of N points, and of what rests (row R M) where `pull`: rows and weights
// (N, J + pull), slopes (N, J + 1) for the way back. A believed node counts exp(d^2 falling) + floor. Sizes: {N, M, J, R, pull}.
void ff_scaffold_weights(const float* then, const float* means, const float* falling, const std::int64_t* node, const std::int64_t* anchor,
                         const std::int64_t* near, const unsigned char* valid, const std::int64_t sizes[5], float floor, std::int64_t* rows,
                         float* weights, float* slopes) {
  const Weighing in{then, means, falling, node, anchor, near, valid, static_cast<std::size_t>(sizes[0]), static_cast<std::size_t>(sizes[1]),
                    static_cast<std::size_t>(sizes[2]), sizes[4] != 0, floor};
  const std::size_t rest = static_cast<std::size_t>(sizes[3]) * in.nodes, columns = in.columns();
  fourfold::parallel_chunks(in.points, points_per_chunk(in.points), [&](int, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) weigh_point(in, i, rest, rows + i * columns, weights + i * columns, slopes + i * (in.followed + 1));
  });
}

// The gradient of the weights to that of falling (M).
void ff_scaffold_weights_backward(const std::int64_t* node, const std::int64_t* near, const float* weights, const float* slopes,
                                  const std::int64_t sizes[5], const float* of, float* by_falling) {
  const auto points = static_cast<std::size_t>(sizes[0]), nodes = static_cast<std::size_t>(sizes[1]), followed = static_cast<std::size_t>(sizes[2]);
  const bool pull = sizes[4] != 0;
  const std::size_t columns = followed + (pull ? 1 : 0);
  std::fill_n(by_falling, nodes, 0.f);
  for (std::size_t i = 0; i < points; ++i, of += columns, weights += columns, slopes += followed + 1) {
    const float scale = slopes[followed];  // 1 / sum where the nodes hold the point, else 0: the world takes what is missing from one
    float shared = 0.f;
    if (scale > 0.f) {
      for (std::size_t j = 0; j < followed; ++j) shared += of[j] * weights[j];
    } else {
      shared = of[followed];
    }
    const float factor = scale > 0.f ? scale : 1.f;
    const std::int64_t* const own = near + static_cast<std::size_t>(node[i]) * followed;
    for (std::size_t j = 0; j < followed; ++j) by_falling[own[j]] += factor * (of[j] - shared) * slopes[j];
  }
}
}
