// One damped step of the bundle adjustment of a small rigid problem, its points eliminated (Schur complement), and its robust cost.
//
// Frame f sees point p at K_f (R_f p + t_f). Unknown per frame: a left rotation vector and t; per point: its place. The readable twin is
// `reference_step` in priors/movers/body_bundle.py. Every sum is taken in an order that the input fixes, whatever the number of threads.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "pool.h"

extern "C" {
// Mirrored field by field in priors/movers/body_bundle.py.
struct FFBody {
  const double* poses;          // (F, 4, 4) object to camera
  const double* points;         // (P, 3)
  const double* K;              // (F, 3, 3)
  const double* xy;             // (M, 2) pixels, point after point
  const double* weight;         // (M)
  const std::int64_t* frame;    // (M), increasing within a point
  const std::int64_t* first;    // (P + 1) first observation of each point
  std::int64_t frames, count;   // F, P
  double sigma, damping;
  std::int64_t move_points;
};

int ff_solve_positive(double* system, double* sides, std::int64_t size, std::int64_t columns);
}

namespace {

constexpr int kRows = 8;            // frames are dealt to this many tasks, each of which owns their rows of the system
constexpr double kNearest = 1e-9;   // smallest depth
constexpr double kLost = 1e3;       // pixels; residual of what lies behind the camera
constexpr double kWild = 500.;      // pixels; an observation farther off counts nothing
constexpr double kFloor = 1e-8;     // added to every diagonal, share of the mean of them all

std::size_t at(std::int64_t n) { return static_cast<std::size_t>(n); }

// Where the camera has the point: turned R p and camera R p + t; residual in pixels.
struct Place {
  double turned[3], camera[3], residual[2];
};

Place place(const FFBody& b, std::size_t p, std::size_t m) {
  const std::size_t f = at(b.frame[m]);
  const double *T = b.poses + 16 * f, *K = b.K + 9 * f, *x = b.points + 3 * p;
  Place s;
  for (std::size_t i = 0; i < 3; ++i) {
    s.turned[i] = T[4 * i] * x[0] + T[4 * i + 1] * x[1] + T[4 * i + 2] * x[2];
    s.camera[i] = s.turned[i] + T[4 * i + 3];
  }
  const double* c = s.camera;
  for (std::size_t k = 0; k < 2; ++k) {
    const double seen = (K[3 * k] * c[0] + K[3 * k + 1] * c[1] + K[3 * k + 2] * c[2]) / c[2];
    s.residual[k] = c[2] > kNearest ? seen - b.xy[2 * m + k] : kLost;
  }
  return s;
}

double length_of(const Place& s) { return std::sqrt(s.residual[0] * s.residual[0] + s.residual[1] * s.residual[1]); }

// One observation: Jacobians by the pose and by the point, residual and robust weight.
struct Seen {
  double pose[2][6], point[2][3], residual[2], weight;
};

Seen look(const FFBody& b, std::size_t p, std::size_t m) {
  const Place here = place(b, p, m);
  const std::size_t f = at(b.frame[m]);
  const double *T = b.poses + 16 * f, *K = b.K + 9 * f, *t = here.turned, *c = here.camera;
  const double z = std::max(c[2], kNearest), length = length_of(here);
  const double image[2][3] = {{K[0] / z, K[1] / z, -(K[0] * c[0] + K[1] * c[1]) / (z * z)}, {0., K[4] / z, -K[4] * c[1] / (z * z)}};
  Seen s;
  s.weight = length > kWild ? 0. : b.weight[m] * std::min(1., b.sigma / std::max(length, 1e-9));
  for (std::size_t k = 0; k < 2; ++k) {
    const double* g = image[k];
    s.residual[k] = here.residual[k];
    s.pose[k][0] = g[2] * t[1] - g[1] * t[2], s.pose[k][1] = g[0] * t[2] - g[2] * t[0], s.pose[k][2] = g[1] * t[0] - g[0] * t[1];
    for (std::size_t i = 0; i < 3; ++i) {
      s.pose[k][3 + i] = g[i];
      s.point[k][i] = g[0] * T[i] + g[1] * T[4 + i] + g[2] * T[8 + i];
    }
  }
  return s;
}

// The equations before elimination: own blocks and sides of frames and points, and what mixes them, three columns of 6 rows per observation.
struct Equations {
  std::vector<double> frame, frame_side;  // (F, 6, 6), (F, 6)
  std::vector<double> point, point_side;  // (P, 3, 3), (P, 3)
  std::vector<double> mixed[3];           // each (M, 6)
};

void gather(const FFBody& b, Equations& e) {
  const std::size_t F = at(b.frames), P = at(b.count), M = at(b.first[P]);
  e.frame.assign(36 * F, 0.), e.frame_side.assign(6 * F, 0.), e.point.assign(9 * P, 0.), e.point_side.assign(3 * P, 0.);
  for (auto& column : e.mixed) column.assign(b.move_points ? 6 * M : 0, 0.);
  for (std::size_t p = 0; p < P; ++p) {
    for (std::size_t m = at(b.first[p]); m < at(b.first[p + 1]); ++m) {
      const Seen s = look(b, p, m);
      double *const H = e.frame.data() + 36 * at(b.frame[m]), *const h = e.frame_side.data() + 6 * at(b.frame[m]);
      for (std::size_t i = 0; i < 6; ++i) {
        const double x = s.weight * s.pose[0][i], y = s.weight * s.pose[1][i];
        for (std::size_t j = 0; j < 6; ++j) H[6 * i + j] += x * s.pose[0][j] + y * s.pose[1][j];
        h[i] -= x * s.residual[0] + y * s.residual[1];
        if (b.move_points) {
          for (std::size_t j = 0; j < 3; ++j) e.mixed[j][6 * m + i] = x * s.point[0][j] + y * s.point[1][j];
        }
      }
      for (std::size_t i = 0; i < 3; ++i) {
        const double x = s.weight * s.point[0][i], y = s.weight * s.point[1][i];
        for (std::size_t j = 0; j < 3; ++j) e.point[9 * p + 3 * i + j] += x * s.point[0][j] + y * s.point[1][j];
        e.point_side[3 * p + i] -= x * s.residual[0] + y * s.residual[1];
      }
    }
  }
}

// Adds the damping to the diagonals of `count` blocks of `size`.
void damp(std::vector<double>& blocks, std::size_t count, std::size_t size, double damping) {
  double total = 0.;
  for (std::size_t n = 0; n < count; ++n) {
    for (std::size_t i = 0; i < size; ++i) total += blocks[(n * size + i) * size + i];
  }
  const double mean = count ? total / static_cast<double>(count * size) : 0., floor = kFloor * std::max(mean, 1e-12);
  for (std::size_t n = 0; n < count; ++n) {
    for (std::size_t i = 0; i < size; ++i) {
      double& d = blocks[(n * size + i) * size + i];
      d += damping * d + floor;
    }
  }
}

// Inverses in place of symmetric 3x3 blocks, by their Cholesky factors; false where one is not positive.
bool invert(std::vector<double>& blocks) {
  for (std::size_t n = 0; n < blocks.size(); n += 9) {
    double* const H = blocks.data() + n;
    const double a = std::sqrt(H[0]), b = H[1] / a, c = H[2] / a, d = std::sqrt(H[4] - b * b), e = (H[5] - b * c) / d;
    const double f = std::sqrt(H[8] - c * c - e * e);
    if (!(a > 0. && d > 0. && f > 0.)) return false;
    // the inverse of the lower factor, then its square
    const double ia = 1. / a, id = 1. / d, jf = 1. / f, p = -b * ia * id, q = (b * e * id - c) * ia * jf, r = -e * id * jf;
    H[0] = ia * ia + p * p + q * q, H[1] = H[3] = p * id + q * r, H[2] = H[6] = q * jf;
    H[4] = id * id + r * r, H[5] = H[7] = r * jf, H[8] = jf * jf;
  }
  return true;
}

// Rows of the frames f = task, task + kRows, ... of the reduced system's upper triangle and of its side.
void reduce(const FFBody& b, const Equations& e, std::size_t task, double* system, double* side) {
  const std::size_t F = at(b.frames), P = at(b.count), size = 6 * F;
  for (std::size_t f = task; f < F; f += kRows) {
    for (std::size_t i = 0; i < 6; ++i) {
      double* const row = system + (6 * f + i) * size;
      std::fill(row + 6 * f, row + size, 0.);
      for (std::size_t j = i; j < 6; ++j) row[6 * f + j] = e.frame[36 * f + 6 * i + j];
      side[6 * f + i] = e.frame_side[6 * f + i];
    }
  }
  for (std::size_t p = 0; p < P; ++p) {
    const double *const H = e.point.data() + 9 * p, *const h = e.point_side.data() + 3 * p;
    const std::size_t end = at(b.first[p + 1]);
    for (std::size_t m = at(b.first[p]); m < end; ++m) {
      const std::size_t f = at(b.frame[m]);
      if (f % kRows != task) continue;
      for (std::size_t i = 0; i < 6; ++i) {
        const double w[3] = {e.mixed[0][6 * m + i], e.mixed[1][6 * m + i], e.mixed[2][6 * m + i]};
        double y[3];
        for (std::size_t k = 0; k < 3; ++k) y[k] = w[0] * H[k] + w[1] * H[3 + k] + w[2] * H[6 + k];
        side[6 * f + i] -= y[0] * h[0] + y[1] * h[1] + y[2] * h[2];
        double* const row = system + (6 * f + i) * size;
        for (std::size_t q = m; q < end;) {  // frames that follow each other are one run
          std::size_t last = q + 1;
          while (last < end && b.frame[last] == b.frame[last - 1] + 1) ++last;
          double* const to = row + 6 * at(b.frame[q]);
          const double *const w0 = e.mixed[0].data() + 6 * q, *const w1 = e.mixed[1].data() + 6 * q, *const w2 = e.mixed[2].data() + 6 * q;
          for (std::size_t c = 0; c < 6 * (last - q); ++c) to[c] -= y[0] * w0[c] + y[1] * w1[c] + y[2] * w2[c];
          q = last;
        }
      }
    }
  }
}

// The points' steps that follow from the frames'.
void follow(const FFBody& b, const Equations& e, const double* pose_step, double* point_step) {
  for (std::size_t p = 0; p < at(b.count); ++p) {
    double rest[3];
    for (std::size_t i = 0; i < 3; ++i) {
      rest[i] = e.point_side[3 * p + i];
      for (std::size_t m = at(b.first[p]); m < at(b.first[p + 1]); ++m) {
        for (std::size_t k = 0; k < 6; ++k) rest[i] -= e.mixed[i][6 * m + k] * pose_step[6 * at(b.frame[m]) + k];
      }
    }
    const double* const H = e.point.data() + 9 * p;
    for (std::size_t i = 0; i < 3; ++i) point_step[3 * p + i] = H[3 * i] * rest[0] + H[3 * i + 1] * rest[1] + H[3 * i + 2] * rest[2];
  }
}

}  // namespace

