// As-rigid-as-possible energies of a motion scaffold (spec mosca.md section 6), values and gradients.
//
// For each edge from node i to neighbour k, l(t) = R_k(t)^T (x_i(t) - x_k(t)) are the local coordinates; over shifts s in time the energies
// are sums of |l(t + s) - l(t)| and of | |l(t + s)| - |l(t)| |. All of a node's moments lie one after the other, filled up with zeros to whole blocks
// of a fixed length, so that loops run over time in whole vectors.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>

#include "buffer.h"
#include "independent.h"

namespace {

using fourfold::Buffer;

constexpr int kPose = 7;            // x, y, z, then the quaternion wxyz
constexpr int kScratch = 12;        // rows of an edge's numbers
constexpr std::size_t kBlock = 16;  // moments that are computed together
constexpr float kTiny = 1e-12f;     // keeps the gradient of a norm finite at zero

struct Sizes {
  std::size_t moments, nodes, edges, shifts, row;  // K, M, J, S, and K filled up to whole blocks
};

// The moments of one edge; what lies behind those of a row are those of the next, or room.
struct Edge {
  float *x, *y, *z, *length;        // local coordinates
  float *gx, *gy, *gz, *by_length;  // their gradients
  float *fx, *fy, *fz, *fl;         // of one shift

  Edge(float* rows, std::size_t stride) {
    float** const all[kScratch] = {&x, &y, &z, &length, &gx, &gy, &gz, &by_length, &fx, &fy, &fz, &fl};
    for (int i = 0; i < kScratch; ++i) *all[i] = rows + static_cast<std::size_t>(i) * stride;
  }
};

// Calls body(t) for whole blocks of moments, at least `count`.
template <class Body>
inline void over_moments(std::size_t count, const Body& body) {
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    FF_INDEPENDENT
    for (std::size_t lane = 0; lane < kBlock; ++lane) body(begin + lane);
  }
}

void transposed(const float* xyz, const float* quat, const Sizes& s, float* poses) {
  for (std::size_t row = 0; row < s.nodes * kPose; ++row) std::fill(poses + row * s.row + s.moments, poses + (row + 1) * s.row, 0.f);
  for (std::size_t t = 0; t < s.moments; ++t) {
    for (std::size_t m = 0; m < s.nodes; ++m) {
      float* const to = poses + m * kPose * s.row + t;
      for (std::size_t c = 0; c < 3; ++c) to[c * s.row] = xyz[(t * s.nodes + m) * 3 + c];
      for (std::size_t c = 0; c < 4; ++c) to[(3 + c) * s.row] = quat[(t * s.nodes + m) * 4 + c];
    }
  }
}

// Poses of node i and of neighbour k to local coordinates and their lengths.
void local(const float* i, const float* k, std::size_t n, const Edge& e) {
  float *const x = e.x, *const y = e.y, *const z = e.z, *const length = e.length;
  over_moments(n, [=](std::size_t t) {
    const float vx = i[t] - k[t], vy = i[n + t] - k[n + t], vz = i[2 * n + t] - k[2 * n + t];
    const float w = 2.f * k[3 * n + t], ux = -k[4 * n + t], uy = -k[5 * n + t], uz = -k[6 * n + t];
    const float cx = uy * vz - uz * vy, cy = uz * vx - ux * vz, cz = ux * vy - uy * vx;
    const float lx = vx + w * cx + 2.f * (uy * cz - uz * cy);
    const float ly = vy + w * cy + 2.f * (uz * cx - ux * cz);
    const float lz = vz + w * cz + 2.f * (ux * cy - uy * cx);
    x[t] = lx, y[t] = ly, z[t] = lz;
    length[t] = std::sqrt(lx * lx + ly * ly + lz * lz + kTiny);
  });
}

// Adds `of_coordinate` |change of l| + `of_distance` | change of |l| | of one shift, `count` moments, to `energy`, and its gradients to those of l
// and |l|.
void add_change(const Edge& e, std::size_t shift, std::size_t count, float of_coordinate, float of_distance, float* energy) {
  const float *const x = e.x, *const y = e.y, *const z = e.z, *const length = e.length;
  float *const fx = e.fx, *const fy = e.fy, *const fz = e.fz, *const fl = e.fl;
  over_moments(count, [=](std::size_t t) {
    const float dx = x[t + shift] - x[t], dy = y[t + shift] - y[t], dz = z[t + shift] - z[t], dl = length[t + shift] - length[t];
    const float norm = std::sqrt(dx * dx + dy * dy + dz * dz + kTiny), scale = of_coordinate / norm;
    energy[t] += t < count ? of_coordinate * norm + of_distance * std::fabs(dl) : 0.f;
    fx[t] = t < count ? scale * dx : 0.f;
    fy[t] = t < count ? scale * dy : 0.f;
    fz[t] = t < count ? scale * dz : 0.f;
    fl[t] = t < count ? of_distance * static_cast<float>((dl > 0.f) - (dl < 0.f)) : 0.f;
  });
  const auto spread = [count, shift](const float* from, float* to) {
    over_moments(count, [=](std::size_t t) { to[t] -= from[t]; });
    over_moments(count, [=](std::size_t t) { to[t + shift] += from[t]; });
  };
  spread(e.fx, e.gx), spread(e.fy, e.gy), spread(e.fz, e.gz), spread(e.fl, e.by_length);
}

