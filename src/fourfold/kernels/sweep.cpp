// Plane-sweep stereo: what every pixel of an image costs at every plane, and that volume smoothed along rows and columns.
//
// Every plane is a task, every strip of rows or columns of the smoothing is one: nothing is summed across them, so that results do not depend on the
// number of threads. Loops over pixels are plain ones that compilers make vectors of.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "buffer.h"
#include "pool.h"
#include "simd.h"

namespace {

using fourfold::kLanes;
using fourfold::splat;
using fourfold::vfloat;
using fourfold::vint;

constexpr float kUnseen = 4.f;  // far above any cost, which lies in [0, 1]
constexpr int kRows = 32;       // of a strip
constexpr int kColumns = 32;
constexpr float kNever = 1e30f;

struct Image {
  const std::uint8_t *features, *valid;  // (H, W, 4) and (H, W), 255 where valid
  std::int64_t height, width;
};

// Homographies from integer-centred pixels of the reference to those of a neighbour are base + inverse depth * slope.
struct Sweep {
  Image reference;
  const Image* others;                                 // (N)
  const double *base, *slope, *inverse;                // (N, 9), (N, 9), (D)
  std::int64_t count, planes, patch, best, leaving;    // N, D; `leaving`: cost of 255 of a pixel that leaves the mask, or -1: ignored
  float colour, detail, penalty;
};

inline int reflected(int i, int n) {
  if (n == 1) return 0;
  while (i < 0 || i >= n) i = i < 0 ? -i : 2 * n - 2 - i;
  return i;
}

// A neighbour with a pixel more behind the last one, which is fetched beside it and counts for nothing.
struct Padded {
  std::int64_t height, width;
  fourfold::Buffer<std::uint8_t> features, valid;
  void copy(const Image& from) {
    height = from.height, width = from.width;
    const auto pixels = static_cast<std::size_t>(height * width);
    std::fill_n(std::copy_n(from.features, 4 * pixels, features.resize(4 * pixels + 4)), 4, std::uint8_t{0});
    *std::copy_n(from.valid, pixels, valid.resize(pixels + 1)) = 0;
  }
};

// Where a row of the reference falls in a neighbour: the upper left tap, how far the lower one lies, shares of the right and the lower taps, and the
// nearest pixel, or the one behind the last.
struct Taps {
  fourfold::Buffer<float> fx, fy;
  fourfold::Buffer<int> first, below, nearest;
  void resize(std::size_t n) {
    n += kLanes;
    fx.resize(n), fy.resize(n), first.resize(n), below.resize(n), nearest.resize(n);
  }
};

inline void put(int* to, vint v) { std::memcpy(to, &v, sizeof v); }
inline vint whole(vfloat v) { return __builtin_convertvector(v, vint); }  // towards zero
inline vfloat real(vint v) { return __builtin_convertvector(v, vfloat); }

// Whole vectors are written, the last one beyond the row.
void find_taps(const double h[9], int y, int width, const Padded& other, Taps& taps) {
  const auto wide = static_cast<int>(other.width), high = static_cast<int>(other.height);
  const vint outside = fourfold::splat_int(wide * high);
  const vfloat last_x = splat(static_cast<float>(wide - 1)), last_y = splat(static_cast<float>(high - 1)), zero{};
  const auto a = static_cast<float>(h[0]), b = static_cast<float>(h[3]), c = static_cast<float>(h[6]);
  const auto u0 = static_cast<float>(h[1] * y + h[2]), v0 = static_cast<float>(h[4] * y + h[5]), w0 = static_cast<float>(h[7] * y + h[8]);
  vfloat lane{};
  for (int i = 0; i < kLanes; ++i) lane[i] = static_cast<float>(i);
  for (int x = 0; x < width; x += kLanes) {
    const vfloat at = lane + static_cast<float>(x), w = w0 + c * at, over = 1.f / w;
    const vfloat u = (u0 + a * at) * over, v = (v0 + b * at) * over;
    const auto inside = fourfold::greater(w, splat(1e-12f)) & fourfold::at_least(u, splat(-0.5f)) & fourfold::at_least(v, splat(-0.5f)) &
                        fourfold::less(u, last_x + 0.5f) & fourfold::less(v, last_y + 0.5f);
    const vfloat cu = fourfold::minimum(fourfold::maximum(fourfold::keep(inside, u), zero), last_x);
    const vfloat cv = fourfold::minimum(fourfold::maximum(fourfold::keep(inside, v), zero), last_y);
    const vint left = whole(cu), top = whole(cv);
    fourfold::store(taps.fx.data() + x, cu - real(left));
    fourfold::store(taps.fy.data() + x, cv - real(top));
    put(taps.first.data() + x, top * wide + left);
    put(taps.below.data() + x, fourfold::select(fourfold::less(real(top), last_y), fourfold::splat_int(wide), vint{}));
    put(taps.nearest.data() + x, fourfold::select(inside, whole(cv + 0.5f) * wide + whole(cu + 0.5f), outside));
  }
}

typedef float floats __attribute__((vector_size(16)));
typedef std::int32_t ints __attribute__((vector_size(16)));

// The four channels of a pixel, and whole numbers nearest to four, which GCC 12 takes apart into single ones.
#if defined(__SSE4_1__)
inline floats pixel(const std::uint8_t* from) {
  int v;
  std::memcpy(&v, from, sizeof v);
  return (floats)_mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(v)));
}
inline ints rounded(floats v) { return (ints)_mm_cvtps_epi32((__m128)v); }
#else
inline floats pixel(const std::uint8_t* from) { return floats{float(from[0]), float(from[1]), float(from[2]), float(from[3])}; }
inline ints rounded(floats v) {
  ints whole;
  for (int i = 0; i < 4; ++i) whole[i] = static_cast<std::int32_t>(std::nearbyint(v[i]));
  return whole;
}
#endif

