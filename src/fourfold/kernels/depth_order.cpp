// Depth by order alone (spec sparse_dynamic_cameras.md section 4): pairs of pixels must lie in the order of a prior. Value and gradient.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "buffer.h"
#include "simd.h"

namespace {

using fourfold::Buffer;
using fourfold::kLanes;
using fourfold::splat;
using fourfold::vfloat;

constexpr int kDigitBits = 11, kDigits = 1 << kDigitBits, kPasses = 3;
constexpr float kSmallestUnit = 1e-9f, kSaturated = 80.f;  // exp(80) and its inverse are finite, and tanh is 1 long before

struct Entry {
  std::uint32_t key, place;
};

// The bits of a float in an order that is that of the floats.
inline std::uint32_t key_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Least significant digit first; `spare` has as much room. The sorted entries are in `entries`, since copies are swapped at the end.
void sort(Buffer<Entry>& entries, Buffer<Entry>& spare, std::size_t count) {
  thread_local Buffer<std::uint32_t> kept;
  std::uint32_t* const counts = kept.resize(kDigits);
  for (int pass = 0; pass < kPasses; ++pass) {
    const int shift = pass * kDigitBits;
    std::fill_n(counts, kDigits, 0u);
    for (std::size_t i = 0; i < count; ++i) ++counts[entries[i].key >> shift & (kDigits - 1)];
    std::uint32_t before = 0;
    for (int d = 0; d < kDigits; ++d) before += std::exchange(counts[d], before);
    for (std::size_t i = 0; i < count; ++i) spare[counts[entries[i].key >> shift & (kDigits - 1)]++] = entries[i];
    entries.swap(spare);
  }
}

// The place of each of `count` values among the different ones, in rising order, and the last place.
float ranks_of(const float* values, std::size_t count, float* ranks) {
  thread_local Buffer<Entry> entries, spare;
  entries.resize(count);
  spare.resize(count);
  for (std::size_t i = 0; i < count; ++i) entries[i] = {key_of(values[i]), static_cast<std::uint32_t>(i)};
  sort(entries, spare, count);
  float rank = 0.f;
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0 && values[entries[i].place] > values[entries[i - 1].place]) rank += 1.f;
    ranks[entries[i].place] = rank;
  }
  return rank;
}

// Sum over `pairs` of |tanh(steep d) - sign| where `sign` is not 0; each d becomes the derivative by d.
double errors_of(float* difference, const float* sign, std::size_t pairs, float steep) {
  vfloat whole{};
  const vfloat zero{}, one = splat(1.f);
  for (std::size_t i = 0; i < pairs; i += kLanes) {  // buffers have room for a whole vector, with signs of 0
    const vfloat s = fourfold::load(sign + i), x = fourfold::minimum(fourfold::maximum(fourfold::load(difference + i) * (2.f * steep), splat(-kSaturated)), splat(kSaturated));
    const vfloat share = 1.f / (fourfold::exp(x) + 1.f), tanh = one - 2.f * share, gap = tanh - s;
    const fourfold::mask counts = fourfold::greater(s * s, zero);
    whole += fourfold::select(counts, fourfold::absolute(gap), zero);
    const vfloat slope = steep * (4.f * share) * (one - share);
    fourfold::store(difference + i, fourfold::select(counts, fourfold::select(fourfold::greater(gap, zero), slope, fourfold::select(fourfold::less(gap, zero), zero - slope, zero)), zero));
  }
  double sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += whole[lane];
  return sum;
}

}  // namespace