extern "C" {

// Steps of the frames (F, 6) and of the points (P, 3), zero where they do not move. 0, 1 when memory ran out, 2 where there is no step.
int ff_body_step(const FFBody* body, double* pose_step, double* point_step) try {
  const FFBody& b = *body;
  const std::size_t F = at(b.frames), P = at(b.count);
  Equations e;
  gather(b, e);
  damp(e.frame, F, 6, b.damping);
  std::fill(point_step, point_step + 3 * P, 0.);
  if (!b.move_points) {
    std::copy(e.frame_side.begin(), e.frame_side.end(), pose_step);
    for (std::size_t f = 0; f < F; ++f) {
      if (ff_solve_positive(e.frame.data() + 36 * f, pose_step + 6 * f, 6, 1)) return 2;
    }
    return 0;
  }
  damp(e.point, P, 3, b.damping);
  if (!invert(e.point)) return 2;
  std::vector<double> system(36 * F * F);
  fourfold::parallel_for(kRows, [&](int task) { reduce(b, e, static_cast<std::size_t>(task), system.data(), pose_step); });
  if (ff_solve_positive(system.data(), pose_step, 6 * b.frames, 1)) return 2;
  follow(b, e, pose_step, point_step);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// The mean robust cost (Huber), pixels squared.
double ff_body_cost(const FFBody* body) {
  const FFBody& b = *body;
  double total = 0., weight = 0.;
  for (std::size_t p = 0; p < at(b.count); ++p) {
    for (std::size_t m = at(b.first[p]); m < at(b.first[p + 1]); ++m) {
      const double length = length_of(place(b, p, m));
      total += b.weight[m] * (length < b.sigma ? length * length : 2. * b.sigma * length - b.sigma * b.sigma);
      weight += b.weight[m];
    }
  }
  return total / std::max(weight, 1e-12);
}
}