// What a neighbour shows between four taps, in whole grey levels as images are.
inline ints between(const std::uint8_t* first, std::ptrdiff_t below, float fx, float fy) {
  const floats a = pixel(first), b = pixel(first + 4), c = pixel(first + below), d = pixel(first + below + 4);
  const floats upper = a + (b - a) * fx, lower = c + (d - c) * fx;
  return rounded(upper + (lower - upper) * fy);
}

// How much a row of the reference differs from what a neighbour shows there, 0 to 255, and 1 where that counts; `apart` is room for (W, 4).
void compare_row(const Sweep& s, const Padded& other, int y, const Taps& taps, int* __restrict apart, std::uint8_t* __restrict difference,
                 std::uint8_t* __restrict counts) {
  const auto width = static_cast<int>(s.reference.width);
  const std::uint8_t* own = s.reference.features + static_cast<std::ptrdiff_t>(y) * width * 4;
  const std::uint8_t* own_valid = s.reference.valid + static_cast<std::ptrdiff_t>(y) * width;
  const std::uint8_t *there = other.features.data(), *valid = other.valid.data();
  const float *fx = taps.fx.data(), *fy = taps.fy.data();
  const int *first = taps.first.data(), *below = taps.below.data(), *nearest = taps.nearest.data();
  for (int x = 0; x < width; ++x) {
    const ints shown = between(there + 4 * static_cast<std::ptrdiff_t>(first[x]), 4 * static_cast<std::ptrdiff_t>(below[x]), fx[x], fy[x]);
    std::memcpy(apart + 4 * x, &shown, sizeof shown);
    counts[x] = valid[nearest[x]] != 0 ? 1 : 0;
  }
  for (int i = 0; i < 4 * width; ++i) apart[i] = std::abs(apart[i] - own[i]);
  const float colour = s.colour, detail = s.detail;
  for (int x = 0; x < width; ++x) {
    const float off = colour * static_cast<float>(apart[4 * x] + apart[4 * x + 1] + apart[4 * x + 2]) + detail * static_cast<float>(apart[4 * x + 3]);
    difference[x] = static_cast<std::uint8_t>(static_cast<int>(std::nearbyint(off < 255.f ? off : 255.f)));
  }
  if (s.leaving >= 0) {
    const auto cost = static_cast<std::uint8_t>(s.leaving);
    for (int x = 0; x < width; ++x) {
      difference[x] = counts[x] != 0 ? difference[x] : cost;
      counts[x] = own_valid[x] != 0 ? 1 : 0;
    }
  } else {
    for (int x = 0; x < width; ++x) counts[x] = counts[x] != 0 && own_valid[x] != 0 ? 1 : 0;
  }
  for (int x = 0; x < width; ++x) difference[x] = counts[x] != 0 ? difference[x] : std::uint8_t{0};
}