extern "C" {

// `rendered` and `prior` are depths of `pixels`, `first` and `second` the pixels of `pairs`, whose differences are told in units of the median of
// all their rendered depths. Pairs whose ranks differ by less than `level` of all ranks do not count, the mean is over the others. Writes the
// mean of |tanh(steep d) - sign| and its gradient by `rendered`. Where a depth is not a number the value is none either. 0, or 1 when memory ran out.
int ff_ordinal_depth(const float* rendered, const float* prior, const std::int64_t* first, const std::int64_t* second, std::int64_t pairs, std::int64_t pixels,
                     float steep, float level, double* value, float* gradient) try {
  const auto count = static_cast<std::size_t>(pairs), ends = 2 * count;
  thread_local Buffer<float> kept_depths, kept_priors, kept_ranks, kept_differences, kept_signs;
  float *const depths = kept_depths.resize(ends), *const priors = kept_priors.resize(ends), *const ranks = kept_ranks.resize(ends);
  float *const difference = kept_differences.resize(count + kLanes), *const sign = kept_signs.resize(count + kLanes);
  std::fill_n(gradient, static_cast<std::size_t>(pixels), 0.f);
  bool known = true;
  for (std::size_t i = 0; i < count; ++i) {
    depths[i] = rendered[first[i]], depths[count + i] = rendered[second[i]];
    priors[i] = prior[first[i]], priors[count + i] = prior[second[i]];
    difference[i] = depths[i] - depths[count + i];
    known = known && difference[i] == difference[i] && priors[i] == priors[i] && priors[count + i] == priors[count + i];
  }
  *value = known ? 0. : std::numeric_limits<double>::quiet_NaN();
  if (!known || count == 0) return 0;
  const float largest = std::max(ranks_of(priors, ends, ranks), 1.f);
  std::nth_element(depths, depths + (ends - 1) / 2, depths + ends);
  const float unit = std::max(depths[(ends - 1) / 2], kSmallestUnit);
  std::size_t ordered = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float apart = (ranks[i] - ranks[count + i]) / largest;
    sign[i] = apart == 0.f || std::fabs(apart) < level ? 0.f : apart > 0.f ? 1.f : -1.f;
    ordered += sign[i] != 0.f;
    difference[i] /= unit;
  }
  std::fill_n(difference + count, kLanes, 0.f);
  std::fill_n(sign + count, kLanes, 0.f);
  const double share = 1. / static_cast<double>(std::max<std::size_t>(ordered, 1));
  *value = share * errors_of(difference, sign, count, steep);
  const float scale = static_cast<float>(share) / unit;
  for (std::size_t i = 0; i < count; ++i) {
    gradient[first[i]] += scale * difference[i];
    gradient[second[i]] -= scale * difference[i];
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// The mean over `usable` pixels of | a - b |, where a and b are `rendered` and `prior` less their median over usable pixels, over their mean
// absolute deviation from it, and its gradient by `rendered`, none through the median. There must be a usable pixel. Where a depth is not a number
// the value is none either. 0, or 1 when memory ran out.
int ff_normalised_depth(const float* rendered, const float* prior, const unsigned char* usable, std::int64_t pixels, double* value, float* gradient) try {
  const auto all = static_cast<std::size_t>(pixels);
  thread_local Buffer<float> kept[3];
  float *const a = kept[0].resize(all), *const b = kept[1].resize(all), *const some = kept[2].resize(all);
  std::fill_n(gradient, all, 0.f);
  std::size_t count = 0;
  bool known = true;
  for (std::size_t i = 0; i < all; ++i) {
    if (!usable[i]) continue;
    a[count] = rendered[i], b[count++] = prior[i];
    known = known && rendered[i] == rendered[i] && prior[i] == prior[i];
  }
  *value = known ? 0. : std::numeric_limits<double>::quiet_NaN();
  if (!known || count == 0) return 0;
  float deviation[2];
  float* const sides[2] = {a, b};
  for (int s = 0; s < 2; ++s) {
    std::copy_n(sides[s], count, some);
    std::nth_element(some, some + (count - 1) / 2, some + count);
    const float middle = some[(count - 1) / 2];
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += std::fabs(sides[s][i] -= middle);
    deviation[s] = std::max(static_cast<float>(sum / static_cast<double>(count)), kSmallestUnit);
  }
  double whole = 0, pull = 0;  // pull: sum of sign(a - b) times the centred depth
  for (std::size_t i = 0; i < count; ++i) {
    const float gap = a[i] / deviation[0] - b[i] / deviation[1], side = gap > 0.f ? 1.f : gap < 0.f ? -1.f : 0.f;
    whole += std::fabs(gap);
    pull += side * a[i];
    some[i] = side;
  }
  *value = whole / static_cast<double>(count);
  const float each = 1.f / (static_cast<float>(count) * deviation[0]);
  // the mean absolute deviation moves too, unless it is held at the smallest
  const float shared = deviation[0] > kSmallestUnit ? static_cast<float>(pull / static_cast<double>(count)) / deviation[0] : 0.f;
  for (std::size_t i = 0, n = 0; i < all; ++i) {
    if (!usable[i]) continue;
    const float side = a[n] > 0.f ? 1.f : a[n] < 0.f ? -1.f : 0.f;
    gradient[i] = each * (some[n++] - shared * side);
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
