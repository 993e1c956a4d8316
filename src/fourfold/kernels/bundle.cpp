// Normal equations of a bundle of tracks, with the tracks eliminated (Schur complement).
//
// A track is a direction d and an inverse distance rho in the world, a frame a rotation R and a translation t; frame f sees the track at
// pixel = centre + focal (1 + k |p|^2) p with p = (c_x, c_y) / c_z and c = R d + rho t. Unknown per frame: a left rotation vector and t; per lens:
// log focal and k; per track: d along two tangents and rho. The readable twin is `reference_system` in priors/cameras/bundle_system.py.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "independent.h"
#include "pool.h"

extern "C" {
// Mirrored field by field in priors/cameras/bundle_system.py.
struct FFBundle {
  const double* xy;             // (M, 2) pixels, track after track
  const double* weight;         // (M)
  const std::int32_t* frame;    // (M), increasing within a track
  const std::int64_t* first;    // (N + 1) first observation of each track
  const double* rotation;       // (F, 3, 3)
  const double* translation;    // (F, 3)
  const std::int32_t* lens_of;  // (F) row of `lens`
  const double* lens;           // (C, 4) focal, k, centre x, centre y
  const double* direction;      // (N, 3)
  const double* tangents;       // (N, 2, 3)
  const double* inverse;        // (N) rho
  const double* pull;           // (N, 2) slope and curvature of what else acts on rho
  std::int64_t frames, lenses, tracks;
  double damping;
};
}

namespace {

constexpr int kParts = 4;          // tracks are dealt to this many sums, whatever the number of threads
constexpr double kNearest = 1e-2;  // smallest c_z, in units of the distance
constexpr double kFloor = 1e-6;    // added to every diagonal

// One observation: weighted Jacobians of its two pixels and the residual.
struct Seen {
  double pose[2][6], lens[2][2], track[2][3], residual[2], weight;
};

inline void cross(const double* a, const double* b, double* out) {
  out[0] = a[1] * b[2] - a[2] * b[1], out[1] = a[2] * b[0] - a[0] * b[2], out[2] = a[0] * b[1] - a[1] * b[0];
}

inline void turned(const double* R, const double* v, double* out) {
  for (int i = 0; i < 3; ++i) out[i] = R[3 * i] * v[0] + R[3 * i + 1] * v[1] + R[3 * i + 2] * v[2];
}

// How far from where it was seen a track is projected to.
void residual(const FFBundle& b, std::size_t n, std::size_t m, double* out) {
  const std::size_t f = static_cast<std::size_t>(b.frame[m]);
  const double *t = b.translation + 3 * f, *lens = b.lens + 4 * static_cast<std::size_t>(b.lens_of[f]), rho = b.inverse[n];
  double c[3];
  turned(b.rotation + 9 * f, b.direction + 3 * n, c);
  const double iz = 1. / std::max(c[2] + rho * t[2], kNearest), px = (c[0] + rho * t[0]) * iz, py = (c[1] + rho * t[1]) * iz;
  const double g = lens[0] * (1. + lens[1] * (px * px + py * py));
  out[0] = g * px + lens[2] - b.xy[2 * m], out[1] = g * py + lens[3] - b.xy[2 * m + 1];
}

Seen look(const FFBundle& b, std::size_t n, std::size_t m) {
  const std::size_t f = static_cast<std::size_t>(b.frame[m]);
  const double *R = b.rotation + 9 * f, *t = b.translation + 3 * f, *lens = b.lens + 4 * static_cast<std::size_t>(b.lens_of[f]);
  const double rho = b.inverse[n];
  double far[3], u[3], v[3], c[3];
  turned(R, b.direction + 3 * n, far), turned(R, b.tangents + 6 * n, u), turned(R, b.tangents + 6 * n + 3, v);
  for (int i = 0; i < 3; ++i) c[i] = far[i] + rho * t[i];
  const double iz = 1. / std::max(c[2], kNearest), px = c[0] * iz, py = c[1] * iz, r2 = px * px + py * py, g = 1. + lens[1] * r2;
  // pixel by p, then p by c
  const double xx = lens[0] * (g + 2. * lens[1] * px * px), xy = lens[0] * 2. * lens[1] * px * py, yy = lens[0] * (g + 2. * lens[1] * py * py);
  const double by_c[2][3] = {{xx * iz, xy * iz, -(xx * px + xy * py) * iz}, {xy * iz, yy * iz, -(xy * px + yy * py) * iz}};
  Seen s;
  s.weight = b.weight[m];
  s.residual[0] = lens[0] * g * px + lens[2] - b.xy[2 * m], s.residual[1] = lens[0] * g * py + lens[3] - b.xy[2 * m + 1];
  for (int k = 0; k < 2; ++k) {
    cross(far, by_c[k], s.pose[k]);  // d . (w x far) = w . (far x d)
    for (int i = 0; i < 3; ++i) s.pose[k][3 + i] = rho * by_c[k][i];
    const double* d = by_c[k];
    s.track[k][0] = d[0] * u[0] + d[1] * u[1] + d[2] * u[2];
    s.track[k][1] = d[0] * v[0] + d[1] * v[1] + d[2] * v[2];
    s.track[k][2] = d[0] * t[0] + d[1] * t[1] + d[2] * t[2];
    s.lens[k][0] = lens[0] * g * (k ? py : px), s.lens[k][1] = lens[0] * r2 * (k ? py : px);
  }
  return s;
}

// Inverse of a symmetric positive 3x3 matrix; zero where it is singular.
void inverted(const double H[3][3], double out[3][3]) {
  double c0[3], c1[3], c2[3];
  cross(H[1], H[2], c0), cross(H[2], H[0], c1), cross(H[0], H[1], c2);
  const double det = H[0][0] * c0[0] + H[0][1] * c0[1] + H[0][2] * c0[2], by = det > 0. ? 1. / det : 0.;
  for (int i = 0; i < 3; ++i) out[i][0] = c0[i] * by, out[i][1] = c1[i] * by, out[i][2] = c2[i] * by;
}

// What is left of a track: its own block (inverted) and side, and three columns over those unknowns of frames and lenses that it touches.
struct Track {
  std::vector<double> column[3];
  std::vector<std::size_t> start, global, length;  // runs: first local row, its place among all unknowns, number of rows
  double inverse[3][3], side[3];