// Rows are held in whole lots, so that no loop ends in single pixels; what lies behind a row is of no meaning.
constexpr int kLot = 64;
inline int in_lots(int width) { return (width + kLot - 1) / kLot * kLot; }

// Sums of `patch` neighbours in a row; beyond its ends it is mirrored.
void sum_along(const std::uint8_t* row, int width, int patch, std::uint8_t* __restrict padded, std::uint16_t* __restrict sums) {
  const int reach = patch / 2;
  std::copy_n(row, width, padded + reach);
  for (int i = 1; i <= reach; ++i) {
    padded[reach - i] = row[reflected(-i, width)];
    padded[reach + width - 1 + i] = row[reflected(width - 1 + i, width)];
  }
  const int lots = in_lots(width);
  std::fill_n(sums, lots, std::uint16_t{0});
  for (int k = 0; k < patch; ++k) {
    for (int x = 0; x < lots; ++x) sums[x] = static_cast<std::uint16_t>(sums[x] + padded[x + k]);
  }
}

struct Scratch {
  Taps taps;
  fourfold::Buffer<std::uint8_t> row, counted, padded;
  fourfold::Buffer<std::uint16_t> differences, counts;  // sums along rows, those of a strip and its margins
  fourfold::Buffer<float> ranked;                       // (best, rows, width)
  fourfold::Buffer<int> total, number, apart;
  fourfold::Buffer<float> costs;
};

// Costs of the rows [begin, end) of a strip for one neighbour, put among the best so far.
void rank_neighbour(const Sweep& s, const Padded& other, const double h[9], int begin, int end, Scratch& scratch) {
  const auto width = static_cast<int>(s.reference.width), height = static_cast<int>(s.reference.height);
  const int lots = in_lots(width);
  const auto patch = static_cast<int>(s.patch), reach = patch / 2;
  const int low = std::max(begin - reach, 0), high = std::min(end + reach, height);
  std::uint16_t *differences = scratch.differences.data(), *counts = scratch.counts.data();
  for (int y = low; y < high; ++y) {
    find_taps(h, y, width, other, scratch.taps);
    compare_row(s, other, y, scratch.taps, scratch.apart.data(), scratch.row.data(), scratch.counted.data());
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(y - low) * lots;
    sum_along(scratch.row.data(), width, patch, scratch.padded.data(), differences + at);
    sum_along(scratch.counted.data(), width, patch, scratch.padded.data(), counts + at);
  }
  const int least = static_cast<int>(0.4 * patch * patch);  // as many valid pixels and fewer are too few
  int* __restrict total = scratch.total.data();
  int* __restrict number = scratch.number.data();
  float* __restrict costs = scratch.costs.data();
  for (int y = begin; y < end; ++y) {
    std::fill_n(total, lots, 0);
    std::fill_n(number, lots, 0);
    for (int k = -reach; k <= reach; ++k) {
      const int line = std::min(std::max(reflected(y + k, height), low), high - 1);
      const std::uint16_t *by = differences + static_cast<std::ptrdiff_t>(line - low) * lots, *of = counts + static_cast<std::ptrdiff_t>(line - low) * lots;
      for (int x = 0; x < lots; ++x) {
        total[x] += by[x];
        number[x] += of[x];
      }
    }
    for (int x = 0; x < lots; ++x) {
      costs[x] = number[x] > least ? static_cast<float>(total[x]) / static_cast<float>(255 * number[x]) : kUnseen;
    }
    for (std::int64_t place = 0; place < s.best; ++place) {
      float* __restrict kept = scratch.ranked.data() + (place * kRows + (y - begin)) * lots;
      for (int x = 0; x < lots; ++x) {
        const float lower = std::min(kept[x], costs[x]);
        costs[x] = std::max(kept[x], costs[x]);
        kept[x] = lower;
      }
    }
  }
}