// From gradients of l and |l| to those of the poses of i and k, added.
void carry_back(const float* i, const float* k, std::size_t n, const Edge& e, float* by_i, float* by_k) {
  const float *const x = e.x, *const y = e.y, *const z = e.z, *const length = e.length;
  const float *const by_x = e.gx, *const by_y = e.gy, *const by_z = e.gz, *const by_length = e.by_length;
  over_moments(n, [=](std::size_t t) {
    const float along = by_length[t] / length[t];
    const float gx = by_x[t] + along * x[t], gy = by_y[t] + along * y[t], gz = by_z[t] + along * z[t];
    const float vx = i[t] - k[t], vy = i[n + t] - k[n + t], vz = i[2 * n + t] - k[2 * n + t];
    const float w = k[3 * n + t], ux = -k[4 * n + t], uy = -k[5 * n + t], uz = -k[6 * n + t];
    const float cx = uy * vz - uz * vy, cy = uz * vx - ux * vz, cz = ux * vy - uy * vx;  // u x v
    const float hx = gy * uz - gz * uy, hy = gz * ux - gx * uz, hz = gx * uy - gy * ux;  // g x u
    const float bx = gx + 2.f * (w * hx + hy * uz - hz * uy);
    const float by = gy + 2.f * (w * hy + hz * ux - hx * uz);
    const float bz = gz + 2.f * (w * hz + hx * uy - hy * ux);
    by_i[t] += bx, by_i[n + t] += by, by_i[2 * n + t] += bz;
    by_k[t] -= bx, by_k[n + t] -= by, by_k[2 * n + t] -= bz;
    by_k[3 * n + t] += 2.f * (gx * cx + gy * cy + gz * cz);
    by_k[4 * n + t] -= 2.f * (w * (vy * gz - vz * gy) + cy * gz - cz * gy + vy * hz - vz * hy);
    by_k[5 * n + t] -= 2.f * (w * (vz * gx - vx * gz) + cz * gx - cx * gz + vz * hx - vx * hz);
    by_k[6 * n + t] -= 2.f * (w * (vx * gy - vy * gx) + cx * gy - cy * gx + vx * hy - vy * hx);
  });
}

Sizes sizes_of(const std::int64_t given[4]) {
  const auto moments = static_cast<std::size_t>(given[0]);
  return {moments, static_cast<std::size_t>(given[1]), static_cast<std::size_t>(given[2]), static_cast<std::size_t>(given[3]),
          (moments + kBlock - 1) / kBlock * kBlock};
}

}  // namespace

extern "C" {

// xyz (K, M, 3), quat (K, M, 4) of unit length, near (M, J), share (M, J), shifts (S) below K, weights (S); sizes {K, M, J, S}. Writes of[0] first
// energy + of[1] second energy to `value`, and its gradients to those of xyz and quat. 0, or 1 when memory ran out.
int ff_rigidity(const float* xyz, const float* quat, const std::int64_t* near, const float* share, const std::int64_t* shifts, const float* weights,
                const std::int64_t sizes[4], const float of[2], double* value, float* by_xyz, float* by_quat) try {
  const Sizes s = sizes_of(sizes);
  const std::size_t n = s.row, pose = kPose * n;
  thread_local Buffer<float> kept;
  float* const poses = kept.resize(2 * s.nodes * pose + (kScratch + 2) * n);
  float *const by = poses + s.nodes * pose, *const energy = by + s.nodes * pose;
  const Edge edge(energy + n, n);
  transposed(xyz, quat, s, poses);
  std::fill_n(by, s.nodes * pose, 0.f);
  *value = 0.;
  for (std::size_t i = 0; i < s.nodes; ++i) {
    std::fill_n(energy, n, 0.f);
    for (std::size_t j = 0; j < s.edges; ++j) {
      const float part = share[i * s.edges + j];
      if (part == 0.f) continue;
      const std::size_t k = static_cast<std::size_t>(near[i * s.edges + j]);
      local(poses + i * pose, poses + k * pose, n, edge);
      std::fill_n(edge.gx, 4 * n, 0.f);  // gx, gy, gz and by_length lie together
      for (std::size_t q = 0; q < s.shifts; ++q) {
        const auto shift = static_cast<std::size_t>(shifts[q]);
        add_change(edge, shift, s.moments - shift, part * weights[q] * of[0], part * weights[q] * of[1], energy);
      }
      carry_back(poses + i * pose, poses + k * pose, n, edge, by + i * pose, by + k * pose);
    }
    for (std::size_t t = 0; t < s.moments; ++t) *value += static_cast<double>(energy[t]);
  }
  for (std::size_t t = 0; t < s.moments; ++t) {
    for (std::size_t m = 0; m < s.nodes; ++m) {
      for (std::size_t c = 0; c < 3; ++c) by_xyz[(t * s.nodes + m) * 3 + c] = by[m * pose + c * n + t];
      for (std::size_t c = 0; c < 4; ++c) by_quat[(t * s.nodes + m) * 4 + c] = by[m * pose + (3 + c) * n + t];
    }
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