  void run(std::size_t place, std::size_t rows) {
    const std::size_t local = column[0].size();
    for (auto& c : column) c.resize(local + rows, 0.);
    if (!start.empty() && global.back() + length.back() == place) {
      length.back() += rows;
    } else {
      start.push_back(local), global.push_back(place), length.push_back(rows);
    }
  }

  void clear() {
    for (auto& c : column) c.clear();
    start.clear(), global.clear(), length.clear();
  }
};

// Fills `track` with track n; calls seen(m, observation) for each of its observations.
template <class F>
void gather(const FFBundle& b, std::size_t n, Track& track, F&& seen) {
  const std::size_t begin = static_cast<std::size_t>(b.first[n]), end = static_cast<std::size_t>(b.first[n + 1]);
  double H[3][3] = {{0.}}, by_lens[3][2];
  track.clear();
  for (int i = 0; i < 3; ++i) track.side[i] = 0.;
  const auto places = 6 * static_cast<std::size_t>(b.frames);
  for (std::size_t m = begin; m < end; ++m) track.run(6 * static_cast<std::size_t>(b.frame[m]), 6);
  std::size_t lens = static_cast<std::size_t>(-1), row = 0;
  for (std::size_t m = begin; m < end; ++m, row += 6) {
    const Seen s = look(b, n, m);
    seen(m, s);
    const std::size_t mine = static_cast<std::size_t>(b.lens_of[b.frame[m]]);
    if (mine != lens) {  // frames of one lens lie together
      lens = mine;
      track.run(places + 2 * mine, 2);
      for (auto& r : by_lens) r[0] = r[1] = 0.;
    }
    for (int i = 0; i < 3; ++i) {
      const double x = s.weight * s.track[0][i], y = s.weight * s.track[1][i];
      for (int j = 0; j < 3; ++j) H[i][j] += x * s.track[0][j] + y * s.track[1][j];
      for (int j = 0; j < 6; ++j) track.column[i][row + static_cast<std::size_t>(j)] = x * s.pose[0][j] + y * s.pose[1][j];
      for (int j = 0; j < 2; ++j) by_lens[i][j] += x * s.lens[0][j] + y * s.lens[1][j];
      track.side[i] -= x * s.residual[0] + y * s.residual[1];
      const std::size_t last = track.column[i].size() - 2;
      for (int j = 0; j < 2; ++j) track.column[i][last + static_cast<std::size_t>(j)] = by_lens[i][j];
    }
  }
  track.side[2] -= b.pull[2 * n], H[2][2] += b.pull[2 * n + 1];
  for (int i = 0; i < 3; ++i) H[i][i] += b.damping * (H[i][i] - (i == 2 ? b.pull[2 * n + 1] : 0.)) + kFloor;
  inverted(H, track.inverse);
}

// Adds the frames' and lenses' own blocks of one observation.
void add_own(const FFBundle& b, std::size_t m, const Seen& s, std::size_t P, double* A, double* side) {
  const auto f = static_cast<std::size_t>(b.frame[m]);
  const std::size_t pose = 6 * f, lens = 6 * static_cast<std::size_t>(b.frames) + 2 * static_cast<std::size_t>(b.lens_of[f]);
  for (std::size_t i = 0; i < 6; ++i) {
    const double x = s.weight * s.pose[0][i], y = s.weight * s.pose[1][i];
    for (std::size_t j = i; j < 6; ++j) A[(pose + i) * P + pose + j] += x * s.pose[0][j] + y * s.pose[1][j];
    for (std::size_t j = 0; j < 2; ++j) A[(pose + i) * P + lens + j] += x * s.lens[0][j] + y * s.lens[1][j];
    side[pose + i] -= x * s.residual[0] + y * s.residual[1];
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const double x = s.weight * s.lens[0][i], y = s.weight * s.lens[1][i];
    for (std::size_t j = i; j < 2; ++j) A[(lens + i) * P + lens + j] += x * s.lens[0][j] + y * s.lens[1][j];
    side[lens + i] -= x * s.residual[0] + y * s.residual[1];
  }
}

constexpr std::size_t kRows = 3;  // rows that are eliminated together, which reads the columns once for all of them; a frame has six

// to[i] -= y[i] . (w0, w1, w2) for each of `Rows` rows of `count` numbers, `stride` apart.
template <std::size_t Rows>
void subtract(const double (*y)[3], const double* w0, const double* w1, const double* w2, std::size_t count, double* to, std::size_t stride) {
  FF_INDEPENDENT
  for (std::size_t c = 0; c < count; ++c) {
    for (std::size_t i = 0; i < Rows; ++i) to[i * stride + c] -= y[i][0] * w0[c] + y[i][1] * w1[c] + y[i][2] * w2[c];
  }
}

// `Rows` rows of a run, from its row k on, of what `eliminate` does.
template <std::size_t Rows>
void eliminate_rows(const Track& track, std::size_t r, std::size_t k, std::size_t P, double* A, double* side) {
  const double *const w0 = track.column[0].data(), *const w1 = track.column[1].data(), *const w2 = track.column[2].data();
  const std::size_t local = track.start[r] + k, place = track.global[r] + k;
  double y[Rows][3];
  for (std::size_t i = 0; i < Rows; ++i) {
    const double a = w0[local + i], b = w1[local + i], c = w2[local + i];
    for (int j = 0; j < 3; ++j) y[i][j] = a * track.inverse[0][j] + b * track.inverse[1][j] + c * track.inverse[2][j];
    side[place + i] -= y[i][0] * track.side[0] + y[i][1] * track.side[1] + y[i][2] * track.side[2];
    for (std::size_t c2 = i; c2 < Rows; ++c2) {
      A[(place + i) * P + place + c2] -= y[i][0] * w0[local + c2] + y[i][1] * w1[local + c2] + y[i][2] * w2[local + c2];
    }
  }
  for (std::size_t q = 0; q < track.start.size(); ++q) {
    if (track.global[q] < track.global[r]) continue;  // below the diagonal
    const std::size_t skip = q == r ? k + Rows : 0, from = track.start[q] + skip;
    subtract<Rows>(y, w0 + from, w1 + from, w2 + from, track.length[q] - skip, A + place * P + track.global[q] + skip, P);
  }
}

// A -= columns (own block)^-1 columns^T in the upper triangle, side -= columns (own block)^-1 side.
void eliminate(const Track& track, std::size_t P, double* A, double* side) {
  for (std::size_t r = 0; r < track.start.size(); ++r) {
    std::size_t k = 0;
    for (; k + kRows <= track.length[r]; k += kRows) eliminate_rows<kRows>(track, r, k, P, A, side);
    for (; k < track.length[r]; ++k) eliminate_rows<1>(track, r, k, P, A, side);
  }
}

}  // namespace