void sweep_plane(const Sweep& s, const Padded* others, std::int64_t plane, float* volume) {
  thread_local Scratch scratch;
  const auto width = static_cast<int>(s.reference.width), height = static_cast<int>(s.reference.height);
  const auto wide = static_cast<std::size_t>(in_lots(width)), strip = static_cast<std::size_t>(kRows + s.patch) * wide;
  scratch.taps.resize(wide);
  scratch.row.resize(wide), scratch.counted.resize(wide), scratch.padded.resize(wide + static_cast<std::size_t>(s.patch));
  scratch.differences.resize(strip), scratch.counts.resize(strip);
  scratch.total.resize(wide), scratch.number.resize(wide), scratch.costs.resize(wide), scratch.apart.resize(4 * wide);
  float* const ranked = scratch.ranked.resize(static_cast<std::size_t>(s.best) * kRows * wide);
  for (int begin = 0; begin < height; begin += kRows) {
    const int end = std::min(begin + kRows, height);
    std::fill_n(ranked, static_cast<std::size_t>(s.best) * kRows * wide, kUnseen);
    for (std::int64_t n = 0; n < s.count; ++n) {
      double h[9];
      for (int i = 0; i < 9; ++i) h[i] = s.base[9 * n + i] + s.inverse[plane] * s.slope[9 * n + i];
      rank_neighbour(s, others[n], h, begin, end, scratch);
    }
    for (int y = begin; y < end; ++y) {
      float* __restrict to = volume + (plane * height + y) * width;
      float* __restrict seen = scratch.costs.data();
      std::fill_n(to, width, 0.f);
      std::fill_n(seen, width, 0.f);
      for (std::int64_t place = 0; place < s.best; ++place) {
        const float* __restrict from = ranked + (place * kRows + (y - begin)) * static_cast<std::ptrdiff_t>(wide);
        for (int x = 0; x < width; ++x) {
          to[x] += from[x] < kUnseen ? from[x] : 0.f;
          seen[x] += from[x] < kUnseen ? 1.f : 0.f;
        }
      }
      const auto all = static_cast<float>(s.best);
      for (int x = 0; x < width; ++x) to[x] = seen[x] > 0.f ? to[x] / seen[x] + s.penalty * (all - seen[x]) : kUnseen;
    }
  }
}

// One step of a path: `current` (D, M) from `previous`, both with M numbers a plane; `jump` (M) the cost of a change of more than one plane.
void step_path(const float* costs, std::ptrdiff_t stride, const float* __restrict previous, float* __restrict current, const float* __restrict grey,
               const float* __restrict last, int planes, int many, float small, float large) {
  float lowest[kColumns], jump[kColumns];
  for (int m = 0; m < many; ++m) lowest[m] = previous[m];
  for (int d = 1; d < planes; ++d) {
    for (int m = 0; m < many; ++m) lowest[m] = std::min(lowest[m], previous[d * kColumns + m]);
  }
  for (int m = 0; m < many; ++m) jump[m] = lowest[m] + large / (1.f + std::fabs(grey[m] - last[m]) / 10.f);
  for (int d = 0; d < planes; ++d) {
    const float* here = previous + d * kColumns;
    const float *under = d > 0 ? here - kColumns : here, *over = d + 1 < planes ? here + kColumns : here;
    for (int m = 0; m < many; ++m) {
      const float reach = std::min(std::min(here[m], jump[m]), std::min(under[m] + small, over[m] + small));
      current[d * kColumns + m] = (std::min(costs[d * stride + m], 1.f) + reach) - lowest[m];
    }
  }
}

struct Smoothing {
  const float *volume, *grey;  // (D, H, W), (H, W)
  int planes, height, width;
  float small, large;
};

// Both ways along the columns of `many` columns from `column` on; `out` gets the sum.
void smooth_columns(const Smoothing& s, int column, int many, float* out) {
  thread_local fourfold::Buffer<float> kept;
  const std::size_t size = static_cast<std::size_t>(s.planes) * kColumns;
  float *previous = kept.resize(2 * size), *current = previous + size;
  const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(s.height) * s.width;
  for (const int way : {1, -1}) {
    const int first = way > 0 ? 0 : s.height - 1;
    for (int line = first; line >= 0 && line < s.height; line += way) {
      const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(line) * s.width + column;
      if (line == first) {
        for (int d = 0; d < s.planes; ++d) {
          for (int m = 0; m < many; ++m) current[d * kColumns + m] = std::min(s.volume[d * plane + at + m], 1.f);
        }
      } else {
        step_path(s.volume + at, plane, previous, current, s.grey + at, s.grey + at - way * s.width, s.planes, many, s.small, s.large);
      }
      for (int d = 0; d < s.planes; ++d) {
        float* __restrict to = out + d * plane + at;
        for (int m = 0; m < many; ++m) to[m] = (way > 0 ? 0.f : to[m]) + current[d * kColumns + m];
      }
      std::swap(previous, current);
    }
  }
}

// The same along a row, its planes side by side, and a quarter of both sums.
void smooth_row(const Smoothing& s, int row, float* out) {
  thread_local fourfold::Buffer<float> kept, turned;
  const auto planes = static_cast<std::size_t>(s.planes), wide = static_cast<std::size_t>(s.width);
  const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(s.height) * s.width, begin = static_cast<std::ptrdiff_t>(row) * s.width;
  float* const costs = turned.resize(2 * wide * planes);  // (W, D)
  float* const sums = costs + wide * planes;
  float *previous = kept.resize(2 * (planes + 2)) + 1, *current = previous + planes + 2;  // a plane that nothing comes from at either end
  for (float* path : {previous, current}) path[-1] = path[s.planes] = kNever;
  for (int d = 0; d < s.planes; ++d) {
    const float* from = s.volume + d * plane + begin;
    for (int x = 0; x < s.width; ++x) costs[static_cast<std::size_t>(x) * planes + static_cast<std::size_t>(d)] = std::min(from[x], 1.f);
  }
  for (const int way : {1, -1}) {
    const int first = way > 0 ? 0 : s.width - 1;
    for (int x = first; x >= 0 && x < s.width; x += way) {
      const float* __restrict from = costs + static_cast<std::size_t>(x) * planes;
      float* __restrict to = sums + static_cast<std::size_t>(x) * planes;
      float* __restrict now = current;
      const float* __restrict before = previous;
      if (x == first) {
        std::copy_n(from, planes, now);
      } else {
        float lowest = before[0];
        for (int d = 1; d < s.planes; ++d) lowest = std::min(lowest, before[d]);
        const float jump = lowest + s.large / (1.f + std::fabs(s.grey[begin + x] - s.grey[begin + x - way]) / 10.f);
        for (int d = 0; d < s.planes; ++d) {
          const float reach = std::min(std::min(before[d], jump), std::min(before[d - 1], before[d + 1]) + s.small);
          now[d] = (from[d] + reach) - lowest;
        }
      }
      if (way > 0) {
        std::copy_n(now, planes, to);
      } else {
        for (int d = 0; d < s.planes; ++d) to[d] += now[d];
      }
      std::swap(previous, current);
    }
  }
  for (int d = 0; d < s.planes; ++d) {
    float* to = out + d * plane + begin;
    for (int x = 0; x < s.width; ++x) to[x] = 0.25f * (to[x] + sums[static_cast<std::size_t>(x) * planes + static_cast<std::size_t>(d)]);
  }
}

}  // namespace

extern "C" {

// The costs (D, H, W): the mean of the `best` lowest of the neighbours' patch costs. 0, or 1 when memory ran out.
int ff_sweep_costs(const Sweep* sweep, float* volume) try {
  const std::unique_ptr<Padded[]> others(new Padded[static_cast<std::size_t>(sweep->count)]);
  for (std::int64_t n = 0; n < sweep->count; ++n) others[static_cast<std::size_t>(n)].copy(sweep->others[n]);
  fourfold::parallel_for(static_cast<int>(sweep->planes), [&](int plane) { sweep_plane(*sweep, others.get(), plane, volume); });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// Semi-global smoothing of costs, none above 1, along columns and rows, both ways. Sizes {D, H, W}, steps {small, large}. 0, or 1 when memory ran out.
int ff_sweep_smooth(const float* volume, const float* grey, const std::int64_t sizes[3], const float steps[2], float* smooth) try {
  const Smoothing s{volume, grey, static_cast<int>(sizes[0]), static_cast<int>(sizes[1]), static_cast<int>(sizes[2]), steps[0], steps[1]};
  fourfold::parallel_for((s.width + kColumns - 1) / kColumns,
                         [&](int strip) { smooth_columns(s, strip * kColumns, std::min(kColumns, s.width - strip * kColumns), smooth); });
  fourfold::parallel_for(s.height, [&](int row) { smooth_row(s, row, smooth); });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