extern "C" {

// The upper triangle of the reduced system (P, P) and its side (P), P = 6 F + 2 C: frames first, then lenses. 0, or 1 when memory ran out.
int ff_bundle_reduce(const FFBundle* bundle, double* system, double* side) try {
  const FFBundle& b = *bundle;
  const std::size_t P = 6 * static_cast<std::size_t>(b.frames) + 2 * static_cast<std::size_t>(b.lenses), N = static_cast<std::size_t>(b.tracks);
  thread_local std::vector<double> sums[kParts], own[kParts];  // kept: their pages are not asked for again at every step
  auto &kept = sums, &diagonals = own;                           // those of the caller, also in the pool's threads
  fourfold::parallel_for(kParts, [&](int part) {
    auto &sum = kept[part], &diagonal = diagonals[part];
    sum.assign(P * P + P, 0.), diagonal.assign(P, 0.);
    Track track;
    for (std::size_t n = static_cast<std::size_t>(part); n < N; n += kParts) {
      gather(b, n, track, [&](std::size_t m, const Seen& s) {
        add_own(b, m, s, P, sum.data(), sum.data() + P * P);
        const auto f = static_cast<std::size_t>(b.frame[m]);
        const std::size_t lens = 6 * static_cast<std::size_t>(b.frames) + 2 * static_cast<std::size_t>(b.lens_of[f]);
        for (std::size_t i = 0; i < 6; ++i) diagonal[6 * f + i] += s.weight * (s.pose[0][i] * s.pose[0][i] + s.pose[1][i] * s.pose[1][i]);
        for (std::size_t i = 0; i < 2; ++i) diagonal[lens + i] += s.weight * (s.lens[0][i] * s.lens[0][i] + s.lens[1][i] * s.lens[1][i]);
      });
      eliminate(track, P, sum.data(), sum.data() + P * P);
    }
  });
  fourfold::parallel_chunks(P + 1, 32, [&](int, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin * P; i < end * P; ++i) {
      double total = 0.;
      for (const auto& sum : kept) total += sum[i];
      (i < P * P ? system[i] : side[i - P * P]) = total;
    }
  });
  for (std::size_t i = 0; i < P; ++i) {
    double total = 0.;
    for (const auto& diagonal : own) total += diagonal[i];
    system[i * P + i] += b.damping * total + kFloor;
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Projected minus observed (M, 2), pixels; asks neither for weights nor for tangents and pulls.
void ff_bundle_residuals(const FFBundle* bundle, double* out) {
  fourfold::parallel_chunks(static_cast<std::size_t>(bundle->tracks), 256, [&](int, std::size_t begin, std::size_t end) {
    for (std::size_t n = begin; n < end; ++n) {
      const auto last = static_cast<std::size_t>(bundle->first[n + 1]);
      for (auto m = static_cast<std::size_t>(bundle->first[n]); m < last; ++m) residual(*bundle, n, m, out + 2 * m);
    }
  });
}

// The steps (N, 3) of the tracks, along their tangents and in rho, that follow from `step` (P) of frames and lenses.
int ff_bundle_follow(const FFBundle* bundle, const double* step, double* out) try {
  const FFBundle& b = *bundle;
  fourfold::parallel_chunks(static_cast<std::size_t>(b.tracks), 64, [&](int, std::size_t begin, std::size_t end) {
    Track track;
    for (std::size_t n = begin; n < end; ++n) {
      gather(b, n, track, [](std::size_t, const Seen&) {});
      double rest[3];
      for (int i = 0; i < 3; ++i) {
        rest[i] = track.side[i];
        for (std::size_t r = 0; r < track.start.size(); ++r) {
          for (std::size_t k = 0; k < track.length[r]; ++k) rest[i] -= track.column[i][track.start[r] + k] * step[track.global[r] + k];
        }
      }
      for (int i = 0; i < 3; ++i) out[3 * n + static_cast<std::size_t>(i)] = track.inverse[i][0] * rest[0] + track.inverse[i][1] * rest[1] + track.inverse[i][2] * rest[2];
    }
  });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
